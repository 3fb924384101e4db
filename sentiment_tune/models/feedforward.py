"""Networks that do not read order: which words occur, or what they mean on average."""

from collections.abc import Iterable
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from sentiment_tune.models.layers import Dropout, HiddenLayer, Logits, mean_of_words, sum_of_present_words, word_vectors
from sentiment_tune.models.ngrams import NGramVectors
from sentiment_tune.space import Doc, Hidden, Range, Rate
from sentiment_tune.space import Embedding as EmbeddingSize


class Feedforward(nn.Module):
    """Word presence into one hidden layer: the notebook's first contestant, with words told apart instead of measured.

    Ids are names, not amounts. Each word has its own input, 1 where it occurs, so id 4000 is not 1000 times id 4.

    Args:
        vocabulary: how many word ids there are.
        hidden: units of the hidden layer.
        dropout: share of the words and units that are 0 in training.
        classes: how many a review may be of.
    """

    def __init__(self, vocabulary: int, hidden: Hidden = 250, dropout: Rate = 0.5, classes: int = 2):
        super().__init__()
        self.words = word_vectors(vocabulary, hidden, noise=(3 * vocabulary) ** -0.5)  # the weights of each input
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.dropout = Dropout(dropout)
        self.output = Logits(hidden, classes)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [batch], or [batch, class], of word ids [batch, word], 0 after a review's end."""
        hidden = functional.relu(sum_of_present_words(self.words, ids, self.dropout) + self.bias)
        return self.output(self.dropout(hidden))


class Embedding(nn.Module):
    """Average of the words' embeddings into one hidden layer (a deep averaging network, Iyyer et al. 2015).

    With `ngrams` above 1, phrases of up to so many words that two training reviews hold have vectors too, and each
    counts once a review (Joulin et al. 2017, there by hashing).

    Args:
        vocabulary: how many word ids there are.
        embedding: numbers of a vector.
        hidden: units of the hidden layer.
        dropout: share of the average's features and of the units that are 0 in training.
        ngrams: words of the longest phrase that has a vector.
        classes: how many a review may be of.
    """

    def __init__(
        self,
        vocabulary: int,
        embedding: EmbeddingSize = 100,
        hidden: Hidden = 100,
        dropout: Rate = 0.3,
        # not searched: with 3, IMDB has 78 times as many vectors
        ngrams: Annotated[int, Range(1, 3), Doc("words of the longest phrase that has a vector")] = 1,
        classes: int = 2,
    ):
        super().__init__()
        self.phrases = (
            NGramVectors(vocabulary, ngrams, rarest=2, size=embedding, classes=classes) if ngrams > 1 else None
        )
        if self.phrases is None:
            self.embedding = word_vectors(vocabulary, embedding)
        self.hidden = HiddenLayer(embedding, hidden)
        self.dropout = Dropout(dropout)
        self.output = Logits(hidden, classes)

    def prepare(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Take the phrases, if there are any, from the training reviews: ids [batch, word] and labels [batch]."""
        if self.phrases is not None:
            self.phrases.prepare(batches)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [batch], or [batch, class], of word ids [batch, word], 0 after a review's end."""
        vectors, rows = (self.embedding, ids) if self.phrases is None else self.phrases(ids)
        hidden = functional.relu(self.hidden(self.dropout(mean_of_words(vectors, rows))))
        return self.output(self.dropout(hidden))
