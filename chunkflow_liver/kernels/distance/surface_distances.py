"""How far the surfaces of two segmentations of the same voxels lie from each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from chunkflow_liver.geometry import Nm
from chunkflow_liver.kernels.distance.transform import distance_nm
from chunkflow_liver.xp import Array

Record = dict[str, np.ndarray[Any, Any]]
Trim = tuple[slice, slice, slice]
FOUND, TRUTH = 0, 1
"""Whose surface voxels are measured, to the surface of the other."""


def surface_voxels(mask: Array, known: Array) -> Array:
    """Voxels of `mask` that share a face with a known voxel outside of it.

    Parameters
    ----------
    mask, known : ndarray of shape (Z, Y, X), bool
        What lies outside the array is not known.
    """
    outside = known & ~mask
    found = np.zeros(mask.shape, bool)
    for axis in range(3):
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        found[low] |= outside[high]
        found[high] |= outside[low]
    return found & mask & known


def surface_distances(
    found: Array, truth: Array, known: Array, voxel_nm: Nm, cap_nm: float, trim: Trim
) -> Record:
    """Distances of the surface voxels of one class to those of the other segmentation, counted.

    Parameters
    ----------
    found, truth : ndarray of shape (Z, Y, X), bool
        The class in both; with a halo of `voxels(cap_nm)` and one more.
    known : ndarray of the same shape, bool
        Voxels that are compared.
    voxel_nm : tuple of float
    cap_nm : float
        Larger distances are +inf.
    trim : tuple of slice
        Voxels whose distances are wanted.

    Returns
    -------
    dict of ndarray of shape (D,)
        `side` (`FOUND` or `TRUTH`), `distance_nm` (float32) and `voxels` (int64), sorted.
    """
    surfaces = [surface_voxels(mask, known) for mask in (found, truth)]
    parts = []
    for side, (mine, other) in enumerate([surfaces, surfaces[::-1]]):
        inside = mine[trim]
        values = distance_nm(other, voxel_nm, cap_nm, trim)[inside] if inside.any() else np.zeros(0)
        unique, counts = np.unique(values.astype(np.float32), return_counts=True)
        parts.append((np.full(len(unique), side), unique, counts))
    names, kinds = ("side", "distance_nm", "voxels"), (np.int64, np.float32, np.int64)
    return {
        name: np.concatenate([part[i] for part in parts]).astype(kind)
        for i, (name, kind) in enumerate(zip(names, kinds, strict=True))
    }


def merge_distances(parts: Iterable[Mapping[str, np.ndarray[Any, Any]]]) -> Record:
    """The counts of several disjoint blocks as one; exact in any order."""
    given = list(parts)
    side, distance, voxels = (
        np.concatenate([np.zeros(0, kind), *(part[name] for part in given)])
        for name, kind in (("side", np.int64), ("distance_nm", np.float32), ("voxels", np.int64))
    )
    order = np.lexsort((distance, side))
    side, distance, voxels = side[order], distance[order], voxels[order]
    if not len(side):
        return {"side": side, "distance_nm": distance, "voxels": voxels}
    first = np.flatnonzero(
        np.concatenate([[True], (side[1:] != side[:-1]) | (distance[1:] != distance[:-1])])
    )
    return {
        "side": side[first],
        "distance_nm": distance[first],
        "voxels": np.add.reduceat(voxels, first),
    }


def summary(merged: Mapping[str, np.ndarray[Any, Any]], tolerance_nm: float, cap_nm: float) -> dict[str, Any]:
    """Mean, 95th percentile, and agreement within a tolerance.

    Returns
    -------
    dict
        `surface_mean_nm` and `surface_p95_nm` of the surface voxels of both sides together, a distance
        beyond the cap counted as the cap (`beyond_cap`: their share; the mean is then at least that large);
        `boundary_precision` and `boundary_recall`: share of the surface voxels found and true within
        `tolerance_nm` of the other surface, `boundary_f1` their harmonic mean. NaN without a surface.
    """
    distance, voxels, side = merged["distance_nm"].astype(np.float64), merged["voxels"], merged["side"]
    total = int(voxels.sum())
    capped = np.minimum(distance, cap_nm)
    order = np.argsort(capped, kind="stable")
    reached = np.cumsum(voxels[order])
    near = distance <= np.float32(tolerance_nm) * (1 + 1e-6)
    shares = []
    for which in (FOUND, TRUTH):
        mine = side == which
        count = int(voxels[mine].sum())
        shares.append(int(voxels[mine & near].sum()) / count if count else float("nan"))
    precision, recall = shares
    both = precision + recall
    return {
        "surface_mean_nm": float((capped * voxels).sum() / total) if total else float("nan"),
        "surface_p95_nm": (
            float(capped[order][np.searchsorted(reached, np.ceil(0.95 * total))]) if total else float("nan")
        ),
        "beyond_cap": int(voxels[~np.isfinite(distance)].sum()) / total if total else float("nan"),
        "boundary_precision": precision,
        "boundary_recall": recall,
        "boundary_f1": 2 * precision * recall / both if both else (0.0 if both == 0 else float("nan")),
    }
