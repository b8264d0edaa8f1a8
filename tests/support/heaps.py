"""Peaks of memory that do not depend on what a process did before."""

from __future__ import annotations

import contextlib
import gc
import tracemalloc


@contextlib.contextmanager
def peak():
    """A list that holds the peak of traced memory in bytes once the block has ended.

    Cycles (closed files, frames of errors) count until they are collected, and in a process of many
    objects the oldest of three generations is collected only once a quarter as many have come: what
    other tests left is set aside, and ours collected often.
    """
    found: list[int] = []
    seldom = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.collect()
    gc.set_threshold(50, 2, 2)
    tracemalloc.start()
    try:
        yield found
        found.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
        gc.set_threshold(*seldom)
        gc.unfreeze()
