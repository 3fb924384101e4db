"""Networks that read word after word."""

from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from torch.nn import functional

from sentiment_tune.data.text import PADDING
from sentiment_tune.models.convolutional import FilterWidth, Phrases
from sentiment_tune.models.kernels.recurrent import run_cell
from sentiment_tune.models.layers import Dropout, Words, max_over_time, word_vectors
from sentiment_tune.models.linear import Beside, WithNGrams
from sentiment_tune.space import Range, Rate, Switch, Width

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

    def forward(self, words: Words, real: Tensor) -> Tensor:
        if not self.backward:
            return self._read(words)
        order = _last_word_first(real)
        states = self._read(Words(words.vectors, words.places.gather(1, order)))
        return states.gather(1, order.unsqueeze(-1).expand_as(states))

    def _read(self, words: Words) -> Tensor:
        if not words.by_torch:
            return run_cell(self.cell, *words)
        if torch.compiler.is_exporting():
            return scan_cell(self.cell, words.features)
        features = words.features
        with torch.autocast(features.device.type, enabled=False):  # it would read in float16, whatever was asked for
            states: Tensor = self.cell(features.type_as(self.cell.weight_hh_l0))[0]  # type: ignore[arg-type]
        return states


def _last_word_first(real: Tensor) -> Tensor:
    """Positions [batch, word] that read each review backward and leave its padding in place; its own inverse."""
    position = torch.arange(real.shape[1], device=real.device).expand_as(real)
    end = ((position + 1) * real).amax(1, keepdim=True)  # [batch, 1]; counting real words would trip over a gap
    return torch.where(position < end, end - 1 - position, position)


def scan_cell(cell: nn.RNNBase, words: Tensor) -> Tensor:
    """What `cell(words)[0]` returns, step by step: torch.export would freeze the length of the fused layer's input.

    words [batch, word, feature] -> states [batch, word, hidden]; equations of torch.nn.RNN, LSTM and GRU.
    """
    arriving = functional.linear(words, cell.weight_ih_l0, cell.bias_ih_l0).transpose(0, 1)  # type: ignore[arg-type]
    blank = arriving.new_zeros(words.shape[0], cell.hidden_size)
    state = (blank, blank.clone()) if isinstance(cell, nn.LSTM) else (blank,)

    def step(state: tuple[Tensor, ...], now: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        kept = functional.linear(state[0], cell.weight_hh_l0, cell.bias_hh_l0)  # type: ignore[arg-type]
        after = _STEPS[type(cell)](now, kept, state)
        return after, after[0].clone()  # scan refuses an output that is the state itself

    return scan(step, state, arriving)[1].transpose(0, 1)


def _rnn_step(now: Tensor, kept: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (torch.tanh(now + kept),)


def _lstm_step(now: Tensor, kept: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    enter, forget, candidate, leave = (now + kept).chunk(4, -1)
    memory = torch.sigmoid(forget) * state[1] + torch.sigmoid(enter) * torch.tanh(candidate)
    return torch.sigmoid(leave) * torch.tanh(memory), memory


def _gru_step(now: Tensor, kept: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    reset, update, candidate = now.chunk(3, -1)
    kept_reset, kept_update, kept_candidate = kept.chunk(3, -1)
    proposed = torch.tanh(candidate + torch.sigmoid(reset + kept_reset) * kept_candidate)
    share = torch.sigmoid(update + kept_update)
    return (proposed + share * (state[0] - proposed),)


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

    def forward(self, words: Words, real: Tensor) -> Tensor:
        first, *deeper = self.layers
        states = _in_all_directions(first, words, real)
        for layer in deeper:
            states = _in_all_directions(layer, Words.each(self.dropout(states)), real)
        return states


def _in_all_directions(layer: nn.Module, words: Words, real: Tensor) -> Tensor:
    states = [direction(words, real) for direction in layer.children()]
    return states[0] if len(states) == 1 else torch.cat(states, -1)


States = Annotated[int, Range(1, 65_536, search=(32, 128), log=True)]  # more take hours on a CPU
Layers = Annotated[int, Range(1, 8)]  # not searched: a second one doubles the time
Segment = Annotated[int, Range(0, 1_000)]  # words; 0 reads a review as a whole


class RNN(WithNGrams):
    """Simple recurrent layers (Elman 1990) over embeddings, each state's strongest value, a logit.

    Reviews are read in segments, each by itself, and the strongest value is taken over all of them (Johnson and Zhang
    2016): many short readings side by side are faster than one long one.
    """

    cell: ClassVar[Cell] = nn.RNN

    def __init__(
        self,
        vocabulary: int,
        embedding: Width = 100,
        hidden: States = 100,
        layers: Layers = 1,
        bidirectional: Switch = False,
        segment: Segment = 48,
        dropout: Rate = 0.3,
        ngrams: Beside = 0,
    ):
        super().__init__(vocabulary, ngrams)
        self.segment = segment
        self.embedding = word_vectors(vocabulary, embedding)
        self.states = Stack(self.cell, embedding, hidden, layers, bidirectional, dropout)
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(self.states.width, 1)

    def judge(self, ids: Tensor) -> Tensor:
        pieces = split_into_segments(ids, self.segment)
        words, real = Words.of(self.embedding, pieces).dropped(self.dropout), pieces != PADDING
        strongest = max_over_time(self.states(words, real), real, ids.shape[0])
        return self.output(self.dropout(strongest)).squeeze(-1)


class LSTM(RNN):
    """Long short-term memory (Hochreiter and Schmidhuber 1997) in place of the simple layer."""

    cell = nn.LSTM


class GRU(RNN):
    """Gated recurrent units (Cho et al. 2014) in place of the simple layer."""

    cell = nn.GRU


class CNNLSTM(WithNGrams):
    """Phrases found by a convolution, thinned by max-pooling, read in order by an LSTM."""

    def __init__(
        self,
        vocabulary: int,
        embedding: Width = 100,
        filters: Annotated[int, Range(1, 8192, search=(32, 160), log=True)] = 100,
        width: FilterWidth = 5,
        pool: Annotated[int, Range(1, 100, search=(2, 8))] = 4,
        hidden: States = 100,
        layers: Layers = 1,
        bidirectional: Switch = False,
        dropout: Rate = 0.3,
        ngrams: Beside = 0,
    ):
        super().__init__(vocabulary, ngrams)
        self.pool = pool
        self.embedding = word_vectors(vocabulary, embedding)
        self.phrases = Phrases(embedding, filters, width)
        self.states = Stack(nn.LSTM, filters, hidden, layers, bidirectional, dropout)
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(self.states.width, 1)

    def judge(self, ids: Tensor) -> Tensor:
        words, real = Words.of(self.embedding, ids).dropped(self.dropout), ids != PADDING
        thinned, real = (
            max_pool(self.phrases(words, real), self.pool),
            max_pool(real.unsqueeze(-1), self.pool).squeeze(-1),
        )
        states = self.states(Words.each(self.dropout(functional.relu(thinned))), real)
        return self.output(self.dropout(max_over_time(states, real, ids.shape[0]))).squeeze(-1)


def split_into_segments(ids: Tensor, words: int) -> Tensor:
    """Reviews cut into pieces of so many words: ids [batch, word] -> [batch x piece, word]; 0 leaves them whole."""
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
