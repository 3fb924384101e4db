"""Train any network on reviews, track it in MLflow, and score anybody's text with what came out.

    import sentiment_tune as st

    run = st.train("cnn", data="reviews.csv", epochs=3, hidden=64)
    study = st.tune("lstm", data=frame, trials=20)
    model = st.load_model("models:/sentiment@champion")
    model.predict(["a fine film"])

Importing the package loads nothing heavy: torch and MLflow come with the first call.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sentiment_tune.api import Inspection as Inspection
    from sentiment_tune.api import Model as Model
    from sentiment_tune.api import StudyResult as StudyResult
    from sentiment_tune.api import TrainedRun as TrainedRun
    from sentiment_tune.api import delete_study as delete_study
    from sentiment_tune.api import doctor as doctor
    from sentiment_tune.api import ensemble as ensemble
    from sentiment_tune.api import inspect as inspect
    from sentiment_tune.api import leaderboard as leaderboard
    from sentiment_tune.api import load_model as load_model
    from sentiment_tune.api import promote as promote
    from sentiment_tune.api import register as register
    from sentiment_tune.api import settings as settings
    from sentiment_tune.api import studies as studies
    from sentiment_tune.api import train as train
    from sentiment_tune.api import tune as tune
    from sentiment_tune.api import tune_each as tune_each
    from sentiment_tune.api import upload as upload
    from sentiment_tune.classifier import SentimentClassifier as SentimentClassifier
    from sentiment_tune.errors import InputError as InputError
    from sentiment_tune.errors import OutageError as OutageError
    from sentiment_tune.process import quiet_mlflow as quiet_mlflow

_HOMES = {
    **dict.fromkeys(
        (
            "train",
            "tune",
            "tune_each",
            "load_model",
            "leaderboard",
            "register",
            "promote",
            "ensemble",
            "inspect",
            "studies",
            "delete_study",
            "doctor",
            "upload",
        ),
        "api",
    ),
    **dict.fromkeys(("settings", "TrainedRun", "StudyResult", "Inspection", "Model"), "api"),
    "SentimentClassifier": "classifier",
    **dict.fromkeys(("InputError", "OutageError"), "errors"),
    "quiet_mlflow": "process",
}
__all__ = [
    "InputError",
    "Model",
    "OutageError",
    "SentimentClassifier",
    "StudyResult",
    "TrainedRun",
    "__version__",
    "delete_study",
    "doctor",
    "ensemble",
    "leaderboard",
    "load_model",
    "promote",
    "quiet_mlflow",
    "register",
    "settings",
    "studies",
    "train",
    "tune",
    "tune_each",
    "upload",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'sentiment_tune' has no attribute {name!r}")
    return getattr(import_module(f"sentiment_tune.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
