"""A training that was cut off: whether it can go on, and as what it was begun."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sentiment_tune.config import DATA_NAMES, EARLIER, ExperimentConfig
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.errors import InputError
from sentiment_tune.local import is_process_gone
from sentiment_tune.models.registry import ENSEMBLE
from sentiment_tune.tracking import records, runs, server
from sentiment_tune.tracking.records import RunRecord
from sentiment_tune.tracking.schema import Artifact, Stage, Tag

LAST = "last"  # in place of an id: the newest training that was cut off


@dataclass(frozen=True)
class InterruptedTraining:
    """A run of MLflow that has no finished model, and what it was to train."""

    run_id: str
    settings: Mapping[str, Any]  # all by name, as they were logged
    data_digest: str
    seeds: int | None = None  # of repeats: how many there are to be
    folds: int | None = None  # of folds

    def config(self, model: str | None, given: Mapping[str, Any]) -> ExperimentConfig:
        """Its config; InputError naming the first of the settings given now that is another.

        Where the data lie may have changed: they are known by their digest.
        """
        begun = {name: value for name, value in self.settings.items() if value is not None and name != "model"}
        trained = str(self.settings["model"])
        if model not in (None, trained):
            raise self._other("model", trained, model)
        before = ExperimentConfig.of(trained, begun)
        now = ExperimentConfig.of(trained, {**begun, **given})
        for name, value in now.as_dict.items():
            if value != before.as_dict[name] and name not in DATA_NAMES:
                raise self._other(name, before.as_dict[name], value)
        return now

    def check_seeds(self, given: int) -> int:
        """How many seeds it has; InputError if as many are given now as it was not begun with."""
        if given not in (1, self.seeds):
            raise self._other("seeds", self.seeds or 1, given)
        return self.seeds or 1

    def check_folds(self, given: int | None) -> int | None:
        """How many folds it has; InputError if as many are given now as it was not begun with."""
        if given not in (None, self.folds):
            raise self._other("folds", self.folds, given)
        return self.folds

    def check_data(self, corpus: Corpus) -> None:
        """InputError if the data are not those that it was begun with."""
        if corpus.digest != self.data_digest:
            raise self._other("the data's digest", self.data_digest, corpus.digest)

    def _other(self, name: str, before: object, now: object) -> InputError:
        return InputError(f"{name} is {before} in run {self.run_id}, not {now}: resume it as it was, or train anew")


def interrupted_training(run_id: str) -> InterruptedTraining:
    """The training of a run, of the newest one that was cut off if it is `last`; InputError if it cannot go on."""
    run = _with_its_repeats(_last() if run_id == LAST else records.read_run(records.whole_id(run_id)))
    objection = _objection(run)
    if objection:
        raise InputError(f"run {run.run_id} {objection}")
    seeds, folds = (int(run.tags[tag]) if tag in run.tags else None for tag in (Tag.SEEDS, Tag.FOLDS))
    return InterruptedTraining(run.run_id, _settings_of(run), run.tags[Tag.DATA_DIGEST], seeds, folds)


def _with_its_repeats(run: RunRecord) -> RunRecord:
    """The run, or the one above it where it is one of several that differ in their seed alone: all of them go on."""
    if Tag.PARENT_RUN not in run.tags or Tag.STAGE in run.tags or run.status == "FINISHED":
        return run
    above = records.read_run(run.tags[Tag.PARENT_RUN])
    return above if above.tags.get(Tag.STAGE) == Stage.REPEATS else run


def _objection(run: RunRecord) -> str | None:
    """Why a run cannot be resumed, if it cannot."""
    if not runs.run_exists(run.run_id):
        return "is deleted: restore it in MLflow, or train anew"
    if run.status == "FINISHED":
        return "is finished, and nothing of it is left to do: train another"
    if Tag.STAGE in run.tags and (run.tags[Tag.STAGE] != Stage.REPEATS or Tag.TRIAL in run.tags):
        return "belongs to a study, which goes on by the `tune` command that began it"
    if run.tags.get(Tag.NETWORK, ENSEMBLE) == ENSEMBLE or Tag.DATA_DIGEST not in run.tags:
        return "is no training of this package: give the run of a `train` that was cut off"
    if run.status == "RUNNING" and not is_process_gone(run.tags.get(Tag.PROCESS)):
        return f"is being trained by process {run.tags.get(Tag.PROCESS)}: wait for it, or end it first"
    return None


def _last() -> RunRecord:
    for run in records.find_unfinished():
        if _objection(run) is None:
            return run
    raise InputError(f"no training that was cut off at {server.tracking_uri()}: give a run's id, or train anew")


def _settings_of(run: RunRecord) -> Mapping[str, Any]:
    """What the run was begun with: its file, or what it had noted down before it logged one."""
    noted = run.tags.get(Tag.SETTINGS)
    settings = json.loads(noted) if noted else records.read_json(run.run_id, Artifact.SETTINGS)
    if not isinstance(settings, dict) or not settings.get("model"):
        raise InputError(f"run {run.run_id} has no settings in {Artifact.SETTINGS}: train anew")
    return {**EARLIER, **settings}
