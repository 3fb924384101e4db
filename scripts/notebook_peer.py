"""One contestant of the course notebook, in its way and with its mistakes, timed; `benchmark_speed.py` runs this.

    python notebook_peer.py NETWORK FOLDER EPOCHS SEED

FOLDER is that of `keras_peer.py`, and so is what is printed. The notebook's way: every review padded to 500 and read
whole, ids as numbers where it had no embedding, a ReLU before the sigmoid, BCELoss, Adam, the last word's state.
Where its sizes are not known they are those of the comparison. What the mistakes do is shown by
`tests/models/test_notebook.py`.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

WORDS, LENGTH, BATCH, SIZE, FILTERS = 10_000, 500, 64, 100, 200


class LastState(nn.Module):
    """A recurrent layer and its state at the last of the 500 places, which stands behind the padding.

    The notebook's LSTM took the batch for time, without `batch_first`, and read across reviews.
    """

    def __init__(self, layer: nn.RNNBase):
        super().__init__()
        self.layer = layer

    def forward(self, words: Tensor) -> Tensor:
        states: Tensor = self.layer(words)[0]
        return states[:, -1]


class AsNumbers(nn.Module):
    """Ids taken for amounts: [batch, word] -> [batch, 1, word]."""

    def forward(self, ids: Tensor) -> Tensor:
        return ids.float().unsqueeze(1)


class AsChannels(nn.Module):
    """The notebook's transpose by `view`: shapes fit, and words and features are mixed."""

    def forward(self, words: Tensor) -> Tensor:
        batch, word, feature = words.shape
        return words.view(batch, feature, word)


def head(features: int) -> list[nn.Module]:
    return [nn.Linear(features, 1), nn.ReLU(), nn.Sigmoid(), nn.Flatten(0)]


def build_network(network: str) -> nn.Sequential:
    words = nn.Embedding(WORDS, SIZE)
    layers: dict[str, list[nn.Module]] = {
        "feedforward": [AsNumbers(), nn.Flatten(), nn.Linear(LENGTH, SIZE), nn.ReLU(), *head(SIZE)],
        "embedding": [
            words,
            nn.Flatten(),
            nn.Linear(LENGTH * SIZE, SIZE),
            nn.ReLU(),
            nn.Linear(SIZE, 1),
            nn.Sigmoid(),
            nn.Flatten(0),
        ],
        "cnn": [
            AsNumbers(),
            nn.Conv1d(1, FILTERS, 3),
            nn.ReLU(),
            nn.AdaptiveMaxPool1d(1),
            nn.Flatten(),
            *head(FILTERS),
        ],
        "rnn": [words, LastState(nn.RNN(SIZE, SIZE, batch_first=True)), *head(SIZE)],
        "lstm": [words, LastState(nn.LSTM(SIZE, SIZE)), *head(SIZE)],
        "cnn_lstm": [
            words,
            AsChannels(),
            nn.Conv1d(SIZE, FILTERS, 3),
            nn.ReLU(),
            nn.MaxPool1d(4),
            Transposed(),
            LastState(nn.LSTM(FILTERS, SIZE)),
            *head(SIZE),
        ],
    }
    return nn.Sequential(*layers[network])


class Transposed(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features.transpose(1, 2)


def main(network: str, folder: Path, epochs: int, seed: int) -> None:
    torch.manual_seed(seed)
    ids, labels = (torch.from_numpy(np.load(folder / f"train_{part}.npy")) for part in ("ids", "labels"))
    model, loss, seconds = build_network(network), nn.BCELoss(), []
    optimizer = torch.optim.Adam(model.parameters())
    loader = DataLoader(TensorDataset(ids.long(), labels.float()), BATCH, shuffle=True)
    for _ in range(epochs):
        started, correct = time.perf_counter(), 0.0
        for batch, targets in loader:
            optimizer.zero_grad()
            probabilities = model(batch)
            loss(probabilities, targets).backward()
            optimizer.step()
            correct += (torch.round(probabilities) == targets).float().mean().item()
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
