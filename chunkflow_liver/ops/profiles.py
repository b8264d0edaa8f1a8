"""Distance profiles: how far the surface of every instance is from a class, and what lies around it.

One pass over both labellings keeps exact histograms, of squared gaps over the surface and of voxels in
shells around the instances. No distance is stored.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Kind, Plan, Product
from chunkflow_liver.engine.stage import Fold, Map, Records, Result, Stage, plain
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import NM_PER_UM, Block, BlockGrid, Box, Nm, voxels, zyx
from chunkflow_liver.kernels.contacts.areas import area_step_nm2
from chunkflow_liver.kernels.contacts.curves import Bands, checked_bands, in_bands
from chunkflow_liver.kernels.contacts.gaps import Near, halo_voxels, near_surface
from chunkflow_liver.kernels.contacts.tallies import (
    OBJECT,
    PAIR,
    SHELL,
    gap_statistics,
    no_objects,
    no_pairs,
    no_shells,
    object_rows,
    pair_rows,
    share,
    shell_rows,
)
from chunkflow_liver.kernels.distance.squares import nearest_of, squares_to, whole_unit
from chunkflow_liver.kernels.rows import Rows, grouped, merged
from chunkflow_liver.ops.steps.far.nearest import nearest_columns, nearest_stages
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    arrays_at,
    checked_labels,
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

BANDS_NM = ((0, 10), (0, 20), (0, 30), (0, 50))
"""Bands that are stated where none are asked for, as far as the cap reaches."""
PERCENTILES = (5, 25, 50, 75, 95)

_SURE = 1 + 1e-9


@operation
def profiles(  # noqa: PLR0913
    instances: Volume,
    other: Volume,
    *,
    to: str | int,
    cap_nm: float,
    shells_nm: Sequence[float] = (),
    parents: Volume | None = None,
    name: str,
    work: PathLike,
    block: tuple[int, int, int] | None = None,
    nearest: bool = False,
    bands_nm: Bands | None = None,
) -> Plan:
    """Plan tables of the distance from the surface of instances to a class, and of shells around them.

    Parameters
    ----------
    instances : Volume
        The objects.
    other : Volume
        Classes, on the same voxels.
    to : str or int
        Class of `other` that distances are measured to.
    cap_nm : float
        Largest distance, in nm; with the outermost shell it is the halo of the blocks.
    shells_nm : sequence of float, optional
        Where shells around the instances end, in nm, ascending; the first one begins at 0.
    parents : Volume, optional
        Cells, zones, ..: the same tables for each of its labels, `<name>-parents` and
        `<name>-parent-shells`.
    name : str
        Name of the table; that of shells is `<name>-shells`.
    {work}
    {block}
    nearest : bool
        Also `nearest_nm`: the smallest distance of the surface to the class, however far, and
        `nearest_exact`, whether what lies outside the volume could be nearer.
    bands_nm : sequence of pairs of float, optional
        Shares of the surface at a gap above the first and up to the second of each pair, in nm (from 0 on
        what touches counts); by default up to 10, 20, 30 and 50 nm, as far as the cap reaches.

    Returns
    -------
    Plan
        Its `output` is a `Table` with one row per instance that has a surface: `surface_um2` (as
        in contacts), `exact_fraction` (share whose distance nothing outside the volume could change),
        `within_cap_fraction`, `distance_mean_nm` of the surface within the cap, `distance_min_nm` and
        percentiles of all of it (infinite beyond the cap), `within_10_nm_fraction` and so on for each band
        (`from_24_to_56_nm_fraction` where it does not begin at 0). Distances are gaps between the boxes of
        voxels, as in `contacts`: 0 where they touch. Shells count the voxels outside all instances by their
        nearest instance (of two the one with the smaller label) and the distance between centres: `voxels,
        class_voxels, class_fraction, exact_voxels`.

    Raises
    ------
    ConfigError, InputError
        If the cap is not above 0, a band ends beyond it, shells do not ascend, the class does not exist or
        is background, or the volumes hold no labels or do not lie on the same voxels.
    """
    shells = [0.0, *map(float, shells_nm)]
    if not (math.isfinite(cap_nm) and cap_nm > 0):
        raise ConfigError(f"cap_nm must be above 0, got {cap_nm!r}")
    if not all(a < b < math.inf for a, b in itertools.pairwise(shells)):
        raise ConfigError(f"shells_nm must ascend from above 0, got {list(shells_nm)}")
    bands = checked_bands(
        [band for band in BANDS_NM if band[1] <= cap_nm] if bands_nm is None else bands_nm, cap_nm, "cap_nm"
    )
    given = (instances, other) if parents is None else (instances, other, parents)
    volumes = tuple(checked_labels(volume, "instances, classes and parents") for volume in given)
    for volume in given[1:]:
        same_voxels(instances, volume, "profiles need all on the same voxels")
    number = other.class_number(to)
    if number == 0:
        raise ConfigError("a profile to class 0 does not exist: 0 is background, classes count from 1")
    voxel_nm = instances.voxel_nm
    halo = zyx(
        [max(a, b) for a, b in zip(halo_voxels(cap_nm, voxel_nm), voxels(shells[-1], voxel_nm), strict=True)]
    )
    grid = BlockGrid(instances.box, block or zyx(list(instances.write_unit)), halo, halo)
    params: dict[str, Any] = {
        "voxel_nm": voxel_nm,
        "cap_nm": float(cap_nm),
        "shells_nm": shells,
        "number": number,
    }
    known = known_in_all(instances, other)
    first = f"{name}/profiles"
    wanted: list[tuple[str, str, str, Kind]] = [
        ("surface", "", name, "profile"),
        ("shells", "", f"{name}-shells", "shells"),
    ]
    if parents is not None:
        wanted += [("surface", "parent_", f"{name}-parents", "profile")]
        wanted += [("shells", "parent_", f"{name}-parent-shells", "shells")]
    about = (
        ("a", instances.name),
        ("b", to),
        ("cap_nm", cap_nm),
        ("parents", None if parents is None else parents.name),
    )
    folds: list[Stage] = []
    products = []
    far: dict[str, Any] = {}
    if nearest:
        met = arrays_at(work, name, "met")
        found, far = nearest_stages(
            volumes[:2],
            numbers=(None, number),
            sides="a",
            known=known,
            block=grid.block,
            name=name,
            work=work,
            met=met,
        )
        folds += [Fold(f"{name}/met", _met, first, met), *found]
    for what, prefix, table, kind in wanted:
        if what == "shells" and len(shells) == 1:
            continue
        values = params | {"prefix": prefix}
        arrays = far if what == "surface" and not prefix else {}
        values |= {"known": known.box} if arrays else {}
        values |= {"bands_nm": bands} if what == "surface" else {}
        function = _surfaces if what == "surface" else _shells
        provenance = {"operation": "profiles", **plain(params)}
        output = table_at(work, table)
        folds.append(
            Fold(
                f"{table}/table",
                function,
                first,
                output,
                params=values,
                artefacts=arrays,
                provenance=provenance,
            )
        )
        rows = ("rows", "parents" if prefix else "objects")
        products.append(Product(kind, table, output, (*about, rows)))
    working = 72.0 + (40.0 if len(shells) > 1 else 0.0)
    params |= {"known": known}
    stage = Map(first, _block, grid, volumes, params=params, working=working, resident=64 << 20)
    return Plan((stage, *folds), work_folder(work), table_at(work, name), tuple(products))


def _block(
    block: Block,
    own: Array,
    classes: Array,
    parents: Array | None = None,
    *,
    voxel_nm: Nm,
    cap_nm: float,
    shells_nm: list[float],
    number: int,
    known: Known,
) -> Result:
    whole, block = block, block.within(known.box)
    if not block.write.size:
        return Result()
    inner = block.read.relative_to(whole.read).slices
    target, own = classes[inner] == number, own[inner]
    hidden = known.hidden(block.read)
    if hidden is not None:
        target, own = target & ~hidden, np.where(hidden, own.dtype.type(0), own)
    own = own.view(np.uint8) if own.dtype == bool else own
    pairs: dict[str, list[Rows]] = {"": [], "parent_": []}
    objects: dict[str, list[Rows]] = {"": [], "parent_": []}
    inside = None if parents is None else parents[inner][block.trim]
    at: dict[str, Any] = {"voxel_nm": voxel_nm, "gap_nm": cap_nm, "trim": block.trim, "hidden": hidden}
    for near in near_surface(own, target.view(np.uint8), **at):
        exact = _exact(near, _outside(block, voxel_nm, 0, hidden, cap_nm), voxel_nm, cap_nm)
        for prefix, labels in (
            ("", near.label),
            ("parent_", None if inside is None else inside[tuple(near.at)]),
        ):
            if labels is None:
                continue
            seen, counted = replace(near, label=labels), labels != 0
            pairs[prefix].append(pair_rows(seen, counted))
            objects[prefix].append(_with_exact(seen, counted, exact))
    record: dict[str, Any] = {}
    for prefix in pairs:
        record |= named(f"{prefix}surface", merged(pairs[prefix], PAIR, no_pairs()))
        record |= named(f"{prefix}objects", merged(objects[prefix], OBJECT, _no_objects()))
    if len(shells_nm) > 1:
        unit = whole_unit(voxel_nm)
        edges = [unit.squares(e) for e in shells_nm]
        squares, nearest = nearest_of(own, unit, edges[-1], block.trim)
        if hidden is not None:
            squares[hidden[block.trim]] = edges[-1] + 1
        counts = {
            "class_voxels": target[block.trim],
            "exact_voxels": np.minimum(unit.length_nm(squares), shells_nm[-1])
            <= _outside(block, voxel_nm, 1, hidden, shells_nm[-1]) * _SURE,
        }
        record |= named("shells", shell_rows(squares, edges, nearest, **counts))
        if inside is not None:
            record |= named("parent_shells", shell_rows(squares, edges, inside, **counts))
    return Result(record=record)


def _outside(block: Block, voxel_nm: Nm, beside: int, hidden: Array | None, most_nm: float) -> Array:
    """Distance in nm of each voxel of a block to what is unknown; `beside` is that of the last voxels.

    That to what a mask leaves out is told up to `most_nm`.
    """
    box, known = block.write, block.volume
    sides = []
    for axis in range(3):
        index = np.arange(box.start[axis], box.stop[axis])
        steps = np.minimum(index - known.start[axis], known.stop[axis] - 1 - index) + beside
        # Across a single plane nothing is missing that the image could have shown.
        away = np.where(known.shape[axis] > 1, steps * voxel_nm[axis], np.inf)
        sides.append(away.reshape([-1 if a == axis else 1 for a in range(3)]))
    z, y, x = sides
    found: Array = np.minimum(np.minimum(z, y), x)
    if hidden is not None:
        unit = whole_unit(voxel_nm)
        limit = unit.squares(most_nm)
        squares = squares_to(hidden, unit, limit, block.trim, between=not beside)
        found = np.minimum(found, np.where(squares <= limit, unit.length_nm(squares), np.inf))
    return found


def _exact(near: Near, outside: Array, voxel_nm: Nm, cap_nm: float) -> Array:
    """Whether nothing outside the volume can be nearer to a surface voxel than what was found."""
    gap = np.full(len(near.label), cap_nm)
    gap[near.voxel] = whole_unit(voxel_nm).length_nm(near.square)
    exact: Array = gap <= outside[tuple(near.at)] * _SURE
    return exact


def _with_exact(near: Near, counted: Array, exact: Array) -> Rows:
    """Rows of objects with the area whose distance is exact."""
    rows = object_rows(near, counted)
    sure = {"label": near.label[counted].astype(np.uint64), "exact_area": (near.area * exact)[counted]}
    return rows | {"exact_area": grouped(sure, OBJECT)["exact_area"]}


def _no_objects() -> Rows:
    return no_objects() | {"exact_area": np.zeros(0, np.int64)}


def _met(records: Records) -> Columns:
    """Instances whose surface comes within the cap of the class."""
    (pairs,) = summed(records, {"surface": (PAIR, no_pairs())}).values()
    return {"a": np.unique(pairs["own"])}


def _surfaces(  # noqa: PLR0913
    records: Records,
    *,
    prefix: str,
    voxel_nm: Nm,
    cap_nm: float,
    shells_nm: list[float],
    number: int,
    bands_nm: tuple[tuple[float, float], ...],
    known: Box | None = None,
    cells: Any = None,
    nearest: Any = None,
) -> Columns:
    """One row per instance (or parent) with a surface."""
    wanted = {f"{prefix}surface": (PAIR, no_pairs()), f"{prefix}objects": (OBJECT, _no_objects())}
    pairs, objects = summed(records, wanted).values()
    unit, area = whole_unit(voxel_nm), objects["area"]
    # What lies beyond the cap is one more step of each histogram: its gap counts as infinite.
    limit = unit.squares(cap_nm)
    label = np.concatenate([pairs["own"], objects["label"]])
    square = np.concatenate([pairs["square"], np.full(len(area), limit + 1)])
    weight = np.concatenate([pairs["area"], area - objects["near_area"]])
    order = np.lexsort([square, label])
    label, square, weight = label[order], square[order], weight[order]
    begin = np.searchsorted(label, objects["label"])
    _, _, levels = gap_statistics(begin, square, weight, unit, PERCENTILES)
    levels[levels > unit.nm * math.sqrt(limit + 0.5)] = np.inf
    first: Array = np.searchsorted(pairs["own"], objects["label"])
    mean = np.full(len(area), np.nan)
    met = np.flatnonzero(np.isin(objects["label"], pairs["own"]))
    mean[met] = gap_statistics(first[met], pairs["square"], pairs["area"], unit, ())[1]
    least = (pairs["own"], pairs["other"], pairs["square"])
    within = nearest_columns(objects["label"], "a", least, None, voxel_nm)
    columns = {
        "label": objects["label"],
        "surface_voxels": objects["voxels"],
        "surface_um2": area * (area_step_nm2(voxel_nm) / NM_PER_UM**2),
        "exact_fraction": share(objects["exact_area"], area),
        "within_cap_fraction": share(objects["near_area"], area),
        "distance_mean_nm": mean,
        "distance_min_nm": within["nearest_nm"],
        **{f"distance_p{p}_nm": values for p, values in zip(PERCENTILES, levels, strict=True)},
    }
    at = np.searchsorted(objects["label"], pairs["own"])
    for band, inside in in_bands(pairs, at, len(area), bands_nm, unit).items():
        columns[f"{band}_fraction"] = share(inside, area)
    if nearest is not None:
        far = {"cells": cells, "nearest": nearest, "known": known}
        found = nearest_columns(objects["label"], "a", least, far, voxel_nm)
        columns |= {k: v for k, v in found.items() if k != "nearest_label"}
    return columns


def _shells(
    records: Records, *, prefix: str, voxel_nm: Nm, cap_nm: float, shells_nm: list[float], number: int
) -> Columns:
    """One row per instance (or parent) and shell that holds a voxel."""
    counts = ("class_voxels", "exact_voxels")
    wanted = {f"{prefix}shells": (SHELL, no_shells(*counts))}
    (rows,) = summed(records, wanted).values()
    edges = np.array(shells_nm)
    return {
        "label": rows["label"],
        "from_nm": edges[rows["shell"]],
        "to_nm": edges[rows["shell"] + 1],
        "voxels": rows["voxels"],
        "class_voxels": rows["class_voxels"],
        "class_fraction": share(rows["class_voxels"], rows["voxels"]),
        "exact_voxels": rows["exact_voxels"],
    }
