"""Edits of a proofreader on labels of any box at any level: merged, deleted, cut, cleft along pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.kernels.distance.transform import distance_nm
from chunkflow_liver.kernels.labels.relabel import relabel
from chunkflow_liver.xp import Array


@dataclass(frozen=True)
class Cut:
    """An object in two: which of its voxels get a new id.

    Attributes
    ----------
    label, new : int
        The object, and the id of the part in which the second point lies.
    start : Zyx
        First voxel of `sides`, in voxels of the level that it was made at.
    reduction : Zyx
        Voxels of level 0 in one of these.
    sides : ndarray of shape (Z, Y, X), bool
        True on the side of the second point, all over the box and not in the object alone, so that voxels
        which a coarser level lost have a side.
    """

    label: int
    new: int
    start: Zyx
    reduction: Zyx
    sides: Any


@dataclass(frozen=True)
class Cleft:
    """An object in two along its pieces: the pieces that get a new id.

    Attributes
    ----------
    label, new : int
        The object, and the id of the part with the second point.
    pieces : ndarray of shape (N,), uint64
        Those of that part.
    """

    label: int
    new: int
    pieces: Any


Step = tuple[int, int] | Cut | Cleft
"""(id, the id that it gets, 0 for none), or an object in two."""


def apply_steps(
    labels: Array, start: Zyx, reduction: Zyx, steps: Sequence[Step], pieces: Array | None = None
) -> Array:
    """Labels after steps, one after the other.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer
    start : Zyx
        First voxel of `labels`, in voxels of its level.
    reduction : Zyx
        Voxels of level 0 in one voxel of that level.
    steps : sequence of Step
        In the order in which they were made.
    pieces : ndarray of shape (Z, Y, X), unsigned integer, optional
        Of the same voxels; needed for a `Cleft`.

    Returns
    -------
    ndarray of shape (Z, Y, X)
        Of the same type, which must hold the new ids.

    Notes
    -----
    Steps between two cuts become one relabelling, so a list without cuts costs one pass however long it is.
    """
    out = labels
    moved: dict[int, int] = {}
    for step in (*steps, None):
        if isinstance(step, tuple):
            old, new = step
            moved = {k: new if v == old else v for k, v in moved.items()}
            moved.setdefault(old, new)
            continue
        if moved:
            ids = np.array(sorted(moved), np.uint64)
            out = relabel(out, ids, np.array([moved[int(i)] for i in ids], out.dtype), keep=True)
            moved = {}
        if isinstance(step, Cut):
            out = _cut(out, start, reduction, step)
        elif step is not None:
            assert pieces is not None
            across = (out == step.label) & np.isin(pieces.astype(np.uint64, copy=False), step.pieces)
            out = np.where(across, np.array(step.new, out.dtype), out)
    return out


def _cut(labels: Array, start: Zyx, reduction: Zyx, cut: Cut) -> Array:
    here = np.nonzero(labels == cut.label)
    if not len(here[0]):
        return labels
    at = []
    for axis in range(3):
        middle = (here[axis] + start[axis] + 0.5) * reduction[axis] / cut.reduction[axis]
        at.append(np.clip(np.floor(middle).astype(np.int64) - cut.start[axis], 0, cut.sides.shape[axis] - 1))
    out = labels.copy()
    across = np.asarray(cut.sides)[tuple(at)]
    out[tuple(i[across] for i in here)] = cut.new
    return out


def two_sides(mask: Array, first: Zyx, second: Zyx, voxel_nm: Nm) -> Array:
    """Which voxels of a box belong to the second of two points in an object.

    Parameters
    ----------
    mask : ndarray of shape (Z, Y, X), bool
        The object.
    first, second : Zyx
        Two voxels of it.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.

    Returns
    -------
    ndarray of shape (Z, Y, X), bool
        True where the flood from `second` arrives first; outside the object, and in parts of it that no flood
        reaches, as at the nearest voxel that one does reach.

    Notes
    -----
    A watershed of the distance to the outside from the two points: both floods go down from the middle of
    a body to its surface, and meet at the narrowest place between them.
    """
    from skimage.segmentation import watershed

    markers = np.zeros(mask.shape, np.int8)
    markers[first], markers[second] = 1, 2
    depth = distance_nm(~np.pad(mask, 1), voxel_nm, float(np.dot(mask.shape, voxel_nm)))[1:-1, 1:-1, 1:-1]
    flooded = watershed(
        -np.where(mask, depth, 0), markers, mask=mask, connectivity=ndimage.generate_binary_structure(3, 3)
    )
    reached = flooded > 0
    if not reached.all():
        nearest = ndimage.distance_transform_edt(
            ~reached, sampling=voxel_nm, return_distances=False, return_indices=True
        )
        flooded = flooded[tuple(nearest)]
    sides: Array = flooded == 2
    return sides
