"""In which encoding a text file was saved, and its lines.

UTF-8 and UTF-16 tell themselves. What is neither is Windows-1252 where that reads like a text of a Western language and
no other encoding like one of another language; else the user is asked, with what each reading makes of it.
"""

import codecs
import io
import re
import unicodedata
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Any

from sentiment_tune.data.alphabets import WESTERN, likelier
from sentiment_tune.data.packing import DAMAGED
from sentiment_tune.errors import InputError

UTF8 = "utf-8"
_BYTES = "latin-1"  # in which each byte is a character
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16's, which begins it
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_NAMES = {WESTERN: "Windows-1252", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-16": "UTF-16", "utf-32": "UTF-32"}
_CR = b"\r"
_MAC, _DOS = "mac_roman", "cp850"
_OTHERS = (
    *("cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp866", "cp874", "koi8_r", _MAC),
    *("shift_jis", "euc_jp", "gb18030", "big5", "euc_kr"),
)
_ASCII = (*b"\t\r\n", *range(0x20, 0x7F))
_ASCII_LINE_ENDS = {pair for other in _ASCII for pair in ((0x0A, other), (other, 0x0A))}
_BLOCK = 2**20
_SAMPLE = 2**16  # bytes that are looked at where a file is not UTF-8
_BEFORE = 2**10  # of them before that place
_FEW = 0.4  # share of letters that a Western language writes with accents, and more
_INNER_CAPITAL = re.compile("[a-z\u00df-\u00ff][\u00c0-\u00d6\u00d8-\u00de\u0160\u0178\u017d]")
_QUOTED = re.compile(r'(?<![^\r\n,;\t|])"(?:[^"]|"")*(?:"|\Z)')  # cells
_WITHIN = "\u2018\u2019\u00b7"  # apostrophes and the middle dot
_BLANKS = (b" ", b"\n", _CR, b"\t", b",", b";")
_SHOWN = 12  # characters of a reading around the first that is in doubt

_OF_NO_FILE = ("idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape")
_UTF8 = re.compile(  # a character of several bytes
    b"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)

Opened = Callable[[], AbstractContextManager[IO[bytes]]]  # the file, unpacked, from its beginning


def known_encoding(name: str) -> str:
    """The encoding of that name; InputError where there is none, or it is none of texts."""
    try:
        found = codecs.lookup(name)
        if found._is_text_encoding and found.name.replace("-", "_") not in _OF_NO_FILE:
            return found.name
    except (LookupError, ValueError):
        pass
    raise InputError(f"no encoding {name!r:.40}; such as utf-8, utf-16, cp1252, cp1251, shift_jis")


def shown(encoding: str) -> str | None:
    """What is said of an encoding; nothing of UTF-8, which everybody expects."""
    return None if encoding.startswith("utf-8") else _NAMES.get(encoding, encoding)


def find_encoding(opened: Opened, origin: object) -> str:
    """The encoding of a file of texts; InputError where several would do, with the way out."""
    try:
        with opened() as file:
            start = file.read(4096)
            for mark, encoding in _MARKS.items():
                if start.startswith(mark):
                    return encoding
            if b"\0" in start and (wide := _without_mark(start)):
                return wide
            end = _CR if _cr_ends_lines(start.decode(_BYTES), has_quotes=True) else b"\n"
            doubtful = _first_not_utf8(start, file, end)
    except (*DAMAGED, OSError):
        return UTF8  # it is for its reader to say what is wrong
    return UTF8 if doubtful is None else _eight_bits(doubtful, end, origin)


def _without_mark(start: bytes) -> str | None:
    """UTF-16 without a mark: texts in it have a null byte in about every second place, and no line feed beside ASCII.

    Texts in UTF-8 may have many null characters, too.
    """
    even, odd = start[::2].count(0), start[1::2].count(0)
    half = len(start) / 2
    if max(even, odd) < 0.3 * half or min(even, odd) > 0.1 * half:
        return None
    if _ASCII_LINE_ENDS & {*zip(start[::2], start[1::2], strict=False), tuple(start[-2:])}:
        return None
    return "utf-16-be" if even > odd else "utf-16-le"


@dataclass(frozen=True)
class _Doubtful:
    """The first place of a file that is not UTF-8."""

    sample: bytes  # around it, from its line's beginning on
    at: int  # in the sample
    line: int  # of the beginning of the sample
    before: int  # characters of more than one byte before it


def _first_not_utf8(start: bytes, file: IO[bytes], end: bytes) -> _Doubtful | None:
    """The first place of a file that is not UTF-8, if there is one.

    Of a long line the sample begins nearer: an array of objects may be one line of a gigabyte. Lines have that end.
    """
    decoder, line, block, wide = codecs.getincrementaldecoder(UTF8)(), 1, start, 0
    while True:
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            bytes_read: bytes = error.object
            begin = max(bytes_read.rfind(end, 0, error.start) + 1, error.start - _BEFORE)
            sample = (bytes_read[begin:] + file.read(_SAMPLE))[:_SAMPLE]
            wide += _wide_characters(bytes_read[:begin])
            return _Doubtful(sample, error.start - begin, line + bytes_read.count(end, 0, error.start), wide)
        if not block:
            return None
        if not text.isascii():
            wide += _wide_characters(block)
        line += block.count(end)
        block = file.read(_BLOCK)


def _wide_characters(block: bytes) -> int:
    """Characters of more than one byte in UTF-8, by their first bytes."""
    return len(block.translate(None, bytes(range(0xC2))))


def _eight_bits(doubtful: _Doubtful, end: bytes, origin: object) -> str:
    """Windows-1252, if that reads like a text and no other does; else InputError with readings of the sample."""
    sample, line = doubtful.sample, doubtful.line
    wide = len(_UTF8.findall(sample))
    if doubtful.before + wide > len(_UTF8.sub(b"", sample).translate(None, bytes(range(128)))):
        (_, shown), *_ = _readings(sample, doubtful.at, [UTF8])
        raise InputError(
            f"{origin}, line {line}: this is not UTF-8, though most of the file is; correct what stands at {shown!r}"
        )
    other = likelier(sample)
    if other is None:
        is_mac = _is_western(sample, _MAC) and not _INNER_CAPITAL.search(sample.decode(_MAC))
        if _is_western(sample, WESTERN) and not (is_mac and _may_be_mac(sample, end)):
            return WESTERN
        other = _MAC if is_mac else None
    place, likely = _in_doubt(sample, other)
    readings = "; ".join(f"--encoding {encoding} reads {text!r}" for encoding, text in _readings(sample, place, likely))
    line += sample.count(end, 0, place)
    raise InputError(f"{origin}, line {line}: this is not UTF-8; {readings}")


def _is_western(sample: bytes, encoding: str) -> bool:
    """Whether an encoding makes words of the bytes: few letters with accents, and no sign within a word."""
    try:
        text = sample.decode(encoding)
    except UnicodeDecodeError:
        return False
    letters = [character for character in text if character.isalpha()]
    foreign = sum(not character.isascii() for character in letters)
    if foreign > _FEW * len(letters):
        return False
    return not any(
        one.isalpha() and other.isalpha() and _is_sign(between)
        for one, between, other in zip(text, text[1:], text[2:], strict=False)
    )


def _may_be_mac(sample: bytes, end: bytes) -> bool:
    """Whether lines end as a Mac ends them, or Windows-1252 makes capitals within words, as of Mac Roman's quotes."""
    return end == _CR or _INNER_CAPITAL.search(sample.decode(WESTERN, "replace")) is not None


def _is_sign(character: str) -> bool:
    """Whether a character is none that stands within words, as apostrophes do and a superscript does not."""
    return not character.isascii() and character not in _WITHIN and unicodedata.category(character)[0] in "SNPC"


def _in_doubt(sample: bytes, other: str | None) -> tuple[int, list[str]]:
    """The first place that may be read in several ways, and the encodings that it may be in.

    These are Windows-1252 and the other one where that is known, else what a library takes the bytes for.
    """
    beyond = [number for number, byte in enumerate(sample) if byte > 127]
    if other is not None:
        differs = {byte: _one(byte, other) != _one(byte, WESTERN) for byte in range(128, 256)}
        return next(number for number in beyond if differs[sample[number]]), [other, WESTERN]
    from charset_normalizer import from_bytes

    found = [match.encoding for match in from_bytes(sample, cp_isolation=[*_OTHERS, WESTERN])]
    dos = [_DOS] if _is_western(sample, _DOS) else []
    return beyond[0], list(dict.fromkeys([*dos, *found[:3], "cp1250", WESTERN]))


def _one(byte: int, encoding: str) -> str:
    return bytes([byte]).decode(encoding, "replace")


def _readings(sample: bytes, place: int, likely: Sequence[str]) -> list[tuple[str, str]]:
    """What encodings make of the word at a place and of what follows it."""
    begin = 1 + max(sample.rfind(blank, 0, place) for blank in _BLANKS)
    texts = {encoding: sample[begin : begin + 4 * _SHOWN].decode(encoding, "replace") for encoding in likely}
    return [(encoding, re.split("[\r\n]", text)[0].lstrip('"')[:_SHOWN].rstrip()) for encoding, text in texts.items()]


def beginning_of(file: IO[bytes]) -> tuple[bytes, IO[bytes]]:
    """The first bytes of a file that cannot be read twice, and another from its beginning on.

    What cannot be read at all is for who reads on to say.
    """
    try:
        start = file.read(_SAMPLE)
    except OSError:
        return b"", file
    if len(start) < _SAMPLE:  # a terminal would ask for more
        return start, io.BytesIO(start)
    return start, io.BufferedReader(_Joined(start, file))


class _Joined(io.RawIOBase):
    """Bytes, and behind them a file."""

    def __init__(self, start: bytes, rest: IO[bytes]):
        self._parts: list[IO[bytes]] = [io.BytesIO(start), rest]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._parts:
            if some := self._parts[0].read(len(buffer)):
                buffer[: len(some)] = some
                return len(some)
            self._parts.pop(0)
        return 0


def cr_ends_lines(opened: Opened, encoding: str, has_quotes: bool) -> bool:
    """Whether a file's lines end in CR alone, as spreadsheets on a Mac save tables; LF may stand in quoted cells."""
    try:
        with opened() as file:
            return _cr_ends_lines(file.read(_SAMPLE).decode(encoding, "ignore"), has_quotes)
    except (*DAMAGED, OSError):
        return False  # it is for its reader to say what is wrong


def _cr_ends_lines(sample: str, has_quotes: bool) -> bool:
    sample = sample.removesuffix("\r")  # whose LF may stand behind the sample
    if has_quotes and "\n" in sample:
        sample = _QUOTED.sub("", sample)
    return "\r" in sample and "\n" not in sample


def decoded_lines(opened: Opened, encoding: str, origin: object, end: str = "\n") -> Generator[str]:
    """Lines with their ends, of which there is one kind; InputError names the line that cannot be read."""
    number = 0
    try:
        with opened() as file:
            for line in (_wide_lines if encoding[:6] in ("utf-16", "utf-32") else _narrow_lines)(file, encoding, end):
                number += 1
                yield line
    except UnicodeError:
        raise InputError(
            f"{origin}, line {number + 1}: this is not {encoding.removesuffix('-sig').upper()}; save it as UTF-8, or "
            "name its encoding with --encoding"
        ) from None
    except DAMAGED as error:
        raise InputError(f"{origin} is damaged behind line {number} ({error}): pack or fetch it again") from None
    except OSError as error:
        raise InputError(f"cannot read {origin}: {error.strerror or error}") from None


def _narrow_lines(file: IO[bytes], encoding: str, end: str) -> Iterator[str]:
    """Decoded one by one, so that an error knows its line."""
    first, rest = ("utf-8-sig", UTF8) if encoding in (UTF8, "utf-8-sig") else (encoding, encoding)
    for number, line in enumerate(file if end == "\n" else _lines_of_bytes(file, end)):
        yield line.decode(rest if number else first)


def _lines_of_bytes(file: IO[bytes], end: str) -> Iterator[bytes]:
    with io.TextIOWrapper(file, _BYTES, newline=end) as lines:
        for line in lines:
            yield line.encode(_BYTES)


def _wide_lines(file: IO[bytes], encoding: str, end: str) -> Iterator[str]:
    with io.TextIOWrapper(file, encoding, newline=end) as text:
        for number, line in enumerate(text):
            yield line.removeprefix("\ufeff") if number == 0 else line
