"""What stands between the cells of a table of text."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from sentiment_tune.errors import InputError

COMMA = ","
NAMES = {"tab": "\t", "comma": COMMA, "semicolon": ";", "pipe": "|"}
_CANDIDATES = (COMMA, ";", "\t", "|")
_RECORDS = 50  # that are looked at
_MOST = 0.8


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

    Where none cuts all of them so, the only one that most are cut by: their reader names the line of the others.
    InputError where several do, with what each makes of the first line.
    """
    beginning = list(islice(lines, 4 * _RECORDS))
    records = {delimiter: list(_whole_records(beginning, delimiter)) for delimiter in _CANDIDATES}
    shares = {delimiter: _share_alike(some) for delimiter, some in records.items()}
    cut = [delimiter for delimiter, share in shares.items() if share == 1]
    most = [delimiter for delimiter, share in shares.items() if share > _MOST]
    if len(cut) > 1:
        readings = "; ".join(
            f"--delimiter {shown(delimiter)} gives {' and '.join(f'{cell!r:.20}' for cell in first[:2])}"
            for delimiter, first in ((one, records[one][0]) for one in cut)
        )
        raise InputError(f"{origin} can be cut in several ways: {readings}; give one")
    return cut[0] if cut else most[0] if len(most) == 1 else COMMA


def _share_alike(records: Sequence[Sequence[str]]) -> float:
    """Which share of records has as many cells as the first, and that more than one."""
    if not records or len(records[0]) < 2:
        return 0
    return sum(len(cells) == len(records[0]) for cells in records) / len(records)


def _whole_records(lines: list[str], delimiter: str) -> Iterator[list[str]]:
    """Records without empty lines; the last may be cut off in a quoted cell, and does not count then."""
    try:
        yield from islice(filter(None, csv.reader(lines, delimiter=delimiter, strict=True)), _RECORDS)
    except csv.Error:
        return
