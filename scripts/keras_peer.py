"""One network as Keras users write it, timed with the backend that KERAS_BACKEND names; `benchmark_speed.py` runs this.

    KERAS_BACKEND=jax python keras_peer.py NETWORK FOLDER EPOCHS SEED

FOLDER holds `train_ids.npy` [review, 500], `train_labels.npy` and, for accuracy, the same of `val`. Prints JSON:
seconds of each epoch, of which the first compiles, and the validation accuracy after each.
"""

import json
import sys
import time
from pathlib import Path

import keras
import numpy as np
from keras import layers

WORDS, LENGTH, BATCH = 10_000, 500, 64
NETWORKS = {
    "embedding": lambda: [layers.GlobalAveragePooling1D(), layers.Dense(100, activation="relu")],
    "cnn": lambda: [
        layers.Conv1D(200, 3, activation="relu"),
        layers.GlobalMaxPooling1D(),
        layers.Dense(100, activation="relu"),
    ],
    "rnn": lambda: [layers.SimpleRNN(100)],
    "lstm": lambda: [layers.LSTM(100)],
    "gru": lambda: [layers.GRU(100)],
    "cnn_lstm": lambda: [layers.Conv1D(200, 3, activation="relu"), layers.MaxPooling1D(4), layers.LSTM(100)],
}


def build_network(network: str) -> keras.Model:
    if network == "feedforward":  # word presence in
        body = [keras.Input((WORDS,)), layers.Dense(250, activation="relu")]
    else:
        body = [keras.Input((LENGTH,), dtype="int32"), layers.Embedding(WORDS, 100), *NETWORKS[network]()]
    model = keras.Sequential([*body, layers.Dropout(0.3), layers.Dense(1, activation="sigmoid")])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def read_arrays(network: str, folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    ids, labels = np.load(folder / f"{part}_ids.npy"), np.load(folder / f"{part}_labels.npy")
    if network == "feedforward":
        present = np.zeros((len(ids), WORDS), np.float32)
        np.put_along_axis(present, ids, 1, 1)
        return present, labels
    return ids, labels


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, *_: object) -> None:
        self.started = time.perf_counter()

    def on_epoch_end(self, *_: object) -> None:
        self.seconds.append(time.perf_counter() - self.started)


def main(network: str, folder: Path, epochs: int, seed: int) -> None:
    keras.utils.set_random_seed(seed)
    model, clock = build_network(network), Clock()
    validation = read_arrays(network, folder, "val") if (folder / "val_ids.npy").exists() else None
    history = model.fit(
        *read_arrays(network, folder, "train"), BATCH, epochs, verbose=0, callbacks=[clock], validation_data=validation
    )
    print(json.dumps({"seconds": clock.seconds, "accuracies": history.history.get("val_accuracy", [])}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
