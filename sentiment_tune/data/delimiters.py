"""What stands between the cells of a table of text."""

import csv
from collections.abc import Iterable, Iterator
from itertools import islice

from sentiment_tune.errors import InputError

COMMA = ","
NAMES = {"tab": "\t", "comma": COMMA, "semicolon": ";", "pipe": "|"}
_CANDIDATES = (COMMA, ";", "\t", "|")
_RECORDS = 50  # that are looked at


def parse_delimiter(name: str) -> str:
    """One character of a name, `tab` for instance, or of itself; InputError for what is none."""
    delimiter = NAMES.get(name.strip().lower(), "\t" if name == "\\t" else name)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise InputError(f"delimiter cannot be {name!r:.40}: give one character, or {', '.join(NAMES)}")
    return delimiter


def shown(delimiter: str) -> str:
    """A delimiter as a user reads it."""
    return {character: name for name, character in NAMES.items()}.get(delimiter, repr(delimiter))


def find_delimiter(lines: Iterable[str], origin: object) -> str:
    """The one that cuts the first records into equally many cells, and more than one; a comma where none does.

    InputError where several do, with what each makes of the first line.
    """
    beginning = list(islice(lines, 4 * _RECORDS))
    cut = {delimiter: first for delimiter in _CANDIDATES if (first := _first_record(beginning, delimiter))}
    if len(cut) > 1:
        readings = "; ".join(
            f"--delimiter {shown(delimiter)} gives {' and '.join(f'{cell!r:.20}' for cell in cells[:2])}"
            for delimiter, cells in cut.items()
        )
        raise InputError(f"{origin} can be cut in several ways: {readings}; give one")
    return next(iter(cut), COMMA)


def _first_record(lines: list[str], delimiter: str) -> list[str] | None:
    """The cells of the first record, if all that are looked at have as many, and more than one."""
    records = list(_whole_records(lines, delimiter))
    sizes = {len(cells) for cells in records}
    return records[0] if len(sizes) == 1 and sizes.pop() > 1 else None


def _whole_records(lines: list[str], delimiter: str) -> Iterator[list[str]]:
    """Records without empty lines; the last may be cut off in a quoted cell, and does not count then."""
    try:
        yield from islice(filter(None, csv.reader(lines, delimiter=delimiter, strict=True)), _RECORDS)
    except csv.Error:
        return
