"""Writes checkpoints, each full of its number, and says which are on the disk: write_checkpoints.py FOLDER"""

import itertools
import sys
from pathlib import Path

import torch

from sentiment_tune.training.checkpoint import Checkpoints


def main() -> None:
    folder, origin = Path(sys.argv[1]), {"seed": 1}
    latest = Checkpoints(folder, origin).latest()
    for number in itertools.count(latest.facts["number"] + 1 if latest else 1):
        checkpoints = Checkpoints(folder, origin)
        checkpoints.save(number, 0, {"values": torch.full((number % 7 * 100_000 + 1,), number)}, {"number": number})
        checkpoints.close()
        print(number, flush=True)


if __name__ == "__main__":
    main()
