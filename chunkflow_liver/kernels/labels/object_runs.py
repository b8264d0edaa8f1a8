"""The voxels of a block as runs along x, object by object: what all sums over objects begin with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chunkflow_liver.geometry import Zyx
from chunkflow_liver.xp import Array, on_host


@dataclass(frozen=True, eq=False)
class ObjectRuns:
    """Maximal runs along x of every object of a block, in raster order, one object after the other.

    Attributes
    ----------
    label : ndarray of shape (L,), uint64
        Ascending, never 0.
    begin : ndarray of shape (L + 1,), int64
        Where the runs of each object begin, and the last ones end.
    row : ndarray of shape (R,), int32
        z * (rows per plane) + y of each run.
    ends : ndarray of shape (R, 2), int32
        Half-open range of each run along x, in voxels.
    order : ndarray of shape (R,), int32
        Number of each run among all of the block, in raster order.
    height : int
        Rows per plane.
    """

    label: Array
    begin: Array
    row: Array
    ends: Array
    order: Array
    height: int

    def within(self, shape: Zyx) -> ObjectRuns:
        """The runs of the first voxels along each axis, as if the block had no others."""
        z, y = np.divmod(self.row, self.height)
        kept = (z < shape[0]) & (y < shape[1]) & (self.ends[:, 0] < shape[2])
        of = np.repeat(np.arange(len(self.label)), np.diff(self.begin))
        runs = np.bincount(of[kept], minlength=len(self.label))
        among = np.zeros(len(kept), np.int32)
        among[self.order[kept]] = 1
        order = (np.cumsum(among, dtype=np.int32) - 1)[self.order[kept]]
        return ObjectRuns(
            self.label[runs > 0],
            np.concatenate([[0], np.cumsum(runs[runs > 0])]),
            (z * shape[1] + y)[kept].astype(np.int32),
            np.minimum(self.ends[kept], np.int32(shape[2])),
            order,
            shape[1],
        )


def runs_by_object(labels: Array) -> ObjectRuns:
    """The runs of all objects of a block.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer
        0 is background.

    Returns
    -------
    ObjectRuns
        In host memory.

    Notes
    -----
    One pass over the voxels, then two over runs; 32 bytes of memory per run.
    """
    labels = np.ascontiguousarray(on_host(labels))
    if not labels.size:
        none = np.zeros(0, np.int32)
        begin = np.zeros(1, np.int64)
        return ObjectRuns(np.zeros(0, np.uint64), begin, none, none.reshape(0, 2), none, labels.shape[1])
    from chunkflow_liver.kernels.labels.run_loops import list_runs, sort_runs

    # One compiled function for each size of label.
    runs, names, lengths = list_runs(labels.view(f"u{labels.itemsize}"))
    label = names.view(labels.dtype).astype(np.uint64)
    order = np.argsort(label)
    begin = np.concatenate([[0], np.cumsum(lengths[order])])
    place = np.empty(len(order), np.int64)
    place[order] = begin[:-1]
    return ObjectRuns(label[order], begin, *sort_runs(runs, place), labels.shape[1])
