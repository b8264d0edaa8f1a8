"""Texture features from merged counts: the three groups that are summed over blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.geometry import Nm
from chunkflow_liver.kernels.features.groups import Group, Settings, Sums
from chunkflow_liver.kernels.intensity.counts import (
    dependence_sums,
    halo,
    merge,
    pair_sums,
    tone_sums,
)
from chunkflow_liver.kernels.intensity.levels import (
    BITS,
    Ranges,
    check_levels,
    half_offsets,
    level_range,
    most_levels,
    unpacked,
)
from chunkflow_liver.kernels.intensity.matrices import (
    DEPENDENCES,
    Grouped,
    consecutive,
    emphases,
    tone_features,
)
from chunkflow_liver.kernels.intensity.pairs import direction_lengths, pair_features
from chunkflow_liver.kernels.rows import Rows
from chunkflow_liver.xp import Array

TYPICAL = 1000
"""Voxels of an object, or more, of which every voxel of a block is where the estimate of memory holds."""
_VOXEL, _PAIR, _NEIGHBOURS = 40.0, 24.0, 56.0
_DEVICE = 64.0
"""Bytes per voxel, per row of pairs, and per row each of dependences and tones; of a device per voxel."""


def working(settings: Settings, kind: str) -> float:
    """Bytes per voxel that the three groups need together, for an image of the dtype `kind`.

    A key is counted once per object: what is kept follows the number of keys that are possible, up to one
    key per pair.
    """
    levels = most_levels(settings, kind)
    directions = len(half_offsets(settings.distances))
    pairs = levels * (levels + 1) // 2 if settings.symmetrical_glcm else levels * levels
    near = levels * (2 * directions + 1)
    rows = _PAIR * directions * min(1.0, pairs / TYPICAL) + _NEIGHBOURS * min(1.0, near / TYPICAL)
    return _VOXEL + rows


def pair_columns(sums: Sums, objects: Rows, voxel_nm: Nm, settings: Settings) -> Rows:
    """Columns `glcm_...`, one row per object; NaN for an object without pairs."""
    rows = sums["pairs"]
    of: Array = np.searchsorted(objects["label"], rows["label"])
    n = rows["n"]
    direction, i, j = unpacked(rows["key"])
    if settings.symmetrical_glcm:
        # Counted once with the lower level first: both orders, and a pair of equal levels twice.
        n = np.where(i == j, 2 * n, n)
        entry = np.repeat(np.arange(len(n)), np.where(i == j, 1, 2))
        of, direction, i, j, n = (a[entry] for a in (of, direction, i, j, n))
        turned = np.zeros(len(entry), bool)
        turned[1:] = entry[1:] == entry[:-1]
        i, j = np.where(turned, j, i), np.where(turned, i, j)
    span = np.stack(level_range(Ranges.of(objects), settings), axis=1)
    weights = _weights(settings, voxel_nm)
    found = pair_features(of, len(span), direction, i, j, n, span=span, weights=weights)
    return {f"glcm_{name}": values for name, values in found.items()}


def _weights(settings: Settings, voxel_nm: Nm) -> Array | None:
    """Weight of a pair in every direction, if directions are to be added."""
    norm, offsets = settings.weighting_norm, half_offsets(settings.distances)
    if norm is None or norm == "no_weighting":
        return None if norm is None else np.ones(len(offsets))
    # The square of a length is an exponent here: the unit matters, and is um.
    lengths = direction_lengths(offsets, voxel_nm, norm)
    return np.exp(-(lengths * lengths))


def dependence_columns(sums: Sums, objects: Rows, voxel_nm: Nm, settings: Settings) -> Rows:
    """Columns `gldm_...`, one row per object."""
    rows = sums["dependences"]
    _, level, size = unpacked(rows["key"])
    entries = Grouped(np.searchsorted(objects["label"], rows["label"]), len(objects["label"]))
    found = emphases(entries, level, size + 1, rows["n"], DEPENDENCES)
    return {f"gldm_{name}": values for name, values in found.items()}


def tone_columns(sums: Sums, objects: Rows, voxel_nm: Nm, settings: Settings) -> Rows:
    """Columns `ngtdm_...`, one row per object."""
    rows = sums["tones"]
    of = np.searchsorted(objects["label"], rows["label"])
    _, level, neighbours = unpacked(rows["key"])
    # The sum over voxels with the same number of neighbours is one integer; division comes last.
    difference = rows["sum"] / np.maximum(neighbours, 1)
    reach = int(level.max(initial=0)) + 1
    known, entry = consecutive(of * reach + level)
    n, total = (np.bincount(entry, values, len(known)) for values in (rows["n"], difference))
    found = tone_features(known // reach, len(objects["label"]), known % reach, n, total)
    return {f"ngtdm_{name}": values for name, values in found.items()}


_COUNTED: Any = {
    "reach": halo,
    "image": True,
    "bins": True,
    "working": working,
    "check": check_levels,
    "device": _DEVICE,
}
GLCM = Group(pair_sums, merge, pair_columns, fixed=4 << 2 * BITS, **_COUNTED)
GLDM = Group(dependence_sums, merge, dependence_columns, **_COUNTED)
NGTDM = Group(tone_sums, merge, tone_columns, **_COUNTED)
