"""Where the words of a text begin and end: the rules that a vocabulary may have been made by.

`keras` is that of Keras' tokenizer, which made IMDB's ids: lower case, blank and ASCII punctuation but the apostrophe
separate. `unicode` reads what people write, in these steps:

1. Entities of HTML are the characters that they stand for, also where they were escaped twice.
2. NFKC_Casefold: accents in both forms, full-width forms, ligatures, upper and lower case are one spelling.
3. Tags of HTML, such as `<br />`, separate.
4. Apostrophes in all shapes are one, which stays within a word and separates at its edges; what is invisible (soft
   hyphens, variation selectors, joiners within words) is left out.
5. Whatever is no letter, mark, number or emoji separates, every blank among it.
6. An emoji or pictograph is a word, as a whole where joiners, a tone of skin or two letters of a flag make it up.
7. Of scripts without blanks (Han, kana, bopomofo, Thai, Lao, Khmer, Burmese) each character is a word, with its marks.

`punctuation` is the same, and the marks `. , ! ? ; : ( ) "` are words.
"""

import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial

KERAS, UNICODE, PUNCTUATION = RULES = ("keras", "unicode", "punctuation")
MARKS = '.,!?;:()"'  # that are words by the rule PUNCTUATION
SEPARATORS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n\r'  # by the rule KERAS
_KERAS = str.maketrans(dict.fromkeys(SEPARATORS, " "))

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_NAMES = (
    "a|abbr|b|big|blockquote|body|br|center|cite|code|dd|del|div|dl|dt|em|font|h[1-6]|head|hr|html|i|img|ins|li|ol|p|"
    "pre|q|s|small|span|strike|strong|sub|sup|table|tbody|td|th|thead|title|tr|tt|u|ul"
)
_ATTRIBUTE = r"\s+[a-z][\w:-]*\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s\"'<>]+)"
_TAG = re.compile(rf"</?(?:{_NAMES})(?:{_ATTRIBUTE})*\s*/?>")
_PIECE = re.compile(r".{1,1000}(?=[ \n]|\Z)|.{1,1000}", re.DOTALL)
_APOSTROPHES = "'`\u2018\u2019\u201b\u02b9\u02bb\u02bc\u02bd\u2032\ua78c\u055a"
_OUTER_APOSTROPHE = re.compile("'(?:(?= )|(?<= '))")
_SAME_MARKS = {
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u300c\u300d\u300e\u300f", '"'),
    **dict.fromkeys("\u3002\u0964\u06d4", "."),
    **dict.fromkeys("\u3001\u060c", ","),
    "\u061f": "?",
    "\u061b": ";",
}
_BEYOND_ASCII = re.compile("[^\0-\x7f]+")
_JOINER = "\u200d"
_SKIN, _FLAG = "\U0001f3fb-\U0001f3ff", "\U0001f1e6-\U0001f1ff"
_EMOJI = "\u2190-\u21ff\u2300-\u23ff\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff\U0001f000-\U0001faff"
_IS_EMOJI = re.compile(f"[{_EMOJI}]")
_LONE_JOINER = re.compile(f"(?<![{_EMOJI}]){_JOINER}|{_JOINER}(?![{_EMOJI}])")


def _in(blocks: Iterable[range], categories: str) -> str:
    """The characters of some blocks whose category begins with one of these letters, for a set in a pattern."""
    return "".join(chr(code) for block in blocks for code in block if unicodedata.category(chr(code))[0] in categories)


# Thai and Lao, Burmese, Khmer; Burmese has two more blocks for its neighbours.
_BLOCKS = (
    range(0xE00, 0xF00),
    range(0x1000, 0x10A0),
    range(0x1780, 0x1800),
    range(0xA9E0, 0xAA00),
    range(0xAA60, 0xAA80),
)
_HAN_AND_KANA = (
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff"
    "\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
)
_ALONE = re.compile(
    f"[{_FLAG}][{_FLAG}]"
    f"|[{_EMOJI}][{_SKIN}]?(?:{_JOINER}[{_EMOJI}][{_SKIN}]?)*"
    f"|[{_HAN_AND_KANA}{_in(_BLOCKS, 'L')}][{_in(_BLOCKS, 'M')}\u3099\u309a]*"
)


class _Characters(dict[int, str | None]):
    """What becomes of each character in steps 4 and 5, found out when it is first met."""

    def __init__(self, changed: Mapping[str, str]):
        super().__init__({ord(character): other for character, other in changed.items()})

    def __missing__(self, code: int) -> str | None:
        self[code] = kept = _kept(chr(code))
        return kept

    @cached_property
    def _bytes(self) -> bytes:
        """The same of ASCII, each of which becomes another of it; all other bytes stay."""
        return "".join(self[code] or "" for code in range(128)).encode() + bytes(range(128, 256))

    def change(self, text: str) -> str:
        """What `text.translate` makes of it, at ten times its speed where most is ASCII."""
        text = text.encode("utf-8", "surrogatepass").translate(self._bytes).decode("utf-8", "surrogatepass")
        return text if text.isascii() else _BEYOND_ASCII.sub(lambda some: some[0].translate(self), text)


def _kept(character: str) -> str | None:
    """A character of a word or an emoji itself, None for one that is not seen, a blank for what separates."""
    category = unicodedata.category(character)
    if "\ufe00" <= character <= "\ufe0f" or "\U000e0000" <= character <= "\U000e0fff":  # variants; tags
        return None
    if category[0] in "LMN" or character == _JOINER or _IS_EMOJI.match(character):
        return character
    return None if category == "Cf" and character != "\u200b" else " "  # that one is a blank of no width


_WORDS = _Characters(dict.fromkeys(_APOSTROPHES, "'"))
_WORDS_AND_MARKS = _Characters(_SAME_MARKS | dict.fromkeys(_APOSTROPHES, "'") | {mark: mark for mark in MARKS})


def _by_keras(text: str) -> str:
    return text.lower().translate(_KERAS)


def _by_unicode(text: str) -> str:
    text = _WORDS.change(_composed(text))
    return _with_inner_apostrophes(_with_words_alone(text).replace("''", "  "))


def _by_punctuation(text: str) -> str:
    text = _WORDS_AND_MARKS.change(_composed(text)).replace("''", '"')
    for mark in MARKS:
        text = text.replace(mark, f" {mark} ")
    return _with_inner_apostrophes(_with_words_alone(text))


def _composed(text: str) -> str:
    """A text without HTML, in one spelling of each character: steps 1 to 3."""
    if "&" in text:
        text = _ENTITY.sub(_character, _ENTITY.sub(_character, text))  # of what was escaped twice, both
    text = text.lower() if text.isascii() else _folded(text)
    return _TAG.sub(" ", text) if "<" in text else text


def _folded(text: str) -> str:
    """A text in Unicode's NFKC_Casefold, but that a trade mark is no letters and an acute accent alone an apostrophe.

    It is made piece by piece, cut at blanks, because thousands of accents on one letter would take minutes.
    """
    pieces = (_nfkc(_nfkc(piece).casefold()) for piece in _PIECE.findall(text.replace("\u2122", " ")))
    return "".join(pieces).replace(" \u0301", "'")


_nfkc = partial(unicodedata.normalize, "NFKC")


def _character(entity: re.Match[str]) -> str:
    return html.unescape(entity[0])


def _with_words_alone(text: str) -> str:
    """A text with blanks around each emoji and each character of a script without blanks: steps 6 and 7."""
    if text.isascii():
        return text
    if _JOINER in text:
        text = _LONE_JOINER.sub("", text)
    return _BEYOND_ASCII.sub(lambda some: _ALONE.sub(r" \g<0> ", some[0]), text)


def _with_inner_apostrophes(text: str) -> str:
    """A text with a blank for each apostrophe at a word's edge."""
    return _OUTER_APOSTROPHE.sub(" ", f" {text} ") if "'" in text else text


_BY_RULE = {KERAS: _by_keras, UNICODE: _by_unicode, PUNCTUATION: _by_punctuation}


def has_markup(text: str) -> bool:
    """Whether tags or entities of HTML stand in a text."""
    if "<" in text and _TAG.search(text.lower()):
        return True
    return "&" in text and any(html.unescape(entity) != entity for entity in _ENTITY.findall(text))


def spaced(rule: str) -> Callable[[str], str]:
    """What a rule makes of a text: its words with blanks between, one or more."""
    return _BY_RULE[rule]
