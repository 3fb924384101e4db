"""What accuracy costs: every network's front on one data set, in one picture and one table.

    python scripts/tradeoff.py --data PATH/imdb.npz --trials 30

A study a network, of accuracy against parameters, bytes on disk, latency, and what the training takes of memory, over
widths, vocabularies and all else that the network searches. The studies are kept beside MLflow's database and go on
where they were: with `--timeout` the hours can be spread over as many evenings as it takes. Accuracy is that of
validation, of one seed; the test reviews are not read.
"""

from pathlib import Path

import click
import matplotlib
import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

import sentiment_tune as st
from sentiment_tune.config import settings_for
from sentiment_tune.models.registry import NETWORKS
from sentiment_tune.space import Range

OBJECTIVES = ("accuracy", "parameters", "size", "latency", "memory")
COSTS = {"parameters": 1e3, "size": 1e6, "latency": 1.0, "memory": 1e6}  # and what a unit of the picture is of each
UNITS = {
    "parameters": "thousands of parameters",
    "size": "MB on disk",
    "latency": "ms a review, one thread",
    "memory": "MB to train",
}
NARROW, WIDE = 4, 256  # the widths, in place of those that a study of accuracy alone searches
WIDTHS = ("embedding", "hidden", "filters")


@click.command()
@click.option("--data", default="imdb", show_default=True)
@click.option("--networks", default=",".join(name for name in NETWORKS if name != "feedforward"), show_default=True)
@click.option("--trials", default=30, show_default=True, help="of each network, all sessions together")
@click.option("--epochs", default=6, show_default=True, help="of a trial at most")
@click.option("--vocabulary", default="1000..30000", show_default=True, help="words, as a range")
@click.option("--timeout", type=float, metavar="SECONDS", help="of each network, after which no further trial begins")
@click.option("--workers", default=1, show_default=True, help="processes that train at the same time")
@click.option("--device", default="auto", show_default=True, help="where to train; latency is always the CPU's")
@click.option(
    "--out", default="tradeoff", show_default=True, help="names of the picture and the table, before .png, .csv"
)
def main(
    data: str,
    networks: str,
    trials: int,
    epochs: int,
    vocabulary: str,
    timeout: float | None,
    workers: int,
    device: str,
    out: str,
) -> None:
    """Run or go on with the studies, and show what they have come to."""
    matplotlib.use("Agg")
    st.quiet_mlflow()
    fronts = {}
    for network in networks.split(","):
        widths = {name: f"{NARROW}..{WIDE}" for name in WIDTHS if isinstance(bounds_of(network, name), Range)}
        result = st.tune(
            network,
            data,
            trials=trials,
            timeout=timeout,
            study=f"tradeoff-{network}",
            objectives=OBJECTIVES,
            search={"vocabulary": vocabulary, **widths},
            epochs=epochs,
            workers=workers,
            device=device,
            top=0,
        )
        fronts[network] = result.trials[result.trials["state"] == "COMPLETE"].rename(
            columns={"val_accuracy": "accuracy"}
        )
    table = pd.concat([front_of(trials, name) for name, trials in fronts.items()])
    table.to_csv(Path(f"{out}.csv"), index=False)
    print(markdown(fronts))
    draw(fronts).savefig(f"{out}.png")


def bounds_of(network: str, name: str) -> object:
    """What a setting of a network may be; None if it has no such setting."""
    setting = settings_for(network).get(name)
    return setting and setting.bounds


def front_of(trials: pd.DataFrame, network: str) -> pd.DataFrame:
    """The trials that no other of the network beats in everything."""
    values = np.column_stack([-trials["accuracy"], *(trials[cost] for cost in COSTS)])
    beaten = [bool(((values <= row).all(1) & (values < row).any(1)).any()) for row in values]
    return trials[~np.array(beaten)].assign(network=network).sort_values("accuracy", ascending=False)


def markdown(fronts: dict[str, pd.DataFrame]) -> str:
    """A row a network: its best, and the least that it takes to come within one and within three points of the best."""
    best = max(trials["accuracy"].max() for trials in fronts.values())
    lines = ["| network | trials | front | best | parameters | " + " | ".join(UNITS[cost] for cost in list(COSTS)[1:])]
    lines[0] += f" | least parameters for {best - 0.01:.3f} | for {best - 0.03:.3f} |"
    lines.append("|---" * (lines[0].count("|") - 1) + "|")
    for network, trials in fronts.items():
        top = trials.loc[trials["accuracy"].idxmax()]
        costs = [f"{top[cost] / unit:,.4g}" for cost, unit in list(COSTS.items())[1:]]
        least = [least_parameters(trials, best - gap) for gap in (0.01, 0.03)]
        cells = [f"`{network}`", str(len(trials)), str(len(front_of(trials, network))), f"{top['accuracy']:.4f}"]
        lines.append("| " + " | ".join([*cells, f"{top['parameters']:,.0f}", *costs, *least]) + " |")
    return "\n".join(lines)


def least_parameters(trials: pd.DataFrame, accuracy: float) -> str:
    """The fewest parameters with which a network is so accurate."""
    enough = trials[trials["accuracy"] >= accuracy]
    return f"{enough['parameters'].min():,.0f}" if len(enough) else "none"


def draw(fronts: dict[str, pd.DataFrame]) -> Figure:
    """Accuracy against each cost, a line a network through what nothing beats in both."""
    figure, axes = pyplot.subplots(2, 2, figsize=(12, 9), sharey=True, layout="constrained")
    for panel, cost in zip(axes.flat, COSTS, strict=True):
        for network, trials in fronts.items():
            draw_front(panel, trials[cost] / COSTS[cost], trials["accuracy"], network)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter("{x:,g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xlabel(UNITS[cost])
        panel.grid(color="#E3E3E3")
    for panel in axes[:, 0]:
        panel.set_ylabel("validation accuracy")
    top = max(trials["accuracy"].max() for trials in fronts.values())
    axes[0, 0].set_ylim(top - 0.12, top + 0.005)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=8, frameon=False)
    return figure


def draw_front(panel: Axes, costs: "pd.Series[float]", accuracies: "pd.Series[float]", network: str) -> None:
    """The steps of one network's front."""
    order = np.lexsort((-accuracies.to_numpy(), costs.to_numpy()))
    highest = np.maximum.accumulate(accuracies.to_numpy()[order])
    unbeaten = order[np.append(True, highest[1:] > highest[:-1])]
    (line,) = panel.step(costs.iloc[unbeaten], accuracies.iloc[unbeaten], "o-", where="post", label=network)
    panel.plot(costs, accuracies, "o", color=line.get_color(), alpha=0.2, markersize=4)


if __name__ == "__main__":
    main()
