"""Which of many boxes to look at: how good each is by several criteria together, and some, spread out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.kernels.images.box_sums import Lattice
from chunkflow_liver.xp import Array


def ranks(values: Array) -> Array:
    """Share of the other values that are smaller, equal ones counted half; of a single value 0.5.

    Parameters
    ----------
    values : ndarray of any shape

    Returns
    -------
    ndarray of the same shape, float64
    """
    if values.size < 2:
        return np.full(values.shape, 0.5)
    _, at, count = np.unique(values, return_inverse=True, return_counts=True)
    smaller = np.cumsum(count) - count
    return ((smaller + (count - 1) / 2) / (values.size - 1))[at].reshape(values.shape)


def mean_rank(criteria: Mapping[str, Array], weights: Mapping[str, float]) -> Array:
    """Weighted mean of the ranks of boxes by several criteria, 0 to 1.

    Parameters
    ----------
    criteria : mapping of str to ndarray of one shape
        The larger, the better.
    weights : mapping of str to float
        0 or more, of every criterion; one at least is above 0.

    Notes
    -----
    Borda's rule [1]_: criteria of different units count alike, and how one is scaled or skewed counts not.

    References
    ----------
    .. [1] Dwork, Kumar, Naor and Sivakumar, Rank aggregation methods for the web, WWW 2001,
       doi:10.1145/371920.372165
    """
    total = sum(weights[name] for name in criteria)
    return np.sum([weights[name] / total * ranks(values) for name, values in criteria.items()], 0)


def distance_to(low: Array, high: Array, lattice: Lattice, voxel_nm: Nm) -> tuple[Array, Array]:
    """Distance of every box of a lattice to the nearest of some others, and which share of it they hold.

    Parameters
    ----------
    low, high : ndarray of shape (n, 3), float64
        Corners of the others, in voxels.
    lattice : Lattice
    voxel_nm : Nm

    Returns
    -------
    distance : ndarray of shape lattice.counts, float64
        Between the nearest voxels' faces, in nm; 0 where they meet or touch, infinite without others.
    share : ndarray of the same shape, float64
        Where several of the others hold the same voxels, these count more than once; at most 1.
    """
    square = np.full(lattice.counts, np.inf)
    share = np.zeros(lattice.counts)
    starts = [
        lattice.known.start[a] + np.arange(n) * float(lattice.cell[a]) for a, n in enumerate(lattice.counts)
    ]
    for first, last in zip(low, high, strict=True):
        gaps, parts = [], []
        for a, start in enumerate(starts):
            end = start + lattice.side[a]
            away = np.maximum(np.maximum(first[a] - end, start - last[a]), 0) * voxel_nm[a]
            gaps.append(away**2)
            parts.append(
                np.maximum(np.minimum(end, last[a]) - np.maximum(start, first[a]), 0) / lattice.side[a]
            )
        z, y, x = np.ix_(*gaps)
        np.minimum(square, z + y + x, out=square)
        z, y, x = (np.flatnonzero(part) for part in parts)
        if min(len(z), len(y), len(x)):
            a, b, c = np.ix_(parts[0][z], parts[1][y], parts[2][x])
            share[np.ix_(z, y, x)] += a * b * c
    return np.sqrt(square), np.minimum(share, 1)


def most_apart(lattice: Lattice, voxel_nm: Nm, boxes: int) -> float:
    """Half the largest spacing, in nm, at which `boxes` boxes of a lattice stand in a regular grid.

    Infinite for one box; 0 if there is room for them side by side only, and -1 if there is none.
    """
    if boxes == 1:
        return math.inf
    step = [c * v for c, v in zip(lattice.cell, voxel_nm, strict=True)]
    spacings = {k * s for s, n in zip(step, lattice.counts, strict=True) for k in range(1, n)}
    for spacing in (*sorted(spacings, reverse=True), 0.0):
        pitch = [max(k, math.ceil(round(spacing / s, 9))) for k, s in zip(lattice.steps, step, strict=True)]
        if math.prod((n - 1) // p + 1 for n, p in zip(lattice.counts, pitch, strict=True)) >= boxes:
            # A box that overlaps another is at most half a box away along each axis.
            over = math.hypot(*((k - 1) * n for k, n in zip(lattice.steps, step, strict=True)))
            return spacing / 2 if spacing / 2 > over else 0.0
    return -1.0


def side_by_side(lattice: Lattice) -> Array:
    """Which boxes of a lattice tile it without overlap, beginning with the first; bool of `counts`."""
    found = np.zeros(lattice.counts, bool)
    found[tuple(slice(None, None, s) for s in lattice.steps)] = True
    return found


def spread_out(
    score: Array, free: Array, lattice: Lattice, voxel_nm: Nm, *, boxes: int, apart_nm: float
) -> list[Zyx]:
    """The boxes of the highest scores that neither overlap nor lie nearer together than a distance.

    Parameters
    ----------
    score : ndarray of shape lattice.counts, float64
    free : ndarray of the same shape, bool
        Which may be chosen.
    lattice : Lattice
    voxel_nm : Nm
    boxes : int
        How many; there may be fewer.
    apart_nm : float
        Least distance of two centres.

    Returns
    -------
    list of Zyx
        Their numbers along every axis, the best first; of equal ones the first in z, y, x.

    Notes
    -----
    Greedy, as in suggestive annotation [1]_: first what is uncertain, then of that what is not alike, which
    in one piece of tissue means near. If as many boxes can stand twice `apart_nm` apart, and farther than
    their diagonal, all are found: what a choice rules out lies so near that it holds one of those at most,
    by which the farthest-first rule is known to reach half of the best spacing [2]_.

    References
    ----------
    .. [1] Yang et al., Suggestive annotation, MICCAI 2017, doi:10.1007/978-3-319-66179-7_46
    .. [2] Gonzalez, Clustering to minimize the maximum intercluster distance, 1985,
       doi:10.1016/0304-3975(85)90224-5
    """
    left = free.copy()
    step = [c * v for c, v in zip(lattice.cell, voxel_nm, strict=True)]
    reach = [max(s, math.ceil(apart_nm / n)) for s, n in zip(lattice.steps, step, strict=True)]
    chosen: list[Zyx] = []
    for index in np.argsort(-score, axis=None, kind="stable"):
        at = tuple(int(i) for i in np.unravel_index(index, score.shape))
        if not left[at]:
            continue
        chosen.append((at[0], at[1], at[2]))
        if len(chosen) == boxes:
            break
        near = [
            np.arange(max(0, i - r), min(n, i + r + 1))
            for i, r, n in zip(at, reach, score.shape, strict=True)
        ]
        away = [np.abs(n - i) for n, i in zip(near, at, strict=True)]
        z, y, x = np.ix_(*away)
        over = (z < lattice.steps[0]) & (y < lattice.steps[1]) & (x < lattice.steps[2])
        square = (z * step[0]) ** 2 + (y * step[1]) ** 2 + (x * step[2]) ** 2
        left[np.ix_(*near)] &= ~(over | (square < apart_nm**2 * (1 - 1e-9)))
    return chosen
