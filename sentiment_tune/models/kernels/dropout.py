"""Random bytes, on a CPU: drawing them is what dropout costs."""

import torch
from torch import Tensor


def random_bytes(shape: torch.Size) -> Tensor:
    """Numbers from 0 to 255 of that shape, eight from one draw of 64 bits."""
    drawn = torch.empty(-(-shape.numel() // 8), dtype=torch.int64)
    return drawn.random_(-(2**63), None).view(torch.uint8)[: shape.numel()].view(shape)
