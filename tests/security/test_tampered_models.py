"""Models that somebody has tampered with: whichever command reads one, nothing in it runs, and nothing is believed."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import mutations
import pytest
from mutations import DATA, OTHERS, OWN, SETTING, TENSORS, WORDS, Mutation, added, both, listed_anew, setting

from sentiment_tune.inference.package import MANIFEST
from sentiment_tune.tracking import records, registry
from support import Answer, ask, runs

SMALL = ("--model", "embedding", "--data", "sample", "--embedding", "16", "--hidden", "8", "--vocabulary", "300")
TRAINING = ("train", *SMALL, "--length", "60", "--epochs", "1", "--device", "cpu", "--quiet")
TEXTS = ("a fine film", "the plot is dull")
NAMES = ("one", "two")  # registered, both of the same model
# What is tried of the lists by somebody who writes them anew; a link or a huge file is found before they are.
REWRITTEN = {
    name: listed_anew(change)
    for name, change in {**DATA, **SETTING, **WORDS, **TENSORS}.items()
    if not name.endswith((": huge", ": a link", ": a pipe", ": gone")) and not name.startswith(("manifest", MANIFEST))
}
READ_BY_SCORE = {**{f"plainly {name}": change for name, change in DATA.items()}, **REWRITTEN}
HUGE = {name: change for name, change in {**SETTING, **WORDS, **TENSORS}.items() if name.endswith(": huge")}
EVERYTHING = {**READ_BY_SCORE, **HUGE, **OTHERS}


def some(changes: dict[str, Mutation], count: int) -> dict[str, Mutation]:
    """A part of them, the same each time, from all over."""
    step = -(-len(changes) // count)
    return dict(list(changes.items())[::step])


class Logged(NamedTuple):
    """A run with its model, which a test may tamper with: each begins with it as it was logged."""

    run_id: str
    model: Path
    original: Path
    answer: Answer  # of scoring it untouched

    def ask(self, change: Mutation, *words: str) -> Answer:
        shutil.rmtree(self.model.parent)
        self.model.parent.mkdir()
        shutil.copytree(self.original, self.model)
        change(self.model)
        return ask(*words)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Logged]:
    import mlflow

    folder = tmp_path_factory.mktemp("tampered")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("CANARY", str(folder / "canary"))
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"):
            patch.setenv(name, "")
            patch.delenv(name)
        shutil.copy(empty_database, folder)
        address = f"sqlite:///{folder}/mlflow.db"
        mlflow.set_tracking_uri(address)
        assert ask(*TRAINING).code == 0
        (run,) = runs(address)
        uri = records.logged_model_uri(run.info.run_id)
        for name in NAMES:
            registry.register_version(name, uri, records.finished_run(records.read_run(run.info.run_id)), str)
        model = Path(mlflow.get_logged_model(run.outputs.model_outputs[0].model_id).artifact_location)
        shutil.copytree(model, folder / "original")
        yield Logged(run.info.run_id, model, folder / "original", ask("score", "--model", str(model), *TEXTS))
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # back to the default


@pytest.fixture(autouse=True)
def nothing_has_run(logged: Logged) -> Iterator[None]:
    yield
    assert not Path(os.environ["CANARY"]).exists()


def refused(answer: Answer) -> bool:
    """Whether it ends with one line and code 2."""
    return answer.code == 2 and answer.refusal.count("\n") == 1 and "Traceback" not in answer.err


def not_refused(logged: Logged, changes: dict[str, Mutation], *words: str) -> dict[str, Answer]:
    """What is said of each change that is neither refused nor makes no difference to the scores."""
    answers = {}
    for name, change in changes.items():
        began = time.monotonic()
        answer = logged.ask(change, *words)
        if not refused(answer) and (answer.code, answer.out) != (0, logged.answer.out):
            answers[name] = answer
        assert time.monotonic() - began < 60, name
    return answers


def test_there_are_enough_of_them() -> None:
    assert len(EVERYTHING) > 200


def test_a_folder_that_was_tampered_with_is_refused(logged: Logged) -> None:
    changes = some({**READ_BY_SCORE, **HUGE}, 80)
    assert not_refused(logged, changes, "score", "--model", str(logged.model), *TEXTS) == {}


def test_what_lies_beside_the_data_does_not_matter_to_who_scores(logged: Logged) -> None:
    assert not_refused(logged, OTHERS, "score", "--model", str(logged.model), *TEXTS) == {}


@pytest.mark.parametrize("named", ["plainly", "runs:/RUN/model", "models:/one@champion"])
def test_an_address_of_mlflow_leads_to_what_was_logged_or_nowhere(logged: Logged, named: str) -> None:
    address = () if named == "plainly" else ("--model", named.replace("RUN", logged.run_id))
    assert not_refused(logged, some(EVERYTHING, 15), "score", *address, *TEXTS) == {}


def test_what_scores_otherwise_is_refused_by_its_address(logged: Logged) -> None:
    for change in (mutations.spoil(0.5), mutations.setting("reading.length", 3), mutations.member()):
        answer = logged.ask(listed_anew(change), "score", "--model", f"runs:/{logged.run_id}/model", *TEXTS)
        assert "is not what was logged" in answer.refusal


@pytest.mark.parametrize("changes", [OTHERS, some(READ_BY_SCORE | HUGE, 15)], ids=["beside", "data"])
def test_the_registry_takes_none_of_them(logged: Logged, changes: dict[str, Mutation]) -> None:
    asked, before = ("register", "--run", logged.run_id), registry.champions()
    wrong = {name: answer for name, change in changes.items() if not refused(answer := logged.ask(change, *asked))}
    assert (wrong, registry.champions()) == ({}, before)


def test_no_ensemble_takes_them_as_members(logged: Logged) -> None:
    asked = ("ensemble", "--members", ",".join(NAMES), "--data", "sample")
    changes = some(READ_BY_SCORE | HUGE, 8)
    wrong = {name: answer for name, change in changes.items() if not refused(answer := logged.ask(change, *asked))}
    assert wrong == {}


@pytest.mark.slow
def test_everything_is_refused_by_everyone(logged: Logged) -> None:
    data = {**READ_BY_SCORE, **HUGE}
    ensemble = ("ensemble", "--members", ",".join(NAMES), "--data", "sample")
    for changes, *words in (
        (data, "score", "--model", str(logged.model), *TEXTS),
        (EVERYTHING, "score", *TEXTS),
        (some(EVERYTHING, 60), "score", "--trust-code", *TEXTS),
        (EVERYTHING, "register", "--run", logged.run_id),
        (some(EVERYTHING, 60), "register", "--trust-code", "--run", logged.run_id),
        (some(data, 60), *ensemble),
        (some(data, 30), *ensemble, "--trust-code"),
    ):
        assert not_refused(logged, changes, *words) == {}, words


# ---- where a network of somebody's own may lie


def test_code_beside_the_data_runs_only_where_it_is_trusted(logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(logged.model.parents[2])  # from where the model's own folder is a package without an __init__.py
    above = ".".join(logged.model.relative_to(Path.cwd()).parts)
    for name in (OWN, OWN[5:], f"{above}.{OWN}", f"{above.replace('-', '_')}.{OWN}"):
        change = listed_anew(both(added("code/canary_network.py", mutations.NETWORK), setting("model", name)))
        for trusting in ((), ("--trust-code", "false")):
            answer = logged.ask(change, "score", "--model", str(logged.model), *trusting, *TEXTS)
            assert "--trust-code true" in answer.refusal
    for name in (OWN, f"{above}.{OWN}"):
        change = listed_anew(both(added("code/canary_network.py", mutations.NETWORK), setting("model", name)))
        assert "no network" in logged.ask(change, "score", "--trust-code", "--model", str(logged.model), *TEXTS).refusal
