"""Smallest and largest value of every whole plane of a volume, from its blocks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box, Zyx
from chunkflow_liver.xp import Array, on_host

Record = dict[str, np.ndarray[Any, Any]]

SLAB_VOXELS = 1 << 20


def block_extremes(array: Array, axis: int, origin: Zyx = (0, 0, 0)) -> Record:
    """What one block knows of the planes across `axis` that it meets.

    Parameters
    ----------
    array : ndarray of shape (C, Z, Y, X), any real dtype
        Voxels of the block, finite; cast to float32, as nnU-Net does.
    axis : int
        0, 1 or 2 for z, y or x.
    origin : Zyx
        First voxel of the block in the volume.

    Returns
    -------
    dict of ndarray
        `plane_at` of shape (n,): index of each plane; `plane_low`, `plane_high` (float32) and
        `plane_nonzero` (int64) of shape (C, n): extremes and number of its voxels that are not zero.
        Zeros are left out, since those outside the box of non-zero voxels do not count.
    """
    array = on_host(array)
    planes = np.moveaxis(array, axis + 1, 1)
    shape = planes.shape[:2]
    low, high = np.full(shape, np.inf, np.float32), np.full(shape, -np.inf, np.float32)
    nonzero = np.zeros(shape, np.int64)
    depth = max(1, SLAB_VOXELS // max(1, math.prod(planes.shape[2:])))
    for c, channel in enumerate(planes):
        for first in range(0, shape[1], depth):
            values = channel[first : first + depth].astype(np.float32)
            at = (c, slice(first, first + len(values)))
            zero = values == 0
            nonzero[at] = math.prod(values.shape[1:]) - np.count_nonzero(zero, axis=(1, 2))
            low[at] = np.where(zero, np.float32(np.inf), values).min((1, 2))
            high[at] = np.where(zero, np.float32(-np.inf), values).max((1, 2))
    at_planes = np.arange(origin[axis], origin[axis] + shape[1])
    return {"plane_at": at_planes, "plane_low": low, "plane_high": high, "plane_nonzero": nonzero}


def merge_extremes(parts: Iterable[Mapping[str, np.ndarray[Any, Any]]]) -> Record:
    """The extremes of several disjoint blocks as one record, with every plane once, in order.

    Parameters
    ----------
    parts : iterable of dict of ndarray
        What `block_extremes` or `merge_extremes` gave; other keys are left out.
    """
    merged: Record = {}
    for part in parts:
        if not merged:
            merged = _spread(part, part["plane_at"])
            continue
        here = np.searchsorted(merged["plane_at"], part["plane_at"])
        found = merged["plane_at"][np.minimum(here, len(merged["plane_at"]) - 1)]
        if not np.array_equal(found, part["plane_at"]):
            at = np.union1d(merged["plane_at"], part["plane_at"])
            merged, here = _spread(merged, at), np.searchsorted(at, part["plane_at"])
        merged["plane_low"][:, here] = np.minimum(merged["plane_low"][:, here], part["plane_low"])
        merged["plane_high"][:, here] = np.maximum(merged["plane_high"][:, here], part["plane_high"])
        merged["plane_nonzero"][:, here] += part["plane_nonzero"]
    return merged


def _spread(part: Mapping[str, np.ndarray[Any, Any]], at: np.ndarray[Any, Any]) -> Record:
    """A copy of `part` with room for the planes `at`, its own among them."""
    shape = (len(part["plane_low"]), len(at))
    here = np.searchsorted(at, part["plane_at"])
    made: Record = {
        "plane_at": at,
        "plane_low": np.full(shape, np.inf, np.float32),
        "plane_high": np.full(shape, -np.inf, np.float32),
        "plane_nonzero": np.zeros(shape, np.int64),
    }
    for key in ("plane_low", "plane_high", "plane_nonzero"):
        made[key][:, here] = part[key]
    return made


def plane_extremes(
    merged: Mapping[str, np.ndarray[Any, Any]], axis: int, crop: Box
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Smallest and largest value of every plane of the box of non-zero voxels.

    Parameters
    ----------
    merged : dict of ndarray
        What `merge_extremes` gave for all blocks of the volume.
    axis : int
        As in `block_extremes`.
    crop : Box
        Smallest box around the voxels that are not zero in some channel, as in `Statistics`.

    Returns
    -------
    low, high : ndarray of shape (C, crop.shape[axis]), float32
    """
    wanted = np.arange(crop.start[axis], crop.stop[axis])
    here = np.searchsorted(merged["plane_at"], wanted)
    here = np.minimum(here, len(merged["plane_at"]) - 1)
    if not np.array_equal(merged["plane_at"][here], wanted):
        raise InputError(
            f"extremes of planes {wanted[0]} to {wanted[-1]} across axis {axis} are wanted, but a block is "
            "missing; merge every block of the grid"
        )
    low, high = merged["plane_low"][:, here], merged["plane_high"][:, here]
    # Every voxel that is not zero lies in the crop: what is left of a plane's area are zeros.
    zeros = merged["plane_nonzero"][:, here] < crop.size // crop.shape[axis]
    nothing = np.float32(0)
    return np.where(zeros, np.minimum(low, nothing), low), np.where(zeros, np.maximum(high, nothing), high)
