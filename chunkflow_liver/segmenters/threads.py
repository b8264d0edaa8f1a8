"""How many CPU threads torch computes with: their number changes bits, and a worker is one thread."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def torch_threads(count: int, device: str = "cpu") -> Iterator[None]:
    """torch computes with `count` threads on a CPU; another device is left alone.

    Workers share the cores, and two threads spin on each other. Sums of another number of threads have other
    last bits, so that a run here would not be that on a cluster.
    """
    if device != "cpu":
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
