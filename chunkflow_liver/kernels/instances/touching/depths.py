"""How many objects a mask is at each depth and steepness of its necks, and where these are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from chunkflow_liver.geometry import Nm
from chunkflow_liver.kernels.instances.touching.basins import Basins, find_basins
from chunkflow_liver.kernels.instances.touching.watershed import STEPS, Necks, levels, united
from chunkflow_liver.xp import Array

LEAST_RANGE = 2.0
"""A range of depths that reaches so many times its beginning speaks for a depth inside it."""


@dataclass(frozen=True, eq=False)
class Found:
    """What a mask comes to at some depths and, at its own depth, at some steepnesses.

    Attributes
    ----------
    by_depth, by_steepness : ndarray of shape (D,) and (S,), int64
        Number of objects.
    place_nm : ndarray of shape (n, 3), float64
        Of every neck that is cut at any of these, the middle of its pass, from the mask's first corner.
    half_nm : ndarray of shape (n,), float64
        Half-width there.
    deepest_nm, steepest : ndarray of shape (n,), float64
        The largest depth, and the largest steepness, of the list at which it is cut; -1 where at none.
    basins : Basins
    members : dict of float to ndarray
        For each steepness the object of every basin.
    """

    by_depth: Array
    by_steepness: Array
    place_nm: Array
    half_nm: Array
    deepest_nm: Array
    steepest: Array
    basins: Basins
    members: dict[float, Array]


def count_objects(
    mask: Array,
    *,
    voxel_nm: Nm,
    necks: Necks,
    depths_nm: Sequence[float],
    steepnesses: Sequence[float],
    outside: Array | None = None,
    boundary: Array | None = None,
    hidden: Array | None = None,
) -> Found:
    """The objects of a mask at each depth, and at each steepness, all else as `necks` says.

    Parameters
    ----------
    mask, voxel_nm, necks, outside, boundary, hidden
        As for `watershed.split_mask`; the mask is flooded once, whatever the number of depths.
    depths_nm, steepnesses : sequence of float
        Ascending.
    """
    level, base = levels(mask, voxel_nm, necks, outside, boundary, hidden)
    basins = find_basins(level, voxel_nm, necks.connectivity)
    deepest, steepest = np.full((2, len(basins.pairs)), -1.0)
    by_depth, by_steepness = np.zeros(len(depths_nm), np.int64), np.zeros(len(steepnesses), np.int64)
    members: dict[float, Array] = {}
    for i, depth in enumerate(depths_nm):
        number = united(basins, base, voxel_nm, replace(necks, depth_nm=depth))
        by_depth[i] = number.max(initial=0)
        deepest[_cut(basins, number)] = depth
    for i, steepness in enumerate(steepnesses):
        number = members[steepness] = united(basins, base, voxel_nm, replace(necks, steepness=steepness))
        by_steepness[i] = number.max(initial=0)
        steepest[_cut(basins, number)] = steepness
    kept = np.flatnonzero((deepest >= 0) | (steepest >= 0))
    half = np.maximum(basins.pass_level[kept].astype(np.int64) - base, 0) * (min(voxel_nm) / STEPS)
    return Found(
        by_depth,
        by_steepness,
        # They count from the padding's first voxel.
        basins.pass_nm[kept] - np.array(voxel_nm) / 2,
        half,
        deepest[kept],
        steepest[kept],
        basins,
        members,
    )


def _cut(basins: Basins, number: Array) -> Array:
    """The highest pass, of those between two objects, for every two that touch: index of its pair."""
    ends = np.sort(number[basins.pairs].astype(np.int64), axis=1)
    apart = np.flatnonzero(ends[:, 0] != ends[:, 1])
    _, first = np.unique(ends[apart], axis=0, return_index=True)
    return np.asarray(apart[first])


def suggested_depth(depths_nm: Array, objects: Array, least_nm: float) -> tuple[float, float] | None:
    """The longest range of depths that changes nothing, from `least_nm` on; None if none is long enough.

    Parameters
    ----------
    depths_nm : ndarray of shape (D,), float64
        Ascending.
    objects : ndarray of shape (D,), int
        Their number at each.
    least_nm : float
        Below it lies what noise of an outline does.

    Returns
    -------
    tuple of float, or None
        First and last depth of the range, in nm. A depth in its middle (on a logarithmic scale) is the one
        on which least depends.
    """
    some = depths_nm >= least_nm
    depths, objects = depths_nm[some], objects[some]
    if not len(depths):
        return None
    begin = np.flatnonzero(np.concatenate([[True], objects[1:] != objects[:-1]]))
    end = np.append(begin[1:], len(depths)) - 1
    longest = int(np.argmax(depths[end] / depths[begin]))
    low, high = float(depths[begin[longest]]), float(depths[end[longest]])
    return (low, high) if high >= LEAST_RANGE * low else None
