"""`python -m sentiment_tune`, the same as `sentiment-tune`."""

from sentiment_tune.cli.main import run

run()
