"""From nothing to champions: a study for each network, its best settings confirmed, tested once and registered."""

from collections.abc import Sequence
from functools import partial

from sentiment_tune import publish
from sentiment_tune import ranking as comparing
from sentiment_tune.cli import console as reporting
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking.runs import RunSpec
from sentiment_tune.tuning import confirm as champions
from sentiment_tune.tuning.search import StudyConfig
from sentiment_tune.tuning.study import BEST_SETTINGS, StudyResult, run_study


def run(searches: Sequence[StudyConfig], corpus: Corpus, place: RunSpec, top: int, seeds: int) -> None:
    """Run all studies, one after another, each with its champion; several end with the leaderboard.

    `top` trials of each are trained again with `seeds` seeds each; with 0 nothing is trained again or registered.
    """
    if len(searches) > 1:
        tracking.detach_project_run()  # it cannot be the parent of all: MLflow shows one level
    for search in searches:
        reporting.say(f"study {search.study}: {search.trials} trials over {', '.join(sorted(search.space))}")
        say = partial(reporting.trial, total=search.trials, workers=search.workers)
        with run_study(search, corpus, place, say) as found:
            reporting.trials_table(found.study)
            if not found.owned:
                reporting.say("another process owns this study: it trains the best settings again and registers them")
            elif top:
                _crown(found, corpus, top, seeds)
    if len(searches) > 1 and top:
        reporting.leaderboard(comparing.rank_runs(corpus.digest))
    reporting.after_tuning(searches[0].storage)


def _crown(found: StudyResult, corpus: Corpus, top: int, seeds: int) -> None:
    """Find the winner among the best trials, let it read the test split, and register it."""
    confirmed = champions.confirm_trials(found, corpus, top, seeds, reporting.say)
    reporting.confirmed(confirmed)
    winner = confirmed[0]
    champions.evaluate_winner(winner, corpus)
    tracking.set_tags({"winner": winner.run_id})
    tracking.log_json(winner.config.as_dict, BEST_SETTINGS)
    tracking.log_metrics({"confirmed_val_accuracy": winner.mean, "confirmed_spread": winner.spread})
    reporting.registered(publish.register_run(winner.run_id))
