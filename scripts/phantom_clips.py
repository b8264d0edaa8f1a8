"""Clips of bundles to train a small SAM2 on: one object in a window on a few slices, and its prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter as gaussian

from chunkflow_liver.kernels.images.windows import Window, carried, shrunk
from chunkflow_liver.kernels.phantom.bundle import Bundle, render_bundle
from chunkflow_liver.segmenters.sam2.propagator import STRIDE, Hint

SIZE = 96
"""Side of the window in pixels."""
SHAPE, VOXEL_NM = (48, 320, 320), (80.0, 20.0, 20.0)
FIRST_SEED = 1000
FACTORS = (1, 2, 3, 4)
"""Voxels in a pixel of the windows."""
LEAST_VOXELS = 400
"""Of an object on the slice that it is begun from."""
HURT = 0.04
"""Share of slices that are lost, and of those that are shifted."""
ROUGH = 0.5
"""Share of prompted masks that are as wrong as those a track is begun anew from."""


@dataclass(frozen=True)
class Clip:
    """One object on a few slices: grey values (T, S, S), uint8, and its mask (T, S, S), bool."""

    grey: np.ndarray[Any, Any]
    mask: np.ndarray[Any, Any]


@dataclass(frozen=True)
class Sample:
    """An image and its truth.

    Attributes
    ----------
    grey, labels : ndarray of shape (Z, Y, X)
    vessel : int
        Label of an object that a quarter of the clips follow, 0 if there is none.
    """

    grey: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]
    vessel: int = 0


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
        found.append(Sample(*render_bundle(bundle), bundle.vessel))
    return found


def clip(pool: list[Sample], length: int, rng: np.random.Generator) -> Clip:
    """A random object in a window that holds it on all of `length` slices, which are in either order."""
    while True:
        of = pool[rng.integers(len(pool))]
        order = np.arange(length) + rng.integers(len(of.grey) - length + 1)
        if rng.random() < 0.5:
            order = order[::-1]
        there = np.setdiff1d(of.labels[order[0]], (0, of.vessel))
        number = of.vessel if of.vessel and rng.random() < 0.25 else int(rng.choice(there))
        own = of.labels[order] == number
        if own[0].sum() < LEAST_VOXELS:
            continue
        rows, columns = np.nonzero(own.any(0))
        extent = max(np.ptp(rows), np.ptp(columns)) + 1
        # Coarser than propagation lays windows as often as finer: of each factor something has to be seen.
        largest = rng.uniform(0.3, 0.75) * SIZE
        factor = next((f for f in FACTORS if extent < largest * f), None)
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
    """The window at a corner, with shifted and lost slices; beyond an image its edge goes on."""
    hurt = rng.random((2, len(order))) < HURT
    hurt[:, 0] = False
    moves = np.where(hurt[0][:, None], rng.integers(-12, 13, (len(order), 2)), 0)
    side = SIZE * factor
    grey = np.empty((len(order), SIZE, SIZE), np.uint8)
    mask = np.empty(grey.shape, bool)
    for i, (z, move) in enumerate(zip(order.tolist(), moves.tolist(), strict=True)):
        wide = [np.arange(c - m, c - m + side) for c, m in zip(corner, move, strict=True)]
        near = [np.clip(v, 0, n - 1) for v, n in zip(wide, of.grey.shape[1:], strict=True)]
        own = of.labels[z][np.ix_(*near)] == number
        own &= (wide[0] == near[0])[:, None] & (wide[1] == near[1])
        mask[i] = shrunk(own[None], factor)[0] >= 0.5
        grey[i] = np.rint(shrunk(of.grey[z][np.ix_(*near)][None], factor)[0])
    grey[hurt[1]] = 0
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
        return Hint(mask=_rough(mask, rng) if rng.random() < ROUGH else mask)
    rows, columns = np.nonzero(mask)
    loose = rng.uniform(-2, 3, 4)
    low = rows.min() - loose[0], columns.min() - loose[1]
    high = rows.max() + loose[2], columns.max() + loose[3]
    y0, x0, y1, x1 = map(float, (*low, *high))
    return Hint(box=(y0, x0, y1, x1))


def _rough(mask: Any, rng: np.random.Generator) -> Any:
    """A mask as the logits of a window tell it that have gone astray by a place or two."""
    wide = SIZE // STRIDE
    share = mask.reshape(wide, STRIDE, wide, STRIDE).mean((1, 3))
    astray = np.kron(rng.normal(0, 0.2, (wide // 4, wide // 4)), np.ones((4, 4)))
    places = Window(0, 0, STRIDE, wide)
    found = carried(gaussian(share - 0.5 + gaussian(astray, 1.0), 0.7), places, Window(0, 0, 1, SIZE)) > 0
    return found if found.any() else mask
