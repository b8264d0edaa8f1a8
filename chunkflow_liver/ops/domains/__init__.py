"""What the surface of every cell faces: canaliculus, sinusoid, a neighbouring cell, or nothing.

Every part of a surface faces one thing, the nearest one, so that areas add up to the whole surface.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.stage import Fold, Map, Records, Result, plain
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import NM_PER_UM, Block, BlockGrid, Nm, Zyx, zyx
from chunkflow_liver.kernels.contacts.areas import area_step_nm2
from chunkflow_liver.kernels.contacts.gaps import halo_voxels, near_surface
from chunkflow_liver.kernels.contacts.tallies import nearest_partner, share
from chunkflow_liver.kernels.rows import Rows, grouped, merged
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    checked_labels,
    class_list,
    known_in_all,
    same_voxels,
    table_at,
    work_folder,
)
from chunkflow_liver.ops.steps.rows import named, summed
from chunkflow_liver.store.table import Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.voxels.region import Known
from chunkflow_liver.xp import Array

NEIGHBOUR, FREE = "neighbour", "free"
"""What a surface faces that faces no class."""
PAIR = ("own", "other")


@operation
def domains(
    cells: Volume,
    classes: Volume,
    *,
    to: str | int | Sequence[str | int],
    gap_nm: float = 0.0,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
) -> Plan:
    """Plan a table of the surface domains of cells: how much faces each class, other cells, and nothing.

    Parameters
    ----------
    cells : Volume
        Instances.
    classes : Volume
        Classes on the same voxels; where they lie in a cell the voxel is the cell's.
    to : str, int or sequence of those
        Classes that a surface may face, by name or number: canaliculus, sinusoid, ..; of two that are equally
        near the one named first counts, and a class before a cell.
    gap_nm : float
        Largest gap, in nm, across which a surface faces something, between the boxes of two voxels as in
        `contacts`: what membrane or matrix lies between. 0 where they must touch.
    name : str
        Name of the table; that of pairs of cells is `<name>-neighbours`.
    {work}
    {block}

    Returns
    -------
    Plan
        Its `output` is a `Table` with a row per cell that has a surface: `label, surface_um2` (as in
        `contacts`), `<class>_um2` and `<class>_fraction` for each class, `neighbour_*` (the nearest thing is
        another cell), `free_*` (nothing within the gap), `neighbours` (how many other cells it faces),
        `touches_border` (the volume, or what is known of it, ends at the cell: there it has no surface).
        Areas add up to the surface, fractions to 1. `<name>-neighbours` has a row per cell and neighbour:
        `label_a, label_b, area_a_um2`.

    Raises
    ------
    ConfigError, InputError
        If no class is given, one does not exist, is background or named twice, the gap is negative, or the
        volumes hold no labels or do not lie on the same voxels.
    """
    if not (math.isfinite(gap_nm) and gap_nm >= 0):
        raise ConfigError(f"gap_nm must be 0 or more, got {gap_nm!r}")
    cells, classes = checked_labels(cells, "instances"), checked_labels(classes, "classes")
    same_voxels(cells, classes, "domains need both on the same voxels")
    asked = class_list(to)
    numbers = [classes.class_number(one) for one in asked]
    if not numbers or 0 in numbers or len(set(numbers)) < len(numbers):
        raise ConfigError(f"to must name classes above 0, each once, got {asked}")
    names = [str(one) for one in asked]
    taken = sorted({NEIGHBOUR, FREE, "surface"} & set(names))
    if taken:
        raise ConfigError(f"classes called {taken} would have the columns of other areas; give their numbers")
    voxel_nm, known = cells.voxel_nm, known_in_all(cells, classes)
    halo = halo_voxels(gap_nm, voxel_nm)
    grid = BlockGrid(cells.box, block or zyx(list(cells.write_unit)), halo, halo)
    params: dict[str, Any] = {"numbers": numbers, "voxel_nm": voxel_nm, "gap_nm": float(gap_nm)}
    stage = Map(
        f"{name}/surfaces",
        _surfaces,
        grid,
        (cells, classes),
        params=params | {"known": known},
        working=100.0,
        resident=64 << 20,
    )
    about = (("instances", cells.name), ("to", names), ("gap_nm", gap_nm))
    provenance = {"operation": "domains", **plain(params | {"to": names})}
    table, pairs = table_at(work, name), table_at(work, f"{name}-neighbours")
    at = {"count": len(names), "voxel_nm": voxel_nm}
    stages = (
        stage,
        Fold(f"{name}/table", _table, stage.name, table, params=at | {"names": names}, provenance=provenance),
        Fold(f"{name}/neighbours", _neighbours, stage.name, pairs, params=at, provenance=provenance),
    )
    products = (
        Product("domains", name, table, about),
        Product("domain neighbours", f"{name}-neighbours", pairs, about),
    )
    return Plan(stages, work_folder(work), table, products)


def _surfaces(
    block: Block,
    cells: Array,
    classes: Array,
    *,
    numbers: list[int],
    voxel_nm: Nm,
    gap_nm: float,
    known: Known,
) -> Result:
    """Record `faces_*` (rows of own, other: area) and `border_*` (cells that the known ends at).

    `other` is 0 for nothing, i for the i-th class, and what is above that a cell.
    """
    whole, block = block, block.within(known.box)
    if not block.write.size:
        return Result()
    inner, shift = block.read.relative_to(whole.read).slices, np.uint64(len(numbers))
    own, hidden = cells[inner].astype(np.uint64), known.hidden(block.read)
    # Classes and cells are objects of one labelling; small numbers win where two are equally near.
    objects = np.where(own > 0, own + shift, 0)
    for i, number in enumerate(numbers):
        objects[(own == 0) & (classes[inner] == number)] = i + 1
    if hidden is not None:
        own = np.where(hidden, np.uint64(0), own)
    parts = [_none()]
    at: dict[str, Any] = {"voxel_nm": voxel_nm, "gap_nm": gap_nm, "trim": block.trim, "hidden": hidden}
    for near in near_surface(objects, objects, same=True, **at):
        voxel, partner, _ = nearest_partner(near)
        other = np.zeros(len(near.label), np.uint64)
        other[voxel] = partner
        kept = near.label > shift
        rows = {"own": near.label[kept] - shift, "other": other[kept], "area": near.area[kept]}
        parts.append(grouped(rows, PAIR))
    record = named("faces", merged(parts, PAIR, _none()))
    touching = np.unique(own[block.trim][known.beside(block.write)])
    return Result(record=record | named("border", {"label": touching[touching > 0]}))


def _none() -> Rows:
    return {"own": np.zeros(0, np.uint64), "other": np.zeros(0, np.uint64), "area": np.zeros(0, np.int64)}


def _faces(records: Records) -> tuple[Rows, Array]:
    sums = summed(
        records, {"faces": (PAIR, _none()), "border": (("label",), {"label": np.zeros(0, np.uint64)})}
    )
    return sums["faces"], sums["border"]["label"]


def _table(records: Records, *, names: list[str], count: int, voxel_nm: Nm) -> Columns:
    """One row per cell."""
    faces, border = _faces(records)
    label, row = np.unique(faces["own"], return_inverse=True)
    step, cells = area_step_nm2(voxel_nm) / NM_PER_UM**2, len(label)

    def area(chosen: Array) -> Array:
        found = np.zeros(cells, np.int64)
        np.add.at(found, row[chosen], faces["area"][chosen])
        return found

    whole = area(np.ones(len(row), bool))
    columns: dict[str, Array] = {"label": label, "surface_um2": whole * step}
    kinds = [(name, faces["other"] == i + 1) for i, name in enumerate(names)]
    beside = faces["other"] > count
    for name, chosen in (*kinds, (NEIGHBOUR, beside), (FREE, faces["other"] == 0)):
        part = area(chosen)
        columns[f"{name}_um2"], columns[f"{name}_fraction"] = part * step, share(part, whole)
    columns["neighbours"] = np.bincount(row[beside], minlength=cells)
    columns["touches_border"] = np.isin(label, border)
    return columns


def _neighbours(records: Records, *, count: int, voxel_nm: Nm) -> Columns:
    """One row per cell and other cell that it faces."""
    faces, _ = _faces(records)
    beside = faces["other"] > count
    return {
        "label_a": faces["own"][beside],
        "label_b": faces["other"][beside] - np.uint64(count),
        "area_a_um2": faces["area"][beside] * (area_step_nm2(voxel_nm) / NM_PER_UM**2),
    }
