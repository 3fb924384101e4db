"""Which reviews of IMDB are of one film. Nobody says it, but the order of the corpus does, and words that few use.

The corpus numbers its reviews label by label and film by film, at most 30 a film, and names a file by its number and
its rating. Whoever reads the files in the order of their names has 10000_8 before 1000_8: the numbers are put back in
order first. Then each label is cut into films where neighbours cease to share rare words, and of the two labels those
films are put together that are more alike than either is like any other.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sentiment_tune.data.corpus import EncodedReviews
from sentiment_tune.errors import InputError

MOST = 30  # reviews of a film, of both labels together
_FAR = range(MOST + 1, 3 * MOST + 1, 3)  # places between two reviews that cannot be of one film
_CONTRAST = 2  # times as alike as far ones are neighbours where films stand together; in IMDB it is more than 20
_COMMON, _COMMON_OF_FILMS = 0.04, 0.02  # share of reviews, and of films, whose words are rare
_ALIKE = 0.08  # of two films, above which they may be one: pairs of one label, which cannot, are seldom so
_BESIDE = 2  # films of one label so near may be one that was cut in two: they are no rivals
_LEVELS, _ROUNDS = 24, 8


def recover_films(reviews: EncodedReviews, labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """A number for each review [review], the same for those of one film; reviews in the order of the corpus' files.

    InputError where neighbours are no more alike than others.
    """
    words = _presence(reviews)
    vectors = _weigh(words, _COMMON)
    films, count = np.zeros(len(labels), np.int64), 0
    for label in (0, 1):
        rows = _in_order(np.flatnonzero(labels == label), vectors)
        films[rows] = count + _cut(vectors[rows])
        count = int(films[rows].max()) + 1
    return _link(words, films, labels)


def _presence(reviews: EncodedReviews) -> Any:
    """Whether each review has each word [review, word]."""
    rows = np.repeat(np.arange(len(reviews)), reviews.lengths)
    ids = np.concatenate([reviews[row] for row in range(len(reviews))])
    words = sparse.csr_array((np.ones(len(ids), np.float32), (rows, ids)))
    words.data[:] = 1
    return words


def _weigh(words: Any, common: float) -> Any:
    """Rows of words that a given share of rows has at most, weighted so that a product is how alike two rows are.

    It is a cosine of inverse document frequencies, less for rows of few words, which are alike by chance.
    """
    count, frequencies = words.shape[0], np.bincount(words.indices, minlength=words.shape[1])
    rare = (frequencies >= 2) & (frequencies <= common * count)
    weighed = words[:, rare] @ sparse.diags_array(np.log(count / frequencies[rare]).astype(np.float32))
    squares = np.asarray(weighed.multiply(weighed).sum(axis=1))
    usual = max(float(np.median(squares)), 1e-6)  # which is 0 where most rows have no rare word
    return sparse.csr_array(sparse.diags_array(1 / np.sqrt(squares + usual)) @ weighed)


def _in_order(rows: NDArray[np.int64], vectors: Any) -> NDArray[np.int64]:
    """Rows of one label in the order of the corpus, whether they stand by the numbers or by the names of its files."""
    if len(rows) <= _FAR.stop:
        raise InputError(f"films cannot be told: {len(rows)} reviews of one label are too few")
    by_name = np.argsort(sorted(range(len(rows)), key=lambda number: f"{number}_"))
    near, order = max((_alike(vectors[some], 1).mean(), some.tolist()) for some in (rows, rows[by_name]))
    far = np.mean([_alike(vectors[order], apart).mean() for apart in _FAR])
    if near <= _CONTRAST * far:
        raise InputError("films cannot be told: neighbours are as alike as others, so they are not in IMDB's order")
    return np.array(order)


def _alike(vectors: Any, apart: int) -> NDArray[np.float32]:
    """How alike each row is to that so many places before it: [row - apart]."""
    alike: NDArray[np.float32] = vectors[apart:].multiply(vectors[:-apart]).sum(axis=1)
    return alike


def _cut(vectors: Any) -> NDArray[np.int64]:
    """Number of the film [row] of rows in which those of one film follow each other.

    The likeliest cut, by how much more often rows of one film are so much alike than rows of two, all pairs of a film
    counted. How often those of one film are is learnt from the cut itself, a few times over.
    """
    alike = np.zeros((len(vectors.indptr) - 1, MOST), np.float32)  # [row, places before]
    for apart in range(1, MOST):
        alike[apart:, apart] = _alike(vectors, apart)
    neighbours = alike[1:, 1]
    edges = np.unique(np.quantile(neighbours[neighbours > 0], np.linspace(0, 1, _LEVELS, endpoint=False)))
    levels = np.digitize(alike, edges)
    two = _shares(np.digitize(np.concatenate([_alike(vectors, apart) for apart in _FAR]), edges), len(edges) + 1)
    one, joined = np.maximum(_shares(levels[1:, 1], len(edges) + 1) - two / 2, 1e-4), 0.5
    for _ in range(_ROUNDS):
        films = _likeliest(np.log(one / two)[levels], np.log(joined / (1 - joined)))
        before = np.arange(len(films))[:, None] - np.arange(MOST)
        same = (before >= 0) & (films[before] == films[:, None])
        one, joined = _shares(levels[:, 1:][same[:, 1:]], len(edges) + 1), same[1:, 1].mean().clip(0.01, 0.99)
    return films


def _shares(levels: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Share of each level, of none quite 0."""
    counts = np.bincount(levels, minlength=count) + 0.5
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def _likeliest(evidence: NDArray[np.float64], joining: float) -> NDArray[np.int64]:
    """Number of the film [row], by the evidence [row, places before] that two rows are of one, and that two follow."""
    added = np.cumsum(evidence * (np.arange(MOST) > 0), axis=1) + joining * (np.arange(MOST) > 0)
    best, lengths = np.zeros(len(added) + MOST), np.zeros(len(added), np.int64)
    best[:MOST] = [-np.inf] * (MOST - 1) + [0]  # of the rows before each, behind as many places that there are not
    film = np.full(MOST, -np.inf)  # [places before], of the film that ends here
    for row, gained in enumerate(added):
        film[1:], film[0] = film[:-1] + gained[1:], 0
        cut = film + best[row + MOST - 1 :: -1][:MOST]
        lengths[row] = cut.argmax()
        best[row + MOST] = cut[lengths[row]]
    starts, row = np.zeros(len(added), np.int64), len(added) - 1
    while row >= 0:
        row -= int(lengths[row])
        starts[row] = 1
        row -= 1
    numbers: NDArray[np.int64] = np.cumsum(starts) - 1
    return numbers


def _link(words: Any, films: NDArray[np.int64], labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The films [review], those of the two labels that are the most alike to each other as one."""
    sizes, first = np.bincount(films), np.unique(films, return_index=True)[1]
    label = labels[first]
    members = sparse.csr_array((np.ones(len(films), np.float32), (films, np.arange(len(films)))))
    shared = sparse.csr_array(members @ words)
    shared.data /= np.sqrt(np.repeat(sizes, np.diff(shared.indptr)))
    vectors = _weigh(shared, _COMMON_OF_FILMS)
    alike = (vectors @ vectors.T).tocoo()
    rivals = (label[alike.row] != label[alike.col]) | (abs(alike.row - alike.col) > _BESIDE)
    alike = sparse.csr_array((alike.data[rivals], (alike.row[rivals], alike.col[rivals])), shape=alike.shape)
    nearest, numbers = np.asarray(alike.argmax(axis=1)).ravel(), np.arange(len(sizes))
    mutual = (nearest[nearest] == numbers) & (label[nearest] != label)
    linked = mutual & (alike.max(axis=1).toarray().ravel() > _ALIKE) & (sizes + sizes[nearest] <= MOST)
    return np.unique(np.where(linked, np.minimum(numbers, nearest), numbers)[films], return_inverse=True)[1]
