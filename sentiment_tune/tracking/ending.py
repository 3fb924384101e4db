"""How a run is ended in place of a process that is gone or about to be: it loads MLflow alone, since time is short."""

import mlflow

from sentiment_tune.tracking.schema import Tag

ENDED, ABANDONED = "ended by a signal", "the process that ran this training is gone"


def end_abandoned_run(run_id: str, reason: str, process: str | None = None) -> None:
    """End a run whose process is gone, if it is still said to be running, by that `process` where one is named."""
    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    if run.info.status == "RUNNING" and process in (None, run.data.tags.get(Tag.PROCESS)):
        client.set_tag(run_id, Tag.ERROR, reason)
        client.set_terminated(run_id, "KILLED")
