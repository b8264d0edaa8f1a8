"""The contact table: which objects come within a gap of which, with how much surface."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.stage import Fold, Map, Records, Result, plain
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import NM_PER_UM, Block, BlockGrid, Nm, Zyx, zyx
from chunkflow_liver.kernels.contacts import halo_voxels, merge_contacts, surface_contacts
from chunkflow_liver.ops.place import PathLike, checked_labels, table_at, work_folder
from chunkflow_liver.store.table import Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

SIDES = ("a", "b")
BATCH = 256


def contacts(
    instances: Volume,
    other: Volume,
    *,
    to: str | int | None = None,
    gap_nm: float,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
) -> Plan:
    """Plan a table of contacts between instances and a class, or between two sets of instances.

    Parameters
    ----------
    instances : Volume
        Objects A.
    other : Volume
        Where objects B are: a semantic volume with `to`, else instances. May be `instances` itself.
    to : str or int, optional
        Class of `other` that is B, taken as one object whose `label_b` is the class number.
    gap_nm : float
        Largest gap, in nm, between the surfaces of two voxels (0 where they touch).
    name : str
        Name of the table.
    work : path
        Work folder.
    block : Zyx, optional
        Voxels per block; the write unit of `instances` by default.

    Returns
    -------
    Plan
        Its `output` is a `Table` with one row per pair: `label_a, label_b, voxels` (surface voxels of
        A within the gap of B), `voxels_b` (the same seen from B), `area_a_um2, area_b_um2` (exposed
        faces of those voxels), `gap_min_nm`; sorted by label_a, label_b. Where objects overlap, one
        that lies inside the other may be near none of its surface: then that side counts 0 voxels.

    Raises
    ------
    ConfigError, InputError
        If the gap is negative, the class does not exist or is background, or the volumes hold no
        labels or differ in shape.
    """
    if not (math.isfinite(gap_nm) and gap_nm >= 0):
        raise ConfigError(f"gap_nm must be 0 or more, got {gap_nm!r}")
    if instances.shape != other.shape:
        raise InputError(
            f"{instances.url} has {instances.shape} voxels and {other.url} {other.shape}: contacts need "
            "both on the same voxels, choose the level that matches"
        )
    checked_labels(instances, "instances")
    checked_labels(other, "classes and instances")
    number = None if to is None else other.class_number(to)
    if number is not None and not 0 < number <= np.iinfo(np.uint32).max:
        raise ConfigError(f"contacts with class {number} do not exist: 0 is background, classes count from 1")
    halo = halo_voxels(gap_nm, instances.voxel_nm)
    grid = BlockGrid(instances.box, block or zyx(list(instances.write_unit)), halo, halo)
    params: dict[str, Any] = {"voxel_nm": instances.voxel_nm, "gap_nm": float(gap_nm), "number": number}
    same = number is None and (other.url, other.path) == (instances.url, instances.path)
    inputs = (instances,) if same else (instances, other)
    output = table_at(work, name)
    stages = (
        Map(f"{name}/contacts", _block, grid, inputs, params=params, working=64.0),
        Fold(
            f"{name}/table",
            _table,
            f"{name}/contacts",
            output,
            params={"voxel_nm": instances.voxel_nm},
            provenance={"operation": "contacts", **plain(params)},
        ),
    )
    about = (("a", instances.name), ("b", other.name if to is None else to), ("gap_nm", gap_nm))
    return Plan(stages, work_folder(work), output, (Product("contact table", name, output, about),))


def _block(
    block: Block,
    own: Array,
    other: Array | None = None,
    *,
    voxel_nm: Nm,
    gap_nm: float,
    number: int | None,
) -> Result:
    if other is None:
        seen = surface_contacts(own, own, voxel_nm=voxel_nm, gap_nm=gap_nm, trim=block.trim, same=True)
        # Both ends of a pair look at the same volume, so side B is side A with the roles swapped.
        swapped = {**seen, "own": seen["other"], "other": seen["own"]}
        return Result(record=_named(seen, "a") | _named(swapped, "b"))
    if number is not None:
        other = np.where(other == number, np.uint32(number), np.uint32(0))
    a = surface_contacts(own, other, voxel_nm=voxel_nm, gap_nm=gap_nm, trim=block.trim)
    b = surface_contacts(other, own, voxel_nm=voxel_nm, gap_nm=gap_nm, trim=block.trim)
    return Result(record=_named(a, "a") | _named({**b, "own": b["other"], "other": b["own"]}, "b"))


def _named(columns: Columns, side: str) -> dict[str, Any]:
    """Record of one side; empty sides leave no arrays."""
    return {f"{side}_{k}": v for k, v in columns.items()} if len(columns["own"]) else {}


def _table(records: Records, *, voxel_nm: Nm) -> Columns:
    parts: dict[str, list[Any]] = {side: [] for side in SIDES}
    for _, record in records:
        for side in SIDES:
            found = {k[2:]: v for k, v in record.items() if k.startswith(f"{side}_")}
            if found:
                parts[side].append(found)
            # Memory follows the number of pairs, not of blocks.
            if len(parts[side]) >= BATCH:
                parts[side] = [merge_contacts(parts[side])]
    a, b = (merge_contacts(parts[side]) for side in SIDES)
    vz, vy, vx = voxel_nm

    def area(c: Columns) -> Array:
        faces = c["faces_z"] * (vy * vx) + c["faces_y"] * (vz * vx) + c["faces_x"] * (vz * vy)
        return faces / NM_PER_UM**2

    a, b = _aligned(a, b)
    return {
        "label_a": a["own"],
        "label_b": a["other"],
        "voxels": a["voxels"],
        "voxels_b": b["voxels"],
        "area_a_um2": area(a),
        "area_b_um2": area(b),
        "gap_min_nm": np.sqrt(np.minimum(a["gap_min_sq"], b["gap_min_sq"])),
    }


def _aligned(a: Columns, b: Columns) -> tuple[dict[str, Array], dict[str, Array]]:
    """Both sides with a row for every pair of either; counts are 0 and gaps inf where a side has none."""
    pairs = np.concatenate([np.stack([side["own"], side["other"]], 1) for side in (a, b)])
    pairs, row = np.unique(pairs, axis=0, return_inverse=True)
    full = []
    for side, rows in ((a, row[: len(a["own"])]), (b, row[len(a["own"]) :])):
        columns = {"own": pairs[:, 0], "other": pairs[:, 1]}
        for name in side.keys() - columns.keys():
            columns[name] = np.full(len(pairs), np.inf if name == "gap_min_sq" else 0, side[name].dtype)
            columns[name][rows] = side[name]
        full.append(columns)
    return full[0], full[1]
