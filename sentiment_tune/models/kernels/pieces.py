"""Work that threads share as few large pieces, so that what comes of it does not depend on how many they are.

torch's own threads cut a sum as there are threads. Here it is cut as the work is, each piece is computed by one thread,
and the pieces are added in their order. Whoever is free takes the next piece.
"""

import functools
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def cut(length: int, count: int, unit: int = 1) -> list[slice]:
    """`count` pieces of a length, as equal as can be, each but the last of whole units; none of them is empty."""
    units = -(-length // unit)
    count = max(1, min(count, units))
    bounds = (min(length, units * number // count * unit) for number in range(count + 1))
    return [slice(start, end) for start, end in pairwise(bounds)]


def each(work: Callable[[Piece], Result], pieces: Sequence[Piece]) -> list[Result]:
    """What `work` makes of each piece, by as many threads as torch may use: torch.set_num_threads."""
    allowed = torch.get_num_threads()
    if allowed == 1:
        return [work(piece) for piece in pieces]
    results: dict[int, Result] = {}
    modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()  # of this thread; the others have their own
    waiting = deque(enumerate(pieces))

    def help_out() -> None:
        with torch.inference_mode(modes[1]), torch.set_grad_enabled(modes[0]):
            while waiting:
                try:
                    number, piece = waiting.popleft()
                except IndexError:  # another was faster
                    return
                results[number] = work(piece)

    torch.set_num_threads(1)  # within a piece
    helpers = [_pool(allowed - 1).submit(help_out) for _ in range(min(allowed, len(pieces)) - 1)]
    try:
        help_out()
    finally:
        waiting.clear()
        for helper in helpers:
            if not helper.cancel():  # one that has not begun is not waited for
                helper.result()
        torch.set_num_threads(allowed)
    return [results[number] for number in range(len(pieces))]


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "pieces", initializer=functools.partial(torch.set_num_threads, 1))
