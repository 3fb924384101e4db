"""`python -m sentiment_tune`, the same as `sentiment-tune`."""

import sys
from pathlib import Path

# Python looks into the current folder first, where a file called like a library would be taken for it.
if sys.path[0] == str(Path.cwd()):
    here = sys.path.pop(0)
    if Path(__file__).is_relative_to(here):  # a checkout that may not be installed
        sys.path.append(here)

from sentiment_tune.cli.main import run

run()
