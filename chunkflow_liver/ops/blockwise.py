"""Instances of blocks that were segmented independently become instances of the volume.

Map 1 runs an instance function on every block with its halo; it stores the block's own voxels with
provisional ids, and in its record what it sees of the voxels that it shares with its neighbours. A fold
joins objects by how well they fit there. Map 2 gives every voxel its final id. The provisional volume costs
about two bytes per hundred voxels; to find the instances twice would double the dearest part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.pyramid import pyramid
from chunkflow_liver.engine.stage import Fold, Map, Readable, Records, Result, Stage
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import NM_PER_UM, Block, BlockGrid, Nm, Zyx
from chunkflow_liver.kernels.seam_table import SeamTable, View
from chunkflow_liver.kernels.seams import AFTER, BEFORE, owned_objects, shared_box, touching, views
from chunkflow_liver.ops.numbering import id_dtype
from chunkflow_liver.ops.place import PathLike, arrays_at, label_format, label_url, table_at, work_folder
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array


@dataclass(frozen=True)
class Rules:
    """When objects of two blocks are one.

    Attributes
    ----------
    iou, iomin : float
        Two objects that fit each other best are joined if, in the box that both blocks see, shared voxels
        by voxels of either reach `iou`, and shared voxels by those of the smaller one reach `iomin`.
    branches : bool
        False: two objects of one block are never joined. True: only objects that touch each other in
        their block are kept apart; a branch that another block shows to belong to an object is joined.
    min_volume_um3 : float
        Objects below this volume are removed, after joining.
    dtype : {'uint32', 'uint64'}, optional
        Type of the ids; by default uint32 unless more objects than it counts could lie in the volume.
    """

    iou: float = 0.1
    iomin: float = 0.3
    branches: bool = False
    min_volume_um3: float = 0.0
    dtype: str | None = None

    def __post_init__(self) -> None:
        for name in ("iou", "iomin"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise ConfigError(f"{name} is a share of voxels, above 0 and at most 1, got {value!r}")
        if not (math.isfinite(self.min_volume_um3) and self.min_volume_um3 >= 0):
            raise ConfigError(f"min_volume_um3 must be 0 or more, got {self.min_volume_um3!r}")
        if self.dtype not in (None, "uint32", "uint64"):
            raise ConfigError(f"ids are 'uint32' or 'uint64', got dtype {self.dtype!r}")


@dataclass(frozen=True)
class Instances:
    """How a block gets its instances: `function(*arrays, voxel_nm=, **params)` returns integer labels.

    Attributes
    ----------
    function : callable
        Module-level.
    params : mapping
        Plain values.
    classes : tuple of (name, number)
        Classes of the first input that an object can have; with one, every object has it.
    halo, reach : Zyx
        Voxels read beyond the write box, and how far beyond it blocks are compared; at most the halo.
    working : float
        Bytes per voxel that the function needs.
    """

    function: Callable[..., Array]
    params: Mapping[str, Any]
    classes: tuple[tuple[str, int], ...]
    halo: Zyx
    reach: Zyx
    working: float


def stitched(
    sources: Sequence[Readable],
    found: Instances,
    rules: Rules,
    *,
    like: Volume,
    name: str,
    work: PathLike,
    block: Zyx | None,
    into: PathLike | None,
) -> Plan:
    """Plan the instances of `like`'s voxels, found block by block and joined over the seams.

    Returns
    -------
    Plan
        Its `output` is the label volume, ids 1..n in the raster order of first voxels; the table
        of seams is `tables/<name>-seams.parquet`.
    """
    voxel_um3 = math.prod(like.voxel_nm) / NM_PER_UM**3
    min_voxels = math.ceil(round(rules.min_volume_um3 / voxel_um3, 9))
    output = like.like(
        label_url(work, name, into),
        dtype=rules.dtype or id_dtype(math.prod(like.shape) // max(1, min_voxels)),
        kind="label",
        block=block,
        zarr_format=label_format(into),
    )
    parts = like.like(label_url(work, f"{name}-blocks"), dtype="uint32", kind="label", block=block, levels=1)
    grid = BlockGrid(output.box, block or output.write_unit, found.halo, found.halo)
    merged, seams = arrays_at(work, name, "instances"), table_at(work, f"{name}-seams")
    params: dict[str, Any] = {
        "function": found.function,
        "params": {"voxel_nm": like.voxel_nm, **found.params},
        "classes": [n for _, n in found.classes],
        "shape": grid.block,
        "reach": found.reach,
        "branches": rules.branches,
    }
    identity = params | {"function": f"{found.function.__module__}.{found.function.__qualname__}"}
    stages: tuple[Stage, ...] = (
        Map(
            f"{name}/blocks",
            _blocks,
            grid,
            tuple(sources),
            (parts,),
            params=params,
            identity=identity,
            # Ids, what is compared with 26 neighbours, and the labels of the function.
            working=found.working + 24.0,
        ),
        Fold(
            f"{name}/join",
            _join,
            f"{name}/blocks",
            merged,
            params={
                "grid": grid,
                "reach": found.reach,
                "rules": rules,
                "min_voxels": min_voxels,
                "dtype": output.dtype,
                "names": list(found.classes),
            },
        ),
        Fold(
            f"{name}/seams",
            _seams,
            f"{name}/blocks",
            seams,
            params={"voxel_nm": like.voxel_nm, "origin_nm": like.origin_nm},
            artefacts={"merged": merged},
            provenance={"operation": "stitch", "iou": rules.iou, "iomin": rules.iomin},
        ),
        Map(
            f"{name}/apply",
            _apply,
            BlockGrid(output.box, grid.block),
            (parts,),
            (output,),
            artefacts={"merged": merged},
            working=6.0,
        ),
        *pyramid(output, name),
    )
    about = (("classes", list(found.classes)), ("artefact", merged.path), ("link", "overlap"))
    products = (
        Product("instances", name, output, about),
        Product("seam table", f"{name}-seams", seams, (("instances", name),)),
    )
    return Plan(stages, work_folder(work), output, products)


def _blocks(
    block: Block,
    *arrays: Array,
    function: Callable[..., Array],
    params: Mapping[str, Any],
    classes: list[int],
    shape: Zyx,
    reach: Zyx,
    branches: bool,
) -> Result:
    labels = function(*arrays, **params)
    if labels.shape != block.read.shape:
        raise InputError(
            f"an instance function must return labels of the shape of its block, {block.read.shape}, "
            f"got {labels.shape}"
        )
    own = owned_objects(labels, block.trim)
    del labels
    record: dict[str, Any] = {"voxels": own.voxels}
    if len(own.voxels):
        z, y, x = (
            a + b
            for a, b in zip(np.unravel_index(own.first, block.write.shape), block.write.start, strict=True)
        )
        _, ny, nx = block.volume.shape
        record["first"] = (z * ny + y) * nx + x
        record["value"] = _values(own.ids[block.trim], arrays[0][block.trim], classes, len(own.voxels))
        record |= views(block, own.ids, shape, reach)
        if branches:
            pairs = touching(own.ids)
            record["touching"] = pairs[pairs[:, 1] <= len(own.voxels)]
    return Result((own.ids[block.trim],), record)


def _values(ids: Array, semantic: Array, classes: list[int], n: int) -> Array:
    """Class of every object of a block; 0 where all that a block has of an object is a filled hole."""
    found = np.zeros(n + 1, np.int64)
    for value in classes:
        if len(classes) > 1:
            found[ids[semantic == value]] = value
        else:
            found[:] = value
    return found[1:]


def _join(
    records: Records,
    *,
    grid: BlockGrid,
    reach: Zyx,
    rules: Rules,
    min_voxels: int,
    dtype: str,
    names: list[tuple[str, int]],
) -> Columns:
    """Final id of every object of every block; voxels and class of every final id; the seams."""
    seams = SeamTable(rules.iou, rules.iomin, rules.branches)
    _, ny, nx = grid.counts
    waiting: dict[tuple[int, Zyx], View] = {}
    offsets, columns, apart = [0], {k: [] for k in ("voxels", "first", "value")}, []  # type: Any, Any, Any
    for index, record in records:
        offset, block = offsets[-1], grid[index]
        offsets.append(offset + len(record["voxels"]))
        for k, parts in columns.items():
            if k in record:
                parts.append(record[k])
        if "touching" in record:
            apart.append(record["touching"].astype(np.int64) - 1 + offset)
        for i, step in enumerate((*BEFORE, *AFTER)):
            shared, _ = shared_box(block, step, grid.block, reach)
            if not shared.size:
                continue
            view = _view(record, i, offset)
            if i >= len(BEFORE):
                waiting[index, step] = view
                continue
            other = index + (step[0] * ny + step[1]) * nx + step[2]
            back = AFTER[i]
            axis = "".join(a for a, d in zip("zyx", step, strict=True) if d)
            seams.add((other, index), axis, shared, waiting.pop((other, back)), view)
    sizes = np.diff(offsets)
    roots, table = seams.merge(
        np.repeat(np.arange(len(sizes)), sizes),
        np.concatenate([*apart, np.zeros((0, 2), np.int64)]) if rules.branches else None,
    )
    known: dict[str, Any] = {
        "offsets": np.array(offsets),
        "class_name": np.array([n for n, _ in names], str),
        "class_number": np.array([n for _, n in names], np.int64),
    }
    known |= {f"seam_{k}": v for k, v in table.items()}
    return known | _final(roots, columns, min_voxels, dtype)


def _view(record: Any, i: int, offset: int) -> View:
    """What a block without any object sees is nothing."""
    if "bounds" not in record:
        nothing = np.zeros(1, np.uint32)
        return View((nothing, nothing), nothing[:0], nothing[:0] > 0, offset)
    begin, end = record["bounds"][i : i + 2]
    first, last = record["own_bounds"][i : i + 2]
    runs = (record["starts"][begin:end], record["values"][begin:end])
    return View(runs, record["own"][first:last], record["crossing"][first:last], offset)


def _final(roots: Array, columns: dict[str, list[Any]], min_voxels: int, dtype: str) -> dict[str, Any]:
    """Ids 1..n of the groups, in the order of their first voxels; 0 for those that are too small."""
    voxels, first, value = (np.concatenate([*columns[k], np.zeros(0, np.int64)]) for k in columns)
    groups, member = np.unique(roots, return_inverse=True)
    size = np.zeros(len(groups), np.int64)
    np.add.at(size, member, voxels)
    start = np.full(len(groups), np.iinfo(np.int64).max)
    np.minimum.at(start, member, first)
    kind = np.zeros(len(groups), np.int64)
    np.maximum.at(kind, member, value)
    order = np.argsort(start)
    order = order[size[order] >= max(1, min_voxels)]
    if len(order) > np.iinfo(dtype).max:
        raise InputError(
            f"{len(order)} instances do not fit {dtype} ids; ask for dtype='uint64', or raise min_volume_um3"
        )
    final = np.zeros(len(groups), dtype)
    final[order] = np.arange(1, len(order) + 1, dtype=dtype)
    return {"final": final[member], "voxels": size[order], "value": kind[order]}


def _seams(records: Records, *, merged: Arrays, voxel_nm: Nm, origin_nm: Nm) -> Columns:
    """The table of seams, with axis and places in nm; the records were read by the fold before."""
    table = {n.removeprefix("seam_"): merged[n] for n in merged.names() if n.startswith("seam_")}
    order = ["block_a", "block_b", "axis", *(f"{a}_{end}" for a in "zyx" for end in ("start", "stop"))]
    order += ["matched", "unmatched", "ambiguous", "vetoed", "score", "iou_min", "iou_median"]
    order += [f"iou_{i}" for i in range(10)]
    found = {k: np.asarray(table[k]) for k in order}
    for a, v, o in zip("zyx", voxel_nm, origin_nm, strict=True):
        found |= {a: np.asarray(table[a]), f"{a}_nm": np.asarray(table[a]) * v + o}
    return found


def _apply(block: Block, parts: Array, *, merged: Arrays) -> Result:
    begin, end = merged["offsets"][block.index : block.index + 2]
    of_block = merged["final"][begin:end]
    final = np.concatenate([np.zeros(1, of_block.dtype), of_block])
    return Result((final[parts],))
