"""Instances in 3D from instances of single slices, for stacks whose slices were segmented one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.pyramid import pyramid
from chunkflow_liver.engine.stage import Fold, Map, Record, Records, Result, Stage
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Block, BlockGrid, Nm, Zyx
from chunkflow_liver.kernels.instances.slice_links import (
    Rule,
    choose_links,
    merge_objects,
    merge_overlaps,
    slice_objects,
    slice_overlaps,
)
from chunkflow_liver.kernels.labels.relabel import relabel
from chunkflow_liver.ops.steps.numbering import Numbering, id_dtype
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    arrays_at,
    checked_labels,
    label_url,
    label_version,
    work_folder,
)
from chunkflow_liver.store.scratch.spill import Spill
from chunkflow_liver.store.table import Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array


@operation
def link(
    slices: Volume,
    *,
    iou: float = 0.1,
    share: float | None = 0.9,
    distance_nm: float = 0.0,
    gap: int = 1,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
    into: PathLike | None = None,
) -> Plan:
    """Plan instances in 3D from instances of single slices (along z).

    Parameters
    ----------
    slices : Volume
        Instances of each slice, 0 is background. The same id in two slices says nothing; within a slice
        it is one object.
    iou : float
        Two objects of neighbouring slices are one if one is the best partner of the other and their
        intersection over union reaches this: the branches of a Y are one object.
    share : float
        An object without such a partner on one side is linked to its best one there if this share of it
        lies on that: a thin branch of a thick stem. None for never: in tissue without gaps, crumbs of one
        object that lie on another would join the two.
    distance_nm : float
        Objects without such a partner are linked to the nearest one that has none either, if the distance
        of the centroids (nm, in the plane) is not larger; 0 for never.
    gap : int
        Most slices that may be missing between two parts of an object.
    name : str
        Name of the label image.
    {work}
    {block}
    {into}

    Returns
    -------
    Plan
        Its `output` is the label volume: ids 1..n in the raster order of each instance's first voxel,
        whatever the blocks are.

    Raises
    ------
    ConfigError, InputError
        If a threshold is no share, the distance or the gap is negative, or the voxels are no labels.
    """
    for what, value in (("iou", iou), ("share", share)):
        if value is not None and not 0 < value <= 1:
            raise ConfigError(f"{what} is a share above 0 and up to 1, got {value!r}")
    if not (math.isfinite(distance_nm) and distance_nm >= 0):
        raise ConfigError(f"distance_nm must be 0 or more, got {distance_nm!r}")
    if gap < 0:
        raise ConfigError(f"gap is a number of slices, 0 or more, got {gap!r}")
    slices = checked_labels(slices, "instances")
    voxels = math.prod(slices.shape)
    output = slices.like(
        label_url(work, name, into),
        dtype=id_dtype(voxels),
        kind="label",
        block=block,
        ome_version=label_version(into),
    )
    rule = Rule(iou, math.inf if share is None else share, distance_nm, gap)
    cut = block or output.write_unit
    merged = arrays_at(work, name, "slices")
    stages: tuple[Stage, ...] = (
        Map(
            f"{name}/slices",
            _slices,
            BlockGrid(output.box, cut, high=(gap + 1, 0, 0)),
            (slices,),
            params={"gap": gap},
            working=12.0,
        ),
        Fold(
            f"{name}/merge",
            _merge,
            f"{name}/slices",
            merged,
            params={
                "per_layer": math.prod(BlockGrid(output.box, cut).counts[1:]),
                "shape": slices.shape,
                "rule": rule,
                "voxel_nm": slices.voxel_nm,
                "dtype": output.dtype,
            },
            spills=True,
        ),
        Map(
            f"{name}/apply",
            _apply,
            BlockGrid(output.box, cut),
            (slices,),
            (output,),
            artefacts={"merged": merged},
            working=12.0,
        ),
        *pyramid(output, name),
    )
    about = (("slices", slices.name), ("iou", iou), ("share", share), ("gap", gap))
    return Plan(stages, work_folder(work), output, (Product("instances", name, output, about),))


def _slices(block: Block, labels: Array, *, gap: int) -> Result:
    objects = slice_objects(labels, block.read.start, block.volume.shape)
    overlaps = slice_overlaps(labels, block.read.start[0], gap=gap)
    if not len(objects["z"]):
        return Result()
    return Result(
        record={f"object_{k}": v for k, v in objects.items()}
        | {f"overlap_{k}": v for k, v in overlaps.items()}
        | {"stop": np.array(block.write.stop[0])}
    )


def _merge(
    records: Records,
    *,
    per_layer: int,
    shape: Zyx,
    rule: Rule,
    voxel_nm: Nm,
    dtype: str,
    scratch: Path,
) -> Columns:
    """Final id of every object of every slice; holds the objects of one layer of blocks."""
    numbering = Numbering(scratch, math.prod(shape))
    label = Spill(scratch / "label", "uint64")
    waiting = np.zeros((0, 2), np.int64)
    for objects, overlaps, stop in _layers(records, per_layer):
        links = choose_links(objects, overlaps, rule, voxel_nm)
        # Objects of the halo are rows too, and get their numbers in the next layer in the same order.
        first = numbering.offsets[-1]
        ends = np.searchsorted(objects["z"], np.arange(len(numbering.offsets) - 1, stop), side="right")
        begins = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            voxels = objects["voxels"][begin:end]
            numbering.add(voxels, objects["first"][begin:end], np.zeros(len(voxels), np.int64))
        label.append(objects["label"][: numbering.offsets[-1] - first])
        own = links[:, 0] < numbering.offsets[-1] - first
        waiting = np.concatenate([waiting, links[own] + first])
        there = waiting[:, 1] < numbering.offsets[-1]
        numbering.join(waiting[there])
        waiting = waiting[~there]
    for _ in range(len(numbering.offsets) - 1, shape[0]):
        numbering.add(*(np.zeros(0, np.int64) for _ in range(3)))
    found = numbering.finish(min_voxels=1, dtype=dtype)
    return {k: found[k] for k in ("offsets", "final", "voxels")} | {"label": label.array()}


def _layers(records: Records, per_layer: int) -> Iterator[tuple[Columns, Columns, int]]:
    """Objects and overlaps of each layer of blocks that has any, halo included, and where its slices end."""
    parts: list[Record] = []
    for index, record in records:
        if record:
            parts.append(record)
        if (index + 1) % per_layer == 0 and parts:
            yield (
                merge_objects([_columns(p, "object_") for p in parts]),
                merge_overlaps([_columns(p, "overlap_") for p in parts]),
                int(parts[0]["stop"]),
            )
            parts = []


def _columns(record: Record, prefix: str) -> dict[str, Array]:
    return {k.removeprefix(prefix): v for k, v in record.items() if k.startswith(prefix)}


def _apply(block: Block, labels: Array, *, merged: Any) -> Result:
    out = np.zeros(labels.shape, merged["final"].dtype)
    old, new = merged["label"], merged["final"]
    for i, z in enumerate(range(block.write.start[0], block.write.stop[0])):
        begin, end = merged["offsets"][z : z + 2]
        out[i] = relabel(labels[i], old[begin:end], new[begin:end])
    return Result((out,))
