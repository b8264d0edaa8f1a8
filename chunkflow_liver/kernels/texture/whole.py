"""Runs and zones of equal gray level, which need whole objects: from boxes that hold one each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Zyx
from chunkflow_liver.kernels.features import Crop, Rows, WholeGroup
from chunkflow_liver.kernels.texture.levels import (
    Ranges,
    bins,
    check_levels,
    gray_levels,
    half_offsets,
    level_range,
)
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


@dataclass(frozen=True, eq=False)
class Packed:
    """Several objects, each in a box of its own with a margin of background, one after the other.

    Attributes
    ----------
    canvas : ndarray of shape (N,), int32
        `base[object] + level` of every voxel of all boxes, flattened; 0 is background.
    at, of : ndarray of shape (V,), int64
        Place in `canvas`, and object, of every voxel of an object; ascending.
    begin : ndarray of shape (L,), int64
        Where each box begins.
    shape : ndarray of shape (L, 3), int64
        Of each box with its margin.
    base, levels : ndarray of shape (L,), int64
        What was added to the levels of an object to tell them from others'; how many levels it has.
    """

    canvas: Array
    at: Array
    of: Array
    begin: Array
    shape: Array
    base: Array
    levels: Array


def run_rows(crops: Sequence[Crop]) -> Rows:
    """Features of the runs of equal gray level of objects: `glrlm_...`, NaN where there are no runs.

    Notes
    -----
    Runs in 13 directions are followed from their first voxels, so that the cost is that of the voxels of
    the objects [1]_. A direction in which no line meets the object twice has no runs,
    as in PyRadiomics. Device arrays are worked on on the host.

    References
    ----------
    .. [1] Galloway, Texture analysis using gray level run lengths, 1975, doi:10.1016/S0146-664X(75)80008-6
    """
    packed = _packed(crops)
    found = [_runs(packed, offset) for offset in RUN_OFFSETS]
    direction = np.repeat(np.arange(len(found)), [part.shape[1] for part in found])
    number, size, n = np.concatenate(found, axis=1)
    of = np.searchsorted(packed.base, number - 1, side="right") - 1
    level = number - packed.base[of]
    order = np.lexsort((size, level, direction, of))
    of, direction, level, size, n = (a[order] for a in (of, direction, level, size, n))
    norm = crops[0].settings.weighting_norm
    if norm is None:
        lines, group = consecutive(of * len(RUN_OFFSETS) + direction)
        whose = lines // len(RUN_OFFSETS)
    else:
        weights = direction_lengths(RUN_OFFSETS, crops[0].voxel_nm, norm)
        reach = int(size.max(initial=0)) + 1
        entries, key, n = Grouped(of, len(crops)).merged(level * reach + size, n * weights[direction])
        level, size = np.divmod(key, reach)
        whose, group = consecutive(entries.group)
    values = emphases(Grouped(group, len(whose)), level, size, n, RUNS)
    return {f"glrlm_{name}": v for name, v in mean_over(whose, len(crops), values).items()}


def zone_rows(crops: Sequence[Crop]) -> Rows:
    """Features of the 26-connected zones of equal gray level of objects: `glszm_...` [1]_.

    References
    ----------
    .. [1] Thibault et al., Texture indexes and gray level size zone matrix, PRIP 2009
    """
    import cc3d

    packed = _packed(crops)
    zone, known = np.zeros(len(packed.at), np.int64), 0
    first = np.searchsorted(packed.of, np.arange(len(crops) + 1))
    for i, (begin, shape) in enumerate(zip(packed.begin.tolist(), packed.shape.tolist(), strict=True)):
        box = packed.canvas[begin : begin + int(np.prod(shape))].reshape(shape)
        zones, count = cc3d.connected_components(box, connectivity=26, return_N=True)
        inside = slice(first[i], first[i + 1])
        zone[inside] = zones.reshape(-1)[packed.at[inside] - begin].astype(np.int64) + (known - 1)
        known += count
    voxels = np.bincount(zone, minlength=known)
    number = np.zeros(known, np.int64)
    number[zone] = packed.canvas[packed.at]
    reach = int(voxels.max(initial=0)) + 1
    key, n = np.unique(number * reach + voxels, return_counts=True)
    number, size = np.divmod(key, reach)
    of = np.searchsorted(packed.base, number - 1, side="right") - 1
    values = emphases(Grouped(of, len(crops)), number - packed.base[of], size, n, ZONES)
    return {f"glszm_{name}": v for name, v in values.items()}


def _packed(crops: Sequence[Crop]) -> Packed:
    """The objects of `crops`, for the next group too: it is given the same ones."""
    known = crops[0].known
    if "packed" not in known:
        known["packed"] = _pack(crops)
    found: Packed = known["packed"]
    return found


def _pack(crops: Sequence[Crop]) -> Packed:
    shape = np.array([crop.mask.shape for crop in crops]) + 2
    size = shape.prod(axis=1)
    begin = np.cumsum(size) - size
    canvas = np.zeros(int(size.sum()), np.int32)
    values = []
    for crop, first, sides in zip(crops, begin.tolist(), shape.tolist(), strict=True):
        mask = on_host(crop.mask)
        canvas[first : first + int(np.prod(sides))].reshape(sides)[1:-1, 1:-1, 1:-1] = mask
        if crop.raw is None:
            raise InputError("textures need the image under the labels")
        values.append(on_host(crop.raw)[mask])
    at = np.flatnonzero(canvas)
    voxels = np.array([len(v) for v in values])
    of = np.repeat(np.arange(len(crops)), voxels)
    value = np.concatenate(values).astype(np.float64)
    ends = np.cumsum(voxels) - voxels
    low, high = (reduce.reduceat(value, ends) for reduce in (np.minimum, np.maximum))
    settings = crops[0].settings
    _, levels = level_range(Ranges(np.arange(len(crops), dtype=np.uint64), low, high), settings)
    start, width = bins(low, high, settings)
    base = np.cumsum(levels) - levels
    canvas[at] = base[of] + gray_levels(value, start[of], width[of], settings)
    return Packed(canvas, at, of, begin, shape, base, levels)


def _runs(packed: Packed, offset: Zyx) -> Array:
    """Runs along `offset`: number of the level, length, and how many; int64 of shape (3, R)."""
    from chunkflow_liver.kernels.texture.run_loops import run_lengths

    z, y, x = offset
    steps = (z * packed.shape[:, 1] + y) * packed.shape[:, 2] + x
    total = np.int64(packed.levels.sum() + 1)
    many = np.zeros(len(packed.begin), bool)
    length = np.empty(len(packed.at), np.int32)
    run_lengths(packed.canvas, packed.at, packed.of, steps, length, many)
    if not many.all():
        many[_gapped(packed, np.flatnonzero(~many), offset)] = True
    begins = np.flatnonzero(length)
    # Number 0 is background, and no run has length 0.
    counted = np.bincount(length[begins] * total + packed.canvas[packed.at[begins]])
    seen = np.flatnonzero(counted)
    size, number = np.divmod(seen, total)
    kept = np.repeat(many, packed.levels)[number - 1]
    return np.stack([number, size, counted[seen]])[:, kept]


def _gapped(packed: Packed, objects: Array, offset: Zyx) -> Array:
    """Those of `objects` that some line along `offset` meets more than once."""
    wanted = np.isin(packed.of, objects)
    at, of = packed.at[wanted], packed.of[wanted]
    row, x = np.divmod(at - packed.begin[of], packed.shape[of, 2])
    z, y = np.divmod(row, packed.shape[of, 1])
    place = np.stack([z, y, x], axis=1)
    moving = next(axis for axis in range(3) if offset[axis])
    # Every line meets plane 0 of the first axis that moves in one point, which names it.
    name = place - place[:, moving : moving + 1] * (np.array(offset) * offset[moving])
    named, n = np.unique(np.column_stack([of, name]), axis=0, return_counts=True)
    return np.unique(named[n > 1, 0])


GLRLM = WholeGroup(
    None,
    {f"glrlm_{name}": "float64" for name in RUNS},
    image=True,
    working=80.0,
    check=check_levels,
    together=run_rows,
)
GLSZM = WholeGroup(
    None,
    {f"glszm_{name}": "float64" for name in ZONES},
    image=True,
    working=80.0,
    check=check_levels,
    together=zone_rows,
)
