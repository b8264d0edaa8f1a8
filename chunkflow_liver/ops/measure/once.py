"""Groups that need to know nothing of objects beforehand: all of their sums from one read of the labels.

Whether an object lies in a block as a whole is guessed from the block: it does if it ends inside. That is
wrong for one that has another piece elsewhere. Blocks with such pieces are read again, for these alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Fold, Map, Records, Result, Stage
from chunkflow_liver.geometry import Block, BlockGrid, Nm, Zyx
from chunkflow_liver.kernels.features.basic import HIGHEST, LOWEST, object_sums
from chunkflow_liver.kernels.features.groups import Settings, View, runs_ahead
from chunkflow_liver.kernels.labels.object_runs import runs_by_object
from chunkflow_liver.kernels.rows import Rows
from chunkflow_liver.kernels.shape.pyradiomics_shape import whole_here
from chunkflow_liver.ops.measure.groups import GROUPS
from chunkflow_liver.ops.measure.table import flat
from chunkflow_liver.ops.steps.place import PathLike, arrays_at
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

Guess = tuple[int, Array, Array]
"""Index of a block, its first voxel, and the labels that it took for whole."""


def sums_once(
    block: Block,
    labels: Array,
    raw: Array | None = None,
    *,
    features: Sequence[str],
    voxel_nm: Nm,
    settings: Mapping[str, Any],
) -> Result:
    """The sums of 'basic' and of groups that are `alone`, and which objects these took for whole."""
    start, runs = block.write.start, runs_by_object(labels)
    own = runs if block.read == block.write else runs.within(block.write.shape)
    sums = object_sums(own, labels[block.trim], None if raw is None else raw[block.trim])
    record = {**sums, "origin": np.array(start)}
    seen = sums if own is runs else object_sums(runs, labels)
    objects: Rows = {"label": runs.label}
    for axis, low, high, first in zip("zyx", LOWEST, HIGHEST, start, strict=True):
        # What begins with the block may go on before it.
        before = (seen[low] == 0) & (first > 0)
        objects[f"bbox_{axis}_min"] = seen[low] + first - before
        objects[f"bbox_{axis}_max"] = seen[high] + first + 1
    view = View(block, labels, None, objects, voxel_nm, Settings.of(settings), {runs_ahead: runs})
    record["whole"] = runs.label[whole_here(view)]
    if not len(runs.label):
        return Result(record=record)
    return Result(record=record | flat({name: GROUPS[name].sums(view) for name in features}))


def noted(records: Records, guesses: list[Guess]) -> Records:
    """The same records; what their blocks took for whole is added to `guesses`."""
    for index, record in records:
        if "whole" in record:
            guesses.append((index, record["origin"], record["whole"]))
        yield index, record


def doubtful(guesses: Sequence[Guess], objects: Columns, block: Zyx) -> Columns:
    """Blocks and labels of wrong guesses, now that the bounding boxes of all objects are known.

    Returns
    -------
    dict of ndarray of shape (D,)
        `doubt_block` (int64, ascending) and `doubt_label` (uint64).
    """
    blocks, labels = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    for index, origin, label in guesses:
        row = np.searchsorted(objects["label"], label)
        wrong = np.zeros(len(label), bool)
        for axis, first, size in zip("zyx", origin.tolist(), block, strict=True):
            wrong |= objects[f"bbox_{axis}_min"][row] < first
            wrong |= objects[f"bbox_{axis}_max"][row] > first + size
        blocks.append(np.full(int(wrong.sum()), index))
        labels.append(label[wrong])
    return {"doubt_block": np.concatenate(blocks), "doubt_label": np.concatenate(labels)}


def piece_stages(
    instances: Volume,
    *,
    grid: BlockGrid,
    objects: Arrays,
    params: Mapping[str, Any],
    name: str,
    work: PathLike,
) -> tuple[tuple[Stage, ...], Arrays]:
    """The stages that mend wrong guesses, and where the sums that take their place are kept.

    Parameters
    ----------
    instances : Volume
    grid : BlockGrid
        Of `sums_once`.
    objects : Arrays
        Columns of 'basic' and `doubtful`.
    params : mapping
        `features`, `voxel_nm` and `settings` of `sums_once`.
    name, work
        Of the operation.
    """
    found = arrays_at(work, name, "pieces")
    voxels = min(
        int(np.prod([sum(s) for s in zip(grid.low, grid.block, grid.high, strict=True)])), grid.box.size
    )
    chosen = Settings.of(params["settings"])
    working = max(GROUPS[feature].needs(chosen, "") for feature in params["features"])
    mended = Map(
        f"{name}/pieces",
        _pieces,
        grid,
        (instances,),
        params=params,
        artefacts={"objects": objects},
        resident=int(voxels * (2 * instances.itemsize + 1 + working)),
        streams=True,
        notes=("reads only blocks with pieces of objects that other blocks have pieces of, too",),
    )
    return (mended, Fold(f"{name}/piece-sums", _gathered, mended.name, found)), found


def _pieces(
    block: Block,
    instances: Volume,
    *,
    features: Sequence[str],
    voxel_nm: Nm,
    settings: Mapping[str, Any],
    objects: Arrays,
) -> Iterator[Result]:
    wanted = objects["doubt_label"][objects["doubt_block"] == block.index]
    if len(wanted):
        labels = instances.read(block.read)
        labels = np.where(np.isin(labels, wanted), labels, labels.dtype.type(0))
        row = np.searchsorted(objects["label"], wanted)
        rows = {column: objects[column][row] for column in objects["columns"].tolist()}
        view = View(block, labels, None, rows, voxel_nm, Settings.of(settings))
        yield Result(record=flat({feature: GROUPS[feature].sums(view) for feature in features}))


def _gathered(records: Records) -> Columns:
    parts = [record for _, record in records if record]
    names = list(parts[0]) if parts else []
    # A file is named after each.
    columns = {n.replace("/", "."): np.concatenate([part[n] for part in parts]) for n in names}
    return {**columns, "names": np.array(names, str)}
