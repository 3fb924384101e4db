"""What a finished and tested run says of its model, as typed values; `tracking.records` reads it from MLflow."""

from dataclasses import dataclass


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
    test_f1: float
    test_roc_auc: float
    test_log_loss: float  # nat
    test_brier: float
    test_reviews_per_second: float
    train_seconds: float
    refit_seconds: float
    model_bytes: float
    experiment_id: str = ""
    parent: str | None = None  # id of the run above it
