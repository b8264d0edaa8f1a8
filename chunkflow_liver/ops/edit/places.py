"""Places of edits: the voxel of an object at a point that somebody clicked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chunkflow_liver.geometry import Nm, Zyx, zyx
from chunkflow_liver.xp import Array

NEAR = 2
"""Voxels along each axis that a click may be off."""


def nearest_inside(mask: Array, start: Zyx, nm: Nm, point: Sequence[float]) -> tuple[float, Zyx] | None:
    """The voxel of an object that is nearest to a point, of those next to it.

    Parameters
    ----------
    mask : ndarray of shape (Z, Y, X), bool
        The object in a box.
    start : Zyx
        First voxel of the box.
    nm : tuple of float
        Voxel size along (z, y, x).
    point : sequence of 3 float
        (z, y, x) in nm.

    Returns
    -------
    (float, Zyx) or None
        Its squared distance in nm^2, and where it is in the volume; the first of equally near ones.
    """
    at = np.array([p / v for p, v in zip(point, nm, strict=True)]) - 0.5
    low = np.round(at).astype(int) - NEAR - np.array(start)
    window = tuple(slice(max(a, 0), max(a + 2 * NEAR + 1, 0)) for a in low.tolist())
    inside = np.argwhere(mask[window]) + np.maximum(low, 0) + np.array(start)
    if not len(inside):
        return None
    far = (((inside - at) * np.array(nm)) ** 2).sum(axis=1)
    best = int(np.argmin(far))
    return float(far[best]), zyx(inside[best].tolist())


def place_text(point: Sequence[float]) -> str:
    """A point as messages tell it."""
    return f"({', '.join(f'{p:.0f}' for p in point)}) nm"
