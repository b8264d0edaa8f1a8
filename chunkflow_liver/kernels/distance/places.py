"""Where objects lie between two structures: sums of both distances over their voxels, exact in any cut."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.rows import Rows, distinct
from chunkflow_liver.xp import Array

STEP_NM = 1 / 16
"""Distances are added as whole multiples of this, in nm."""
OBJECT = ("label",)
WAYS = {f"least_{end}": np.minimum for end in "ab"}
"""How rows of one object come together where they are not added."""
_NEVER = np.iinfo(np.int64).max


def in_nm(stored: Array, quantum_nm: float | None) -> Array:
    """Distances in nm, float32, of a map that may hold whole steps; the largest of these is infinite."""
    found = stored.astype(np.float32)
    if quantum_nm is not None:
        found *= np.float32(quantum_nm)
        found[stored == np.iinfo(stored.dtype).max] = np.inf
    return found


def no_objects() -> Rows:
    """No objects."""
    sums = ("voxels", "reached", "exact", "sum_a", "sum_b", "least_a", "least_b")
    return {"label": np.zeros(0, np.uint64)} | {name: np.zeros(0, np.int64) for name in sums}


def object_sums(labels: Array, distances: tuple[Array, Array], exact: Array) -> Rows:
    """Sums of the distances of the voxels of every object.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer or bool
        Objects, 0 is background. On the host.
    distances : tuple of 2 ndarray of shape (Z, Y, X), float32
        To A and to B, in nm; infinite where there is none. Below 0 counts as 0.
    exact : ndarray of shape (Z, Y, X), bool
        Whether nothing outside the volume could make either smaller.

    Returns
    -------
    dict of ndarray of shape (n,)
        `label` (uint64, ascending), `voxels`, `reached` (with both distances), `exact` (of those), `sum_a`,
        `sum_b` (over `reached`), `least_a`, `least_b` (over all voxels with that distance; the largest int64
        without one), in steps of `STEP_NM`; int64.
    """
    values, rank, length = distinct(labels)
    row = np.repeat(rank, length)
    count = len(values)
    found: Rows = {"label": values.astype(np.uint64), "voxels": np.bincount(row, minlength=count)}
    steps, finite = [], []
    for distance in distances:
        flat = np.ascontiguousarray(distance).reshape(-1)
        known = np.isfinite(flat)
        steps.append(np.rint(np.where(known, np.maximum(flat, 0), 0) / STEP_NM))
        finite.append(known)
    reached = finite[0] & finite[1]
    found["reached"] = np.bincount(row[reached], minlength=count)
    found["exact"] = np.bincount(row[reached & exact.reshape(-1)], minlength=count)
    for end, whole, known in zip("ab", steps, finite, strict=True):
        # Doubles hold these sums: 2**53 steps are 5e14 nm.
        sums = np.bincount(row[reached], whole[reached], minlength=count)
        found[f"sum_{end}"] = sums.astype(np.int64)
        least = np.full(count, _NEVER)
        np.minimum.at(least, row[known], whole[known].astype(np.int64))
        found[f"least_{end}"] = least
    inside = values != 0
    return {name: column[inside] for name, column in found.items()}


def positions(rows: Rows) -> dict[str, Array]:
    """Distances of objects in nm, and their position from A (0) to B (1).

    Parameters
    ----------
    rows : dict of ndarray
        Sums of all blocks.

    Returns
    -------
    dict of ndarray of shape (n,), float64
        `mean_a`, `mean_b`, `least_a`, `least_b` (NaN where no voxel has one), and `position`, the mean of A
        over the sum of both; NaN where both are 0.
    """
    reached = np.where(rows["reached"] > 0, rows["reached"], np.nan)
    found = {f"mean_{end}": rows[f"sum_{end}"] * STEP_NM / reached for end in "ab"}
    for end in "ab":
        least = rows[f"least_{end}"]
        found[f"least_{end}"] = np.where(least == _NEVER, np.nan, least * STEP_NM)
    both = rows["sum_a"] + rows["sum_b"]
    found["position"] = np.divide(rows["sum_a"], both, out=np.full(len(both), np.nan), where=both > 0)
    return found
