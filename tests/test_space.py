"""What can be set and what it does: bounds are kept, refusals say the way out, a config survives its settings file."""

import json
import pickle
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import pytest

from sentiment_tune.data.text import TextConfig
from sentiment_tune.errors import InputError
from sentiment_tune.models.registry import NETWORKS
from sentiment_tune.space import Choice, Doc, Fixed, Range, Rate, Setting, Switch, Width, resolve, settings_of
from sentiment_tune.training.config import TrainConfig

with warnings.catch_warnings(action="ignore"):  # mlflow's own, when it is first imported
    from sentiment_tune.config import ExperimentConfig, RuntimeConfig, read_settings, settings_for


class Configured:
    def __init__(self, vocabulary: int, hidden: Width = 128, dropout: Rate = 0.3, backward: Switch = False):
        self.given = (vocabulary, hidden, dropout, backward)


SETTINGS = settings_of(Configured)


def test_a_signature_declares_its_settings_in_order_and_facts_are_none() -> None:
    declared = {
        "hidden": Setting("hidden", int, Range(1, 65_536, search=(32, 256), log=True), 128),
        "dropout": Setting(
            "dropout", float, Range(0.0, 0.99, search=(0.0, 0.7)), 0.3, "share that dropout sets to 0 in training"
        ),
        "backward": Setting("backward", bool, Choice(False, True), False),
    }
    assert list(SETTINGS.items()) == list(declared.items())


def test_settings_travel_to_other_processes() -> None:
    for network in NETWORKS:
        declared = settings_for(network)
        travelled = pickle.loads(pickle.dumps(declared))
        assert travelled == declared
        assert [str(line.bounds) for line in travelled.values()] == [str(line.bounds) for line in declared.values()]
        assert all(line.default in line.bounds for line in travelled.values())


def test_a_dataclass_and_a_function_are_read_the_same_way() -> None:
    def function(keep: Switch = True, other: int = 3) -> None: ...

    assert list(settings_of(function)) == ["keep"]
    assert settings_of(TrainConfig)["learning_rate"].default == TrainConfig().learning_rate
    assert settings_of(RuntimeConfig)["device"].bounds == Fixed("auto", "cpu", "cuda", "mps")


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("hidden", "64", 64),
        ("hidden", "1e3", 1000),
        ("hidden", 64.0, 64),
        ("hidden", 1, 1),
        ("hidden", 65_536, 65_536),
        ("dropout", "1e-3", 0.001),
        ("dropout", 0, 0.0),
        ("dropout", "0.99", 0.99),
        ("backward", "true", True),
        ("backward", "False", False),
        ("backward", True, True),
    ],
)
def test_a_value_is_read_from_text_and_numbers_into_its_own_type(name: str, given: object, value: object) -> None:
    read = SETTINGS[name].parse(given)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        *[("hidden", bad) for bad in (0, 65_537, -1, 2.5, "2.5", "many", "", None, True, "nan", "inf", [3], 10**400)],
        *[("dropout", bad) for bad in (-0.1, 1, "nan", float("nan"), float("inf"), "-inf", "0,3", None, False)],
        *[("backward", bad) for bad in ("yes", "", None, 1, 0.0)],
    ],
)
def test_a_value_out_of_bounds_is_refused_with_name_value_and_bounds(name: str, given: object) -> None:
    allowed = {
        "hidden": "a whole number from 1 to 65,536",
        "dropout": "a number from 0 to 0.99",
        "backward": "one of: false, true",
    }
    with pytest.raises(InputError) as refused:
        SETTINGS[name].parse(given)
    assert str(refused.value) == f"{name} cannot be {given!r}: choose {allowed[name]}"


def test_a_text_must_be_one_of_its_choices() -> None:
    keep = settings_of(TextConfig)["keep"]
    assert keep.parse("head") == "head"
    with pytest.raises(InputError, match="keep cannot be 'middle': choose one of: tail, head"):
        keep.parse("middle")


def test_what_is_not_given_has_its_default_and_what_is_not_declared_is_left_out() -> None:
    assert resolve(Configured, {"hidden": "9", "foreign": 1}) == {"hidden": 9, "dropout": 0.3, "backward": False}


@pytest.mark.parametrize("configured", [*NETWORKS.values(), TrainConfig, TextConfig, RuntimeConfig])
def test_every_default_and_search_space_lies_within_its_own_bounds(configured: type) -> None:
    assert settings_of(configured)
    for setting in settings_of(configured).values():
        assert setting.parse(setting.default) == setting.default
        ends = (setting.bounds.search or ()) if isinstance(setting.bounds, Range) else setting.bounds
        assert all(setting.parse(end) == end for end in ends)
        if isinstance(setting.bounds, Range) and setting.bounds.log:
            assert min(setting.bounds.search or (1,)) > 0


@pytest.mark.parametrize("configured", [*NETWORKS.values(), TrainConfig, TextConfig, RuntimeConfig])
def test_every_setting_of_the_package_says_what_it_does(configured: type) -> None:
    assert [name for name, setting in settings_of(configured).items() if not setting.doc] == []


def test_a_setting_may_say_what_it_does() -> None:
    def function(segment: Annotated[int, Range(0, 9), Doc("words; 0 reads all")] = 3, hidden: Width = 3) -> None: ...

    assert [setting.doc for setting in settings_of(function).values()] == ["words; 0 reads all", ""]


@pytest.mark.parametrize(
    ("name", "hint"), [("hiden", "did you mean 'hidden'"), ("filters", "choose from"), ("learning-rate", "rate'")]
)
def test_an_unknown_setting_is_refused_with_the_closest_one(name: str, hint: str) -> None:
    with pytest.raises(InputError, match=f"no setting of rnn '{name}'") as refused:
        ExperimentConfig.of("rnn", {name: 1})
    assert hint in str(refused.value)
    listed = str(refused.value).split("choose from ")[1].split(", ")
    assert {"hidden", "epochs", "length", "seed", "data"} <= set(listed)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a network of the user's own into the current folder, with the given settings, and names it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "modules", sys.modules.copy())

    def write(signature: str, train_defaults: str = "{}") -> str:
        head = "from torch import nn\nfrom sentiment_tune.space import Width\nclass Own(nn.Module):\n"
        preferred = f"    train_defaults = {train_defaults}\n"
        constructor = f"    def __init__(self, vocabulary: int, {signature}): super().__init__()\n"
        Path("own_network.py").write_text(head + preferred + constructor, encoding="utf-8")
        return "own_network:Own"

    return write


def test_a_network_prefers_its_recipe_to_the_defaults_and_the_given_to_both(own: Any) -> None:
    model = own("depth: Width = 3", "{'learning_rate': 0.5, 'epochs': 4}")
    config = ExperimentConfig.of(model, {"epochs": "7"})
    assert (config.training.learning_rate, config.training.epochs) == (0.5, 7)
    assert config.training.batch == TrainConfig().batch
    assert settings_for(model)["learning_rate"].default == 0.5  # what --help shows
    assert config.network == {"depth": 3}


@pytest.mark.parametrize("taken", ["batch", "length", "seed", "data", "split", "model"])
def test_a_network_cannot_call_a_setting_what_another_is_called(own: Any, taken: str) -> None:
    with pytest.raises(InputError, match=f"calls a setting '{taken}', a name that is taken"):
        ExperimentConfig.of(own(f"{taken}: Width = 3"), {})


@pytest.mark.parametrize("model", NETWORKS)
def test_a_config_survives_its_settings_file(model: str, tmp_path: Path) -> None:
    config = ExperimentConfig.of(model, {"seed": 7, "learning_rate": "3e-4", "data": "sample", "keep": "head"})
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(config.as_dict), encoding="utf-8")
    read = read_settings(file)
    assert ExperimentConfig.of(read.pop("model"), read) == config != ExperimentConfig.of(model, {})


@pytest.mark.parametrize("content", ["", "{", "[1]", "3", "\0"])
def test_a_file_without_settings_is_refused_by_name(content: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"no settings in .*settings\.json"):
        read_settings(file)
    with pytest.raises(InputError, match="no settings in"):
        read_settings(tmp_path / "missing.json")
