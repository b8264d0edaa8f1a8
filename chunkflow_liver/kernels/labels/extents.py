"""Where every object lies: voxels and bounding box, from blocks, merged exactly."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chunkflow_liver.geometry import Zyx
from chunkflow_liver.kernels.labels.runs import find_runs
from chunkflow_liver.kernels.rows import grouped, merged
from chunkflow_liver.xp import Array, on_host

Extents = dict[str, Array]
"""`label` (uint64, ascending), `voxels` (int64), `low`, `high` (int64 of shape (L, 3), half-open)."""
_WAYS = {"low": np.minimum, "high": np.maximum}


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
    columns = {"label": runs.label.astype(np.uint64), "voxels": runs.voxels, "low": first, "high": last}
    return grouped(columns, ("label",), _WAYS)


def merge_extents(parts: Iterable[Extents]) -> Extents:
    """The extents of whole objects from those of disjoint blocks, in any order."""
    none = block_extents(np.zeros((0, 0, 0), np.uint8), (0, 0, 0))
    return merged(parts, ("label",), none, _WAYS)
