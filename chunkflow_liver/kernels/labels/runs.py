"""Run-length view of a label block: sums over runs are far fewer than sums over voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chunkflow_liver.xp import Array, namespace


@dataclass(frozen=True, eq=False)
class Runs:
    """Maximal runs along x of one non-zero label, in raster order.

    Attributes
    ----------
    z, y : ndarray of shape (R,), int64
        Row of each run.
    start, stop : ndarray of shape (R,), int64
        Half-open range of each run along x, in voxels.
    label : ndarray of shape (R,), dtype of the block
        Label of each run, never 0.
    """

    z: Array
    y: Array
    start: Array
    stop: Array
    label: Array

    def __len__(self) -> int:
        return len(self.label)

    @property
    def voxels(self) -> Array:
        """Length of each run, int64 of shape (R,)."""
        return self.stop - self.start


def find_runs(labels: Array) -> Runs:
    """All runs of non-zero labels in a block.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer or bool
        Label block; 0 is background.

    Returns
    -------
    Runs
        One entry per run, in raster order. Same array type as `labels`.

    Notes
    -----
    Two compiled passes on the host, which need memory per run only; array operations on a device.
    """
    xp = namespace(labels)
    _, height, width = labels.shape
    if xp is np and labels.size:
        return _host_runs(np.ascontiguousarray(labels))
    flat = xp.ascontiguousarray(labels).reshape(-1)
    first = xp.ones(flat.shape, bool)
    xp.not_equal(flat[1:], flat[:-1], out=first[1:])
    # A run ends with its row even if the next row goes on with the same label.
    first[:: max(1, width)] = True
    start = xp.flatnonzero(first)
    del first
    stop = xp.concatenate([start[1:], xp.full(min(1, flat.size), flat.size, start.dtype)])
    label = flat[start]
    kept = label != 0
    start, stop, label = start[kept], stop[kept], label[kept]
    row = start // max(1, width)
    offset = row * width
    return Runs(row // max(1, height), row % max(1, height), start - offset, stop - offset, label)


def _host_runs(labels: Array) -> Runs:
    """The same of an array of this machine's memory that is not empty."""
    from chunkflow_liver.kernels.labels.scan_loops import count_runs, fill_runs

    # One compiled function for each size of label.
    numbers = labels.view(f"u{labels.itemsize}")
    depth, height, _ = labels.shape
    rows = np.empty(depth * height + 1, np.int64)
    start, stop = np.empty((2, count_runs(numbers)), np.uint32)
    fill_runs(numbers, rows, start, stop)
    row = np.repeat(np.arange(depth * height), np.diff(rows))
    z, y = np.divmod(row, height)
    begin, end = start.astype(np.int64), stop.astype(np.int64)
    return Runs(z, y, begin, end, labels[z, y, begin])
