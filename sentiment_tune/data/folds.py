"""Folds: the reviews that are not tested on in equal parts, each of which validates once what the others train."""

import hashlib
import warnings
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.data.corpus import Corpus, Reviews
from sentiment_tune.data.splits import VALIDATION_SEED
from sentiment_tune.errors import InputError

MOST = 100  # folds: more is a slip of the hand


@dataclass(frozen=True, eq=False)
class Folds:
    """A corpus cut into folds."""

    whole: Corpus  # the corpus, with a digest of its own: what is validated by folds is no match for what is not
    parts: list[Corpus]  # by fold: that validates, the others train, and the test is that of the corpus


def check_folds(folds: int) -> None:
    """InputError for a number of folds that is none."""
    if not 2 <= folds <= MOST:
        raise InputError(f"folds cannot be {folds}: give from 2 to {MOST}")


def cut_folds(corpus: Corpus, folds: int) -> Folds:
    """Train and validation of the corpus in so many folds, by a fixed seed, with each label as often in all of them.

    What is of one group stands in one fold. The words are those of the corpus.
    """
    check_folds(folds)
    pool = corpus.train.union(corpus.validation)
    fold = _draw(pool, folds)
    digest = _digest(corpus.digest, folds, fold.astype("u1").tobytes().hex())
    return Folds(
        replace(corpus, digest=digest), [_part(corpus, pool, fold == one, digest, one) for one in range(folds)]
    )


def _draw(pool: Reviews, folds: int) -> NDArray[np.int64]:
    """The fold of each review [review]; InputError where there are too few for so many."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # slow to import

    grouped = len(pool.groups) > 0
    _check_enough_of_each_label(pool, folds)
    kind = StratifiedGroupKFold if grouped else StratifiedKFold
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        splits = kind(folds, shuffle=True, random_state=VALIDATION_SEED).split(
            np.zeros(len(pool)), pool.labels, pool.groups if grouped else None
        )
        fold = np.zeros(len(pool), np.int64)
        for number, (_, held_out) in enumerate(splits):
            fold[held_out] = number
    for number in range(folds):
        if len(np.unique(pool.labels[fold == number])) < len(np.unique(pool.labels)):
            raise InputError(
                f"folds cannot be {folds}: the groups leave one without a label; give fewer, or leave out --group"
            )
    return fold


def _check_enough_of_each_label(pool: Reviews, folds: int) -> None:
    """InputError naming the label that has the fewest reviews, or groups, if there are more folds."""
    units = pool.groups if len(pool.groups) else np.arange(len(pool))
    counts = {label: len(np.unique(units[pool.labels == label])) for label in np.unique(pool.labels).tolist()}
    rarest = min(counts, key=counts.__getitem__)
    if folds <= (most := counts[rarest]):
        return
    unit, way_out = ("group", " or leave out --group") if len(pool.groups) else ("review", " or more such reviews")
    raise InputError(
        f"folds cannot be {folds}: {pool.classes.names[rarest]!r:.40} has {most} {unit}{'s' * (most > 1)} that "
        f"{'are' if most > 1 else 'is'} not tested on: {f'give at most {most},' if most > 1 else 'leave out --folds,'}"
        f"{way_out}"
    )


def _part(corpus: Corpus, pool: Reviews, held_out: NDArray[np.bool_], digest: str, number: int) -> Corpus:
    parts = [
        replace(pool.take(np.flatnonzero(mask)), digest=_digest(digest, number, name))
        for name, mask in (("train", ~held_out), ("validation", held_out))
    ]
    return replace(corpus, digest=_digest(digest, number), train=parts[0], validation=parts[1])


def _digest(*facts: object) -> str:
    return hashlib.sha256(" ".join(map(str, facts)).encode()).hexdigest()[:16]
