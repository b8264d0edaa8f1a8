"""Instances: connected components of classes, exact across blocks.

Pass 1 labels every block, extended by one voxel on the high side of each axis, and keeps only counts
and the labels on the shared planes. A fold unites labels that meet in a voxel of a shared plane: any
two voxels that touch lie together in the extended box of one block, so this is exact for faces, edges
and corners. Pass 2 labels every block again and writes final ids: labelling is several times cheaper
than storing and reading intermediate labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.pyramid import pyramid
from chunkflow_liver.engine.stage import Fold, Map, Records, Result, Stage
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import NM_PER_UM, Block, BlockGrid, Zyx
from chunkflow_liver.kernels.components import (
    CONNECTIVITIES,
    first_voxels,
    label_block,
    merge,
    plane_pairs,
    plane_runs,
)
from chunkflow_liver.ops.place import (
    PathLike,
    arrays_at,
    checked_labels,
    label_format,
    label_url,
    work_folder,
)
from chunkflow_liver.store.table import Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

AXES = "zyx"


def label(
    semantic: Volume,
    *,
    classes: Sequence[str | int] | None = None,
    connectivity: int = 26,
    min_volume_um3: float = 0.0,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
    into: PathLike | None = None,
) -> Plan:
    """Plan the instances (connected components) of classes, with ids 1..n over the whole volume.

    Parameters
    ----------
    semantic : Volume
        Class of every voxel, 0 is background.
    classes : sequence of str or int, optional
        Classes whose components are instances, each class on its own; all classes by default.
    connectivity : {6, 18, 26}
        Voxels join across faces; faces and edges; faces, edges and corners.
    min_volume_um3 : float
        Whole instances below this volume (cubic micrometres) are removed, after stitching.
    name : str
        Name of the label image.
    work : path
        Work folder.
    block : Zyx, optional
        Voxels per block; the write unit of the output by default.
    into : path or URL, optional
        Image group whose `labels` the result joins; the work folder's by default.

    Returns
    -------
    Plan
        Its `output` is the label volume (uint32). Ids are consecutive from 1, in the raster order of
        each instance's first voxel, whatever the blocks are.

    Raises
    ------
    ConfigError, InputError
        If connectivity, classes or volume cannot be used.
    """
    if connectivity not in CONNECTIVITIES:
        raise ConfigError(f"connectivity must be one of {CONNECTIVITIES}, got {connectivity!r}")
    if not (math.isfinite(min_volume_um3) and min_volume_um3 >= 0):
        raise ConfigError(f"min_volume_um3 must be 0 or more, got {min_volume_um3!r}")
    checked_labels(semantic, "classes")
    numbers = None if classes is None else sorted({semantic.class_number(c) for c in classes})
    if numbers is not None and not (numbers and numbers[0] > 0):
        raise ConfigError(
            f"classes {list(classes or ())} are no objects: name one or more, and not 0, background"
        )
    names = {n: c for c, n in semantic.classes}
    picked = [(names.get(n, str(n)), n) for n in numbers or sorted(names)]
    output = semantic.like(
        label_url(work, name, into), dtype="uint32", kind="label", block=block, zarr_format=label_format(into)
    )
    whole = BlockGrid(output.box, block or output.write_unit, high=(1, 1, 1))
    params: dict[str, Any] = {"classes": numbers, "connectivity": connectivity}
    merged = arrays_at(work, name, "instances")
    voxel_um3 = math.prod(semantic.voxel_nm) / NM_PER_UM**3
    stages: tuple[Stage, ...] = (
        Map(f"{name}/components", _components, whole, (semantic,), params=params, working=12.0),
        Fold(
            f"{name}/merge",
            _merge,
            f"{name}/components",
            merged,
            params={
                "counts": whole.counts,
                "min_voxels": math.ceil(round(min_volume_um3 / voxel_um3, 9)),
                "names": picked,
            },
        ),
        Map(
            f"{name}/apply",
            _apply,
            whole,
            (semantic,),
            (output,),
            params=params,
            artefacts={"merged": merged},
            working=10.0,
        ),
        *pyramid(output, name),
    )
    about = (("classes", picked), ("artefact", merged.path), ("connectivity", connectivity))
    return Plan(stages, work_folder(work), output, (Product("instances", name, output, about),))


def _components(block: Block, semantic: Array, *, classes: list[int] | None, connectivity: int) -> Result:
    labels, n = label_block(semantic, classes=classes, connectivity=connectivity)
    if n == 0:
        return Result(record={"voxels": np.zeros(0, np.int64)})
    first = first_voxels(labels, n)
    z, y, x = (a + b for a, b in zip(np.unravel_index(first, labels.shape), block.read.start, strict=True))
    _, ny, nx = block.volume.shape
    record: dict[str, Any] = {
        "voxels": np.bincount(labels[block.trim].ravel(), minlength=n + 1)[1:],
        "first": (z.astype(np.int64) * ny + y) * nx + x,
        "value": semantic.ravel()[first].astype(np.int64),
    }
    for axis, a in enumerate(AXES):
        record[f"low_{a}"], record[f"low_{a}_label"] = plane_runs(np.take(labels, 0, axis))
        if block.read.stop[axis] > block.write.stop[axis]:
            record[f"high_{a}"], record[f"high_{a}_label"] = plane_runs(np.take(labels, -1, axis))
    return Result(record=record)


def _merge(records: Records, *, counts: Zyx, min_voxels: int, names: list[tuple[str, int]]) -> Columns:
    """Final id of every label of every block, and voxels and class of every final id."""
    steps = (counts[1] * counts[2], counts[2], 1)
    offsets, voxels, first, value, pairs = [0], [], [], [], []
    high: dict[tuple[int, int], Any] = {}
    for index, record in records:
        offset, n = offsets[-1], len(record["voxels"])
        offsets.append(offset + n)
        at = np.unravel_index(index, counts)
        for axis, a in enumerate(AXES):
            before = high.pop((axis, index - steps[axis]), None) if at[axis] else None
            if n and before is not None:
                found = plane_pairs(before[1], (record[f"low_{a}"], record[f"low_{a}_label"]))
                pairs.append(found.astype(np.int64) + np.array([before[0] - 1, offset - 1]))
            if n and f"high_{a}" in record:
                high[axis, index] = (offset, (record[f"high_{a}"], record[f"high_{a}_label"]))
        if n:
            voxels.append(record["voxels"])
            first.append(record["first"])
            value.append(record["value"])
    total = offsets[-1]
    known: dict[str, Any] = {
        "offsets": np.array(offsets),
        "class_name": np.array([n for n, _ in names], str),
        "class_number": np.array([n for _, n in names], np.int64),
    }
    if not total:
        empty = np.zeros(0, np.int64)
        return {**known, "final": empty.astype(np.uint32), "voxels": empty, "value": empty}
    roots = merge(total, np.concatenate(pairs) if pairs else np.zeros((0, 2), np.int64))
    roots, member = np.unique(roots, return_inverse=True)
    size = np.zeros(len(roots), np.int64)
    np.add.at(size, member, np.concatenate(voxels))
    start = np.full(len(roots), np.iinfo(np.int64).max)
    np.minimum.at(start, member, np.concatenate(first))
    kind = np.zeros(len(roots), np.int64)
    kind[member] = np.concatenate(value)
    order = np.argsort(start)
    order = order[size[order] >= max(1, min_voxels)]
    if len(order) > np.iinfo(np.uint32).max:
        raise InputError(f"{len(order)} instances do not fit uint32 ids; raise min_volume_um3")
    final = np.zeros(len(roots), np.uint32)
    final[order] = np.arange(1, len(order) + 1, dtype=np.uint32)
    return {**known, "final": final[member], "voxels": size[order], "value": kind[order]}


def _apply(
    block: Block, semantic: Array, *, merged: Any, classes: list[int] | None, connectivity: int
) -> Result:
    labels, n = label_block(semantic, classes=classes, connectivity=connectivity)
    begin, end = merged["offsets"][block.index : block.index + 2]
    final = np.zeros(n + 1, np.uint32)
    final[1:] = merged["final"][begin:end]
    return Result((final[labels[block.trim]],))
