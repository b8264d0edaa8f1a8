"""How far the axis of a tube lies beside a voxel of its line, and how wide the tube is there."""

from __future__ import annotations

import itertools

import numpy as np

from chunkflow_liver.geometry import Block, Box, Nm
from chunkflow_liver.kernels.distance.squares import whole_unit
from chunkflow_liver.xp import Array

AHEAD = 2
"""Voxels that distances are compared over."""
PART = 64
"""A shift is stored in whole parts of a voxel's smallest side."""
_BITS = 16


def shifts(
    index: Array, depth: Array, block: Block, voxel_nm: Nm, known: Box, hidden: Array | None = None
) -> Array:
    """How much farther the wall is on one side of a voxel than on the other, along z, y and x.

    Parameters
    ----------
    index : ndarray of shape (n, 3), int64
        Voxels in the read box of a block.
    depth, block, voxel_nm, known, hidden
        As for `chains.parts_of`.

    Returns
    -------
    ndarray of shape (n,), int64
        Half the difference of the distances to the background two voxels ahead and two behind (one where
        the object is thinner than six), at most a voxel (see `unpacked`), and what the distance is more at
        the place so far beside the voxel than at the voxel (`deeper`): four numbers in one.

    Notes
    -----
    Round the axis of a tube the distance to its wall is a cone: half this difference is how far the axis
    lies from the voxel, along that direction across the tube.
    """
    unit, part = whole_unit(voxel_nm), min(voxel_nm) / PART
    square = depth[tuple(index.T)]
    packed = np.zeros(len(index), np.int64)
    for axis, side in enumerate(voxel_nm):
        steps = np.where(unit.length_nm(square) < 3 * side, 1, AHEAD)
        sides = []
        inside = np.ones(len(index), bool)
        for sign in (1, -1):
            at = index.copy()
            at[:, axis] += sign * steps
            here = at[:, axis] + block.read.start[axis]
            inside &= (here >= 0) & (here < block.volume.shape[axis])
            at[:, axis] = np.clip(at[:, axis], 0, depth.shape[axis] - 1)
            sides.append(unit.length_nm(depth[tuple(at.T)]))
        half = np.where(inside, np.clip((sides[0] - sides[1]) / 2, -side, side), 0)
        packed = (packed << _BITS) + np.rint(half / part).astype(np.int64) + (1 << (_BITS - 1))
    places = unpacked(packed, voxel_nm)
    more = _between(index, places, depth, block, voxel_nm, known, hidden) - unit.length_nm(square)
    most = (1 << (_BITS - 1)) - 1
    return packed + (np.clip(np.rint(more / part), -most, most).astype(np.int64) << (3 * _BITS))


def _between(
    index: Array, beside_nm: Array, depth: Array, block: Block, voxel_nm: Nm, known: Box, hidden: Array | None
) -> Array:
    """Distance to the background of places beside voxels, in nm.

    Notes
    -----
    It is no more than that of any voxel and the way to it, and that of one on the way to the nearest
    background voxel. Voxels up to `AHEAD` off are tried: no more than a few hundredths of a voxel too large.
    """
    unit, size = whole_unit(voxel_nm), np.array(voxel_nm)
    low = np.maximum(np.array(known.start) - block.read.start, 0)
    high = np.minimum(np.array(known.stop) - block.read.start, depth.shape)
    found = np.full(len(index), np.inf)
    for step in itertools.product(range(-AHEAD, AHEAD + 1), repeat=3):
        at = index + step
        looked = np.asarray(((at >= low) & (at < high)).all(1))
        place = tuple(np.where(looked[:, None], at, index).T)
        if hidden is not None:
            looked &= ~hidden[place]
        far = unit.length_nm(depth[place]) + np.linalg.norm(np.array(step) * size - beside_nm, axis=1)
        np.minimum(found, np.where(looked, far, np.inf), out=found)
    return np.where(np.isfinite(found), found, unit.length_nm(depth[tuple(index.T)]))


def unpacked(packed: Array, voxel_nm: Nm) -> Array:
    """How far beside its voxel the axis lies, of each of `shifts`: (n, 3), in nm."""
    parts = [(packed >> (_BITS * i)) & ((1 << _BITS) - 1) for i in (2, 1, 0)]
    return (np.stack(parts, -1) - (1 << (_BITS - 1))) * (min(voxel_nm) / PART)


def deeper(packed: Array, voxel_nm: Nm) -> Array:
    """How much farther the background is there than from the voxel, of each of `shifts`: (n,), in nm."""
    return np.asarray((packed >> (3 * _BITS)) * (min(voxel_nm) / PART))
