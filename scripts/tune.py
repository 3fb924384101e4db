"""Tune every network and end with the leaderboard: the whole contest, searched.

    python scripts/tune.py --data PATH/imdb.npz --trials 8

Run again, it goes on where it stopped: a study has the trials it has, and a finished confirmation is not repeated.
"""

import click

from sentiment_tune import campaign, data, tracking, tuning
from sentiment_tune.models import NETWORKS
from sentiment_tune.search import Search


@click.command()
@click.option("--data", "source", default="auto", show_default=True)
@click.option("--trials", default=20, show_default=True, help="finished trials that each study is to have")
@click.option("--workers", default=1, show_default=True, help="processes on this machine")
def main(source: str, trials: int, workers: int) -> None:
    """A study for each network, its best settings trained again, tested once and registered."""
    corpus = data.load(data.Source(source))
    tracking.connect()
    searches = [
        Search(
            f"{network}-{corpus.name}", (network,), {"data": source}, trials, tuning.default_storage(), workers=workers
        )
        for network in NETWORKS
    ]
    campaign.run(searches, corpus, tracking.Place(), top=3, seeds=3)


if __name__ == "__main__":
    main()
