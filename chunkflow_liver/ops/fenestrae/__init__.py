"""Fenestrae of a sinusoid: holes of its thin wall with diameters and places, and the wall's porosity."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.stage import Fold, Map, Records, Result, plain
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import NM_PER_UM, Block, BlockGrid, Nm, Zyx, zyx
from chunkflow_liver.kernels.contacts.areas import area_step_nm2
from chunkflow_liver.kernels.rows import Rows
from chunkflow_liver.kernels.tissue.fenestrae import describe_holes, find_holes, halo_of, merge_holes
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    checked_labels,
    table_at,
    work_folder,
)
from chunkflow_liver.ops.steps.rows import named, rows_of
from chunkflow_liver.ops.steps.shared_planes import Seams, seam_record
from chunkflow_liver.store.table import Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.voxels.region import Known
from chunkflow_liver.xp import Array

KINDS = ("pore", "fenestra", "gap")
"""Holes below, within and above the limits of the diameter."""


@operation
def fenestrae(
    classes: Volume,
    *,
    lumen: str | int,
    wall: str | int,
    limits_nm: tuple[float, float] = (50.0, 350.0),
    name: str,
    work: PathLike,
    block: Zyx | None = None,
) -> Plan:
    """Plan tables of the holes in the wall of a lumen, and of its porosity.

    Parameters
    ----------
    classes : Volume
        Classes.
    lumen, wall : str or int
        Class of the lumen, and of the thin wall around it (endothelium). What is neither lies outside; the
        voxels of a hole may be called lumen or not.
    limits_nm : tuple of float
        Smallest and largest diameter of a fenestra, in nm. A smaller hole is a 'pore', a larger one a 'gap'.
    name : str
        Name of the table of holes; `<name>-summary` has what is counted.
    {work}
    {block}

    Returns
    -------
    Plan
        Its `output` is a `Table` with a row per hole, in the order of their first voxels: `hole`, `kind`,
        `diameter_nm` (of a disk of that area), `area_um2` (seen along its axis), `layers` (of voxels of the
        wall that it was measured in; 0: at its rim alone), `z_nm, y_nm, x_nm` (from the volume's corner),
        `axis_z, axis_y, axis_x` (unit vector away from the lumen), `voxels` (just outside the lumen) and
        `touches_border`: such a hole may go on where nothing is known, outside the volume or a mask, and
        does not count.
        `<name>-summary` has `what` and `value`: holes of each kind and those at the border, `surface_um2` (of
        the lumen, holes closed), `fenestrae_um2` and `gaps_um2` (those at the border, too), `porosity` and
        `fenestrae_per_um2` (of the surface without gaps), mean, standard deviation and quartiles of the
        diameters.

    Raises
    ------
    ConfigError, InputError
        If the limits do not ascend from 0 on, the largest is below two voxels, lumen and wall are one class
        or background, a class does not exist, or the volume holds no labels.

    Notes
    -----
    See `kernels.tissue.fenestrae.find_holes` and `kernels.tissue.wall_depths.count_through`. Where the lumen
    is narrower than one and a half of the largest fenestra its surface does not count.
    """
    classes = checked_labels(classes, "classes")
    low, high = (float(limit) for limit in limits_nm)
    voxel_nm = classes.voxel_nm
    if not (0 <= low < high < math.inf):
        raise ConfigError(f"limits_nm must ascend from 0 on, got {tuple(limits_nm)}")
    if high < 2 * max(voxel_nm):
        raise ConfigError(
            f"fenestrae of up to {high:g} nm are no two voxels of {voxel_nm} nm wide; take a finer level"
        )
    numbers = (classes.class_number(lumen), classes.class_number(wall))
    if 0 in numbers or numbers[0] == numbers[1]:
        raise ConfigError(f"lumen and wall must be two classes above 0, got {numbers}")
    halo = halo_of(high, voxel_nm)
    grid = BlockGrid(classes.box, block or zyx(list(classes.write_unit)), halo, halo)
    params: dict[str, Any] = {"numbers": numbers, "voxel_nm": voxel_nm, "most_nm": high}
    stage = Map(
        f"{name}/holes",
        _block,
        grid,
        (classes,),
        params=params | {"known": classes.seen},
        working=48.0,
        resident=64 << 20,
    )
    called = {number: called for called, number in classes.classes}
    about = (
        ("lumen", called.get(numbers[0], lumen)),
        ("wall", called.get(numbers[1], wall)),
        ("limits_nm", (low, high)),
    )
    provenance = {"operation": "fenestrae", **plain(dict(about)), "voxel_nm": plain(voxel_nm)}
    at = {"counts": grid.counts, "voxel_nm": voxel_nm, "limits_nm": (low, high)}
    table, summary = table_at(work, name), table_at(work, f"{name}-summary")
    stages = (
        stage,
        Fold(f"{name}/table", _table, stage.name, table, params=at, provenance=provenance, spills=True),
        Fold(f"{name}/summary", _summary, stage.name, summary, params=at, provenance=provenance, spills=True),
    )
    products = (
        Product("fenestrae", name, table, about),
        Product("fenestrae summary", f"{name}-summary", summary, about),
    )
    return Plan(stages, work_folder(work), table, products)


def _block(
    block: Block, classes: Array, *, numbers: tuple[int, int], voxel_nm: Nm, most_nm: float, known: Known
) -> Result:
    """Record `parts_*` (see `Holes.rows`), the planes that blocks share, and `surface`."""
    whole, block = block, block.within(known.box)
    if not block.write.size:
        return Result()
    seen = classes[block.read.relative_to(whole.read).slices]
    lumen, wall = (seen == number for number in numbers)
    if not lumen.any():
        return Result()
    found = find_holes(
        lumen, wall, block.read, block.write, known.box, (most_nm, voxel_nm), known.hidden(block.read)
    )
    record: dict[str, Any] = {"surface": np.array([found.surface])}
    if len(found.rows["first"]):
        canvas = whole.write.grow((0, 0, 0), (1, 1, 1)).clip(whole.volume)
        labels = np.zeros(canvas.shape, np.uint32)
        inner = block.write.grow((0, 0, 0), (1, 1, 1)).clip(known.box)
        labels[inner.relative_to(canvas).slices] = found.labels
        record |= named("parts", found.rows) | seam_record(whole, labels, canvas.stop)
    return Result(record=record)


def _whole(records: Records, counts: Zyx, scratch: Path) -> tuple[Rows, int]:
    """Rows of all holes, and the surface of the lumen."""
    seams, offset, area = Seams(counts, scratch / "seams"), 0, 0
    parts: list[Rows] = []
    pairs: list[Array] = []
    for index, record in records:
        area += int(record["surface"][0]) if "surface" in record else 0
        rows = rows_of(record, "parts")
        pairs += seams.meet(index, offset, record)
        offset += len(rows["first"]) if rows else 0
        parts += [rows] if rows else []
    return merge_holes(parts, pairs), area


def _table(
    records: Records, *, counts: Zyx, voxel_nm: Nm, limits_nm: tuple[float, float], scratch: Path
) -> Columns:
    """One row per hole."""
    rows, _ = _whole(records, counts, scratch)
    found = describe_holes(rows, voxel_nm)
    count = len(rows["voxels"])
    kind = np.array(KINDS, dtype=object)[_kinds(found["diameter_nm"], limits_nm)]
    return {
        "hole": np.arange(1, count + 1, dtype=np.uint32),
        "kind": kind,
        "diameter_nm": found["diameter_nm"],
        "area_um2": found["area_nm2"] / NM_PER_UM**2,
        "layers": found["layers"].astype(np.uint32),
        **{f"{a}_nm": found[f"{a}_nm"] for a in "zyx"},
        **{f"axis_{a}": found[f"axis_{a}"] for a in "zyx"},
        "voxels": rows["voxels"],
        "touches_border": rows["border"] > 0,
    }


def _kinds(diameter: Array, limits_nm: tuple[float, float]) -> Array:
    return (diameter >= limits_nm[0]).astype(np.int64) + (diameter > limits_nm[1])


def _summary(
    records: Records, *, counts: Zyx, voxel_nm: Nm, limits_nm: tuple[float, float], scratch: Path
) -> Columns:
    """What is counted, a row each."""
    rows, area = _whole(records, counts, scratch)
    found = describe_holes(rows, voxel_nm)
    kinds, cut = _kinds(found["diameter_nm"], limits_nm), rows["border"] > 0
    surface = area * area_step_nm2(voxel_nm) / NM_PER_UM**2
    own = (kinds == 1) & ~cut
    holes, gaps = (float(found["area_nm2"][kinds == kind].sum()) / NM_PER_UM**2 for kind in (1, 2))
    wall = surface - gaps
    values: dict[str, float] = {
        "fenestrae": int(own.sum()),
        "pores": int(((kinds == 0) & ~cut).sum()),
        "gaps": int(((kinds == 2) & ~cut).sum()),
        "at_border": int(cut.sum()),
        "surface_um2": surface,
        "fenestrae_um2": holes,
        "gaps_um2": gaps,
        "porosity": holes / wall if wall > 0 else math.nan,
        "fenestrae_per_um2": float(own.sum()) / wall if wall > 0 else math.nan,
    }
    diameters = found["diameter_nm"][own]
    values["diameter_mean_nm"] = float(diameters.mean()) if len(diameters) else math.nan
    values["diameter_sd_nm"] = float(diameters.std(ddof=1)) if len(diameters) > 1 else math.nan
    for p in (25, 50, 75):
        values[f"diameter_p{p}_nm"] = float(np.percentile(diameters, p)) if len(diameters) else math.nan
    return {
        "what": np.array(list(values), dtype=object),
        "value": np.array(list(values.values()), np.float64),
    }
