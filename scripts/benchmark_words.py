"""What the rules by which words are found are worth, and what they cost.

    python scripts/benchmark_words.py --data PATH/train.csv --test PATH/test.csv

For every rule: best validation accuracy of each network at its defaults, mean, least and most of the seeds; the test
reviews are not looked at. Then texts encoded a second on one thread, in bulk and one by one, and whether both ways give
the same ids, for which `--all true` compares all texts of both tables.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median

import click
import numpy as np
import torch

from sentiment_tune.build import build_network
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data.load import DataConfig, load
from sentiment_tune.data.rules import RULES
from sentiment_tune.data.tables import read_table
from sentiment_tune.data.text import Vocabulary
from sentiment_tune.training.loop import early_stopping, fit

TEXTS, ROUNDS = 4_000, 5


@click.command()
@click.option("--data", "source", required=True, help="table to train on")
@click.option("--test", help="table that is not trained on")
@click.option("--networks", default="linear,embedding", show_default=True)
@click.option("--rules", default=",".join(RULES), show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--all", "every", default=False, help="whether all texts are encoded both ways")
def main(source: str, test: str | None, networks: str, rules: str, seeds: int, every: bool) -> None:
    """Measure and print Markdown tables."""
    torch.set_num_threads(1)
    chosen, names = rules.split(","), [name for name in networks.split(",") if name]
    if names:
        print(f"| network | {' | '.join(chosen)} |\n|---|{'---|' * len(chosen)}")
        for network in names:
            cells = [accuracies(network, source, test, rule, seeds) for rule in chosen]
            print(f"| `{network}` | {' | '.join(cells)} |", flush=True)
        print()
    texts = [text for path in (source, test) if path for text in read_table(Path(path)).texts("text", "text")]
    print("| rule | words of train | texts a second, in bulk | one by one | texts compared | with other ids |")
    print("|---|---|---|---|---|---|")
    for rule in chosen:
        vocabulary = load(DataConfig(source, test=test, text_rule=rule)).vocabulary
        print(row(rule, vocabulary, texts[-TEXTS:], texts if every else texts[-TEXTS:]), flush=True)


def accuracies(network: str, source: str, test: str | None, rule: str, seeds: int) -> str:
    """Mean best validation accuracy of the seeds, with the least and the most."""
    found = []
    for seed in range(1, seeds + 1):
        given = {"data": source, "text_rule": rule, "seed": seed}
        config = ExperimentConfig.of(network, given if test is None else {**given, "test": test})
        corpus = load(config.data)
        epochs = fit(build_network(config, corpus), corpus.train, corpus.validation, config.training, config.text, seed)
        found.append(max(epoch.val_accuracy for epoch in early_stopping(epochs, config.training.patience)))
    return f"{mean(found):.4f} ({min(found):.4f} to {max(found):.4f})"


def row(rule: str, vocabulary: Vocabulary, texts: list[str], compared: list[str]) -> str:
    """A row of the second table."""
    bulk = median(seconds(lambda: list(vocabulary.encode_all(texts))) for _ in range(ROUNDS + 1))
    single = median(seconds(lambda: [vocabulary.encode(text) for text in texts]) for _ in range(ROUNDS))
    pairs = zip(vocabulary.encode_all(compared), map(vocabulary.encode, compared), strict=True)
    other = sum(not np.array_equal(ids, alone) for ids, alone in pairs)
    speeds = (f"{len(texts) / one:,.0f}" for one in (bulk, single))
    return f"| `{rule}` | {len(vocabulary.words):,} | {' | '.join(speeds)} | {len(compared):,} | {other} |"


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
