"""A network's answers to reviews, on the device it is on."""

from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sentiment_tune.data.batches import Batches
from sentiment_tune.errors import InputError
from sentiment_tune.inference.threads import usual_threads
from sentiment_tune.signals import end_if_asked


def resolve_device(name: str) -> torch.device:
    """The device of that name; `auto` takes CUDA or the CPU, never MPS, which is untested. InputError if absent."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device("cuda" if available["cuda"] else "cpu")
    if not available[name]:
        raise InputError(f"device cannot be {name!r}: torch {torch.__version__} finds none here; choose auto or cpu")
    return torch.device(name)


@torch.inference_mode()
def predict(network: nn.Module, batches: Batches) -> NDArray[np.float64]:
    """Logits [review] or [review, class] of the network as it scores, without dropout, in the order of the reviews."""
    network.eval()
    device = device_of(network)
    answers: list[Tensor] = []
    with closing(usual_threads(network)) as threads:
        for batch in batches:
            end_if_asked()
            with threads.step(batch.ids.numel()):
                answers.append(network(batch.ids.to(device)))  # where they are: a GPU is waited for once, at the end
    if not answers:
        return np.empty(0)
    in_batches = torch.cat(answers).cpu().double().numpy()
    logits = np.empty_like(in_batches)
    logits[np.concatenate(batches.rows)] = in_batches
    return logits


def device_of(network: nn.Module) -> torch.device:
    """The device of the network's parameters."""
    return next(network.parameters()).device
