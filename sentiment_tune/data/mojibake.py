"""Texts in UTF-8 that were read as Windows-1252: which ones look as if they were.

Each character beyond ASCII then stands there as two to four, `é` as `Ã©`, and what such a run of them was can be told:
back in Windows-1252 it is UTF-8. Correct texts have such runs by chance, where a letter meets a mark or a dash
(`Spaß“`, `été\u00a0»`), so that what ends a word as a rule is no evidence there.
"""

import re

# Windows-1252 leaves five bytes out, which its readers keep as control characters.
_WESTERN = {ord(bytes([code]).decode("cp1252", "ignore") or chr(code)): code for code in range(0x80, 0xA0)}
_RUN = re.compile(r"[^\x00-\x7f]+")
# What no correct text has: the beginnings of typographic marks, of the euro and of emoji, a mark of UTF-8, a blank that
# does not break, a character for what could not be read, and accents whose case was folded afterwards.
_SURE = re.compile("â\u20ac|â\u201a¬|ð\u0178|ï»¿|Â\u00a0|\ufffd|ã[¡-©¬-º¼-¿]")
_AROUND_WORDS = "\u00a0«»\u2018\u2019\u201a\u201c\u201d\u201e\u2039\u203a\u2026\u2013\u2014\u2022"
_BEHIND_NAMES = "®™©ºª¹²³"


def is_mojibake(text: str) -> bool:
    """Whether a text seems to have been read in a wrong encoding."""
    if text.isascii():
        return False
    return bool(_SURE.search(text)) or any(_is_misread(run, text) for run in _RUN.finditer(text))


def _is_misread(run: re.Match[str], text: str) -> bool:
    """Whether characters of a text that are not ASCII are UTF-8 in fact."""
    before, after = text[run.start() - 1 : run.start()], text[run.end() : run.end() + 1]
    if len(read := _as_utf8(run[0])) > 1 or (read and before.islower() and run[0][0].isupper()):
        return True  # several characters are no chance, nor is a capital behind a small letter
    written = run[0] if after.isalpha() else run[0].rstrip(_AROUND_WORDS)
    read = _as_utf8(written)
    if len(written) == 2:
        return bool(read) and (written[0] in "ÂÃ" or written[1] not in _AROUND_WORDS + _BEHIND_NAMES)
    return "\u1e00" <= read <= "\u1eff"  # Vietnamese; of other scripts with three bytes one alone is chance


def _as_utf8(written: str) -> str:
    """What UTF-8 makes of characters in Windows-1252; nothing where it is none."""
    try:
        return written.translate(_WESTERN).encode("latin-1").decode("utf-8")
    except UnicodeError:
        return ""
