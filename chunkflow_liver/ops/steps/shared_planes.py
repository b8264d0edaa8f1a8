"""The planes that neighbouring blocks share: what a block records, and which labels meet in them.

A block is labelled with one voxel more on the high side of each axis. Any two voxels that touch lie
together in the extended box of one block, so joining the labels of shared planes is exact for
faces, edges and corners.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Record
from chunkflow_liver.geometry import Block, Zyx
from chunkflow_liver.kernels.labels.planes import plane_pairs, plane_runs
from chunkflow_liver.store.scratch.aside import Aside
from chunkflow_liver.xp import Array

AXES = "zyx"


def seam_record(block: Block, labels: Array, ends: tuple[int, int, int]) -> dict[str, Any]:
    """The labels on the planes that a block shares.

    Parameters
    ----------
    block : Block
    labels : ndarray of shape (Z, Y, X), integer
        Labels of `block.write` and one plane after it on every axis, where the volume goes on.
    ends : tuple of int
        Where `labels` ends along (z, y, x), in voxels of the volume.
    """
    record: dict[str, Any] = {}
    for axis, a in enumerate(AXES):
        record[f"low_{a}"], record[f"low_{a}_label"] = plane_runs(np.take(labels, 0, axis))
        if ends[axis] > block.write.stop[axis]:
            record[f"high_{a}"], record[f"high_{a}_label"] = plane_runs(np.take(labels, -1, axis))
    return record


class Seams:
    """Meets the blocks of a grid in their order; high planes wait on disk for a layer of blocks.

    Parameters
    ----------
    counts : Zyx
        Blocks along (z, y, x).
    folder : Path
        Where they wait; made if it is not there.
    """

    def __init__(self, counts: Zyx, folder: Path) -> None:
        self._counts = counts
        self._steps = (counts[1] * counts[2], counts[2], 1)
        self._waiting = Aside(folder)

    def meet(self, index: int, offset: int, record: Record) -> Iterator[Array]:
        """Pairs (K, 2) of labels of earlier blocks and of block `index` that are one.

        Labels 1.. of a block count from its offset, as 0, 1, .. over all blocks. A block without labels
        has an empty record.
        """
        at = np.unravel_index(index, self._counts)
        layer = int(at[0])
        for axis, a in enumerate(AXES):
            if f"low_{a}" not in record or not at[axis]:
                continue
            place = (layer - (axis == 0), index - self._steps[axis])
            before = [self._waiting.get(*place, name) for name in (f"high_{a}", f"high_{a}_label", "offset")]
            if before[0] is None or before[1] is None or before[2] is None:
                continue
            found = plane_pairs((before[0], before[1]), (record[f"low_{a}"], record[f"low_{a}_label"]))
            yield found + np.array([int(before[2][0]) - 1, offset - 1])
        high = {k: v for k, v in record.items() if k.startswith("high_")}
        if high:
            self._waiting.put(layer, index, {"offset": np.array([offset]), **high})
        self._waiting.forget(layer - 1)
