"""Tables of positions, and of what changes along them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chunkflow_liver.engine.stage import Records, Result
from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Block, Nm
from chunkflow_liver.kernels.distance.places import OBJECT, WAYS, in_nm, no_objects, object_sums, positions
from chunkflow_liver.kernels.distance.transform import exact_nm
from chunkflow_liver.kernels.rows import gather
from chunkflow_liver.kernels.significance.trends import trends, zone_means
from chunkflow_liver.ops.steps.objects import PLACE, measurements, numbers, side_by_side, with_forms
from chunkflow_liver.ops.steps.rows import named, rows_of
from chunkflow_liver.store.table import Columns, Table, read_table
from chunkflow_liver.store.voxels.region import Known
from chunkflow_liver.xp import Array


def sums(
    block: Block,
    labels: Array,
    first: Array,
    second: Array,
    *away: Array,
    voxel_nm: Nm,
    known: Known,
    quanta: Sequence[float | None],
) -> Result:
    """Record `objects_*`: see `object_sums`. Voxels of which not all is known are of no object."""
    if known.masks or not known.box.contains(block.write):
        labels = labels * known(block.write)
    distances = []
    exact = np.ones(labels.shape, bool)
    for given, quantum in zip((first, second), quanta, strict=True):
        distance = in_nm(given, quantum)
        distances.append(distance)
        exact &= exact_nm(distance, block.write, known.box, voxel_nm, math.inf, away)
    return Result(record=named("objects", object_sums(labels, (distances[0], distances[1]), exact)))


def object_table(records: Records, *, ends: Sequence[str], zones: Sequence[float], border: bool) -> Columns:
    """One row per object."""
    gathered = gather(OBJECT, no_objects(), WAYS)
    for _, record in records:
        if rows := rows_of(record, "objects"):
            gathered.push(rows)
    rows = dict(gathered.whole())
    found = positions(rows)
    reached, voxels = rows["reached"], rows["voxels"]
    left_out = np.full(len(voxels), "", dtype=object)
    if not border:
        left_out[rows["exact"] < reached] = "border"
    left_out[(2 * reached < voxels) | ~np.isfinite(found["position"])] = "unreached"
    zone = np.where(
        left_out == "", np.searchsorted(zones, np.nan_to_num(found["position"]), side="right") + 1, 0
    )
    columns: dict[str, Array] = {"label": rows["label"], "voxels": voxels}
    for end, what in zip(ends, "ab", strict=True):
        columns[f"{end}_nm"] = found[f"mean_{what}"]
        columns[f"{end}_min_nm"] = found[f"least_{what}"]
    return columns | {
        "position": found["position"],
        "zone": zone.astype(np.int64),
        "reached_fraction": reached / np.maximum(voxels, 1),
        "exact_fraction": np.divide(
            rows["exact"], reached, out=np.full(len(reached), np.nan), where=reached > 0
        ),
        "left_out": left_out,
    }


def trended(
    block: Block,
    *,
    places: Table,
    columns: Sequence[str] | None,
    cell: str | None,
    within: bool,
    zones: Sequence[float],
    level: float,
    permutations: int,
    seed: int,
    **tables: Table,
) -> Result:
    """Record of the tables of trends and of zones."""
    given = [tables[f"table{i}"] for i in range(len(tables))]
    known, path = side_by_side(given), given[0].path
    names = _names(known, path) if columns is None else list(columns)
    values = measurements(known, names, path)
    unit = known["label"] if cell is None else _cells(known, cell, path)
    placed = read_table(places)
    label = placed.column("label").to_numpy()
    position, zone = placed.column("position").to_numpy().copy(), placed.column("zone").to_numpy()
    used = np.array([why == "" for why in placed.column("left_out").to_pylist()], bool)
    row, there = _rows(known["label"] if within else unit, label)
    there &= unit > 0
    there[there] &= used[row[there]]
    there &= known.get("left_out", np.full(len(unit), "")) == ""
    if not there.any():
        what = "objects" if within or cell is None else f"cells (column {cell!r})"
        raise InputError(f"no row of {path} has a position: {what} of it are not those of {places.path}")
    by_object: Columns = {
        "label": known["label"],
        "position": np.where(there, position[row], np.nan),
        "zone": np.where(there, zone[row], 0),
    }
    row, values, unit = row[there], values[there], unit[there]
    expanded = with_forms(names)
    tested = trends(
        position[row], values, unit, within=within, permutations=permutations, level=level, seed=seed
    )
    means = zone_means(zone[row], values, unit, len(zones) + 1)
    count = len(zones) + 1
    ends = np.array([0.0, *zones, 1.0])
    by_zone: Columns = {
        "column": np.repeat(np.array(expanded), count),
        "zone": np.tile(np.arange(1, count + 1), len(expanded)),
        "from_position": np.tile(ends[:-1], len(expanded)),
        "to_position": np.tile(ends[1:], len(expanded)),
        **{what: found.reshape(-1) for what, found in means.items()},
    }
    parts: dict[str, Columns] = {
        "-trends": {"column": np.array(expanded), **tested},
        "-zones": by_zone,
        "-objects": by_object,
    }
    return Result(record={f"{end}/{k}": v for end, part in parts.items() for k, v in part.items()})


def _names(known: Columns, path: str) -> list[str]:
    found = [n for n, v in known.items() if v.dtype.kind in "iuf" and not PLACE.fullmatch(n)]
    found += ["form"] if "form" in known else []
    if not found:
        raise InputError(f"{path} has no column of measurements; name some in 'columns'")
    return found


def _cells(known: Columns, cell: str, path: str) -> Array:
    of = numbers(known, [cell], path)[:, 0]
    return np.where(np.isfinite(of), of, 0).astype(np.int64)


def _rows(wanted: Array, label: Array) -> tuple[Array, Array]:
    """Row in `label` (ascending) of each wanted one, and whether it has one."""
    if not len(label):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    at = np.minimum(np.searchsorted(label.astype(np.int64), wanted.astype(np.int64)), len(label) - 1)
    return at, label.astype(np.int64)[at] == wanted.astype(np.int64)
