"""What a run holds in MLflow, by name: the only place where a tag, a metric or an artifact gets its name.

Params are the settings under the names that their declarations give them, and the metrics of an epoch are the fields of
`training.loop.EpochRecord`; the names below are all others. They have no prefix by which MLflow would group its charts:
it compares by name, so runs of before and of now would stand in two columns.
"""

from collections.abc import Mapping


class Tag:
    """Tags of runs."""

    # of every run that ends with a model
    NETWORK = "network"
    DATA = "data"
    DATA_DIGEST = "data_digest"
    CLASSES = "classes"  # JSON, the names of what a review can be, where they are not the usual two
    METRIC = "metric"  # that judges, where that is not accuracy
    DATA_WARNING = "data_warning"
    REVIEWS_TRAIN = "reviews_train"
    REVIEWS_VALIDATION = "reviews_validation"
    REVIEWS_TEST = "reviews_test"
    SEED = "seed"
    GIT_COMMIT = "git_commit"
    PACKAGE_VERSION = "package_version"
    DEVICE = "device"
    PARAMETERS = "parameters"
    REFIT = "refit"  # the model has seen the validation reviews
    ERROR = "error"  # why the run failed
    SETTINGS = "settings"  # until they are logged as a file
    PROCESS = "process"  # which works on it: host, number, start time
    SEEN = "seen"  # when the process last gave a sign of life, in seconds since 1970
    # of a study's runs
    STUDY = "study"
    STORAGE = "storage"
    STAGE = "stage"  # see Stage
    TRIAL = "trial"
    OPTUNA_STATE = "optuna_state"
    PRUNED_AT_EPOCH = "pruned_at_epoch"
    PRUNED_AT_FOLD = "pruned_at_fold"
    EXCESS = "excess"  # what the network has more of than it may, so that it was not trained
    BEST_TRIAL = "best_trial"
    BEST_RUN = "best_run"  # of a study's trials, or of repeats
    SEEDS = "seeds"  # of repeats: how many there are to be
    FOLDS = "folds"  # of repeats that are folds: how many there are to be
    FOLD = "fold"  # of a training that is one of them: which, from 1
    WINNER = "winner"
    RESTORED = "restored"  # where from, of a run that was lost
    # MLflow's own
    PARENT_RUN = "mlflow.parentRunId"
    NOTE = "mlflow.note.content"  # the description of a run or an experiment, in Markdown
    EXPERIMENT_KIND = "mlflow.experimentKind"
    VIEW = "mlflow.sharedViewState."  # begins the tags of an experiment that hold views of its runs


class Stage:
    """What a run is, that is no single training or only part of a study."""

    STUDY = "study"
    SEARCH = "search"  # a trial
    CONFIRM = "confirm"  # a trial's settings, trained again
    REPEATS = "repeats"  # above trainings that differ in their seed alone, or in the fold that validates


class VersionTag:
    """Tags of a version in the registry."""

    NETWORK = "network"
    DATA = "data"
    DATA_DIGEST = "data_digest"
    METRIC = "metric"  # that judges, where that is not accuracy
    VAL_SCORE = "val_score"  # and what it came to
    VAL_ACCURACY = "val_accuracy"
    TEST_ACCURACY = "test_accuracy"
    PARAMETERS = "parameters"
    MODEL_BYTES = "model_bytes"
    REASON = "reason"  # why it has its alias, or none


class ModelTag:
    """Tags of a logged model."""

    DIGEST = "files_sha256"  # of the list of its files and their digests


class Metric:
    """Metrics that are logged once; those of the test are `TEST` before a name of `evaluation.metrics`."""

    BEST_EPOCH = "best_epoch"
    BEST_VAL_ACCURACY = "best_val_accuracy"
    BEST_VAL_LOSS = "best_val_loss"
    BEST_VAL_SCORE = "best_val_score"  # of the metric that judges, more is better, where that is not accuracy
    THRESHOLD = "threshold"  # between two classes, where it was found on validation
    TRAIN_SECONDS = "train_seconds"
    REFIT_SECONDS = "refit_seconds"
    PACKAGE_SECONDS = "package_seconds"
    MODEL_BYTES = "model_bytes"
    TEST = "test_"
    TEST_ACCURACY = "test_accuracy"
    TEST_F1 = "test_f1"
    TEST_MACRO_F1 = "test_macro_f1"
    TEST_MAJORITY = "test_majority_accuracy"  # of who always says the most frequent class of train
    TEST_ROC_AUC = "test_roc_auc"
    TEST_LOG_LOSS = "test_log_loss"
    TEST_BRIER = "test_brier"
    TEST_REVIEWS_PER_SECOND = "test_reviews_per_second"
    TRIALS = "trials"
    CONFIRMED_VAL_ACCURACY = "confirmed_val_accuracy"  # mean of the winner's trainings with other seeds
    CONFIRMED_VAL_SCORE = "confirmed_val_score"  # in its place where another metric judges, more is better
    CONFIRMED_SPREAD = "confirmed_spread"
    FOLDS = "folds"  # of the same, where they are folds; in a study's trial, each of which has its FOLD_VAL_ACCURACY
    FOLD_VAL_ACCURACY = "fold_val_accuracy"
    REPEATS = "repeats"  # trainings of which MEAN, SPREAD, LEAST and MOST before a figure's name are
    MEAN, SPREAD, LEAST, MOST = "mean_", "sd_", "min_", "max_"
    WEIGHT = "weight_"  # of an ensemble's member, before its registered name


# Metrics that a logged model has too, and the part of the data on which each is measured.
MODEL_FIGURES = {
    **dict.fromkeys((Metric.BEST_VAL_ACCURACY, Metric.BEST_VAL_LOSS), "validation"),
    **dict.fromkeys((Metric.TEST_ACCURACY, Metric.TEST_F1, Metric.TEST_ROC_AUC, Metric.TEST_LOG_LOSS), "test"),
}


def score_of(metrics: Mapping[str, float]) -> float:
    """By which a training is judged, more is better: its validation accuracy, unless another metric was chosen."""
    return metrics.get(Metric.BEST_VAL_SCORE, metrics[Metric.BEST_VAL_ACCURACY])


class Artifact:
    """Files of a run."""

    SETTINGS = "settings.json"
    TEST_PREDICTIONS = "test.npz"
    ERROR_RATES = "mistakes.json"
    MISTAKES_TABLE = "mistakes_table.json"
    GOLDEN = "golden.json"
    DATA_CHECKS = "data_checks.csv"
    OUT_OF_FOLD = "out_of_fold.csv"
    TRACEBACK = "traceback.txt"
    PLOTS = "plots"  # a folder
    CARDS = "cards"  # a folder
    STUDY = "study"  # a folder
    STUDY_PAGE = "study/study.html"
    STUDY_TRIALS = "study/trials.csv"
    STUDY_FRONT = "study/front.csv"
    BEST_SETTINGS = "study/best_settings.json"
    MODEL = "model"
