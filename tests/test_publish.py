"""What the card of a registered model tells of its settings."""

import csv
from pathlib import Path

import pytest

import sentiment_tune as st
from sentiment_tune import publish
from sentiment_tune.tracking import records

OF_DATA = ("text", "label", "split", "deduplicate", "text_rule", "validation")


def settings_told(run: st.TrainedRun) -> tuple[dict[str, str], str]:
    """The settings that the card lists, by name, and its line of all that is as by default."""
    finished = records.finished_run(records.read_run(run.run_id))
    lines = publish._card("mine", finished, "models:/mine/1").partition("## Settings\n")[2].splitlines()
    listed = dict(line[2:].split(": ", 1) for line in lines if line.startswith("- "))
    return listed, next(line for line in lines if line.startswith("All else as by default: "))


def test_what_is_said_of_the_data_by_default_is_folded_away(here: Path) -> None:
    run = st.train("linear", "sample", epochs=1, vocabulary=300, progress=False)
    listed, usual = settings_told(run)
    assert set(listed) == {"model", "data", "epochs", "vocabulary"}
    assert [name for name in OF_DATA if f" {name} " not in usual] == []
    assert "None" not in usual


@pytest.mark.slow
def test_what_is_said_of_the_data_otherwise_is_listed(here: Path) -> None:
    with Path("own.csv").open("w", newline="") as file:
        rows = [[f"{word} film {number}", stars] for number in range(60) for word, stars in (("fine", 1), ("dull", 0))]
        csv.writer(file).writerows([["review", "stars"], *rows])
    run = st.train(
        "linear", "own.csv", text="review", label="stars", deduplicate=True, epochs=1, vocabulary=30, progress=False
    )
    listed, usual = settings_told(run)
    assert {name: listed[name] for name in ("text", "label", "deduplicate")} == {
        "text": "review",
        "label": "stars",
        "deduplicate": "True",
    }
    assert [name for name in OF_DATA if f" {name} " in usual] == ["split", "text_rule", "validation"]
