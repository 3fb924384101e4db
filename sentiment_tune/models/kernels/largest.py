"""The largest of many numbers and where it stands, on a CPU.

torch's max-pooling finds both for many features at once, where its `max` compares one number after another.
"""

from torch import Tensor
from torch.nn import functional


def largest_in(image: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """The largest number of each feature in windows of an image [row, column, feature], and its place.

    Both are [window, feature]. The windows, of so many rows and columns, lie side by side and fill the image. A place
    is counted through the image, row by row; of equal numbers it is the first's.
    """
    pooled = functional.max_pool2d(
        image.contiguous().unsqueeze(0).permute(0, 3, 1, 2), (rows, columns), return_indices=True
    )
    largest, place = (found.squeeze(0).flatten(1).t() for found in pooled)
    return largest, place
