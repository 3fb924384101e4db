"""A network of your own: one class, whose settings become options, MLflow params and a search space.

Run it as a script, or import the class: `sentiment-tune train --model own_network:Attention`.
"""

# %% The constructor takes the number of word ids and its own settings, each declared with its bounds.
from typing import Annotated

import torch
from torch import Tensor, nn

from sentiment_tune.space import Range, Rate


class Attention(nn.Module):
    """An average of the words' vectors in which each word says how much it counts."""

    def __init__(
        self,
        vocabulary: int,
        size: Annotated[int, Range(1, 4096, search=(16, 128), log=True)] = 32,
        dropout: Rate = 0.2,
    ):
        super().__init__()
        self.vectors = nn.Embedding(vocabulary, size, padding_idx=0)
        self.weight = nn.Linear(size, 1)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(size, 1)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [batch] of word ids [batch, word], 0 after a review's end."""
        vectors = self.dropout(self.vectors(ids))
        weights = self.weight(vectors).squeeze(-1).masked_fill(ids == 0, -1e9).softmax(1)  # [batch, word]
        return self.output((weights.unsqueeze(-1) * vectors).sum(1)).squeeze(-1)


# %% Train it, and search its settings: what is given is fixed, the rest is searched between the bounds.
if __name__ == "__main__":
    import sentiment_tune as st

    torch.set_num_threads(1)
    run = st.train("own_network:Attention", data="sample", size=16, progress=False)
    print(f"test accuracy {run.metrics['test_accuracy']:.4f}")
    study = st.tune("own_network:Attention", data="sample", trials=3, epochs=8, top=1, seeds=1, progress=False)
    print(study.trials)
    print(study.best_settings)
