"""Labels: how they are spelled, the classes they name, and which class an answer predicts.

Two classes have one number as their answer, that of the second; more have one number each.
"""

import math
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.errors import InputError
from sentiment_tune.space import unknown_name

MOST = 100  # classes
THRESHOLD = 0.5  # of the probability above which a review is of the second of two classes; at it, it is not
_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{1,15})?", re.ASCII)
_NAMES = {"0": 0, "neg": 0, "negative": 0, "false": 0, "1": 1, "pos": 1, "positive": 1, "true": 1}
_LARGEST = 10**15
_NOTHING = ("NAType", "NaTType")  # of pandas
_PRESETS = {"stars": "1,2=negative 4,5=positive"}
_NEITHER = ("3",)  # of stars, which are left out
_HIDDEN = "\ue000"  # of no meaning to anybody
_BETWEEN_QUOTES = re.compile("'[^']*'|\"[^\"]*\"")
# What programs write where nothing is, beside numbers or names that leave no doubt of it.
_ABSENT = ("null", "nan", "n/a", "#n/a", "<na>", "\\n", "nil")
_ABSENT_OR_NAMES = ("na", "none", "?")  # which beside names may be a class, such as of no opinion
_SIGNS = {"-1": 0, "1": 1}  # as two classes are spelled, too


@dataclass(frozen=True)
class Classes:
    """What a review can be, in the order of the numbers that stand for it.

    Attributes:
        names: from 2 to 100, each once.
        ordered: whether the names are numbers in their order, of which one can be nearer to another than to a third.
    """

    names: tuple[str, ...]
    ordered: bool = False

    def __len__(self) -> int:
        return len(self.names)

    @property
    def are_two(self) -> bool:
        """Whether one number answers for both."""
        return len(self.names) == 2

    def number_of(self, name: str) -> int:
        """The number of the class that a user calls so; InputError where there is none."""
        key = _key_of_text(name)
        keys = [_key_of_text(known) for known in self.names]
        if key in keys:
            return keys.index(key)
        if self == SENTIMENT and key in _NAMES | _SIGNS:
            return (_NAMES | _SIGNS)[key]
        raise unknown_name("class", name, self.names)


SENTIMENT = Classes(("negative", "positive"))


def classify(probabilities: NDArray[np.floating], threshold: float = THRESHOLD) -> NDArray[np.int64]:
    """The class [review] that probabilities predict: of the second of two [review], or of each [review, class]."""
    if probabilities.ndim == 2:
        return probabilities.argmax(1)
    return (probabilities > threshold).astype(np.int64)


def probabilities_of(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities in the shape of the logits: of the second of two classes [review], or of each [review, class]."""
    with np.errstate(invalid="ignore"):  # what is no number stays none, without a warning
        if logits.ndim == 1:
            return np.exp(-np.logaddexp(0, -logits))
        return np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def both_columns(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """A column for each class, of probabilities that may be those of the second of two alone: [review, class]."""
    columns = probabilities if probabilities.ndim == 2 else np.stack([1 - probabilities, probabilities], 1)
    return columns.astype(np.float64, copy=False)


@dataclass(frozen=True)
class LabelMap:
    """Labels as a user has them read; those that it does not name are dropped.

    Attributes:
        names: class by label, as its key.
        is_preset: whether not each of the labels has to be in the data, some of each class do; none may be there that
            the preset does not mean.
    """

    names: Mapping[str, str]
    is_preset: bool = False

    @classmethod
    def of(cls, given: str) -> "LabelMap":
        """What `1,2=negative 4,5=positive` says, or a preset's name; InputError where it cannot be read."""
        name_of_preset = given.strip().lower()
        wrong = InputError(f"labels cannot be {given!r:.100}: give such as '1,2=negative 4,5=positive', or stars")
        try:
            rules = [rule.rpartition("=") for rule in shlex.split(_hide_commas(_PRESETS.get(name_of_preset, given)))]
        except ValueError:
            raise wrong from None
        names: dict[str, str] = {}
        for labels, _, given_name in rules:
            name = given_name.replace(_HIDDEN, ",").strip()
            for label in (one.replace(_HIDDEN, ",").strip() for one in labels.split(",")):
                if not label or not name.strip(" ,"):
                    raise wrong
                if name.endswith(","):
                    raise InputError(
                        f"labels cannot be {given!r:.100}: {name!r:.40} ends with a comma; part rules by blanks alone"
                    )
                if names.setdefault(_key_of_text(label), name) != name:
                    raise InputError(f"labels cannot be {given!r:.100}: {label!r} is to be of two classes")
        if len({_key_of_text(name) for name in names.values()}) < 2:
            raise wrong
        return cls(names, name_of_preset in _PRESETS)


def _hide_commas(given: str) -> str:
    """The same with another character for the commas between quotes, which part no labels."""
    return _BETWEEN_QUOTES.sub(lambda found: found[0].replace(",", _HIDDEN), given)


@dataclass
class LabelReader:
    """Labels out of any number of columns, read as they come; what their classes are is known when all were read.

    Attributes:
        given: what is to be read otherwise than it is written.
    """

    given: LabelMap | None = None
    _codes: dict[str, int] = field(default_factory=dict)  # by the key of a spelling
    _spellings: dict[str, str] = field(default_factory=dict)  # to be shown, by key: the first in the alphabet
    _dropped: Counter[str] = field(default_factory=Counter)
    _absent: dict[str, str] = field(default_factory=dict)  # where labels first stand that may be none, by key

    def read(self, cells: Iterable[Any], origin: object) -> NDArray[np.int64]:
        """A code [row] of each cell, of which none is left out; InputError names the first row without a label."""
        return np.array([self.code(cell, f"{origin}, row {row}") for row, cell in enumerate(cells, 1)], dtype=np.int64)

    def code(self, cell: Any, where: object) -> int | None:
        """The code of a label, None of one that is left out; InputError names where there is none."""
        spelling = _spelling(cell)
        if not spelling:
            is_number = spelling is None and isinstance(cell, Real | Decimal)
            wanted = f"a name or a number below {_LARGEST:,}" if is_number else "a name or a number"
            raise InputError(
                f"{where}: no label {cell!r:.40}; write {wanted} there, such as positive or 1, or remove it"
            )
        key = _key_of_text(spelling)
        if self.given is not None and key not in self.given.names:
            if self.given.is_preset and key not in _NEITHER:
                raise InputError(
                    f"{where}: the label {spelling!r:.40} is none of 1 to 5 stars; say which labels are of which class "
                    "instead, such as --labels '1,2,3,4=negative 7,8,9,10=positive'"
                )
            self._dropped[spelling] += 1
            return None
        if key in (*_ABSENT, *_ABSENT_OR_NAMES):
            self._absent.setdefault(key, str(where))
        if self._spellings.setdefault(key, spelling) > spelling:
            self._spellings[key] = spelling
        code = self._codes.setdefault(key, len(self._codes))
        if code == 1000 * MOST:
            raise self._too_many(where)
        return code

    def classes(self, origin: object) -> Classes:
        """What the labels name; InputError if that are fewer than two or more than can be told apart.

        Or if a rule is of a label that there is not.
        """
        self._check_rules(origin)
        self._check_absent()
        names = self._names()
        if len(names) > MOST:
            raise self._too_many(origin)
        if len(names) == 1 and names[0] not in SENTIMENT.names:
            raise InputError(f"{origin}: all reviews are labelled {names[0]!r:.40}; there is nothing to tell apart")
        if set(names) <= set(SENTIMENT.names):
            return SENTIMENT
        return Classes(tuple(names), all(_NUMBER.fullmatch(name) for name in names))

    def numbers(self, codes: NDArray[np.int64], classes: Classes) -> NDArray[np.uint8]:
        """The class [row] of each code."""
        known = {_key_of_text(name): number for number, name in enumerate(classes.names)}
        names = self._name_of_key()
        return np.array([known[_key_of_text(names[key])] for key in self._codes], np.uint8)[codes]

    def numerals(self, codes: Iterable[int]) -> set[str]:
        """Those labels of these codes that are numbers."""
        keys = [*self._codes]
        return {key for key in map(keys.__getitem__, set(codes)) if _NUMBER.fullmatch(key)}

    def remark(self) -> str | None:
        """What was read otherwise than it is written, and what was dropped, with counts."""
        if self.given is None:
            return self._told_absent()
        spelled = ((self._spellings.get(key), name) for key, name in self.given.names.items())
        read = ", ".join(f"{label} as {name}" for label, name in spelled if label is not None)
        dropped = ", ".join(f"{name!r:.40}" for name in [*self._dropped][:5])
        more = " and others" if len(self._dropped) > 5 else ""
        left = f"; {self._dropped.total():,} rows are left out, labelled {dropped}{more}" if dropped else ""
        return f"labels: {read}{left}"

    def _told_absent(self) -> str | None:
        shown = [repr(self._spellings[key]) for key in self._absent]
        return (
            f"labels: {' and '.join(shown)} {'is a class' if len(shown) == 1 else 'are classes'}, too"
            if shown
            else None
        )

    def _name_of_key(self) -> Mapping[str, str]:
        """The class that each label's key names; two classes in one of their usual spellings are called as they are."""
        keys = set(self._codes)
        if self.given is not None:
            spelled = {key: name for key, name in self.given.names.items() if key in keys}
            wanted = {_key_of_text(name) for name in self.given.names.values()}
            spellings = _SIGNS if wanted == _SIGNS.keys() else _NAMES
            usual = wanted <= spellings.keys() and len({spellings[one] for one in wanted}) == 2
            return {
                key: SENTIMENT.names[spellings[_key_of_text(name)]] if usual else name for key, name in spelled.items()
            }
        if keys == _SIGNS.keys():
            return {key: SENTIMENT.names[number] for key, number in _SIGNS.items()}
        if keys <= _NAMES.keys():
            return {key: SENTIMENT.names[_NAMES[key]] for key in keys}
        return self._spellings

    def _names(self) -> list[str]:
        """The classes in their order: as numbers, if all are, else by their letters."""
        names = {_key_of_text(name): name for name in self._name_of_key().values()}
        if all(_NUMBER.fullmatch(key) for key in names):
            return [names[key] for key in sorted(names, key=float)]
        return [names[key] for key in sorted(names)]

    def _check_rules(self, origin: object) -> None:
        """InputError naming a label that is to be read as a class and that no review has."""
        rules = self.given.names if self.given is not None else {}
        read = {name for key, name in rules.items() if key in self._codes}
        missing = [key for key, name in rules.items() if key not in self._codes]
        if self.given is not None and self.given.is_preset:
            missing = [key for key in missing if rules[key] not in read]
        if missing:
            there = sorted({*self._spellings.values(), *self._dropped})
            more = ", ..." if len(there) > 10 else ""
            raise InputError(
                f"{origin}: no review is labelled {missing[0]!r:.40}, which --labels reads as "
                f"{rules[missing[0]]!r:.40}; the labels are {', '.join(f'{one!r:.20}' for one in there[:10])}{more}"
            )

    def _check_absent(self) -> None:
        """InputError naming where a label like `NULL` stands beside labels that are numbers, or negative and such."""
        others = sorted(self._codes.keys() - self._absent.keys())
        are_numbers = all(_NUMBER.fullmatch(key) for key in others)
        sure = [key for key in self._absent if are_numbers or (key in _ABSENT and set(others) <= _NAMES.keys())]
        if self.given is None and others and sure:
            rules = " ".join(f"{one}={one}" for one in others)
            such = f", such as --labels '{rules}'" if 1 < len(others) <= 10 else ""
            raise InputError(
                f"{self._absent[sure[0]]}: no label {self._spellings[sure[0]]!r}; write one there as in other rows, or "
                f"remove the row, or say with --labels which are of which class{such}"
            )

    def _too_many(self, origin: object) -> InputError:
        some = ", ".join(f"{name!r:.20}" for name in [*self._spellings.values()][:3])
        return InputError(
            f"{origin}: {len(self._codes):,} different labels, such as {some}; more than {MOST} cannot be told apart: "
            "name another column with --label, or put labels together with --labels"
        )


def name_of_code(cell: Any, names: Sequence[str], where: object) -> Any:
    """The name that a number stands for, by its place from 0, however the number is written; of others the cell.

    InputError names where there is a number that stands for none; -1 is how a review without a label is marked.
    """
    spelling = _spelling(cell)
    if not spelling or not _NUMBER.fullmatch(spelling) or spelling in names:
        return cell
    if spelling == "-1":
        raise InputError(
            f"{where}: no label, for -1 is how data sets mark reviews without one: name files of others with --data "
            "and --test, or remove these rows"
        )
    if not (code := float(spelling)).is_integer() or not 0 <= code < len(names):
        raise InputError(
            f"{where}: the label {spelling} is none of the {len(names):,} classes that the data name: correct it, or "
            "remove the row"
        )
    return names[int(code)]


def parse_labels(cells: Sequence[Any], origin: object) -> tuple[NDArray[np.uint8], Classes]:
    """Class [row] of each cell, and the classes that they name; InputError names the origin and the row."""
    reader = LabelReader()
    codes = reader.read(cells, origin)
    classes = reader.classes(origin)
    return reader.numbers(codes, classes), classes


def _spelling(cell: Any) -> str | None:
    """A label as it is shown: a number as it is written shortest; empty where nothing stands, None for what is none."""
    if cell is None or type(cell).__name__ in _NOTHING:
        return ""
    if isinstance(cell, str):
        text = unicodedata.normalize("NFC", cell).strip()
        return _shortest(float(text)) if _NUMBER.fullmatch(text) else text
    if isinstance(cell, bool | np.bool_):
        return str(bool(cell)).lower()
    try:
        number = float(cell) if isinstance(cell, Real | Decimal) else math.inf
    except (OverflowError, ValueError):
        return None
    return "" if math.isnan(number) else _shortest(number) if abs(number) < _LARGEST else None


def _shortest(number: float) -> str:
    return str(int(number)) if number.is_integer() else repr(number)


def _key_of_text(text: str) -> str:
    """What two spellings of one label have in common."""
    text = unicodedata.normalize("NFKC", text).strip()
    return _shortest(float(text)) if _NUMBER.fullmatch(text) else text.casefold()
