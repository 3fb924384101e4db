"""Tune every network and end with the leaderboard: the whole contest, searched.

    python scripts/tune.py --data PATH/imdb.npz --trials 8

It is `sentiment-tune tune --model all`, with all its options. Run again, it goes on where it stopped: a study has the
trials it has, and a finished confirmation is not repeated.
"""

import sys

from sentiment_tune.cli.main import run

if __name__ == "__main__":
    sys.argv[1:1] = ["tune", "--model", "all"]
    run()
