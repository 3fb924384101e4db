"""Milliseconds a training batch of the layers written here, against torch's own, forward and backward.

    python scripts/benchmark_layers.py --data PATH/imdb.npz

Batches of 64 training reviews as training sees them, embeddings of 100, 100 states or 3 x 100 filters; the layer, its
embedding and the maximum over time. The ways take turns batch by batch. `torch` is what runs on a GPU too.
"""

import time
from collections.abc import Callable
from statistics import quantiles
from unittest.mock import patch

import click
import numpy as np
import torch
from torch import Tensor, nn

from sentiment_tune.data import load as data
from sentiment_tune.data.batches import make_batches, shuffle_by_length
from sentiment_tune.data.text import PADDING, TextConfig
from sentiment_tune.models.convolutional import Phrases
from sentiment_tune.models.layers import Words, max_over_time, word_vectors
from sentiment_tune.models.recurrent import Direction, split_into_segments

Layer = Callable[[Tensor], Tensor]  # ids [batch, word] -> [batch, feature]


@click.command()
@click.option("--data", "source", default="imdb", show_default=True)
@click.option("--count", default=40, show_default=True, help="batches")
def main(source: str, count: int) -> None:
    """Measure and print a Markdown table."""
    corpus, reading = data.load(data.DataConfig(source)), TextConfig()
    passing = make_batches(corpus.train, reading, 64, shuffle_by_length(np.random.default_rng(1)))
    ids = [batch.ids for batch, _ in zip(passing, range(count), strict=False)]
    print("| layer | torch, ms | ours, ms | times faster |\n|---|---|---|---|")
    for name, (layer, modules) in layers(reading.vocabulary).items():
        taken: dict[bool, list[float]] = {True: [], False: []}
        for by_torch in taken:
            step(layer, modules, ids[0], by_torch)  # the first pays for what is compiled
        for batch in ids:
            for by_torch, seconds in taken.items():
                seconds.append(step(layer, modules, batch, by_torch))
        torchs, ours = (quantiles(seconds, n=4) for seconds in taken.values())
        cells = [f"{1e3 * middle:.0f} ({1e3 * low:.0f} to {1e3 * high:.0f})" for low, middle, high in (torchs, ours)]
        print(f"| {name} | {' | '.join(cells)} | {torchs[1] / ours[1]:.2f} |", flush=True)
    print(f"\nMedian of {count} batches of different lengths (quartiles).")


def layers(vocabulary: int) -> dict[str, tuple[Layer, list[nn.Module]]]:
    found: dict[str, tuple[Layer, list[nn.Module]]] = {}
    vectors = word_vectors(vocabulary, 100)
    filters = [Phrases(100, 100, width) for width in (2, 3, 4)]

    def phrases(ids: Tensor) -> Tensor:
        words, real = Words.of(vectors, ids), ids != PADDING
        return torch.cat([width.strongest(words, real) for width in filters], 1)

    found["filters of widths 2, 3, 4"] = (phrases, [vectors, *filters])
    for cell in (nn.RNN, nn.LSTM, nn.GRU):
        for segment in (0, 48):
            direction = Direction(cell, 100, 100)

            def read(ids: Tensor, direction: Direction = direction, segment: int = segment) -> Tensor:
                pieces = split_into_segments(ids, segment)
                real = pieces != PADDING
                return max_over_time(direction(Words.of(vectors, pieces), real), real, ids.shape[0])

            found[f"{cell.__name__}, {f'segments of {segment}' if segment else 'whole reviews'}"] = (
                read,
                [vectors, direction],
            )
    return found


def step(layer: Layer, modules: list[nn.Module], ids: Tensor, by_torch: bool) -> float:
    """Seconds of one forward and backward pass."""
    for module in modules:
        module.zero_grad()
    with patch.object(Words, "by_torch", by_torch):
        started = time.perf_counter()
        layer(ids).sum().backward()  # type: ignore[no-untyped-call]
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
