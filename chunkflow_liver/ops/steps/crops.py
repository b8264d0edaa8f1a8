"""Objects one at a time: every object belongs to one block, which reads the object's own box.

What cannot be summed over blocks (a skeleton, a texture of runs) needs the whole object. A stage keeps
its grid of blocks; a block treats the objects whose bounding box has its centre in it. So every object is
treated exactly once, whatever the grid, near where the block lies, and a plan can be made before anybody
knows how many objects there are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chunkflow_liver.engine.stage import Fold, Map, Records, Result, Stage
from chunkflow_liver.geometry import Block, BlockGrid, Box, Zyx, zyx
from chunkflow_liver.kernels.labels.extents import block_extents, merge_extents
from chunkflow_liver.ops.steps.place import PathLike, arrays_at
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array


def extents(
    labels: Volume,
    *,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
) -> tuple[tuple[Stage, ...], Arrays]:
    """The stages that find label, voxels and bounding box of every object, and where they are kept.

    Parameters
    ----------
    labels : Volume
        Object ids, 0 is background.
    name : str
        Of the operation; the stages are called `<name>/extents` and `<name>/boxes`.
    work : path
        Work folder.
    block : Zyx, optional
        Voxels per block; the write unit of `labels` by default.

    Returns
    -------
    tuple of stages
        A map and a fold.
    Arrays
        `label` (uint64), `voxels`, `low`, `high` (int64 of shape (L, 3), voxels, half-open), and `plane`,
        which holds the centre of the box; sorted by plane, then by label, for `owned`.
    """
    grid = BlockGrid(labels.box, block or zyx(list(labels.write_unit)))
    found = arrays_at(work, name, "extents")
    return (
        Map(f"{name}/extents", _extents, grid, (labels,), working=12.0),
        Fold(f"{name}/boxes", _boxes, f"{name}/extents", found),
    ), found


def owned(block: Block, objects: Arrays) -> Iterator[tuple[int, Box]]:
    """Label and bounding box of the objects of a block, in the order of labels.

    Parameters
    ----------
    block : Block
        Owns the objects whose bounding box has its centre, rounded down, in `block.write`.
    objects : Arrays
        What `extents` made.
    """
    planes = objects["plane"]
    begin, end = np.searchsorted(planes, [block.write.start[0], block.write.stop[0]])
    low, high = objects["low"][begin:end], objects["high"][begin:end]
    centre = centres(low, high)
    inside = ((centre >= block.write.start) & (centre < block.write.stop)).all(axis=1)
    label = objects["label"][begin:end]
    for i in sorted(np.flatnonzero(inside).tolist(), key=lambda i: int(label[i])):
        yield int(label[i]), Box(zyx(low[i].tolist()), zyx(high[i].tolist()))


def centres(low: Array, high: Array) -> Array:
    """The voxel that holds the centre of each box; it lies inside the box."""
    return (low + high - 1) // 2


def _extents(block: Block, labels: Array) -> Result:
    return Result(record=block_extents(labels, block.write.start))


def _boxes(records: Records) -> Columns:
    found = merge_extents(dict(record) for _, record in records)
    plane = centres(found["low"], found["high"])[:, 0]
    order = np.argsort(plane, kind="stable")
    return {"plane": plane[order]} | {name: column[order] for name, column in found.items()}
