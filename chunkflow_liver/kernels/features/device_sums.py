"""The sums of `kernels.moments` on a CUDA device: the same whole numbers, added by atomic operations."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.kernels.labels.runs import Runs, find_runs
from chunkflow_liver.xp import Array, namespace, on_host


def sums_fit(raw: Array | None) -> bool:
    """Whether a device can sum this image: integers of up to 16 bits, whose squares fit in 64."""
    return raw is None or (raw.dtype.kind in "ui" and raw.dtype.itemsize <= 2)


def device_sums(labels: Array, raw: Array | None, run_sums: Any) -> dict[str, Array]:
    """Columns of `block_sums`, summed where the arrays lie.

    Parameters
    ----------
    labels : cupy.ndarray of shape (Z, Y, X), integer
        Label block of less than 2^31 voxels; 0 is background.
    raw : cupy.ndarray of shape (Z, Y, X), integer of up to 16 bits, optional
        Image under the labels.
    run_sums : callable
        Sums of the coordinates of every run, from `Runs`.

    Returns
    -------
    dict of ndarray of shape (L,)
        As `block_sums` says. Host arrays.

    Notes
    -----
    Atomic additions of whole numbers give one answer in any order. They exist for uint64 and not for
    int64 [1]_; both have the same bits, and no sum of a block passes 63 of them.

    References
    ----------
    .. [1] CuPy, cupyx.scatter_add, which ufunc.at uses
    """
    xp = namespace(labels)
    runs: Runs = find_runs(labels)
    label = xp.unique(runs.label)
    rank = xp.searchsorted(label, runs.label)
    n = len(label)
    sums = {name: _added(xp, rank, column, n) for name, column in run_sums(runs).items()}
    ends = {"z": (runs.z, runs.z), "y": (runs.y, runs.y), "x": (runs.start, runs.stop - 1)}
    for axis, (first, last) in ends.items():
        sums[f"min_{axis}"] = _extreme(xp, xp.minimum, rank, first, n).astype(np.int64)
        sums[f"max_{axis}"] = _extreme(xp, xp.maximum, rank, last, n).astype(np.int64)
    if raw is not None:
        inside = labels != 0
        rank = xp.searchsorted(label, labels[inside])
        values = raw[inside].astype(np.int64)
        sums["intensity_sum"] = _added(xp, rank, values, n)
        sums["intensity_sum2"] = _added(xp, rank, values * values, n)
        sums["intensity_min"] = _extreme(xp, xp.minimum, rank, values, n).astype(raw.dtype)
        sums["intensity_max"] = _extreme(xp, xp.maximum, rank, values, n).astype(raw.dtype)
    found = {"label": on_host(label).astype(np.uint64)}
    return found | {name: on_host(column) for name, column in sums.items()}


def _added(xp: Any, rank: Array, column: Array, n: int) -> Array:
    """Sum of `column` per rank, int64."""
    total = xp.zeros(n, np.uint64)
    xp.add.at(total, rank, column.view(np.uint64))
    return total.view(np.int64)


def _extreme(xp: Any, ufunc: Any, rank: Array, column: Array, n: int) -> Array:
    """Smallest or largest of `column` per rank, int32."""
    worst = np.iinfo(np.int32).max if ufunc is xp.minimum else np.iinfo(np.int32).min
    found = xp.full(n, worst, np.int32)
    ufunc.at(found, rank, column.astype(np.int32))
    return found
