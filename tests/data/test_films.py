"""Films are recovered from the order of IMDB and from rare words, and none stands in two parts."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from sentiment_tune.classifier import SentimentClassifier
from sentiment_tune.data import imdb
from sentiment_tune.data.corpus import Corpus, EncodedReviews
from sentiment_tune.data.films import MOST, recover_films
from sentiment_tune.data.load import DataConfig, load, load_frame, load_texts
from sentiment_tune.errors import InputError
from support import ask

FILMS, COMMON, OWN = 60, 400, 12  # films, words of all, words that a film has of its own


def written(seed: int = 1) -> tuple[list[list[int]], NDArray[np.uint8], NDArray[np.int64]]:
    """Reviews, their labels and films, label by label and film by film: ranks of words, a few of them the film's."""
    rng = np.random.RandomState(seed)
    reviews, labels, films = [], [], []
    for label in (1, 0):
        for film in rng.permutation(FILMS):
            for _ in range(rng.randint(1, MOST // 2)):
                own = COMMON + film * OWN + rng.randint(0, OWN, 5)
                reviews.append([*rng.randint(1, COMMON, 40).tolist(), *own.tolist()])
                labels.append(label)
                films.append(film)
    return reviews, np.array(labels, np.uint8), np.array(films)


def by_name(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The order of the names of the files, `1000_8` behind `10000_7`, of reviews in that of their numbers."""
    order: list[int] = []
    for label in (1, 0):
        rows = np.flatnonzero(labels == label)
        order += [int(rows[number]) for number in sorted(range(len(rows)), key=lambda number: f"{number}_7")]
    return np.array(order)


def encoded(reviews: list[list[int]], order: NDArray[np.int64]) -> EncodedReviews:
    return EncodedReviews.of([np.array(reviews[row]) for row in order])


def pairs(films: NDArray[np.int64]) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = films[:, None] == films
    return same


@pytest.mark.parametrize("names", [True, False], ids=["by the names of files", "by their numbers"])
def test_films_are_recovered_across_both_labels(names: bool) -> None:
    reviews, labels, films = written()
    order = by_name(labels) if names else np.arange(len(labels))
    found = recover_films(encoded(reviews, order), labels[order])
    true, said, other = pairs(films[order]), pairs(found), labels[order][:, None] != labels[order]
    assert (true & said).sum() > 0.95 * true.sum()
    assert (true & said).sum() > 0.95 * said.sum()
    assert (true & said & other).sum() > 0.9 * (true & other).sum()
    assert np.bincount(found).max() <= MOST
    assert (found == recover_films(encoded(reviews, order), labels[order])).all()


def test_reviews_in_any_other_order_are_refused() -> None:
    reviews, labels, _ = written()
    order = np.random.RandomState(2).permutation(len(labels))
    with pytest.raises(InputError, match="not in IMDB's order"):
        recover_films(encoded(reviews, order), labels[order])
    same = EncodedReviews.of([np.arange(1, 9)] * len(labels))
    with pytest.raises(InputError, match="not in IMDB's order"):
        recover_films(same, labels)
    few = np.concatenate([np.flatnonzero(labels == label)[:50] for label in (1, 0)])
    with pytest.raises(InputError, match="50 reviews of one label are too few"):
        recover_films(encoded(reviews, few), labels[few])


def archive(folder: Path, shuffled: bool = False) -> Path:
    """Such reviews in the layout of Keras' imdb.npz, in the order of its files; two are tested on too."""
    reviews, labels, _ = written()
    order = np.random.RandomState(2).permutation(len(labels)) if shuffled else by_name(labels)
    held = np.empty(len(order), object)
    held[:] = [reviews[row] for row in order]
    tested = np.empty(100, object)
    tested[:] = [*written(2)[0][:98], held[0], held[-1]]
    tested_labels = np.repeat([1, 0], 50)
    np.savez(folder / "films.npz", x_train=held, y_train=labels[order], x_test=tested, y_test=tested_labels)
    words = {f"word{rank}": rank for rank in range(1, COMMON + FILMS * OWN + 2)}
    (folder / imdb.WORD_INDEX).write_text(json.dumps(words))
    return folder / "films.npz"


def own_words(corpus: Corpus, part: str) -> set[int]:
    """Films whose own words a part has."""
    reviews = getattr(corpus, part)
    ranks = np.concatenate([reviews[row] for row in range(len(reviews))]) - 3
    return set(((ranks[ranks >= COMMON] - COMMON) // OWN).tolist())


def test_no_film_is_in_train_and_in_validation(tmp_path: Path) -> None:
    path = str(archive(tmp_path))
    drawn, whole = load(DataConfig(path, validation="random")), load(DataConfig(path, validation="films"))
    assert len(own_words(drawn, "train") & own_words(drawn, "validation")) > FILMS / 2
    assert len(own_words(whole, "train") & own_words(whole, "validation")) <= 2
    assert (whole.digest != drawn.digest, len(whole.test)) == (True, len(drawn.test))
    assert len(whole.validation) == pytest.approx(len(drawn.validation), rel=0.1)
    assert whole.validation.labels.mean() == pytest.approx(whole.train.labels.mean(), abs=0.05)
    assert len(np.intersect1d(whole.train.groups, whole.validation.groups)) == 0
    again = load(DataConfig(path, validation="films"))
    assert (again.digest, again.remarks) == (whole.digest, whole.remarks)
    assert "films in train's" in whole.remarks[0]
    usual = load(DataConfig(path))
    assert (usual.digest, usual.remarks) == (whole.digest, whole.remarks)
    left = load(DataConfig(path, validation="films", deduplicate=True))
    assert len(left.train) + len(left.validation) == len(whole.train) + len(whole.validation) - 2
    assert len(np.intersect1d(left.train.groups, left.validation.groups)) == 0


def test_it_is_said_by_the_command_and_refused_in_a_line(tmp_path: Path) -> None:
    answer = ask("inspect", "--data", str(archive(tmp_path)), "--validation", "films")
    assert (answer.code, answer.out.count("films in train's")) == (0, 1)
    shuffled = ask("inspect", "--data", str(archive(tmp_path, shuffled=True)), "--validation", "films")
    assert "films.npz: films cannot be told: " in shuffled.refusal
    fallen = [ask("inspect", "--data", str(tmp_path / "films.npz")) for _ in range(2)]  # read, then of the cache
    assert [answer.code for answer in fallen] == [0, 0]
    assert all("not in IMDB's order; validation is of random reviews" in answer.out for answer in fallen)
    (tmp_path / "a.csv").write_text("text,label\n" + "fine,1\ndull,0\n" * 30)
    for source in ("sample", str(tmp_path / "a.csv")):
        assert "validation=films is for IMDB" in ask("inspect", "--data", source, "--validation", "films").refusal
    assert "no validation 'film'; did you mean 'films'?" in ask("inspect", "--validation", "film").refusal


def test_data_in_memory_know_no_films() -> None:
    texts, labels, config = ["fine", "dull"] * 30, [1, 0] * 30, DataConfig(validation="films")
    with pytest.raises(InputError, match="validation=films is for IMDB"):
        load_texts(texts, labels, config=config)
    with pytest.raises(InputError, match="validation=films is for IMDB"):
        load_frame(pd.DataFrame({"text": texts, "label": labels}), config)
    with pytest.raises(InputError, match="validation=films is for IMDB"):
        SentimentClassifier("linear", validation="films").fit(texts, labels)


@pytest.mark.slow
def test_the_films_of_imdb_itself(imdb_folder: Path) -> None:
    corpus = load(DataConfig(str(imdb_folder / "imdb.npz"), validation="films"))
    films = np.concatenate([corpus.train.groups, corpus.validation.groups])
    labels = np.concatenate([corpus.train.labels, corpus.validation.labels])
    sizes = np.bincount(films)
    assert (len(films), sizes.max()) == (25_000, MOST)
    assert 3_000 < len(sizes) < 6_000
    both = (np.bincount(films, labels) > 0) & (np.bincount(films, 1 - labels) > 0)
    assert both.sum() > 400
    assert len(corpus.validation) == pytest.approx(2_500, rel=0.02)
