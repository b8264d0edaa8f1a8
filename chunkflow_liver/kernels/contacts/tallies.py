"""Rows of near surface: pairs, objects and shells of a block, and what histograms of squared gaps say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from chunkflow_liver.kernels.contacts.gaps import Near
from chunkflow_liver.kernels.distance.squares import Unit
from chunkflow_liver.kernels.rows import Rows, added, grouped
from chunkflow_liver.xp import Array

PAIR = ("own", "other", "square")
OBJECT = ("label",)
NEAREST = ("label", "square")
SHELL = ("label", "shell")

_ROWS, _RUNS = 1 << 10, 1 << 16


def no_pairs() -> Rows:
    """No pairs of objects."""
    rows: Rows = {name: np.zeros(0, np.uint64) for name in ("own", "other")}
    return rows | {name: np.zeros(0, np.int64) for name in ("square", "voxels", "area")}


def no_objects() -> Rows:
    """No objects."""
    counts = ("voxels", "area", "near_voxels", "near_area")
    return {"label": np.zeros(0, np.uint64)} | {name: np.zeros(0, np.int64) for name in counts}


def pair_rows(near: Near, counted: Array) -> Rows:
    """Voxels and area per pair of objects and squared gap.

    Parameters
    ----------
    near : Near
        Surface voxels of some planes.
    counted : ndarray of shape (M,), bool
        The surface voxels that count.

    Returns
    -------
    dict of ndarray
        `own, other` (uint64), `square`, `voxels`, `area` (int64), each key once in some order.
    """
    own, other, square, voxels, area = _sums(near, counted, near.voxel, near.met, near.square)
    ids = {"own": own.view(np.uint64), "other": other.view(np.uint64)}
    return ids | {"square": square, "voxels": voxels, "area": area}


def _sums(near: Near, counted: Array, voxel: Array, met: Array, square: Array) -> Array:
    """Columns of `rows` of `add_meetings`."""
    from chunkflow_liver.kernels.contacts.tally_loops import add_meetings

    label, met = (np.asarray(ids, np.uint64).view(np.int64) for ids in (near.label, met))
    rows, done = np.empty((_ROWS, 5), np.int64), (0, 0)
    while True:
        table = np.full(4 * len(rows), -1)
        done = add_meetings((label, met, square), voxel, near.area, counted, rows, table, done)
        if done[0] == len(voxel):
            return np.ascontiguousarray(rows[: done[1]].T)
        rows = np.concatenate([rows, np.empty((3 * len(rows), 5), np.int64)])


def error_pairs(near: Near, some: Array, sums: tuple[Array, Array, Array]) -> Rows:
    """Errors of the boundary per pair of objects.

    Parameters
    ----------
    near : Near
        Surface voxels of some planes.
    some : ndarray of shape (M,), bool
        The surface voxels that say how sure the boundary is.
    sums : tuple of ndarray of shape (S,), int64
        Of each of these, from `local_errors`.

    Returns
    -------
    dict of ndarray
        `own, other` (uint64), `weight`, `squares`, `capped` (int64), each key once in some order.
    """
    says = some.copy()
    says[some] = sums[0] > 0
    meeting = np.flatnonzero(says[near.voxel])
    voxel, met = near.voxel[meeting], near.met[meeting]
    rows: Rows = {}
    for name, values in zip(("weight", "squares", "capped"), sums, strict=True):
        of_voxel = np.zeros(len(some), np.int64)
        of_voxel[some] = values
        own, other, _, _, total = _sums(replace(near, area=of_voxel), says, voxel, met, np.zeros_like(voxel))
        rows |= {"own": own.view(np.uint64), "other": other.view(np.uint64), name: total}
    return rows


def object_rows(near: Near, counted: Array) -> Rows:
    """Surface voxels and area of every object, and those of them that are near another object.

    Parameters
    ----------
    near, counted
        As for `pair_rows`.

    Returns
    -------
    dict of ndarray
        `label` (uint64), `voxels, area, near_voxels, near_area` (int64), sorted.
    """
    touched = np.zeros(len(near.label), np.int64)
    touched[near.voxel] = 1
    label, near_one, _, voxels, area = _sums(near, counted, np.arange(len(touched)), touched, touched)
    rows = {"label": label.view(np.uint64), "voxels": voxels, "area": area}
    return grouped(rows | {"near_voxels": voxels * near_one, "near_area": area * near_one}, OBJECT)


def nearest_rows(near: Near, counted: Array) -> Rows:
    """Voxels and area per object and squared gap to the nearest other object.

    Parameters
    ----------
    near, counted
        As for `pair_rows`.

    Returns
    -------
    dict of ndarray
        `label` (uint64), `square`, `voxels`, `area` (int64), each key once in some order.
    """
    kept = near.nearest
    one = np.zeros(int(kept.sum()), np.int64)
    label, _, square, voxels, area = _sums(near, counted, near.voxel[kept], one, near.square[kept])
    return {"label": label.view(np.uint64), "square": square, "voxels": voxels, "area": area}


def no_nearest() -> Rows:
    """No object near another."""
    counts = ("square", "voxels", "area")
    return {"label": np.zeros(0, np.uint64)} | {name: np.zeros(0, np.int64) for name in counts}


def shell_rows(squares: Array, edges: Sequence[int], label: Array, **counts: Array) -> Rows:
    """Voxels per label and shell of squared distances.

    Parameters
    ----------
    squares : ndarray of shape (Z, Y, X), int64
        Squared distance of each voxel.
    edges : sequence of int
        Squared distances at which shells end; shell k holds edges[k] < square <= edges[k + 1].
    label : ndarray of shape (Z, Y, X), integer
        Whom each voxel counts for, 0 for nobody.
    **counts : ndarray of shape (Z, Y, X), bool
        What else is counted, by name.

    Returns
    -------
    dict of ndarray
        `label` (uint64), `shell`, `voxels` and the counts (int64), sorted.
    """
    from chunkflow_liver.kernels.contacts.tally_loops import shell_runs

    square, own, ends = squares.reshape(-1), label.reshape(-1), np.asarray(edges, np.int64)
    others = np.stack([count.reshape(-1) for count in counts.values()]) if counts else np.zeros((0, 1), bool)
    parts, at = [no_shells(*counts)], 0
    while at < len(square):
        rows = np.empty((_RUNS, 3 + len(counts)), np.int64)
        at, filled = shell_runs(square, own, ends, others, rows, at)
        found = dict(zip(("label", "shell", "voxels", *counts), rows[:filled].T, strict=True))
        parts.append(grouped(found | {"label": found["label"].view(np.uint64)}, SHELL))
    return added(parts, SHELL)


def no_shells(*counts: str) -> Rows:
    """No shells."""
    return {"label": np.zeros(0, np.uint64)} | {
        name: np.zeros(0, np.int64) for name in ("shell", "voxels", *counts)
    }


def nearest_partner(near: Near) -> tuple[Array, Array, Array]:
    """The nearest object of every surface voxel that is near one.

    Parameters
    ----------
    near : Near

    Returns
    -------
    voxel : ndarray of shape (K,), int64
        Index of the surface voxel.
    label : ndarray of shape (K,), uint64
        Of two objects that are equally near the one with the smaller label.
    square : ndarray of shape (K,), int64
        Its squared gap.
    """
    kept = near.nearest
    return near.voxel[kept], near.met[kept].astype(np.uint64), near.square[kept]


def share(part: Array, whole: Array) -> Array:
    """`part` / `whole`, missing where `whole` is 0."""
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def gap_statistics(
    begin: Array, square: Array, weight: Array, unit: Unit, percentiles: Sequence[float]
) -> tuple[Array, Array, Array]:
    """Smallest, mean and percentiles of gaps, from exact histograms.

    Parameters
    ----------
    begin : ndarray of shape (G,), int64
        First row of each histogram.
    square : ndarray of shape (N,), int64
        Squared gap of each row, ascending within a histogram, in units.
    weight : ndarray of shape (N,), int64
        Voxels or steps of area with that gap.
    unit : Unit
        Of the squares.
    percentiles : sequence of float
        In per cent.

    Returns
    -------
    least, mean : ndarray of shape (G,), float64
        In nm.
    levels : ndarray of shape (P, G), float64
        The smallest gap with at least that share of the weight at or below it, in nm. Mean and levels
        are missing where all weights are 0.
    """
    gap = unit.length_nm(square)
    if not len(begin):
        return gap, gap, np.zeros((len(percentiles), 0))
    total = np.add.reduceat(weight, begin)
    some = np.where(total > 0, total.astype(np.float64), np.nan)
    mean = np.add.reduceat(gap * weight, begin) / some
    levels = np.full((len(percentiles), len(begin)), np.nan)
    # The histograms lie one behind the other; ranks in them are whole numbers.
    running, known = np.cumsum(weight), total > 0
    before = running[begin] - weight[begin]
    for level, percent in zip(levels, percentiles, strict=True):
        rank = before + np.maximum(1, np.ceil(total * (percent / 100)).astype(np.int64))
        level[known] = gap[np.searchsorted(running, rank[known])]
    return gap[begin], mean, levels
