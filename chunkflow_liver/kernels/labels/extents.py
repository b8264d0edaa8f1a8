"""Where every object lies: voxels and bounding box, from blocks, merged exactly."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chunkflow_liver.geometry import Zyx
from chunkflow_liver.kernels.labels.runs import find_runs
from chunkflow_liver.xp import Array, on_host

Extents = dict[str, Array]
"""`label` (uint64, ascending), `voxels` (int64), `low`, `high` (int64 of shape (L, 3), half-open)."""


def block_extents(labels: Array, origin: Zyx) -> Extents:
    """Voxels and bounding box of every label of a block.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer
        Label block; 0 is background.
    origin : Zyx
        First voxel of the block in the volume.

    Returns
    -------
    dict of ndarray
        See `Extents`; boxes in the volume's coordinates. Host arrays.
    """
    runs = find_runs(on_host(labels))
    first = np.stack([runs.z, runs.y, runs.start], axis=1) + np.array(origin)
    last = np.stack([runs.z + 1, runs.y + 1, runs.stop], axis=1) + np.array(origin)
    return _add(runs.label.astype(np.uint64), runs.voxels, first, last)


def merge_extents(parts: Iterable[Extents]) -> Extents:
    """The extents of whole objects from those of disjoint blocks, in any order."""
    merged = block_extents(np.zeros((0, 0, 0), np.uint8), (0, 0, 0))
    pending: list[Extents] = []
    for part in parts:
        pending.append(part)
        # Waiting for as many rows as are merged already keeps the whole cost near one sort.
        if sum(len(p["label"]) for p in pending) > max(1 << 16, len(merged["label"])):
            merged, pending = _joined([merged, *pending]), []
    return _joined([merged, *pending])


def _joined(parts: list[Extents]) -> Extents:
    return _add(*(np.concatenate([p[k] for p in parts]) for k in ("label", "voxels", "low", "high")))


def _add(label: Array, voxels: Array, low: Array, high: Array) -> Extents:
    order = np.argsort(label, kind="stable")
    label, begin = np.unique(label[order], return_index=True)
    if not len(label):
        corner = np.zeros((0, 3), np.int64)
        return {"label": label, "voxels": np.zeros(0, np.int64), "low": corner, "high": corner}
    return {
        "label": label,
        "voxels": np.add.reduceat(voxels[order], begin),
        "low": np.minimum.reduceat(low[order], begin),
        "high": np.maximum.reduceat(high[order], begin),
    }
