"""MLflow's own pages: what an experiment shows there, and the addresses under which they show trainings.

Since version 3 the pages begin with what is made for agents, traces and prompts, whatever an experiment's kind: the
kind of page is remembered by the browser or said in the address. So an address here says it.
"""

import json
from contextlib import suppress

import mlflow
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

from sentiment_tune.errors import hide_passwords
from sentiment_tune.tracking import server
from sentiment_tune.tracking.schema import Metric, Tag

LOCAL = "http://127.0.0.1:5000"  # where `mlflow ui` answers
VIEW = "sentiment_tune"  # id of the columns that an experiment's page shows
_TRAININGS = "workflowType=machine_learning"
_COLUMNS = (
    *(f"metrics.`{name}`" for name in (Metric.BEST_VAL_ACCURACY, Metric.TEST_ACCURACY, Metric.TRAIN_SECONDS)),
    *(f"metrics.`{part}{Metric.BEST_VAL_ACCURACY}`" for part in (Metric.MEAN, Metric.SPREAD)),
    *(f"tags.`{name}`" for name in (Tag.NETWORK, Tag.DATA, Tag.PARAMETERS)),
)
_ABOUT = """\
Networks that say of what class a review is, positive or negative or others, trained and tuned by `sentiment-tune`.

- A run is a training, its description says of what; a study's run has its trials below it, and `study/study.html`.
- Trainings that differ in their seed alone stand below a run with their mean (`mean_...`), spread, least and most.
- `best_val_accuracy` chooses; `test_accuracy` is read once, at the end.
- `sentiment-tune compare` ranks the networks and says which differences are noise.
"""


def dress_experiment(experiment: Experiment) -> None:
    """Say on an experiment's page what is in it, and which columns are looked at first; what is said there stays."""
    tags = {Tag.EXPERIMENT_KIND: "custom_model_development", Tag.NOTE: _ABOUT, f"{Tag.VIEW}{VIEW}": _view()}
    missing = {name: value for name, value in tags.items() if name not in experiment.tags}
    client = mlflow.MlflowClient()
    for name, value in missing.items():
        # Of two who begin at once MLflow refuses one, and the other has said the same; no page is worth a training.
        with suppress(MlflowException):
            client.set_experiment_tag(experiment.experiment_id, name, value)


def _view() -> str:
    """Columns of the runs' table, as MLflow's page keeps a view that somebody has saved."""
    state = {"selectedColumns": _COLUMNS, "columnOrder": _COLUMNS}
    return json.dumps({"name": "What to compare", "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)})


def runs_page(experiment_id: str) -> str:
    """The runs of an experiment, with the columns that people compare."""
    return f"#/experiments/{experiment_id}/runs?{_TRAININGS}&viewStateShareKey={VIEW}"


def run_page(experiment_id: str, run_id: str) -> str:
    """A run; by its id alone MLflow would find it too, and forget what kind of page was asked for."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?{_TRAININGS}"


def logged_model_page(experiment_id: str, uri: str) -> str | None:
    """A logged model, by its URI; None where that is no logged model's."""
    model = uri.removeprefix("models:/")
    return f"#/experiments/{experiment_id}/models/{model}?{_TRAININGS}" if model.startswith("m-") else None


def link(page: str) -> str:
    """The address of a page: of MLflow's server, or of the one that `mlflow ui` starts on this machine."""
    return f"{hide_passwords(server.tracking_uri()).rstrip('/') if is_served() else LOCAL}/{page}"


def is_served() -> bool:
    """Whether MLflow is a server, whose pages are there for whoever has their addresses."""
    return server.tracking_uri().startswith("http")
