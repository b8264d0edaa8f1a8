"""Batches made ready by threads while the network works, in the order of their numbers."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from chunkflow_liver.training.recipe import Recipe
from chunkflow_liver.training.together import ALONE, Group
from chunkflow_liver.training.windows.augmentation import augmented
from chunkflow_liver.training.windows.drawing import Drawing

MOST_THREADS = 12
AHEAD = 2
"""Steps that are made ready while one is worked on."""
WINDOW, AUGMENT = 0, 1
"""What random numbers are for."""

Batch = tuple[Any, Any]


def batch(drawing: Drawing, recipe: Recipe, step: int, group: Group = ALONE) -> Batch:
    """Images (B, C, *window), float32, and targets (B, *window), int64, of one step, as tensors.

    Of several processes that share it, those of this one.
    """
    slots = range(group.rank, recipe.batch, group.size)
    parts = [window(drawing, recipe, step * recipe.batch + slot) for slot in slots]
    return collated(parts, recipe)


def collated(parts: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]], recipe: Recipe) -> Batch:
    """Windows as one batch, without the axis z for a network that sees single planes."""
    import torch

    images = torch.from_numpy(np.stack([image for image, _ in parts]))
    targets = torch.from_numpy(np.stack([labels for _, labels in parts])).long()
    return (images[:, :, 0], targets[:, 0]) if recipe.is_2d else (images, targets)


def window(
    drawing: Drawing, recipe: Recipe, number: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Image (C, Z, Y, X) and labels (Z, Y, X) of a window as the network sees it, augmented."""
    image, labels = drawing.read(number)
    rng = drawing.rng(number, AUGMENT)
    return augmented(image, labels, rng, kind=recipe.augment, voxel_nm=recipe.voxel_nm)


@contextmanager
def batches(drawing: Drawing, recipe: Recipe, first: int, group: Group = ALONE) -> Iterator[Iterator[Batch]]:
    """The batches of the steps from `first` on; which threads make them does not matter."""
    gpu = recipe.device.startswith("cuda")
    threads = min(MOST_THREADS, max(1, (os.cpu_count() or 1) // group.size)) if gpu else 1
    pool = ThreadPoolExecutor(threads, "chunkflow-liver-windows")
    waiting: deque[Future[Batch]] = deque()

    def made() -> Iterator[Batch]:
        coming = first
        while True:
            while len(waiting) < max(AHEAD, threads) and coming < recipe.steps:
                waiting.append(pool.submit(batch, drawing, recipe, coming, group))
                coming += 1
            if not waiting:
                return
            yield waiting.popleft().result()

    try:
        yield made()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
