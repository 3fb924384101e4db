"""From nothing to champions: a study for each network, its best settings confirmed, tested once and registered."""

from collections.abc import Sequence
from functools import partial

from sentiment_tune import leaderboard as comparing
from sentiment_tune.cli import console as reporting
from sentiment_tune.data.load import Corpus
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking.runs import Place
from sentiment_tune.tuning import confirm as champions
from sentiment_tune.tuning.search import Search
from sentiment_tune.tuning.study import BEST_SETTINGS, Studied, studied


def run(searches: Sequence[Search], corpus: Corpus, place: Place, top: int, seeds: int) -> None:
    """Run all studies, one after another, each with its champion; several end with the leaderboard.

    `top` trials of each are trained again with `seeds` seeds each; with 0 nothing is trained again or registered.
    """
    if len(searches) > 1:
        tracking.leave_project_run()  # it cannot be the parent of all: MLflow shows one level
    for search in searches:
        reporting.said(f"study {search.study}: {search.trials} trials over {', '.join(sorted(search.space))}")
        say = partial(reporting.trial, total=search.trials, workers=search.workers)
        with studied(search, corpus, place, say) as found:
            reporting.trials_table(found.study)
            if not found.owned:
                reporting.said("another process owns this study: it trains the best settings again and registers them")
            elif top:
                _crown(found, corpus, top, seeds)
    if len(searches) > 1 and top:
        reporting.leaderboard(comparing.leaderboard(corpus.digest))
    reporting.after_tuning(searches[0].storage)


def _crown(found: Studied, corpus: Corpus, top: int, seeds: int) -> None:
    """Find the winner among the best trials, let it read the test split, and register it."""
    confirmed = champions.confirm(found, corpus, top, seeds, reporting.said)
    reporting.confirmed(confirmed)
    winner = confirmed[0]
    champions.test_once(winner, corpus)
    tracking.set_tags({"winner": winner.run_id})
    tracking.log_json(winner.plan.values, BEST_SETTINGS)
    tracking.log_results({"confirmed_val_accuracy": winner.mean, "confirmed_spread": winner.spread})
    reporting.registered(champions.register(winner.run_id))
