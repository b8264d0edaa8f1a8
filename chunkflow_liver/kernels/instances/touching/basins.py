"""The basins around the maxima of a height inside a mask, the passes between them, and what is one."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import GridError
from chunkflow_liver.geometry import Nm
from chunkflow_liver.kernels.distance.squares import whole_unit
from chunkflow_liver.xp import Array

_AROUND = tuple(step for step in itertools.product((-1, 0, 1), repeat=3) if any(step))
_MOST_VOXELS = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Basins:
    """Basins 1..n of a mask, in the raster order of their peaks, and the passes between them.

    Attributes
    ----------
    label : ndarray of shape (Z, Y, X), int32
        0 outside the mask.
    voxels : ndarray of shape (n + 1,), int64
    top : ndarray of shape (n + 1,), int32
        Highest level.
    begin : ndarray of shape (n + 2,), int64
        Where the voxels of each basin's peak begin in `peak_nm`.
    peak_nm : ndarray of shape (M, 3), float64
        Where they are; of a wide plateau its rim.
    pairs : ndarray of shape (P, 2), int64
        Two basins that touch each, the highest pass first.
    pass_level : ndarray of shape (P,), int32
        Level of the highest pass between them.
    pass_nm : ndarray of shape (P, 3), float64
        Where it is.
    area_nm2 : ndarray of shape (P,), float64
        Area of the faces over which they touch.
    """

    label: Array
    voxels: Array
    top: Array
    begin: Array
    peak_nm: Array
    pairs: Array
    pass_level: Array
    pass_nm: Array
    area_nm2: Array


def inner_steps(solid: Array, voxel_nm: Nm, cap_nm: float, step_nm: float) -> Array:
    """Distance of every voxel to the nearest one that is not solid, at most `cap_nm`, in whole steps.

    Parameters
    ----------
    solid : ndarray of shape (Z, Y, X), bool
        What lies outside the array is unknown.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    cap_nm : float
        Largest distance, in nm.
    step_nm : float
        Length of a step; distances are rounded to the nearest.

    Returns
    -------
    ndarray of the same shape, int32
        0 where not solid.

    Notes
    -----
    Exact, as `distance_nm` of the inverse is, in the time that the solid voxels need: along each axis the
    distance of a voxel follows from the row of solid voxels that it lies in.
    """
    from chunkflow_liver.kernels.instances.touching.depth_loops import (
        depth_across,
        depth_in_rows,
        rounded_roots,
    )

    unit = whole_unit(voxel_nm)
    limit = unit.squares(cap_nm)
    z, y, x = solid.shape
    found: np.ndarray[Any, Any] = np.empty(solid.shape, np.uint32 if limit < 2**32 - 1 else np.uint64)
    other = np.empty_like(found)
    depth_in_rows(
        np.ascontiguousarray(solid).reshape(z * y, x), unit.voxel[2], limit + 1, found.reshape(z * y, x)
    )
    depth_across(found, unit.voxel[1], other)
    depth_across(other.reshape(1, z, y * x), unit.voxel[0], found.reshape(1, z, y * x))
    steps: np.ndarray[Any, Any] = np.empty(solid.shape, np.int32)
    rounded_roots(found.ravel(), unit.nm, cap_nm, step_nm, steps.ravel())
    return steps


def find_basins(level: Array, voxel_nm: Nm, connectivity: int) -> Basins:
    """Basins of all maxima of a level, by a flood from the highest voxel to the lowest.

    Parameters
    ----------
    level : ndarray of shape (Z, Y, X), int32
        1.. in the mask, 0 elsewhere.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    connectivity : {6, 26}
        Which voxels touch.

    Returns
    -------
    Basins
    """
    from chunkflow_liver.kernels.instances.touching.basin_loops import (
        find_passes,
        find_peaks,
        flood,
        rims_of_peaks,
    )

    wide, steps, later, area = _padded(level, voxel_nm, connectivity)
    flat = wide.ravel()
    label, room = np.zeros(flat.size, np.int32), np.empty(flat.size, np.int32)
    n = find_peaks(flat, steps, label, room)
    rim = room[: rims_of_peaks(label, flat, steps, room)].astype(np.int64)
    rim = rim[np.argsort(label[rim], kind="stable")]
    begin = np.searchsorted(label[rim], np.arange(n + 2))
    top = np.zeros(n + 1, np.int32)
    top[label[rim]] = flat[rim]
    flood(flat, steps, label, _queues(flat), room)
    del room
    slots = 1 << 10
    while True:
        key = np.full(slots, -1, np.int64)
        found = (np.zeros(slots, np.int32), np.zeros(slots, np.int64), np.zeros(slots))
        if find_passes(label, flat, later, area, key, found) >= 0:
            break
        slots *= 4
    there = np.flatnonzero(key >= 0)
    one, two = key[there] >> 32, key[there] & (2**32 - 1)
    pass_level, at, faces = (values[there] for values in found)
    order = np.lexsort((two, one, -pass_level))
    return Basins(
        label.reshape(wide.shape)[1:-1, 1:-1, 1:-1],
        np.bincount(label[label > 0], minlength=n + 1),
        top,
        begin,
        _nm(rim, wide.shape, voxel_nm),
        np.stack([one, two], 1)[order],
        pass_level[order],
        _nm(at, wide.shape, voxel_nm)[order],
        faces[order],
    )


def flooded(level: Array, markers: Array, voxel_nm: Nm, connectivity: int) -> Array:
    """Every voxel of a mask in the marker from which a flood from the highest level down reaches it first.

    Parameters
    ----------
    level, voxel_nm, connectivity
        As for `find_basins`.
    markers : ndarray of shape (Z, Y, X), integer
        Where the flood begins, in every connected part of the mask at least once.

    Returns
    -------
    ndarray of the same shape, int32
    """
    from chunkflow_liver.kernels.instances.touching.basin_loops import flood

    wide, steps, _, _ = _padded(level, voxel_nm, connectivity)
    label = np.pad(np.where(level > 0, markers, 0).astype(np.int32), 1)
    flood(wide.ravel(), steps, label.ravel(), _queues(wide), np.empty(wide.size, np.int32))
    return label[1:-1, 1:-1, 1:-1]


def _padded(level: Array, voxel_nm: Nm, connectivity: int) -> tuple[Array, Array, Array, Array]:
    """A level with one voxel of 0 around; steps to neighbours, to later ones, and the area of faces there."""
    wide = np.pad(level, 1)
    if wide.size > _MOST_VOXELS:
        raise GridError(
            f"{wide.size} voxels are more than the {_MOST_VOXELS} that basins count; use smaller blocks"
        )
    _, y, x = wide.shape
    near = [s for s in _AROUND if connectivity == 26 or sum(map(abs, s)) == 1]
    later = [s for s in near if s > (0, 0, 0)]
    steps, after = (
        np.array([(dz * y + dy) * x + dx for dz, dy, dx in part], np.int64) for part in (near, later)
    )
    # Later neighbours across faces are one step up an axis.
    area = [math.prod(voxel_nm) / voxel_nm[s.index(1)] if sum(map(abs, s)) == 1 else 0.0 for s in later]
    return wide, steps, after, np.array(area, np.float64)


def _queues(level: Array) -> Array:
    return np.full((2, int(level.max(initial=0)) + 1), -1, np.int32)


def _nm(place: Array, shape: tuple[int, ...], voxel_nm: Nm) -> Array:
    """Centres of voxels of a padded array, from the first voxel inside the padding."""
    return np.stack(np.unravel_index(place, shape), -1).astype(np.float64) * voxel_nm


def join_by_area(basins: Basins, group: Array, voxel_nm: Nm, share: float) -> Array:
    """Groups of basins joined where they touch over more than a share of what the smaller one's size allows.

    Parameters
    ----------
    basins : Basins
    group : ndarray of shape (n + 1,), int64
        Of every basin one of its group, as `join_gentle` gives them.
    voxel_nm : tuple of float
    share : float
        Two groups are one if they touch over at least this share of the section of a ball as large as the
        smaller of them.

    Returns
    -------
    ndarray of shape (n + 1,), int64
        As `group`.

    Notes
    -----
    In rounds: two groups are joined if each is the one of which the other touches the largest share (of
    equals the first in raster order); then all is counted anew.
    """
    group = group.copy()
    volume: Array = np.bincount(group, basins.voxels, len(group)) * math.prod(voxel_nm)
    pairs, area = basins.pairs, basins.area_nm2
    while True:
        ends = np.sort(group[pairs], 1)
        apart = ends[:, 0] != ends[:, 1]
        met, at = np.unique(ends[apart], axis=0, return_inverse=True)
        area = np.bincount(at.ravel(), area[apart], len(met))
        radius = np.cbrt(3 / (4 * math.pi) * np.minimum(volume[met[:, 0]], volume[met[:, 1]]))
        found = area / (math.pi * radius**2)
        pairs = met
        likely = np.flatnonzero(found >= share)
        if not len(likely):
            return group
        best = np.full(len(group), len(met))
        # Of equal shares the first pair; written backwards, the best of each group stays.
        order = likely[np.argsort(-found[likely], kind="stable")][::-1]
        best[met[order, 0]] = order
        second = np.full(len(group), len(met))
        second[met[order, 1]] = order
        # A group can be first in one pair and second in another.
        rank = np.full(len(met) + 1, len(met))
        rank[order[::-1]] = np.arange(len(order))
        best = np.where(rank[best] <= rank[second], best, second)
        mutual = likely[(best[met[likely, 0]] == likely) & (best[met[likely, 1]] == likely)]
        into = np.arange(len(group))
        into[met[mutual, 1]] = met[mutual, 0]
        volume = np.bincount(into, volume, len(group))
        group = into[group]
