"""Runs and zones of equal gray level, which need the whole object: from a box that holds it."""

from __future__ import annotations

import functools

import numpy as np

from chunkflow_liver.geometry import Zyx
from chunkflow_liver.kernels.features import Crop, WholeGroup
from chunkflow_liver.kernels.texture.levels import Graded, Ranges, check_levels, grade, half_offsets
from chunkflow_liver.kernels.texture.matrices import (
    RUNS,
    ZONES,
    Grouped,
    consecutive,
    emphases,
    mean_over,
)
from chunkflow_liver.kernels.texture.pairs import direction_lengths
from chunkflow_liver.xp import Array, on_host

RUN_OFFSETS = half_offsets((1,))


def run_features(crop: Crop) -> dict[str, float]:
    """Features of the runs of equal gray level of an object: `glrlm_...`, NaN where it has no runs.

    Notes
    -----
    With a margin of background a step along a direction is a constant stride in the flattened box, so its
    lines are the columns of a table of that many columns: runs are found as in one dimension [1]_. A
    direction in which no line meets the object twice has no runs, as in PyRadiomics. A device array is
    worked on on the host.

    References
    ----------
    .. [1] Galloway, Texture analysis using gray level run lengths, 1975, doi:10.1016/S0146-664X(75)80008-6
    """
    graded = _graded(crop)
    parts = [_tallied(*_runs(graded, offset)) for offset in RUN_OFFSETS]
    direction = np.repeat(np.arange(len(parts)), [len(level) for level, _, _ in parts])
    level, size, n = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    norm = crop.settings.weighting_norm
    if norm is None:
        _, group = consecutive(direction)
    else:
        weights = direction_lengths(RUN_OFFSETS, crop.voxel_nm, norm)
        reach = int(size.max(initial=0)) + 1
        group = np.zeros(len(n), np.int64)
        entries, key, n = Grouped(group, 1).merged(level * reach + size, n * weights[direction])
        (level, size), group = np.divmod(key, reach), entries.group
    count = int(group.max(initial=-1)) + 1
    found = emphases(Grouped(group, count), level, size, n, RUNS)
    means = mean_over(np.zeros(count, np.int64), 1, found)
    return {f"glrlm_{name}": float(values[0]) for name, values in means.items()}


def zone_features(crop: Crop) -> dict[str, float]:
    """Features of the 26-connected zones of equal gray level of an object: `glszm_...` [1]_.

    References
    ----------
    .. [1] Thibault et al., Texture indexes and gray level size zone matrix, PRIP 2009
    """
    import cc3d

    graded = _graded(crop)
    zones, count = cc3d.connected_components(
        graded.code.reshape(graded.shape), connectivity=26, return_N=True
    )
    zones = zones.reshape(-1)
    size = np.bincount(zones, minlength=count + 1)[1:]
    level = np.zeros(count + 1, np.int64)
    level[zones] = graded.code
    level, size, n = _tallied(level[1:], size)
    found = emphases(Grouped(np.zeros(len(n), np.int64), 1), level, size, n, ZONES)
    return {f"glszm_{name}": float(values[0]) for name, values in found.items()}


@functools.lru_cache(maxsize=1)
def _graded(crop: Crop) -> Graded:
    """The gray levels of the object, which are its codes, with a margin of one voxel; on the host.

    Kept for the next group: runs and zones look at the same object one after the other.
    """
    mask, raw = on_host(crop.mask), None if crop.raw is None else on_host(crop.raw)
    inside = np.zeros(0) if raw is None else raw[mask]
    low, high = (np.array([reduce(inside)], np.float64) for reduce in (np.min, np.max))
    return grade(mask, raw, Ranges(np.ones(1, np.uint64), low, high), crop.settings, 1)


def _runs(graded: Graded, offset: Zyx) -> tuple[Array, Array]:
    """Gray level and length of every run along `offset`."""
    z, y, x = offset
    step = (z * graded.shape[1] + y) * graded.shape[2] + x
    lines = np.zeros(-(-len(graded.code) // step) * step, np.int32)
    lines[: len(graded.code)] = graded.code
    line = lines.reshape(-1, step).T.reshape(-1)
    first = np.flatnonzero(np.concatenate([[True], line[1:] != line[:-1]]))
    length = np.diff(np.append(first, len(line)))
    level = line[first]
    inside = level > 0
    # A run of several voxels, or two without background between, are two voxels on one line.
    shares = (length[inside] > 1).any() or (inside[1:] & inside[:-1]).any() or _gapped(graded, offset)
    return (level[inside], length[inside]) if shares else (level[:0], length[:0])


def _gapped(graded: Graded, offset: Zyx) -> bool:
    """Whether some line along `offset` meets the object more than once."""
    place = np.stack(np.nonzero(graded.code.reshape(graded.shape)), axis=1)
    moving = next(axis for axis in range(3) if offset[axis])
    # Every line meets plane 0 of the first axis that moves in one point, which names it.
    name = place - place[:, moving : moving + 1] * (np.array(offset) * offset[moving])
    return len(np.unique(name, axis=0)) < len(name)


def _tallied(level: Array, size: Array) -> tuple[Array, Array, Array]:
    """The distinct pairs, ascending, and how often each of them occurs; int64."""
    reach = int(size.max(initial=0)) + 1
    key = level.astype(np.int64) * reach + size
    total = int(key.max(initial=-1)) + 1
    if total <= max(4 * len(key), 1 << 16):
        counted = np.bincount(key, minlength=total)
        key = np.flatnonzero(counted)
        n = counted[key]
    else:
        key, n = np.unique(key, return_counts=True)
    return key // reach, key % reach, n


GLRLM = WholeGroup(
    run_features, {f"glrlm_{name}": "float64" for name in RUNS}, image=True, working=60.0, check=check_levels
)
GLSZM = WholeGroup(
    zone_features,
    {f"glszm_{name}": "float64" for name in ZONES},
    image=True,
    working=60.0,
    check=check_levels,
)
