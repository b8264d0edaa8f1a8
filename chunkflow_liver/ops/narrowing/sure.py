"""How sure the boundary of an object is round each of its narrowings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chunkflow_liver.kernels.distance.local_errors import Image, errors_nm, local_errors
from chunkflow_liver.kernels.distance.surface_distances import surface_voxels
from chunkflow_liver.kernels.significance.boundaries import SOURCES
from chunkflow_liver.xp import Array

SURE = {"boundary_nm": np.float64, "boundary_elsewhere": np.bool_, "boundary_capped_fraction": np.float64}
"""Columns of narrowings, where images say how sure boundaries are."""


def neck_errors(
    labels: Array,
    images: Sequence[Image],
    narrow: dict[str, Array],
    start_nm: Array,
    voxel_nm: tuple[float, float, float],
    most_nm: float,
) -> dict[str, Array]:
    """The columns `SURE`: of the surface within a width of each neck, or of all where nothing is said there.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), uint8
        1 in the object, 2 in others, 3 where nothing is known.
    images : sequence of Image
        On the same voxels.
    narrow : dict of ndarray of shape (n,)
        Place and width of each neck, in nm.
    start_nm : ndarray of shape (3,), float64
        First corner of the voxels from where places are counted.
    voxel_nm, most_nm
        As for `local_errors`.
    """
    count = len(narrow["width_nm"])
    rows = {name: np.zeros(count, np.int64) for name in ("weight", "squares", "capped")}
    elsewhere = np.zeros(count, bool)
    if count:
        at = np.ascontiguousarray(np.argwhere(surface_voxels(labels == 1, labels < 3)).T)
        sums = local_errors(labels, at, images, voxel_nm, most_nm)
        place = (at + 0.5) * np.array(voxel_nm)[:, None] + start_nm[:, None]
        for i in range(count):
            neck = np.array([[narrow[f"{a}_nm"][i]] for a in "zyx"])
            near = ((place - neck) ** 2).sum(0) <= narrow["width_nm"][i] ** 2
            elsewhere[i] = not sums[0][near].any()
            for total, values in zip(rows.values(), sums, strict=True):
                total[i] = values[near | elsewhere[i]].sum()
    nm = errors_nm(rows, most_nm)
    capped = np.where(np.isnan(nm), np.nan, rows["capped"] / np.maximum(rows["weight"], 1))
    return {
        "boundary_nm": nm,
        "boundary_elsewhere": elsewhere & ~np.isnan(nm),
        "boundary_capped_fraction": capped,
    }


def with_source(found: dict[str, Array], source: str) -> dict[str, Array]:
    """The columns with `boundary_source` instead of whether errors are of other places."""
    elsewhere = found["boundary_elsewhere"]
    told = np.where(elsewhere, f"{source}, other places of the object", source).astype(object)
    told[np.isnan(found["boundary_nm"])] = SOURCES[-1]
    return {**{n: c for n, c in found.items() if n != "boundary_elsewhere"}, "boundary_source": told}
