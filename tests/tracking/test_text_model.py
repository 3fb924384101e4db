"""What a logged model scores is what was meant: every form of request, through MLflow's own server and command."""

import asyncio
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import mlflow.pyfunc
import mlflow.pytorch
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException
from sklearn.metrics import log_loss, roc_auc_score

from sentiment_tune.data.labels import parse_labels
from sentiment_tune.data.text import FIRST_WORD, TextConfig, Vocabulary
from sentiment_tune.errors import InputError
from sentiment_tune.inference.package import ModelPackage
from sentiment_tune.space import resolve
from sentiment_tune.tracking import flavor
from sentiment_tune.tracking.text_model import find_texts
from support import ROOT, SMALL, VOCABULARY, trained

TEXTS = ["word1 word2 word9", "word7, word3"]
TITLES = ["word30", "word31"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = Vocabulary([f"word{number}" for number in range(VOCABULARY - FIRST_WORD)])
    network = trained("embedding", False)
    package = ModelPackage("embedding", network, resolve(type(network), SMALL), words, TextConfig(VOCABULARY, 50))
    folder = tmp_path_factory.mktemp("saved") / "model"
    flavor.save_model(str(folder), package)
    return folder


@pytest.fixture(scope="module")
def model(saved: Path) -> Any:
    return mlflow.pyfunc.load_model(str(saved))


@pytest.fixture(scope="module")
def expected(model: Any) -> list[float]:
    found: list[float] = model.predict(TEXTS).probability.tolist()
    assert len({*found, *model.predict(TITLES).probability}) == 4
    return found


class Reply(NamedTuple):
    status: int
    body: Any

    @property
    def answers(self) -> list[dict[str, Any]]:
        assert self.status == 200, self.body
        return list(self.body["predictions"])

    @property
    def refusal(self) -> str:
        assert (self.status, self.body.get("stack_trace")) == (400, None), self.body
        return str(self.body["message"])


class Server:
    """MLflow's scoring server without a port: the application that `mlflow models serve` runs."""

    def __init__(self, model: Any):
        from mlflow.pyfunc import scoring_server

        self.application = scoring_server.init(model)

    def post(self, body: Any) -> Reply:
        """The answer to a request in JSON, or to a text in CSV."""
        return asyncio.run(self._post(body))

    async def _post(self, body: Any) -> Reply:
        kind = "text/csv" if isinstance(body, str) else "application/json"
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        asked = {"type": "http", "method": "POST", "path": "/invocations", "query_string": b"", "http_version": "1.1"}
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.application({**asked, "headers": [(b"content-type", kind.encode())]}, receive, send)
        answer = b"".join(message.get("body", b"") for message in sent)
        return Reply(sent[0]["status"], json.loads(answer, parse_constant=pytest.fail))  # NaN is no JSON


@pytest.fixture
def server(model: Any, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    return Server(model)


FRAME = pd.DataFrame({"title": TITLES, "text": TEXTS})
FORMS: dict[str, Any] = {
    "text behind another column": FRAME,
    "text beside a number": pd.DataFrame({"id": [1, 2], "text": TEXTS, "stars": [0.5, np.nan]}),
    "one column of another name": pd.DataFrame({"review": TEXTS}),
    "one column without a name": pd.DataFrame(TEXTS),
    "categories": pd.DataFrame({"text": pd.Categorical(TEXTS)}),
    "a Series": pd.Series(TEXTS, name="title"),
    "a list": TEXTS,
    "a tuple": tuple(TEXTS),
    "an array": np.array(TEXTS),
    "an array of one column": np.array(TEXTS, dtype=object).reshape(-1, 1),
    "rows of one cell": [[text] for text in TEXTS],
    "columns": {"title": TITLES, "text": TEXTS},
    "columns as arrays": {"text": np.array(TEXTS)},
    "records": FRAME.to_dict("records"),
}


@pytest.mark.parametrize("given", FORMS.values(), ids=FORMS)
def test_the_column_text_is_scored(given: Any, model: Any, expected: list[float]) -> None:
    scored = model.predict(given)
    assert list(scored.columns) == ["probability", "label", "error"]
    assert scored.probability.tolist() == expected
    assert scored.error.tolist() == ["", ""]


REQUESTS: dict[str, Any] = {
    "split": {"dataframe_split": FRAME.to_dict("split")},
    "records": {"dataframe_records": FRAME.to_dict("records")},
    "records beside an id": {"dataframe_records": [{"id": n, "text": text} for n, text in enumerate(TEXTS)]},
    "instances": {"instances": TEXTS},
    "instances, rows": {"instances": [[text] for text in TEXTS]},
    "instances, records": {"instances": FRAME.to_dict("records")},
    "inputs": {"inputs": TEXTS},
    "inputs, columns": {"inputs": FRAME.to_dict("list")},
    "inputs, records": {"inputs": FRAME.to_dict("records")},
    "CSV": FRAME.to_csv(index=False),
    "CSV with an id": pd.DataFrame({"id": [7, 8], "text": TEXTS}).to_csv(index=False),
    "CSV of another name": pd.DataFrame({"review": TEXTS}).to_csv(index=False),
}


@pytest.mark.parametrize("body", REQUESTS.values(), ids=REQUESTS)
def test_a_server_scores_the_column_text(body: Any, server: Server, expected: list[float]) -> None:
    answers = server.post(body).answers
    assert [answer["probability"] for answer in answers] == pytest.approx(expected, abs=1e-15)
    assert [answer["error"] for answer in answers] == ["", ""]


UNCLEAR = pd.DataFrame({"title": TITLES, "body": TEXTS})


@pytest.mark.parametrize(
    "given",
    [UNCLEAR, UNCLEAR.head(0), UNCLEAR.to_dict("records"), UNCLEAR.to_dict("list")],
    ids=["frame", "empty", "records", "columns"],
)
def test_several_columns_without_text_are_named(given: Any, model: Any) -> None:
    with pytest.raises(MlflowException, match=r"columns \['title', 'body'\]: call the one to score 'text'"):
        model.predict(given)


@pytest.mark.parametrize(
    "given", [np.array([TITLES, TEXTS]), [TITLES, TEXTS], pd.DataFrame([TEXTS], columns=["text", "text"])]
)
def test_which_column_must_be_clear(given: Any, model: Any) -> None:
    with pytest.raises(MlflowException, match=r"columns \[.*\]: call the one to score 'text'"):
        model.predict(given)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": UNCLEAR.to_dict("split")},
        {"dataframe_records": UNCLEAR.to_dict("records")},
        {"inputs": UNCLEAR.to_dict("list")},
        {"instances": UNCLEAR.to_dict("records")},
        UNCLEAR.to_csv(index=False),
    ],
)
def test_a_server_names_the_columns(body: Any, server: Server) -> None:
    assert "columns ['title', 'body']: call the one to score 'text'" in server.post(body).refusal


def test_a_comma_in_a_csv_moves_no_text(server: Server) -> None:
    assert "quote a text that holds commas" in server.post("text\ngood, really\n").refusal
    assert len(server.post('text\n"good, really"\n').answers) == 1


NO_TEXTS = [None, 5, 0.5, float("nan"), True, ["a"], {"a": "b"}]


def check_rows(answers: list[dict[str, Any]], wrong: int) -> None:
    """The first answer is one, the others say why there is none."""
    assert [answer["error"] == "" for answer in answers] == [True] + [False] * wrong
    assert all(
        answer["probability"] is None
        and answer["label"] == ""
        and answer["error"].startswith(f"row {row} is ")
        and answer["error"].endswith(", not a text")
        for row, answer in enumerate(answers[1:], 1)
    ), answers


@pytest.mark.parametrize("shape", ["list", "Series", "frame", "array", "columns", "records"])
def test_a_row_that_is_no_text_has_an_empty_answer(shape: str, model: Any) -> None:
    rows = [TEXTS[0], *NO_TEXTS, b"bytes", pd.NA, pd.NaT, np.float64(3)]
    column = pd.Series(rows, dtype=object)
    forms = {
        "list": rows,
        "Series": column,
        "frame": pd.DataFrame({"id": range(len(rows)), "text": column}),
        "array": column.to_numpy(),
        "columns": {"text": column.to_numpy()},
        "records": [{"id": number, "text": row} for number, row in enumerate(rows)],
    }
    answers = model.predict(forms[shape])
    check_rows(answers.to_dict("records"), len(rows) - 1)
    assert answers.probability.isna().tolist() == [False] + [True] * (len(rows) - 1)
    assert answers.probability.astype(float)[0] == pytest.approx(model.predict(TEXTS).probability[0], abs=1e-7)


LISTS, TABLES = ("inputs", "instances"), ("dataframe_records", "dataframe_split")


@pytest.mark.parametrize(
    ("form", "row"),
    [(form, row) for form in LISTS + TABLES for row in (None, 5, -0.5, 1e30, True)]
    + [(form, row) for form in TABLES for row in (["a"], {"a": "b"})],
    ids=str,
)
def test_a_server_answers_a_row_that_is_no_text(form: str, row: Any, server: Server) -> None:
    for texts in ([TEXTS[0], row], [TEXTS[0], row, None], [" ".join(TEXTS), row]):
        shape = {
            "dataframe_records": [{"text": text} for text in texts],
            "dataframe_split": {"columns": ["text"], "data": [[text] for text in texts]},
        }
        check_rows(server.post({form: shape.get(form, texts)}).answers, len(texts) - 1)


def test_a_server_takes_digits_for_a_text_where_they_are_one(server: Server) -> None:
    assert [answer["error"] for answer in server.post({"inputs": ["fine", "10"]}).answers] == ["", ""]
    assert server.post({"dataframe_records": [{"text": " ".join(TEXTS)}, {"text": "10"}]}).answers[1]["error"] == ""


@pytest.mark.parametrize("form", LISTS)
def test_a_server_refuses_a_list_in_a_list(form: str, server: Server) -> None:
    assert "inhomogeneous" in server.post({form: [TEXTS[0], ["a"]]}).refusal


@pytest.mark.parametrize("body", ['text\nword1\n""\nNA\n', "id,text\n1,word1\n2,\n3,null\n"])
def test_a_csv_has_the_same_rule(body: str, server: Server) -> None:
    check_rows(server.post(body).answers, 2)


@pytest.mark.parametrize("body", ["text\n5\n", {"inputs": [5]}, {"instances": [5.5]}, {"inputs": {"text": [True]}}])
def test_a_number_alone_is_no_text(body: Any, server: Server) -> None:
    (answer,) = server.post(body).answers
    assert (answer["probability"], answer["label"]) == (None, "")


EMPTY: list[Any] = [[], (), pd.DataFrame(), FRAME.head(0), pd.Series([], dtype=object), np.array([]), {"text": []}]


@pytest.mark.parametrize("given", EMPTY, ids=[type(given).__name__ for given in EMPTY])
def test_nothing_has_no_answer(given: Any, model: Any) -> None:
    assert model.predict(given).to_dict("list") == {"probability": [], "label": [], "error": []}


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": []},
        {"instances": []},
        {"dataframe_records": []},
        {"dataframe_split": {"columns": ["text"], "data": []}},
        {"inputs": {"text": []}},
        "text\n",
    ],
)
def test_a_server_answers_nothing_with_nothing(body: Any, server: Server) -> None:
    assert server.post(body).answers == []


def test_rows_keep_their_index(model: Any) -> None:
    assert model.predict(pd.Series(TEXTS, index=[7, 7])).index.tolist() == [7, 7]
    assert model.predict(FRAME.set_index(pd.Index(["a", "b"]))).index.tolist() == ["a", "b"]


def test_columns_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="columns of different lengths"):
        find_texts({"text": TEXTS, "id": [1]})


def spark_udf(model: Any, *columns: pd.Series) -> pd.DataFrame:
    """What MLflow's `spark_udf` does with the columns of a batch, for a model without input schema."""
    (frame,) = (
        columns
        if isinstance(columns[0], pd.DataFrame)
        else [pd.DataFrame(dict(enumerate(columns))).rename(columns=str)]
    )
    return pd.DataFrame(model.predict(frame))


def test_spark_scores_the_column_that_was_meant(model: Any, expected: list[float]) -> None:
    title, text = FRAME["title"], FRAME["text"]
    assert spark_udf(model, text).probability.tolist() == expected
    assert spark_udf(model, FRAME).probability.tolist() == expected  # of a struct
    with pytest.raises(MlflowException, match="Spark: a struct of both"):
        spark_udf(model, title, text)
    with_null = spark_udf(model, pd.Series([None, TEXTS[0]]))
    # What MLflow makes of a struct's field: the one is null in Spark, the others stay as they are.
    assert with_null["probability"].astype(np.float64).isnull().tolist() == [True, False]
    assert with_null["label"].astype(np.str_).tolist()[0] == ""


def evaluate(model: Any, frame: pd.DataFrame) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's evaluators warn, of what is not ours
        return mlflow.models.evaluate(model, frame, targets="label", model_type="classifier")  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize(
    "labels", [[0, 1, 1, 0], ["neg", "pos", "pos", "neg"], ["Positive", "negative"] * 2, [1, 1, 1, 1]]
)
def test_mlflow_evaluates_it(labels: list[Any], loaded: bool, saved: Path, model: Any, here: Path) -> None:
    texts = [*TEXTS, *TITLES]
    frame = pd.DataFrame({"id": range(4), "text": texts, "label": labels})
    found = evaluate(model if loaded else str(saved), frame)
    truth, scored = parse_labels(labels, "the test")[0], model.predict(texts)
    assert found.metrics["example_count"] == 4
    assert found.metrics["accuracy_score"] == np.mean((scored.label == "positive") == truth)
    assert found.metrics["log_loss"] == pytest.approx(log_loss(truth, scored.probability, labels=[0, 1]))
    if len(set(labels)) == 2:
        assert found.metrics["roc_auc"] == pytest.approx(roc_auc_score(truth, scored.probability))


def test_mlflow_does_not_evaluate_what_is_no_text(model: Any, here: Path) -> None:
    frame = pd.DataFrame({"text": [*TEXTS, None], "label": [0, 1, 1]})
    with pytest.raises(InputError, match=r"row 2 is .*, not a text; evaluate"):
        evaluate(model, frame)


def test_mlflow_evaluates_another_model_as_ever(model: Any, here: Path) -> None:
    frame = pd.DataFrame({"size": [1.0, 2.0, 3.0], "label": ["a", "b", "b"]})
    found = evaluate(lambda table: np.array(list("abb")), frame)
    assert found.metrics["accuracy_score"] == 1.0


def test_the_exported_network_takes_eval(saved: Path) -> None:
    network = mlflow.pytorch.load_model(str(saved))
    ids = torch.arange(21).reshape(3, 7) % VOCABULARY
    logits = network(ids)
    assert network.eval() is network
    assert torch.equal(network.to("cpu").train(False)(ids), logits)
    assert not any(module.training for module in network.modules())
    with pytest.raises(InputError, match=r"sentiment_tune\.load_model\(uri\)\.network"):
        network.train()


def test_no_file_tells_where_it_was_made(saved: Path) -> None:
    places = [ROOT, Path(torch.__file__).parent, Path.home(), Path(tempfile.gettempdir())]
    told = [str(place).encode() for place in places if len(place.parts) > 1]
    files = [path for path in saved.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    held = [(path.name, place) for path in files for place in told if place + b"/" in path.read_bytes()]
    assert held == []
