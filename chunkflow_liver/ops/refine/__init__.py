"""Clean-up of instances, on whole objects: smoother shapes, holes, and which objects stay.

The order is fixed. Shapes first, each object by itself: majority, opening, closing. Then holes: background
that one object encloses on all sides, across blocks, becomes part of it. Then whole objects go: those at the
border, too small, too large, too flat. What stays is numbered anew; a table keeps what became of every id.

Blocks do the shapes twice, before and after the driver has seen all objects, instead of storing them in
between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.pyramid import pyramid
from chunkflow_liver.engine.stage import Fold, Map, Records, Result, Stage
from chunkflow_liver.geometry import Block, BlockGrid, Box, Nm, Zyx, zyx
from chunkflow_liver.kernels.instances.holes import background, surroundings
from chunkflow_liver.kernels.instances.smoothing import Shapes
from chunkflow_liver.kernels.labels.extents import block_extents
from chunkflow_liver.kernels.labels.relabel import relabel
from chunkflow_liver.kernels.labels.runs import find_runs
from chunkflow_liver.ops.refine.choosing import REASONS, Keep, choose
from chunkflow_liver.ops.steps.numbering import id_dtype
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    arrays_at,
    checked_labels,
    known_of,
    label_url,
    label_version,
    table_at,
    work_folder,
)
from chunkflow_liver.ops.steps.shared_planes import seam_record
from chunkflow_liver.store.table import Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.voxels.region import Known, next_to
from chunkflow_liver.xp import Array

ROWS = 1 << 18
"""Objects written at once."""


@operation
def refine(
    instances: Volume,
    *,
    shapes: Shapes | None = None,
    keep: Keep | None = None,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
    into: PathLike | None = None,
) -> Plan:
    """Plan cleaner instances: shapes, holes, then whole objects, in this order.

    Parameters
    ----------
    instances : Volume
        Instance ids, 0 is background.
    shapes : Shapes, optional
        How shapes change; not at all by default.
    keep : Keep, optional
        Which objects stay; all by default.
    name : str
        Name of the label image and, with '-ids', of the table.
    {work}
    {block}
    {into}

    Returns
    -------
    Plan
        Its `output` is the label volume: ids 1..n in the raster order of each object's first voxel. The
        table `<name>-ids` has one row per id of `instances`: `label, final` (0 if it is gone), `removed`
        (why: vanished, border, small, large, flat), `voxels_before, voxels` (after shapes and holes),
        `span_z_nm, touches_border`. An object that opening cuts in two keeps one id.

    Raises
    ------
    InputError
        If the voxels are no labels.
    """
    shapes, keep = shapes or Shapes(), keep or Keep()
    instances = checked_labels(instances, "instances")
    output = instances.like(
        label_url(work, name, into),
        dtype=id_dtype(min(math.prod(instances.shape), _largest(instances.dtype))),
        kind="label",
        block=block,
        ome_version=label_version(into),
    )
    halo = shapes.halo(instances.voxel_nm)
    # Pieces of background that meet in the plane after a block's last one are one.
    grid = BlockGrid(output.box, block or output.write_unit, halo, zyx([n + shapes.fill_holes for n in halo]))
    ids, table = arrays_at(work, name, "instances"), table_at(work, f"{name}-ids")
    settings = {k: v for k, v in (asdict(shapes) | asdict(keep)).items() if v != math.inf}
    params: dict[str, Any] = {"shapes": shapes, "voxel_nm": instances.voxel_nm, "known": output.seen}
    stages: tuple[Stage, ...] = (
        Map(
            f"{name}/objects",
            _objects,
            grid,
            (instances,),
            params=params,
            working=16.0 + 12.0 * shapes.fill_holes + 24.0 * shapes.moves,
        ),
        Fold(
            f"{name}/choose",
            choose,
            f"{name}/objects",
            ids,
            params={
                "counts": grid.counts,
                "volume": output.box,
                "known": output.known,
                "keep": keep,
                "voxel_nm": instances.voxel_nm,
                "dtype": output.dtype,
            },
            artefacts={"made": known_of(work, instances)},
            spills=True,
        ),
        Fold(
            f"{name}/table",
            _table,
            f"{name}/objects",
            table,
            params={"z_nm": instances.voxel_nm[0]},
            artefacts={"ids": ids},
            provenance={"operation": "refine", **settings},
        ),
        Map(
            f"{name}/apply",
            _apply,
            grid,
            (instances,),
            (output,),
            params=params,
            artefacts={"ids": ids},
            working=12.0 + 8.0 * shapes.fill_holes + 24.0 * shapes.moves,
        ),
        *pyramid(output, name),
    )
    about = (("instances", instances.name), *settings.items())
    products = (Product("instances", name, output, about), Product("id table", f"{name}-ids", table, about))
    return Plan(stages, work_folder(work), output, products)


def _largest(dtype: str) -> int:
    """Largest id that there can be."""
    return 1 if dtype == "bool" else int(np.iinfo(dtype).max)


def _shaped(block: Block, labels: Array, shapes: Shapes, voxel_nm: Nm, known: Known) -> tuple[Array, Box]:
    """The objects of a block, with the planes shared with later blocks where holes are looked for."""
    if labels.dtype == bool:
        labels = labels.view(np.uint8)
    box = block.write.grow((0, 0, 0), zyx([int(shapes.fill_holes)] * 3)).clip(block.volume)
    seen = block.read.clip(known.box)
    hidden = known.hidden(seen)
    if seen == block.read:
        shaped = shapes.apply(labels, voxel_nm, hidden)
    else:
        shaped, inner = np.zeros_like(labels), seen.relative_to(block.read).slices
        if seen.size:
            shaped[inner] = shapes.apply(labels[inner], voxel_nm, hidden)
    return shaped[box.relative_to(block.read).slices], box


def _objects(block: Block, labels: Array, *, shapes: Shapes, voxel_nm: Nm, known: Known) -> Result:
    own, box = _shaped(block, labels, shapes, voxel_nm, known)
    before = block_extents(labels[block.trim], block.write.start)
    written = own[block.write.relative_to(box).slices]
    record: dict[str, Any] = {
        "before_label": before["label"],
        "before_voxels": before["voxels"],
        **_table_of(written, block),
    }
    if (hidden := known.hidden(box.grow((1, 1, 1)).clip(known.box))) is not None:
        record["cut"] = _cut(written, hidden, block.write, box.grow((1, 1, 1)).clip(known.box))
    if shapes.fill_holes:
        spaces, n = background(own)
        around = surroundings(own, spaces, n, box, block.volume, known.hidden(box))
        mine = spaces[block.write.relative_to(box).slices]
        record |= {f"space_{k}": v for k, v in around.items()}
        record["space_voxels"] = np.bincount(mine.ravel(), minlength=n + 1)[1:]
        record |= seam_record(block, spaces, box.stop)
    return Result(record=record)


def _cut(labels: Array, hidden: Array, write: Box, around: Box) -> Array:
    """Objects of a block that a mask cuts."""
    edge, part = next_to(hidden), write.clip(around)
    found = labels[part.relative_to(write).slices][edge[part.relative_to(around).slices]]
    return np.unique(found[found > 0]).astype(np.uint64)


def _table_of(labels: Array, block: Block) -> dict[str, Array]:
    """Extents of the objects of a block, and the first voxel of each in the volume."""
    found = block_extents(labels, block.write.start)
    runs = find_runs(labels)
    (z0, y0, x0), (_, ny, nx) = block.write.start, block.volume.shape
    at = ((runs.z + z0) * ny + runs.y + y0) * nx + runs.start + x0
    first = np.full(len(found["label"]), np.iinfo(np.int64).max)
    np.minimum.at(first, np.searchsorted(found["label"], runs.label.astype(np.uint64)), at)
    return {**found, "first": first}


def _table(records: Records, *, z_nm: float, ids: Any) -> Iterator[Columns]:
    columns = {k: ids[k] for k in ("label", "final", "removed", "before", "after", "span", "touches")}
    for begin in range(0, max(1, len(columns["label"])), ROWS):
        part = {k: v[begin : begin + ROWS] for k, v in columns.items()}
        yield {
            "label": part["label"],
            "final": part["final"],
            "removed": np.array(list(REASONS))[part["removed"]],
            "voxels_before": part["before"],
            "voxels": part["after"],
            "span_z_nm": part["span"] * z_nm,
            "touches_border": part["touches"],
        }


def _apply(block: Block, labels: Array, *, shapes: Shapes, voxel_nm: Nm, known: Known, ids: Any) -> Result:
    own, box = _shaped(block, labels, shapes, voxel_nm, known)
    write = block.write.relative_to(box).slices
    final = relabel(own[write], ids["label"], ids["final"])
    if shapes.fill_holes:
        spaces, n = background(own)
        begin, end = ids["offsets"][block.index : block.index + 2]
        of = np.zeros(n + 1, final.dtype)
        of[1:] = relabel(np.asarray(ids["hole"][begin:end]), ids["label"], ids["final"])
        final = np.where(final == 0, of[spaces[write]], final)
    return Result((final,))
