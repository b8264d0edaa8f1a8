"""Runs and zones of equal gray level, which need whole objects: from boxes that hold one each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Zyx
from chunkflow_liver.kernels.features.groups import Crop, WholeGroup
from chunkflow_liver.kernels.intensity.levels import bins, check_levels, half_offsets, last_bin
from chunkflow_liver.kernels.intensity.matrices import RUNS, ZONES, Grouped, emphases, mean_over, named
from chunkflow_liver.kernels.intensity.pairs import direction_lengths
from chunkflow_liver.kernels.rows import Rows
from chunkflow_liver.xp import Array, on_host

RUN_OFFSETS = half_offsets((1,))
_BESIDE = [(0, 1, 0), (1, -1, 1), (1, -1, 0), (1, -1, -1)]
EARLIER = [*_BESIDE, *(step for step in RUN_OFFSETS if step not in (*_BESIDE, (1, 0, 0)))]
"""Offsets from an earlier neighbour to a voxel, all but (1, 0, 0): that one touches all others, the first
all but the three after it."""


@dataclass(frozen=True, eq=False)
class Packed:
    """Several objects, each in its box, one after the other.

    Attributes
    ----------
    mask : ndarray of shape (B,), bool
        The voxels of all boxes, flattened: True where they are of the box's object.
    level : ndarray of shape (V,), uint16
        Gray level of every voxel of an object, in the order of `mask`.
    box, voxel : ndarray of shape (L + 1,), int64
        Where each object begins in `mask`, and in `level`.
    shape : ndarray of shape (L, 3), int64
        Of each box.
    """

    mask: Array
    level: Array
    box: Array
    voxel: Array
    shape: Array


def run_rows(crops: Sequence[Crop]) -> Rows:
    """Features of the runs of equal gray level of objects: `glrlm_...`, NaN where there are no runs.

    Notes
    -----
    Runs in 13 directions are followed voxel by voxel, so that the cost is that of the voxels of
    the objects [1]_. A direction in which no line meets the object twice has no runs,
    as in PyRadiomics. Device arrays are worked on on the host.

    References
    ----------
    .. [1] Galloway, Texture analysis using gray level run lengths, 1975, doi:10.1016/S0146-664X(75)80008-6
    """
    from chunkflow_liver.kernels.intensity.emphasis_loops import KINDS
    from chunkflow_liver.kernels.intensity.gray_run_loops import run_sums

    packed = _packed(crops)
    norm = crops[0].settings.weighting_norm
    offsets = np.array(RUN_OFFSETS)
    weights = (
        np.ones(len(offsets)) if norm is None else direction_lengths(RUN_OFFSETS, crops[0].voxel_nm, norm)
    )
    found = np.full((len(crops), len(offsets) if norm is None else 1, len(KINDS)), np.nan)
    objects = (packed.mask, packed.level, packed.box, packed.voxel, packed.shape)
    run_sums(*objects, offsets, _met(packed), weights, found)
    whose, matrix = np.nonzero(np.isfinite(found[:, :, 0]))
    values = mean_over(whose, len(crops), named(found[whose, matrix], RUNS))
    return {f"glrlm_{name}": v for name, v in values.items()}


def zone_rows(crops: Sequence[Crop]) -> Rows:
    """Features of the 26-connected zones of equal gray level of objects: `glszm_...` [1]_.

    References
    ----------
    .. [1] Thibault et al., Texture indexes and gray level size zone matrix, PRIP 2009
    """
    from chunkflow_liver.kernels.intensity.zone_loops import find_zones

    packed = _packed(crops)
    zones = np.empty((3, len(packed.level)), np.int64)
    count = find_zones(
        packed.mask, packed.level, packed.box, packed.voxel, packed.shape, np.array(EARLIER), *zones
    )
    of, level, size = zones[:, :count]
    reach, most = int(level.max()) + 1, int(size.max()) + 1
    key, n = np.unique((of * reach + level) * most + size, return_counts=True)
    key, size = np.divmod(key, most)
    of, level = np.divmod(key, reach)
    values = emphases(Grouped(of, len(crops)), level, size, n, ZONES)
    return {f"glszm_{name}": v for name, v in values.items()}


def _packed(crops: Sequence[Crop]) -> Packed:
    """The objects of `crops`, for the next group too: it is given the same ones."""
    known = crops[0].known
    if "packed" not in known:
        known["packed"] = _pack(crops)
    found: Packed = known["packed"]
    return found


def _pack(crops: Sequence[Crop]) -> Packed:
    from chunkflow_liver.kernels.intensity.level_loops import levels_of

    masks, values = [], []
    for crop in crops:
        mask = on_host(crop.mask)
        if crop.raw is None:
            raise InputError("textures need the image under the labels")
        masks.append(mask.reshape(-1))
        values.append(on_host(crop.raw)[mask])
    box, voxel = (np.cumsum([0, *(len(part) for part in parts)]) for parts in (masks, values))
    value = np.concatenate(values).astype(np.float64)
    low, high = (reduce.reduceat(value, voxel[:-1]) for reduce in (np.minimum, np.maximum))
    settings, level = crops[0].settings, np.empty(len(value), np.uint16)
    levels_of(value, voxel, *bins(low, high, settings), last_bin(settings), level)
    shape = np.array([crop.mask.shape for crop in crops])
    return Packed(np.concatenate(masks), level, box, voxel, shape)


def _met(packed: Packed) -> Array:
    """Whether some line of each direction meets an object twice, bool of shape (L, 13)."""
    from chunkflow_liver.kernels.intensity.gray_run_loops import lines_met

    met = np.zeros((len(packed.shape), len(RUN_OFFSETS)), bool)
    lines_met(packed.mask, packed.box, packed.shape, np.array(RUN_OFFSETS), met)
    objects = np.flatnonzero(~met.all(axis=1))
    if len(objects):
        places = [
            np.argwhere(packed.mask[slice(*packed.box[k : k + 2])].reshape(packed.shape[k])) for k in objects
        ]
        of, place = np.repeat(objects, [len(part) for part in places]), np.concatenate(places)
        for direction, offset in enumerate(RUN_OFFSETS):
            asked = ~met[of, direction]
            met[_gapped(of[asked], place[asked], offset), direction] = True
    return met


def _gapped(of: Array, place: Array, offset: Zyx) -> Array:
    """Objects that some line along `offset` meets more than once, from their voxels at `place` (V, 3)."""
    moving = next(axis for axis in range(3) if offset[axis])
    # Every line meets plane 0 of the first axis that moves in one point, which names it.
    name = place - place[:, moving : moving + 1] * (np.array(offset) * offset[moving])
    named, n = np.unique(np.column_stack([of, name]), axis=0, return_counts=True)
    return np.unique(named[n > 1, 0])


GLRLM = WholeGroup(
    None,
    {f"glrlm_{name}": "float64" for name in RUNS},
    image=True,
    bins=True,
    working=80.0,
    check=check_levels,
    together=run_rows,
)
GLSZM = WholeGroup(
    None,
    {f"glszm_{name}": "float64" for name in ZONES},
    image=True,
    bins=True,
    working=80.0,
    check=check_levels,
    together=zone_rows,
)
