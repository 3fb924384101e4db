"""A logged model as a function of Spark: the probabilities are those of `score`, and a null does not fail the job."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import sentiment_tune as st
from sentiment_tune.data.tables import read_table, write_table
from support import ask

pytestmark = [pytest.mark.spark, pytest.mark.filterwarnings("ignore")]  # of what is Spark's and MLflow's
ANSWER = "probability double, label string"
CHAMPION = "models:/sentiment@champion"


class Registered(NamedTuple):
    spark: Any
    texts: list[str]
    folder: Path  # of MLflow's database


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Spark of this machine, with two Python processes of one thread each."""
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        pytest.fail("pyspark is not installed: pip install 'pyspark>=4.2,<4.3'")  # who asks for this test wants it run
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"):
            patch.setenv(name, sys.executable)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        builder = SparkSession.builder.master("local[2]").appName("sentiment_tune")
        settings = {
            "spark.ui.enabled": "false",
            "spark.driver.memory": "1g",
            "spark.local.dir": str(tmp_path_factory.mktemp("spark")),
            "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
            "spark.sql.execution.arrow.maxRecordsPerBatch": "1000",
        }
        for name, value in settings.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        yield session
        session.stop()


@pytest.fixture(scope="module")
def registered(spark: Any, imdb_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registered]:
    """A champion that has read IMDB once, and the test texts."""
    import mlflow

    folder = tmp_path_factory.mktemp("champion")
    address = f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        small: dict[str, Any] = {"epochs": 1, "embedding": 16, "schedule": "constant"}
        run = st.train("embedding", str(imdb_folder / "imdb.npz"), tracking_uri=address, progress=False, **small)
        st.register(run, tracking_uri=address)
        rows = read_table(imdb_folder / "imdb_test.csv.xz").column("text", "--text")
        yield Registered(spark, rows, folder)
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


def test_spark_gets_the_probabilities_of_score(registered: Registered) -> None:
    import mlflow.pyfunc

    given = list(enumerate(registered.texts))
    write_table(registered.folder / "texts.parquet", ("id", "text"), given)
    words = ("score", "--model", CHAMPION, "--input", "texts.parquet", "--output", "scored.parquet", "--quiet")
    answer = ask(*words, "--tracking-uri", f"sqlite:///{registered.folder}/mlflow.db")
    assert answer.code == 0, answer
    scored = read_table(registered.folder / "scored.parquet").rows
    score = mlflow.pyfunc.spark_udf(registered.spark, CHAMPION, result_type=ANSWER, env_manager="local")
    read = registered.spark.read.parquet(str(registered.folder / "texts.parquet")).repartition(4)
    found = {row.id: row.answer for row in read.select("id", score("text").alias("answer")).collect()}
    assert len(found) == len(scored) == 25_000
    assert max(abs(found[row[0]].probability - row[2]) for row in scored) <= 1e-6
    assert [found[row[0]].label for row in scored] == [row[3] for row in scored]
    assert max(row[2] for row in scored) - min(row[2] for row in scored) > 0.5  # else all would be near


def test_a_null_has_no_probability_and_the_reason_says_why(registered: Registered) -> None:
    import mlflow.pyfunc

    rows = [(0, "a fine film"), (1, None), (2, "a dull one")]
    frame = registered.spark.createDataFrame(rows, "id long, text string").coalesce(1)
    answers = {}
    for result_type in (ANSWER, f"{ANSWER}, error string", None):
        score = mlflow.pyfunc.spark_udf(registered.spark, CHAMPION, result_type=result_type, env_manager="local")
        answers[result_type] = [row.answer.asDict() for row in frame.select(score("text").alias("answer")).collect()]
    assert [row["label"] == "" for row in answers[ANSWER]] == [False, True, False]
    assert [row["probability"] is None for row in answers[ANSWER]] == [False, True, False]
    assert answers[f"{ANSWER}, error string"][1]["error"] == "row 1 is nan, not a text"  # as pandas has a null
    assert answers[None] == answers[f"{ANSWER}, error string"]  # the model says itself what it answers
