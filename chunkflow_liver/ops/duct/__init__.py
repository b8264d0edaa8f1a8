"""Bile ducts: radius and wall along a duct, and its cholangiocytes with height and place around it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.stage import Fold, Map, Records, Result, plain
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Block, BlockGrid, Nm, Zyx, zyx
from chunkflow_liver.kernels.distance.places import in_nm
from chunkflow_liver.kernels.rows import Rows, gather
from chunkflow_liver.kernels.tissue.ducts import (
    CELL,
    SECTION,
    STEP_NM,
    WAYS,
    around,
    cell_sums,
    describe_sections,
    no_cells,
    no_sections,
    section_sums,
)
from chunkflow_liver.ops.steps.levels import known_with, map_on
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    checked_labels,
    same_voxels,
    table_at,
    work_folder,
)
from chunkflow_liver.ops.steps.rows import named, rows_of
from chunkflow_liver.store.table import Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.voxels.region import Known
from chunkflow_liver.xp import Array


@operation
def duct(
    cells: Volume,
    classes: Volume,
    along: Volume,
    away: Volume,
    *,
    lumen: str | int,
    step_nm: float,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
) -> Plan:
    """Plan tables of a duct in sections along it, and of the cells around its lumen.

    Parameters
    ----------
    cells : Volume
        Instances of the cells of the wall (cholangiocytes).
    classes : Volume
        Classes on the same voxels, with the lumen.
    along : Volume
        Length along the duct from one end: a map of `geodesic` inside lumen and wall.
    away : Volume
        Distance to the lumen: a map of `distance`.
    lumen : str or int
        Class of the lumen, of one duct without branches.
    step_nm : float
        Length of a section; several voxels, best a whole number of them.
    name : str
        Name of the table of cells; `<name>-sections` is that of sections.
    {work}
    {block}

    Returns
    -------
    Plan
        Its `output` is a `Table` with a row per cell: `label, voxels, along_nm` (mean length along the
        duct), `section`, `angle_deg` (around the lumen, 0 to 360), `order` (by angle among the cells of its
        section), `height_nm` (largest distance to the lumen: from apex to base), `apex_nm` (smallest),
        `touches_border` (the volume, or what is known of it, ends at the cell) and `left_out` ('' or
        'unreached': less than half of it has both lengths; 'alone': its section has no lumen, or the duct one
        section). `<name>-sections` has a row per section (see `kernels.tissue.ducts.describe_sections`) with
        its `cells`.

    Raises
    ------
    ConfigError, InputError
        If the step is no two voxels, the class does not exist or is background, a map is none, or the volumes
        hold no labels or do not lie on the same voxels.
    """
    cells, classes = checked_labels(cells, "instances"), checked_labels(classes, "classes")
    same_voxels(cells, classes, "a duct needs both on the same voxels")
    if not (math.isfinite(step_nm) and step_nm >= 2 * max(cells.voxel_nm)):
        raise ConfigError(
            f"step_nm must be two voxels or more ({2 * max(cells.voxel_nm):g} nm), got {step_nm!r}"
        )
    number = classes.class_number(lumen)
    if number == 0:
        raise ConfigError("the lumen must be a class above 0")
    maps = (along, away)
    params: dict[str, Any] = {"number": number, "step_nm": float(step_nm)}
    stage = Map(
        f"{name}/sums",
        _sums,
        BlockGrid(cells.box, block or zyx(list(cells.write_unit))),
        (cells, classes, *(map_on(cells, given) for given in maps)),
        params=params
        | {"known": known_with(cells, (classes, *maps)), "quanta": [m.quantum_nm for m in maps]},
        working=200.0,
    )
    called = {value: text for text, value in classes.classes}
    about = (("instances", cells.name), ("lumen", called.get(number, lumen)), ("step_nm", float(step_nm)))
    provenance = {"operation": "duct", **plain(dict(about))}
    table, sections = table_at(work, name), table_at(work, f"{name}-sections")
    at = {"step_nm": float(step_nm), "voxel_nm": cells.voxel_nm}
    stages = (
        stage,
        Fold(f"{name}/table", _cells, stage.name, table, params=at, provenance=provenance),
        Fold(f"{name}/sections", _sections, stage.name, sections, params=at, provenance=provenance),
    )
    products = (
        Product("duct cells", name, table, about),
        Product("duct sections", f"{name}-sections", sections, about),
    )
    return Plan(stages, work_folder(work), table, products)


def _sums(
    block: Block,
    cells: Array,
    classes: Array,
    along: Array,
    away: Array,
    *,
    number: int,
    step_nm: float,
    known: Known,
    quanta: list[float | None],
) -> Result:
    """Record `sections_*` and `cells_*`: see `section_sums` and `cell_sums`."""
    box = block.write.clip(known.box)
    if not box.size:
        return Result()
    inner = box.relative_to(block.read).slices
    cells, length, distance = (
        cells[inner],
        in_nm(along[inner], quanta[0]),
        in_nm(away[inner], quanta[1]),
    )
    lumen, ends, hidden = classes[inner] == number, known.beside(box), known.hidden(box)
    if hidden is not None:
        lumen, cells = lumen & ~hidden, cells * ~hidden
    record = named("sections", section_sums(lumen, cells, length, ends, box.start, step_nm))
    return Result(record=record | named("cells", cell_sums(cells, length, distance, ends, box.start)))


def _whole(records: Records) -> tuple[Rows, Rows]:
    """Rows of all sections, and of all cells."""
    sections, cells = gather(SECTION, no_sections()), gather(CELL, no_cells(), WAYS)
    for _, record in records:
        for gathered, prefix in ((sections, "sections"), (cells, "cells")):
            if rows := rows_of(record, prefix):
                gathered.push(rows)
    return dict(sections.whole()), dict(cells.whole())


def _placed(
    sections: Rows, cells: Rows, step_nm: float, voxel_nm: Nm
) -> tuple[dict[str, Array], dict[str, Array]]:
    """What is told of sections, and of cells."""
    told = describe_sections(sections, step_nm, voxel_nm)
    reached = np.where(cells["reached"] > 0, cells["reached"], np.nan)
    length = cells["along"] * STEP_NM / reached
    section = np.floor(np.nan_to_num(length) / step_nm).astype(np.int64)
    centres = np.stack([told[f"{a}_nm"] for a in "zyx"], 1)
    whole = np.isfinite(centres).all(1)
    left_out = np.full(len(section), "", dtype=object)
    left_out[~np.isin(section, sections["section"][whole]) | (whole.sum() < 2)] = "alone"
    left_out[2 * cells["reached"] < cells["voxels"]] = "unreached"
    used = left_out == ""
    angle, order = np.full(len(section), np.nan), np.zeros(len(section), np.int64)
    if used.any():
        places = np.stack(
            [(cells[f"sum_{a}"] / reached + 0.5) * v for a, v in zip("zyx", voxel_nm, strict=True)], 1
        )
        row = np.searchsorted(sections["section"][whole], section[used])
        angle[used] = around(centres[whole], row, places[used])
        rank = np.lexsort([cells["label"][used], angle[used], section[used]])
        ordered = section[used][rank]
        begin = np.searchsorted(ordered, ordered)
        numbers = np.empty(len(rank), np.int64)
        numbers[rank] = np.arange(len(rank)) - begin + 1
        order[used] = numbers
    told["cells"] = np.array([int((section[used] == s).sum()) for s in sections["section"]], np.int64)
    some = cells["reached"] > 0
    found = {
        "label": cells["label"],
        "voxels": cells["voxels"],
        "along_nm": length,
        "section": np.where(used, section, -1),
        "angle_deg": angle,
        "order": order,
        "height_nm": np.where(some, cells["most"], 0) * np.where(some, STEP_NM, np.nan),
        "apex_nm": np.where(some, cells["least"], 0) * np.where(some, STEP_NM, np.nan),
        "touches_border": cells["border"] > 0,
        "left_out": left_out,
    }
    return told, found


def _cells(records: Records, *, step_nm: float, voxel_nm: Nm) -> Columns:
    """One row per cell."""
    return _placed(*_whole(records), step_nm, voxel_nm)[1]


def _sections(records: Records, *, step_nm: float, voxel_nm: Nm) -> Columns:
    """One row per section."""
    sections, cells = _whole(records)
    return {"section": sections["section"], **_placed(sections, cells, step_nm, voxel_nm)[0]}
