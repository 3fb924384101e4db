"""Networks that read word after word."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from torch.nn import functional

from sentiment_tune.data.text import PADDING
from sentiment_tune.models import kernels
from sentiment_tune.models.convolutional import Filters, FilterWidth, Phrases
from sentiment_tune.models.kernels.recurrent import run_cell
from sentiment_tune.models.layers import Dropout, Logits, Words, max_over_time, word_vectors
from sentiment_tune.models.linear import Beside, LinearBeside, OwnShare
from sentiment_tune.space import Choice, Doc, Embedding, Range, Rate, Value

Cell = type[nn.RNN] | type[nn.LSTM] | type[nn.GRU]


class Direction(nn.Module):
    """One recurrent layer read in one direction: words [batch, word] -> states [batch, word, hidden].

    Padding stands on the right, where a forward reading meets it last; a backward reading starts at each review's own
    last word. So no state of a real word has seen padding, and packed sequences (six times slower on a CPU) are not
    needed.
    """

    def __init__(self, cell: Cell, features: int, hidden: int, backward: bool = False):
        super().__init__()
        self.cell = cell(features, hidden, batch_first=True)
        self.backward = backward

    def forward(self, words: Words, mask: Tensor) -> Tensor:
        """States [batch, word, hidden] of words, mask [batch, word]."""
        if not self.backward:
            return self._run(words)
        order = _last_word_first(mask)
        states = self._run(words.reordered(order))
        return states.gather(1, order.unsqueeze(-1).expand_as(states))

    def _run(self, words: Words) -> Tensor:
        if kernels.apply_to(words.vectors):
            return run_cell(self.cell, words.vectors, words.indices)
        features = words.features
        if torch.compiler.is_exporting():
            return scan_cell(self.cell, features)
        with torch.autocast(features.device.type, enabled=False):  # it would read in float16, whatever was asked for
            states: Tensor = self.cell(features.type_as(self.cell.weight_hh_l0))[0]  # type: ignore[arg-type]
        return states


def _last_word_first(mask: Tensor) -> Tensor:
    """Positions [batch, word] that read each review backward and leave its padding in place; its own inverse."""
    position = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    end = ((position + 1) * mask).amax(1, keepdim=True)  # [batch, 1]; counting words would trip over a gap
    return torch.where(position < end, end - 1 - position, position)


def scan_cell(cell: nn.RNNBase, features: Tensor) -> Tensor:
    """What `cell(features)[0]` returns, step by step: torch.export would freeze the length of the fused layer's input.

    features [batch, word, feature] -> states [batch, word, hidden]; equations of torch.nn.RNN, LSTM and GRU.
    """
    x = functional.linear(features, cell.weight_ih_l0, cell.bias_ih_l0).transpose(0, 1)  # type: ignore[arg-type]
    zeros = x.new_zeros(features.shape[0], cell.hidden_size)
    state = (zeros, zeros.clone()) if isinstance(cell, nn.LSTM) else (zeros,)

    def step(state: tuple[Tensor, ...], x_t: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        from_h = functional.linear(state[0], cell.weight_hh_l0, cell.bias_hh_l0)  # type: ignore[arg-type]
        state = _STEPS[type(cell)](x_t, from_h, state)
        return state, state[0].clone()  # scan refuses an output that is the state itself

    return scan(step, state, x)[1].transpose(0, 1)


def _rnn_step(x: Tensor, from_h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:  # noqa: ARG001
    return (torch.tanh(x + from_h),)


def _lstm_step(x: Tensor, from_h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    i, f, g, o = (x + from_h).chunk(4, -1)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _gru_step(x: Tensor, from_h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    x_r, x_z, x_n = x.chunk(3, -1)
    h_r, h_z, h_n = from_h.chunk(3, -1)
    n = torch.tanh(x_n + torch.sigmoid(x_r + h_r) * h_n)
    z = torch.sigmoid(x_z + h_z)
    return (n + z * (state[0] - n),)


_STEPS = {nn.RNN: _rnn_step, nn.LSTM: _lstm_step, nn.GRU: _gru_step}


class Stack(nn.Module):
    """Recurrent layers on one another, dropout between: words [batch, word] -> states [batch, word, width]."""

    def __init__(self, cell: Cell, features: int, hidden: int, layers: int, bidirectional: bool, dropout: float):
        super().__init__()
        directions = [False, True] if bidirectional else [False]
        self.width = hidden * len(directions)
        self.layers = nn.ModuleList(
            nn.ModuleList(Direction(cell, self.width if layer else features, hidden, back) for back in directions)
            for layer in range(layers)
        )
        self.dropout = Dropout(dropout)

    def forward(self, words: Words, mask: Tensor) -> Tensor:
        """States [batch, word, width] of the last layer, for words, mask [batch, word]."""
        first, *deeper = self.layers
        states = _in_all_directions(first, words, mask)
        for layer in deeper:
            states = _in_all_directions(layer, Words.each(self.dropout(states)), mask)
        return states


def _in_all_directions(layer: nn.Module, words: Words, mask: Tensor) -> Tensor:
    states = [direction(words, mask) for direction in layer.children()]
    return states[0] if len(states) == 1 else torch.cat(states, -1)


# More states take hours on a CPU, a second layer doubles the time: neither is searched.
States = Annotated[int, Range(1, 65_536, search=(32, 128), log=True), Doc("states of a recurrent layer")]
Layers = Annotated[int, Range(1, 8), Doc("recurrent layers on one another")]
Segment = Annotated[int, Range(0, 1_000), Doc("words a segment; 0 reads a review as a whole")]
Bidirectional = Annotated[bool, Choice(False, True), Doc("read in both directions")]


class RNN(nn.Module):
    """Simple recurrent layers (Elman 1990) over embeddings, each state's strongest value, a logit.

    Reviews are read in segments, each by itself, and the strongest value is taken over all of them (Johnson and Zhang
    2016): many short readings side by side are faster than one long one.

    Args:
        vocabulary: how many word ids there are.
        embedding: numbers of a word's vector.
        hidden: states of a layer, in each direction.
        layers: recurrent layers on one another.
        bidirectional: whether each layer reads in both directions.
        segment: words a segment; 0 reads a review as a whole.
        dropout: share of the words' features and states that are 0 in training.
        ngrams: words of the longest phrase that a linear model beside the network knows; 0 is no such model.
        own_share: of the network's own logit beside that model.
        classes: how many a review may be of.
    """

    train_defaults: ClassVar[dict[str, Value]] = {"learning_rate": 4e-3}  # docs/benchmarks.md: A shorter way
    cell: ClassVar[Cell] = nn.RNN

    def __init__(
        self,
        vocabulary: int,
        embedding: Embedding = 100,
        hidden: States = 100,
        layers: Layers = 1,
        bidirectional: Bidirectional = False,
        segment: Segment = 48,
        dropout: Rate = 0.3,
        ngrams: Beside = 0,
        own_share: OwnShare = 0.25,
        classes: int = 2,
    ):
        super().__init__()
        self.ngrams = LinearBeside(vocabulary, ngrams, own_share, classes) if ngrams else None
        self.segment = segment
        self.embedding = word_vectors(vocabulary, embedding)
        self.states = Stack(self.cell, embedding, hidden, layers, bidirectional, dropout)
        self.dropout = Dropout(dropout)
        self.output = Logits(self.states.width, classes)

    def prepare(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Let the linear model, if there is one, take its phrases from ids [batch, word] and labels [batch]."""
        if self.ngrams is not None:
            self.ngrams.prepare(batches)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [batch], or [batch, class], of word ids [batch, word], 0 after a review's end."""
        return self.own_logits(ids) if self.ngrams is None else self.ngrams.combine(self.own_logits, ids)

    def own_logits(self, ids: Tensor) -> Tensor:
        """The network's own logits, without the linear model's."""
        segments = split_into_segments(ids, self.segment)
        words, mask = Words.of(self.embedding, segments, self.dropout), segments != PADDING
        strongest = max_over_time(self.states(words, mask), mask, ids.shape[0])
        return self.output(self.dropout(strongest))


class LSTM(RNN):
    """Long short-term memory (Hochreiter and Schmidhuber 1997) in place of the simple layer; arguments as for RNN."""

    cell = nn.LSTM


class GRU(RNN):
    """Gated recurrent units (Cho et al. 2014) in place of the simple layer; arguments as for RNN."""

    cell = nn.GRU


class CNNLSTM(nn.Module):
    """Phrases found by a convolution, thinned by max-pooling, read in order by an LSTM.

    Args:
        vocabulary: how many word ids there are.
        embedding: numbers of a word's vector.
        filters: how many filters there are.
        width: words that a filter spans.
        pool: neighbouring answers of which the largest is read.
        hidden: states of an LSTM's layer, in each direction.
        layers: LSTM layers on one another.
        bidirectional: whether each layer reads in both directions.
        dropout: share of the features and states that are 0 in training.
        ngrams: words of the longest phrase that a linear model beside the network knows; 0 is no such model.
        own_share: of the network's own logit beside that model.
        classes: how many a review may be of.
    """

    train_defaults: ClassVar[dict[str, Value]] = {"learning_rate": 4e-3}  # docs/benchmarks.md: A shorter way

    def __init__(
        self,
        vocabulary: int,
        embedding: Embedding = 100,
        filters: Filters = 100,
        width: FilterWidth = 5,
        pool: Annotated[
            int, Range(1, 100, search=(2, 8)), Doc("neighbouring answers of which the largest is read")
        ] = 4,
        hidden: States = 100,
        layers: Layers = 1,
        bidirectional: Bidirectional = False,
        dropout: Rate = 0.3,
        ngrams: Beside = 0,
        own_share: OwnShare = 0.25,
        classes: int = 2,
    ):
        super().__init__()
        self.ngrams = LinearBeside(vocabulary, ngrams, own_share, classes) if ngrams else None
        self.pool = pool
        self.embedding = word_vectors(vocabulary, embedding)
        self.phrases = Phrases(embedding, filters, width)
        self.states = Stack(nn.LSTM, filters, hidden, layers, bidirectional, dropout)
        self.dropout = Dropout(dropout)
        self.output = Logits(self.states.width, classes)

    def prepare(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Let the linear model, if there is one, take its phrases from ids [batch, word] and labels [batch]."""
        if self.ngrams is not None:
            self.ngrams.prepare(batches)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [batch], or [batch, class], of word ids [batch, word], 0 after a review's end."""
        return self.own_logits(ids) if self.ngrams is None else self.ngrams.combine(self.own_logits, ids)

    def own_logits(self, ids: Tensor) -> Tensor:
        """The network's own logits, without the linear model's."""
        words, mask = Words.of(self.embedding, ids, self.dropout), ids != PADDING
        answers = max_pool(self.phrases(words, mask), self.pool)
        mask = max_pool(mask.unsqueeze(-1), self.pool).squeeze(-1)
        states = self.states(Words.each(self.dropout(functional.relu(answers))), mask)
        return self.output(self.dropout(max_over_time(states, mask, ids.shape[0])))


def split_into_segments(ids: Tensor, words: int) -> Tensor:
    """Reviews cut into segments of so many words: ids [batch, word] -> [batch x segment, word]; 0 leaves them whole."""
    short = not torch.compiler.is_exporting() and ids.shape[1] <= words  # a program is for any length: ask it first
    if not words or short:
        return ids
    return functional.pad(ids, (0, _spare(words) + -ids.shape[1] % words), value=PADDING).reshape(-1, words)


def max_pool(features: Tensor, window: int) -> Tensor:
    """Largest value of each feature in every `window` words: [batch, word, feature] -> [batch, window, feature]."""
    if features.is_floating_point() and not torch.compiler.is_exporting():
        return functional.max_pool1d(features.transpose(1, 2), window, ceil_mode=True).transpose(1, 2)
    lowest = float("-inf") if features.is_floating_point() else 0
    filled = functional.pad(features, (0, 0, 0, _spare(window) + -features.shape[1] % window), value=lowest)
    return filled.reshape(features.shape[0], -1, window, features.shape[2]).amax(2)  # its gradient takes twice as long


def _spare(window: int) -> int:
    """Words more than needed in an exported program: torch.export takes a size that could be 1 for one that is."""
    return window if torch.compiler.is_exporting() else 0
