"""The parent of every object: the one that most of its voxels lie in."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.engine.stage import Fold, Map, Records, Result, Stage
from chunkflow_liver.geometry import Block, BlockGrid
from chunkflow_liver.kernels.labels.overlap import majority, merge_overlaps, overlap
from chunkflow_liver.ops.steps.place import PathLike, arrays_at, checked_labels, same_voxels
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array


def parent_stages(
    instances: Volume, parents: Volume, *, grid: BlockGrid, name: str, work: PathLike
) -> tuple[tuple[Stage, ...], Arrays]:
    """The stages that find the parent of every instance, and where they keep it.

    Raises
    ------
    InputError
        If `parents` holds no labels, or not on the voxels of `instances`.
    """
    parents = checked_labels(parents, "parents")
    same_voxels(parents, instances, "parents and instances must lie on the same voxels")
    found = arrays_at(work, name, "parents")
    shared = Map(f"{name}/parents", _shared, grid, (instances, parents), working=24.0)
    return (shared, Fold(f"{name}/parent", _parent, shared.name, found)), found


def _shared(block: Block, labels: Array, parents: Array) -> Result:
    return Result(record=overlap(labels, np.where(labels == 0, 0, parents)))


def _parent(records: Records) -> Columns:
    found = majority(merge_overlaps(record for _, record in records if record))
    columns = {"label": found["label"], "parent": found["most"], "parent_share": found["share"]}
    return {**columns, "columns": np.array(list(columns))}
