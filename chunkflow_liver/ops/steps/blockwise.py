"""Instances of blocks that were segmented independently become instances of the volume.

Map 1 runs an instance function on every block with its halo; it stores the block's own voxels with
provisional ids, and in its record what it sees of the voxels that it shares with its neighbours. A fold
joins objects by how well they fit there. Map 2 gives every voxel its final id. The provisional volume costs
about two bytes per hundred voxels; to find the instances twice would double the dearest part.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.pyramid import pyramid
from chunkflow_liver.engine.stage import Fold, Map, Readable, Records, Result, Stage
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import NM_PER_UM, Block, BlockGrid, Box, Nm, Zyx
from chunkflow_liver.kernels.instances.seam_matches import View
from chunkflow_liver.kernels.instances.seams import BEFORE, owned_objects, shared_box, touching, views
from chunkflow_liver.ops.steps.numbering import Numbering, id_dtype
from chunkflow_liver.ops.steps.place import (
    PathLike,
    arrays_at,
    label_url,
    label_version,
    table_at,
    work_folder,
)
from chunkflow_liver.ops.steps.seams.links import Rules, SeamLinks
from chunkflow_liver.store.scratch.aside import Aside
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.voxels.region import Known
from chunkflow_liver.xp import Array

ROWS = 1 << 18
"""Seams written at once."""
SEEN = ("starts", "values", "own", "crossing")
"""What a block records of the voxels that it shares with a neighbour."""


@dataclass(frozen=True)
class Instances:
    """How a block gets its instances: `function(*arrays, voxel_nm=, **params)` returns integer labels.

    Attributes
    ----------
    function : callable, optional
        Module-level. Without it the first input holds the labels of blocks, and blocks are compared where
        their faces touch, as if each saw its own outermost voxels once more beyond them.
    params : mapping
        Plain values.
    classes : tuple of (name, number)
        Classes of the first input that an object can have; with one, every object has it.
    halo, reach : Zyx
        Voxels read beyond the write box, and how far beyond it blocks are compared; at most the halo. No
        `reach` without a function.
    working : float
        Bytes per voxel that the function needs.
    known : Known, optional
        What the function gets to see of a block; there is no object elsewhere. All by default.
    sees_hidden : bool
        Whether it takes `hidden`, the voxels that a mask leaves out, where there are any.
    """

    function: Callable[..., Array] | None
    params: Mapping[str, Any]
    classes: tuple[tuple[str, int], ...]
    halo: Zyx
    reach: Zyx | None
    working: float
    known: Known | None = None
    sees_hidden: bool = False


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
    tile: Zyx | None = None,
) -> Plan:
    """Plan the instances of `like`'s voxels, found block by block and joined over the seams.

    Parameters
    ----------
    tile : Zyx, optional
        Blocks that instances are found in, whatever `block` stores; `block` itself by default. Where a
        function's answer depends on what it sees, the same tiles give the same instances.

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
        ome_version=label_version(into),
    )
    given = found.function is None
    url = label_url(work, f"{name}-blocks")
    parts = like.like(url, dtype="uint32", kind="label", block=tile or block, levels=1)
    stored = block or output.write_unit
    grid = BlockGrid(output.box, tile or stored, found.halo, found.halo)
    link = "touch" if given else "overlap"
    merged, seams = arrays_at(work, name, "instances"), table_at(work, f"{name}-seams")
    params: dict[str, Any] = {
        "function": found.function,
        "params": {"voxel_nm": like.voxel_nm, **found.params},
        "classes": [n for _, n in found.classes],
        "shape": grid.block,
        "reach": found.reach,
        "branches": rules.branches,
        "known": found.known or Known(like.box, like.voxel_nm),
        "sees_hidden": found.sees_hidden,
    }
    stages: tuple[Stage, ...] = (
        Map(
            f"{name}/blocks",
            _blocks,
            grid,
            tuple(sources),
            () if given else (parts,),
            params=params,
            identity=params | {"function": _named(found.function)},
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
            spills=True,
        ),
        Fold(
            f"{name}/seams",
            _seams,
            f"{name}/blocks",
            seams,
            params={"voxel_nm": like.voxel_nm},
            artefacts={"merged": merged},
            provenance={"operation": "stitch", "link": link, "iou": rules.iou, "iomin": rules.iomin},
        ),
        Map(
            f"{name}/apply",
            _apply,
            BlockGrid(output.box, stored),
            (sources[0] if given else parts,),
            (output,),
            params={"given": given, "tiles": BlockGrid(output.box, grid.block)},
            artefacts={"merged": merged},
            working=22.0 if given else 6.0,
        ),
        *pyramid(output, name),
    )
    about = (("classes", list(found.classes)), ("artefact", merged.path), ("link", link))
    products = (
        Product("instances", name, output, about),
        Product("seam table", f"{name}-seams", seams, (("instances", name),)),
    )
    return Plan(stages, work_folder(work), output, products)


def _blocks(
    block: Block,
    *arrays: Array,
    function: Callable[..., Array] | None,
    params: Mapping[str, Any],
    classes: list[int],
    shape: Zyx,
    reach: Zyx | None,
    branches: bool,
    known: Known,
    sees_hidden: bool,
) -> Result:
    if sees_hidden and (hidden := known.hidden(block.read.clip(known.box))) is not None:
        params = {**params, "hidden": hidden}
    labels = arrays[0] if function is None else _labels(block.read, arrays, function, params, known.box)
    if labels.shape != block.read.shape:
        raise InputError(
            f"an instance function must return labels of the shape of its block, {block.read.shape}, "
            f"got {labels.shape}"
        )
    own = owned_objects(labels, block.trim)
    del labels
    record: dict[str, Any] = {"voxels": own.voxels}
    if len(own.voxels):
        place = np.unravel_index(own.first, block.write.shape)
        z, y, x = (a + b for a, b in zip(place, block.write.start, strict=True))
        _, ny, nx = block.volume.shape
        record["first"] = (z * ny + y) * nx + x
        record["value"] = _values(own.ids[block.trim], arrays[0][block.trim], classes, len(own.voxels))
        record |= views(*(_widened(block, own.ids) if function is None else (block, own.ids)), shape, reach)
        if branches:
            pairs = touching(own.ids)
            record["touching"] = pairs[pairs[:, 1] <= len(own.voxels)]
    return Result(() if function is None else (own.ids[block.trim],), record)


def _labels(
    read: Box,
    arrays: tuple[Array, ...],
    function: Callable[..., Array],
    params: Mapping[str, Any],
    known: Box,
) -> Array:
    """What a function finds in the known part of a box."""
    seen = read.clip(known)
    if seen == read:
        return function(*arrays, **params)
    labels = np.zeros(read.shape, np.uint32)
    if seen.size:
        inner = seen.relative_to(read).slices
        labels[inner] = function(*(array[inner] for array in arrays), **params)
    return labels


def _widened(block: Block, ids: Array) -> tuple[Block, Array]:
    """A block that reads no halo as one that does, with its outermost voxels once more in the halo."""
    read = block.write.grow((1, 1, 1)).clip(block.volume)
    inner = block.write.relative_to(read)
    sides = [(a, n - b) for a, b, n in zip(inner.start, inner.stop, read.shape, strict=True)]
    return replace(block, read=read), np.pad(ids, sides, mode="edge")


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
    reach: Zyx | None,
    rules: Rules,
    min_voxels: int,
    dtype: str,
    names: list[tuple[str, int]],
    scratch: Path,
) -> Columns:
    """Final id of every object of every block; voxels and class of every final id; the seams."""
    numbering = Numbering(scratch, grid.box.size)
    seams = SeamLinks(scratch / "seams", iou=rules.iou, iomin=rules.iomin, branches=rules.branches)
    waiting = Aside(scratch / "waiting")
    _, ny, nx = grid.counts
    nothing = np.zeros(0, np.int64)
    for index, record in records:
        offset, block = numbering.offsets[-1], grid[index]
        numbering.add(*(record.get(k, nothing) for k in ("voxels", "first", "value")))
        if "touching" in record:
            seams.keep_apart(record["touching"].astype(np.int64) - 1 + offset)
        if "bounds" in record:
            later = (_part(record, i, f"{i - len(BEFORE)}-") for i in range(len(BEFORE), 2 * len(BEFORE)))
            waiting.put(block.at[0], index, {k: v for part in later for k, v in part.items()})
        waiting.forget(block.at[0] - 1)
        for i, step in enumerate(BEFORE):
            shared, _ = shared_box(block, step, grid.block, reach)
            if not shared.size:
                continue
            other = index + (step[0] * ny + step[1]) * nx + step[2]
            there = {k: waiting.get(block.at[0] + step[0], other, f"{i}-{k}") for k in SEEN}
            both = (_view(there, numbering.offsets[other]), _view(_part(record, i), offset))
            seams.add((other, index), step, shared, both)
    refused = seams.refused(numbering.offsets)
    for pairs in seams.made(refused):
        numbering.join(pairs)
    return {
        **numbering.finish(min_voxels=min_voxels, dtype=dtype),
        **{f"seam_{k}": v for k, v in seams.table(refused).items()},
        "class_name": np.array([n for n, _ in names], str),
        "class_number": np.array([n for _, n in names], np.int64),
    }


def _part(record: Any, i: int, prefix: str = "") -> dict[str, Array]:
    """What a block sees of the voxels that it shares with its neighbour `i`; nothing if it has no object."""
    if "bounds" not in record:
        return {}
    begin, end = record["bounds"][i : i + 2]
    first, last = record["own_bounds"][i : i + 2]
    at = {"starts": slice(begin, end), "values": slice(begin, end)}
    at |= {"own": slice(first, last), "crossing": slice(first, last)}
    return {f"{prefix}{k}": record[k][at[k]] for k in SEEN}


def _view(part: Mapping[str, Array | None], offset: int) -> View:
    starts, values, own, crossing = (part.get(k) for k in SEEN)
    if starts is None or values is None or own is None or crossing is None:
        nothing = np.zeros(1, np.uint32)
        return View((nothing, nothing), nothing[:0], nothing[:0] > 0, offset)
    return View((starts, values), own, crossing, offset)


def _seams(records: Records, *, merged: Arrays, voxel_nm: Nm) -> Iterator[Columns]:
    """The table of seams, with axis and places in nm; the records were read by the fold before."""
    order = ["block_a", "block_b", "axis", *(f"{a}_{end}" for a in "zyx" for end in ("start", "stop"))]
    order += ["matched", "unmatched", "ambiguous", "vetoed", "score", "iou_min", "iou_median"]
    order += [f"iou_{i}" for i in range(10)]
    columns = {k: merged[f"seam_{k}"] for k in (*order, *"zyx")}
    names = ["".join(a for a, bit in zip("zyx", (4, 2, 1), strict=True) if n & bit) for n in range(8)]
    for begin in range(0, max(1, len(columns["axis"])), ROWS):
        part = {k: columns[k][begin : begin + ROWS] for k in order}
        part["axis"] = np.array(names)[part["axis"]]
        for a, v in zip("zyx", voxel_nm, strict=True):
            place = columns[a][begin : begin + ROWS]
            part |= {a: place, f"{a}_nm": (place + 0.5) * v}
        yield part


def _apply(block: Block, parts: Array, *, merged: Arrays, given: bool, tiles: BlockGrid) -> Result:
    offsets, dtype = merged["offsets"], merged["final"].dtype
    if given:
        own = owned_objects(parts, block.trim)
        parts = own.ids
        begin, end = offsets[block.index : block.index + 2]
        if len(own.voxels) != end - begin:
            raise InputError(
                f"{len(own.voxels)} objects where there were {end - begin} when blocks were compared: the "
                "labels changed during the run; run again with redo"
            )
    out = np.empty(block.write.shape, dtype)
    for tile in tiles.meeting(block.write):
        begin, end = offsets[tile.index : tile.index + 2]
        final = np.concatenate([np.zeros(1, dtype), merged["final"][begin:end]])
        inner = tile.write.clip(block.write).relative_to(block.write).slices
        out[inner] = final[parts[inner]]
    return Result((out,))


def _named(function: Callable[..., Array] | None) -> str:
    """What stands for a function among the parameters of a plan: its name; its code the engine looks at."""
    if function is None:
        return ""
    file = getattr(sys.modules.get(function.__module__), "__file__", None)
    try:
        # Compiled code has a file and no source.
        if not (file and Path(file).is_file()):
            inspect.getsource(function)
    except (OSError, TypeError) as err:
        raise ConfigError(
            f"{function!r} has no source, so a changed function could not be told from this one when a run "
            "is resumed; put it into a module of its own"
        ) from err
    return f"{function.__module__}.{function.__qualname__}"
