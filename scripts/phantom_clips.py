"""Clips of bundles to train a small SAM2 on: one object in a window on a few slices, and its prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.kernels.images.windows import shrunk
from chunkflow_liver.kernels.phantom.bundle import Bundle, render_bundle
from chunkflow_liver.segmenters.sam2.propagator import Hint

SIZE = 96
"""Side of the window in pixels."""
SHAPE, VOXEL_NM = (20, 320, 320), (80.0, 20.0, 20.0)
FIRST_SEED = 1000
MOST_FACTOR = 3
LEAST_VOXELS = 400
"""Of an object on the slice that it is begun from."""
HURT = 0.15
"""Share of clips with a lost slice, and of those with a shifted one."""


@dataclass(frozen=True)
class Clip:
    """One object on a few slices: grey values (T, S, S), uint8, and its mask (T, S, S), bool."""

    grey: np.ndarray[Any, Any]
    mask: np.ndarray[Any, Any]


@dataclass(frozen=True)
class Sample:
    """An image and its truth, as wide as the largest window beyond every edge.

    Attributes
    ----------
    grey, labels : ndarray of shape (Z, Y, X)
    vessel : int
        Label of an object that a quarter of the clips follow, 0 if there is none.
    """

    grey: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]
    vessel: int = 0


MARGIN = MOST_FACTOR * SIZE


def sample(grey: Any, labels: Any, vessel: int = 0) -> Sample:
    """An image that goes on with its edge, and a truth with nothing, beyond theirs."""
    wide = [(0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)]
    return Sample(np.pad(grey, wide, mode="edge"), np.pad(labels, wide), vessel)


def samples(count: int, first: int) -> list[Sample]:
    """Bundles of several sizes of cells."""
    rng = np.random.default_rng(first)
    found = []
    for seed in range(first, first + count):
        bundle = Bundle(
            SHAPE,
            VOXEL_NM,
            seed,
            cell_nm=float(rng.uniform(1300, 1900)),
            ending=int(rng.integers(0, 4)),
            branch=float(rng.uniform(0.1, 0.7)),
        )
        found.append(sample(*render_bundle(bundle), bundle.vessel))
    return found


def clip(pool: list[Sample], length: int, rng: np.random.Generator) -> Clip:
    """A random object in a window that is laid as propagation lays it, on `length` slices in either order."""
    while True:
        of = pool[rng.integers(len(pool))]
        order = np.arange(length) + rng.integers(len(of.grey) - length + 1)
        if rng.random() < 0.5:
            order = order[::-1]
        there = np.setdiff1d(of.labels[order[0]], (0, of.vessel))
        number = of.vessel if of.vessel and rng.random() < 0.25 else int(rng.choice(there))
        rows, columns = np.nonzero(of.labels[order[0]] == number)
        if len(rows) < LEAST_VOXELS:
            continue
        extent = max(np.ptp(rows), np.ptp(columns)) + 1
        largest = rng.uniform(0.4, 0.72) * SIZE
        factor = next((f for f in (1, 2, MOST_FACTOR) if extent < largest * f), None)
        if factor is None:
            continue
        middle = [(int(v.min()) + int(v.max())) / 2 for v in (rows, columns)]
        # Anywhere in the window: where an image ends, windows do not have their object in the middle.
        jitter = rng.uniform(-0.5, 0.5, 2) * (SIZE * factor - extent)
        corner = [round(m + j - SIZE * factor / 2) for m, j in zip(middle, jitter, strict=True)]
        found = _cut(of, order, number, corner, factor, rng)
        if found.mask[0].any():
            return _turned(found, rng)


def _cut(
    of: Sample, order: Any, number: int, corner: list[int], factor: int, rng: np.random.Generator
) -> Clip:
    """The window at a corner, with a shifted and a lost slice now and then."""
    moves = np.zeros((len(order), 2), int)
    if len(order) > 1 and rng.random() < HURT:
        moves[rng.integers(1, len(order))] = rng.integers(-12, 13, 2)
    side = SIZE * factor
    places = []
    for z, move in zip(order.tolist(), moves.tolist(), strict=True):
        y, x = (min(max(0, c - m), n - side) for c, m, n in zip(corner, move, of.grey.shape[1:], strict=True))
        places.append((z, slice(y, y + side), slice(x, x + side)))
    grey = np.rint(shrunk(np.stack([of.grey[p] for p in places]), factor)).astype(np.uint8)
    mask = shrunk(np.stack([of.labels[p] == number for p in places]), factor) >= 0.5
    if len(order) > 1 and rng.random() < HURT:
        grey[rng.integers(1, len(order))] = 0
    return Clip(grey, mask)


def _turned(of: Clip, rng: np.random.Generator) -> Clip:
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    contrast, light = rng.uniform(0.85, 1.15), rng.uniform(-12, 12)
    grey = np.where(of.grey > 0, np.clip((of.grey - 128.0) * contrast + 128 + light, 1, 255), 0)
    both = [np.rot90(v, turns, (1, 2)) for v in (grey.astype(np.uint8), of.mask)]
    return Clip(*(np.ascontiguousarray(v[:, :, ::-1] if flip else v) for v in both))


def hint(mask: Any, kind: str, rng: np.random.Generator) -> Hint:
    """A prompt as a person gives it."""
    if kind == "mask":
        return Hint(mask=mask)
    rows, columns = np.nonzero(mask)
    loose = rng.uniform(-2, 3, 4)
    low = rows.min() - loose[0], columns.min() - loose[1]
    high = rows.max() + loose[2], columns.max() + loose[3]
    y0, x0, y1, x1 = map(float, (*low, *high))
    return Hint(box=(y0, x0, y1, x1))
