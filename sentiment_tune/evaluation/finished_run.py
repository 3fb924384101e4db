"""What a finished and tested run says of its model, as typed values; `tracking.records` reads it from MLflow."""

from dataclasses import dataclass

from sentiment_tune.data.labels import SENTIMENT
from sentiment_tune.evaluation.metrics import ACCURACY


@dataclass(frozen=True)
class FinishedRun:
    """A run that has trained a model and let it read the test split."""

    run_id: str
    network: str
    data: str  # name
    data_digest: str
    reviews_train: int
    reviews_validation: int
    reviews_test: int
    seed: int
    package_version: str
    git_commit: str | None
    parameters: int
    is_refit: bool  # the model has seen the validation reviews
    best_val_accuracy: float
    test_accuracy: float
    test_f1: float | None  # of the second of two classes
    test_macro_f1: float | None  # versions before 0.3 did not log it
    test_roc_auc: float
    test_log_loss: float  # nat
    test_brier: float
    test_reviews_per_second: float
    train_seconds: float
    refit_seconds: float
    model_bytes: float
    experiment_id: str = ""
    metric: str = ACCURACY  # by which it was judged
    best_val_score: float | None = None  # and what it came to on validation, more is better, if it is not accuracy
    classes: tuple[str, ...] = SENTIMENT.names
    test_majority: float | None = None  # accuracy of who always says the most frequent class of train

    @property
    def score(self) -> float:
        """By which it was judged, more is better."""
        return self.best_val_accuracy if self.best_val_score is None else self.best_val_score

    parent: str | None = None  # id of the run above it
