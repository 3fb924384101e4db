"""What a study searches is worked out once, and its best trials are distinct."""

import inspect
import warnings
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from sentiment_tune.errors import InputError
from sentiment_tune.models.registry import NETWORKS
from sentiment_tune.tuning.liveness import requeue
from sentiment_tune.tuning.search import StudyConfig, check_same_facts
from sentiment_tune.tuning.trials import best_trials

JOINT = StudyConfig("all", tuple(NETWORKS), {"data": "sample"}, trials=1, storage="sqlite:///optuna.db")


def test_a_trial_that_is_tried_again_is_measured_anew() -> None:
    study = optuna.create_study()
    study.add_trial(create_trial(state=TrialState.FAIL, system_attrs={"fixed_params": {"x": 1.0}}))
    study.ask().set_constraint("latency", 0.5)
    study.tell(1, state=TrialState.FAIL)
    for trial in study.get_trials():
        requeue(study, trial)
    assert [trial.system_attrs.get("fixed_params") for trial in study.get_trials()[2:]] == [{"x": 1.0}, None]
    assert [trial.constraints for trial in study.get_trials()[1:]] == [{"latency": 0.5}, {}, {}]
    for number in (2, 3):
        again = study.ask()
        with warnings.catch_warnings(action="error"):
            again.set_constraint("latency", -0.5)
        assert study.get_trials()[number].constraints == {"latency": -0.5}
        assert study.get_trials()[number].system_attrs["retry_history"] == [number - 2]


def test_a_search_reads_signatures_once(monkeypatch: pytest.MonkeyPatch) -> None:
    search = StudyConfig("all", tuple(NETWORKS), {"data": "sample"}, trials=1, storage="sqlite:///optuna.db")
    inspected: list[Any] = []
    signature = inspect.signature

    def count(configured: Any) -> inspect.Signature:
        inspected.append(configured)
        return signature(configured)

    monkeypatch.setattr(inspect, "signature", count)
    assert search.seed == 1
    first = len(inspected)
    for _ in range(3):
        assert (search.seed, search.source.data, len(search.defaults)) == (1, "sample", len(NETWORKS))
        assert search.space
    assert len(inspected) == first


def test_a_joint_search_gives_each_network_its_own_settings() -> None:
    for parameters, config in zip(JOINT.defaults, JOINT.default_configs, strict=True):
        assert config.model == parameters["model"]
    assert "cnn.filters" in JOINT.space
    assert "linear.filters" not in JOINT.space


def test_trials_that_tie_are_each_settings_once() -> None:
    study = optuna.create_study(direction="maximize")
    for rate, value in [(0.1, 0.9), (0.2, 0.9), (0.1, 0.9), (0.3, 0.8), (0.2, 0.9)]:
        distribution: dict[str, BaseDistribution] = {"rate": FloatDistribution(0, 1)}
        study.add_trial(create_trial(params={"rate": rate}, distributions=distribution, value=value))
    best = best_trials(study, 3)
    assert [(trial.number, trial.params["rate"]) for trial in best] == [(0, 0.1), (1, 0.2), (3, 0.3)]


def test_a_study_of_an_earlier_version_goes_on_while_new_settings_have_their_defaults() -> None:
    facts = JOINT.facts("digest")
    earlier = {name: value for name, value in facts.items() if "own_share" not in name}
    check_same_facts(JOINT, earlier, facts)
    with pytest.raises(InputError, match=r"cnn\.own_share: not searched, and this is 0\.5"):
        check_same_facts(JOINT, earlier, facts | {"cnn.own_share": "0.5"})
    for begun, now, told in (
        ({"folds": "3"}, {}, "begun with folds: 3, and this is without folds: begin another"),
        ({}, {"folds": "3"}, "begun without folds, and this is 3: begin another"),
        ({"max_size": "1e+06"}, {}, r"begun with max_size: 1e\+06, and this is without max_size"),
    ):
        with pytest.raises(InputError, match=told):
            check_same_facts(JOINT, facts | begun, facts | now)
    with pytest.raises(InputError, match="data digest: other"):
        check_same_facts(JOINT, earlier | {"data digest": "other"}, facts)
