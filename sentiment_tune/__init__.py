"""Train any network on reviews, track it in MLflow, and score anybody's text with what came out."""

__version__ = "0.1.0"
