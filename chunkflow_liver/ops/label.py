"""Instances: connected components of classes, exact across blocks.

Pass 1 finds the components of every block, and keeps only counts and the labels on its outermost planes. A
fold unites labels that touch over the planes of two blocks: exact for faces, edges and corners. Pass 2
finds the components again and writes final ids, and level 1 while they are in memory: to find components
costs less than to store and read intermediate labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.pyramid import along, pyramid
from chunkflow_liver.engine.stage import Fold, Map, Records, Result, Stage
from chunkflow_liver.errors import ConfigError, GridError, InputError
from chunkflow_liver.geometry import NM_PER_UM, Block, BlockGrid, Zyx
from chunkflow_liver.kernels.images.downsample import mode
from chunkflow_liver.kernels.instances.component_runs import CONNECTIVITIES, find_components
from chunkflow_liver.ops.steps.borders import Borders, border_record
from chunkflow_liver.ops.steps.numbering import Numbering, id_dtype
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    arrays_at,
    checked_labels,
    class_list,
    label_url,
    label_version,
    work_folder,
)
from chunkflow_liver.store.table import Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array, on_host

COLUMNS = ("voxels", "first", "value")
MOST_LOCAL = 2**32 - 1


@operation
def label(
    semantic: Volume,
    *,
    classes: str | int | Sequence[str | int] | None = None,
    connectivity: int = 6,
    min_volume_um3: float = 0.0,
    dtype: str | None = None,
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
    classes : str, int or sequence of them, optional
        Classes (names or numbers) whose components are instances, each class on its own; all classes by
        default.
    connectivity : {6, 18, 26}
        Voxels join across faces; faces and edges; faces, edges and corners. Objects that touch are mostly
        met by an edge or a corner first, so 6 keeps them apart; thin sheets and nets hold together with 26.
    min_volume_um3 : float
        Whole instances below this volume (cubic micrometres) are removed, after stitching.
    dtype : {'uint32', 'uint64'}, optional
        Type of the ids; by default uint32 where so many instances cannot lie in the volume that it would
        not do (see `capacity`), else uint64. With an explicit 'uint32' more instances are an error.
    name : str
        Name of the label image.
    {work}
    {block}
    {into}

    Returns
    -------
    Plan
        Its `output` is the label volume. Ids are consecutive from 1, in the raster order of each
        instance's first voxel, whatever the blocks are.

    Raises
    ------
    ConfigError, InputError
        If connectivity, classes, volume or dtype cannot be used.
    GridError
        If a block has more voxels than 32-bit numbers count.
    """
    if connectivity not in CONNECTIVITIES:
        raise ConfigError(f"connectivity must be one of {CONNECTIVITIES}, got {connectivity!r}")
    if not (math.isfinite(min_volume_um3) and min_volume_um3 >= 0):
        raise ConfigError(f"min_volume_um3 must be 0 or more, got {min_volume_um3!r}")
    if dtype not in (None, "uint32", "uint64"):
        raise ConfigError(f"ids are 'uint32' or 'uint64', got dtype {dtype!r}")
    semantic = checked_labels(semantic, "classes")
    named = None if classes is None else class_list(classes)
    numbers = None if named is None else sorted({semantic.class_number(c) for c in named})
    if numbers is not None and not (numbers and numbers[0] > 0):
        raise ConfigError(f"classes {named} are no objects: name one or more, and not 0, background")
    names = {n: c for c, n in semantic.classes}
    picked = [(names.get(n, str(n)), n) for n in numbers or sorted(names)]
    voxel_um3 = math.prod(semantic.voxel_nm) / NM_PER_UM**3
    min_voxels = math.ceil(round(min_volume_um3 / voxel_um3, 9))
    single = semantic.dtype == "bool" or len(numbers or ()) == 1
    most = capacity(semantic.shape, connectivity=connectivity, single=single, min_voxels=min_voxels)
    output = semantic.like(
        label_url(work, name, into),
        dtype=dtype or id_dtype(most),
        kind="label",
        block=block,
        ome_version=label_version(into),
    )
    grid = BlockGrid(output.box, block or output.write_unit)
    if math.prod(min(b, n) for b, n in zip(grid.block, output.shape, strict=True)) > MOST_LOCAL:
        raise GridError(
            f"blocks of {grid.block} have more voxels than the {MOST_LOCAL} that 32-bit component numbers "
            "of a block can count; choose a smaller block"
        )
    params: dict[str, Any] = {"classes": numbers, "connectivity": connectivity}
    merged = arrays_at(work, name, "instances")
    coarser, factor = along(output, grid)
    stages: tuple[Stage, ...] = (
        Map(f"{name}/components", _components, grid, (semantic,), params=params, working=12.0),
        Fold(
            f"{name}/merge",
            _merge,
            f"{name}/components",
            merged,
            params={
                "grid": grid,
                "connectivity": connectivity,
                "min_voxels": min_voxels,
                "dtype": output.dtype,
                "value_dtype": "uint64" if semantic.dtype == "uint64" else "int64",
                "names": picked,
            },
            spills=True,
        ),
        Map(
            f"{name}/apply",
            _apply,
            grid,
            (semantic,),
            (output, *coarser),
            params=params | {"factor": factor},
            artefacts={"merged": merged},
            working=12.0,
        ),
        *pyramid(output, name, made=len(coarser)),
    )
    about = (("classes", picked), ("artefact", merged.path), ("connectivity", connectivity))
    return Plan(stages, work_folder(work), output, (Product("instances", name, output, about),))


def capacity(shape: Zyx, *, connectivity: int, single: bool, min_voxels: int) -> int:
    """Most instances that a volume can hold.

    Parameters
    ----------
    shape : Zyx
        Voxels of the volume.
    connectivity : {6, 18, 26}
    single : bool
        Whether there is one class only; voxels of different classes are never joined.
    min_voxels : int
        Smallest instance.

    Returns
    -------
    int
        An upper bound: voxels divided by the smallest instance; of one class at 26 neighbours at most one
        instance per cell of 2 x 2 x 2 voxels, at 6 and 18 neighbours one per 2 voxels along x.
    """
    most = math.prod(shape) // max(1, min_voxels)
    if not single:
        return most
    z, y, x = (-(-n // 2) for n in shape)
    return min(most, z * y * x if connectivity == 26 else shape[0] * shape[1] * x)


def _components(block: Block, semantic: Array, *, classes: list[int] | None, connectivity: int) -> Result:
    found = find_components(semantic, classes=classes, connectivity=connectivity)
    if found.n == 0:
        return Result(record={"voxels": np.zeros(0, np.int64)})
    table = found.table()
    z, y, x = (
        a + b for a, b in zip(np.unravel_index(table["first"], found.shape), block.write.start, strict=True)
    )
    _, ny, nx = block.volume.shape
    record: dict[str, Any] = {
        "voxels": table["voxels"],
        "first": (z.astype(np.int64) * ny + y) * nx + x,
        "value": on_host(semantic).ravel()[table["first"]].astype(np.int64),
    }
    return Result(record=record | border_record(block, found))


def _merge(
    records: Records,
    *,
    grid: BlockGrid,
    connectivity: int,
    min_voxels: int,
    dtype: str,
    value_dtype: str,
    names: list[tuple[str, int]],
    scratch: Path,
) -> Columns:
    """Final id of every label of every block, and voxels and class of every final id."""
    numbering = Numbering(scratch, grid.box.size)
    borders = Borders(grid, connectivity, scratch / "borders")
    for index, record in records:
        offset = numbering.add(**{k: record.get(k, record["voxels"]) for k in COLUMNS})
        for pairs in borders.meet(index, offset, record):
            numbering.join(pairs)
    found = numbering.finish(min_voxels=min_voxels, dtype=dtype)
    return {
        **found,
        # Labels of 64 bits without a sign were carried as the same bits with one.
        "value": found["value"].view(value_dtype),
        "class_name": np.array([n for n, _ in names], str),
        "class_number": np.array([n for _, n in names], np.int64),
    }


def _apply(
    block: Block,
    semantic: Array,
    *,
    merged: Any,
    classes: list[int] | None,
    connectivity: int,
    factor: Zyx | None = None,
) -> Result:
    found = find_components(semantic, classes=classes, connectivity=connectivity)
    begin, end = merged["offsets"][block.index : block.index + 2]
    if found.n != end - begin:
        raise InputError(
            f"{found.n} components where there were {end - begin} when seams were compared: the classes "
            "changed during the run; run again with redo"
        )
    final = np.zeros(found.n + 1, merged["final"].dtype)
    final[1:] = merged["final"][begin:end]
    out = found.painted(final)
    return Result((out,) if factor is None else (out, mode(out, factor)))
