"""Objects one at a time: every object belongs to one block, which reads the object's own box.

What cannot be summed over blocks (a skeleton, a texture of runs) needs the whole object. A stage keeps
its grid of blocks; a block treats the objects whose bounding box has its centre in it. So every object is
treated exactly once, whatever the grid, near where the block lies, and a plan can be made before anybody
knows how many objects there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Fold, Map, Records, Result, Stage
from chunkflow_liver.geometry import Block, BlockGrid, Box, Zyx, zyx
from chunkflow_liver.kernels.labels.extents import block_extents, merge_extents
from chunkflow_liver.ops.steps.place import PathLike, arrays_at
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.voxels.region import Known, next_to
from chunkflow_liver.xp import Array

ONE: Zyx = (1, 1, 1)


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


def owners(grid: BlockGrid, objects: Arrays) -> Array:
    """The block of `grid` that owns each object of `objects`, in their order."""
    centre = centres(np.asarray(objects["low"]), np.asarray(objects["high"])) - np.array(grid.box.start)
    inside = np.minimum(centre // np.array(grid.block), np.array(grid.counts) - 1)
    return np.ravel_multi_index(tuple(inside.T), grid.counts)


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


def cut_stages(
    labels: Volume, known: Known, *, name: str, work: PathLike, block: Zyx | None = None
) -> tuple[tuple[Stage, ...], dict[str, Arrays]]:
    """The stages that find the objects which a mask cuts, and where their labels are kept.

    Parameters
    ----------
    labels : Volume
        Object ids, 0 is background.
    known : Known
    name, work
        Of the operation; the stages are called `<name>/cut` and `<name>/cut-objects`.
    block : Zyx, optional
        As for `extents`.

    Returns
    -------
    tuple of stages
        None without a mask.
    dict of Arrays
        `cut` with the column `label` (uint64, ascending); empty without a mask.
    """
    if not known.masks:
        return (), {}
    found = arrays_at(work, name, "cut")
    grid = BlockGrid(labels.box, block or zyx(list(labels.write_unit)), ONE, ONE)
    stage = Map(f"{name}/cut", _cut, grid, (labels,), params={"known": known}, working=8.0)
    return (stage, Fold(f"{name}/cut-objects", _merged, stage.name, found)), {"cut": found}


def is_cut(label: Array, cut: Any) -> Array:
    """Which objects a mask cuts; none without one."""
    if cut is None:
        return np.zeros(len(label), bool)
    return np.isin(label.astype(np.uint64), cut["label"])


def _cut(block: Block, labels: Array, *, known: Known) -> Result:
    seen = block.within(known.box)
    hidden = known.hidden(seen.read)
    if hidden is None or not seen.write.size:
        return Result()
    inner = labels[seen.read.relative_to(block.read).slices]
    label = np.unique(inner[seen.trim][(next_to(hidden) & ~hidden)[seen.trim]])
    return Result(record={"label": label[label > 0].astype(np.uint64)})


def _merged(records: Records) -> Columns:
    found = [np.zeros(0, np.uint64), *(np.asarray(r["label"]) for _, r in records if "label" in r)]
    return {"label": np.unique(np.concatenate(found))}
