"""Tables of contacts: pairs, objects and sites, from the sums of all blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Records
from chunkflow_liver.geometry import NM_PER_UM, Box, Nm, Zyx
from chunkflow_liver.kernels.contacts.areas import area_step_nm2
from chunkflow_liver.kernels.contacts.sites import merge_sites
from chunkflow_liver.kernels.contacts.tallies import OBJECT, PAIR, gap_statistics, no_objects, no_pairs, share
from chunkflow_liver.kernels.distance.squares import whole_unit
from chunkflow_liver.kernels.rows import Rows, grouped
from chunkflow_liver.ops.steps.nearest import nearest_columns
from chunkflow_liver.ops.steps.rows import rows_of, summed
from chunkflow_liver.ops.steps.shared_planes import Seams
from chunkflow_liver.store.table import Columns
from chunkflow_liver.xp import Array

PERCENTILES = (10, 50, 90)

_PAIRS: dict[str, tuple[tuple[str, ...], Rows]] = {f"pairs_{side}": (PAIR, no_pairs()) for side in "ab"}
_OBJECTS: dict[str, tuple[tuple[str, ...], Rows]] = {
    f"objects_{side}": (OBJECT, no_objects()) for side in "ab"
}


def join_sites(records: Records, *, counts: Zyx, scratch: Path) -> Columns:
    """Site of every part of every block, and the sums of every site; `offsets` of blocks in parts."""
    seams, offsets = Seams(counts, scratch / "seams"), [0]
    parts: list[Rows] = []
    pairs: list[Array] = []
    for index, record in records:
        rows = rows_of(record, "parts")
        pairs += seams.meet(index, offsets[-1], record)
        offsets.append(offsets[-1] + (len(rows["own"]) if rows else 0))
        parts += [rows] if rows else []
    return {"offsets": np.array(offsets), **merge_sites(parts, pairs)}


def site_table(records: Records, *, joined: Any, voxel_nm: Nm) -> Columns:
    """One row per site; its place is the mean of the centres of its voxels, from the volume's corner."""
    voxels = joined["voxels"]
    columns: dict[str, Array] = {
        "site": np.arange(1, len(voxels) + 1, dtype=np.uint32),
        "label_a": joined["own"],
        "label_b": joined["other"],
        "voxels": voxels,
        "area_a_um2": joined["area"] * _step_um2(voxel_nm),
        "gap_min_nm": whole_unit(voxel_nm).length_nm(joined["square"]),
    }
    for axis, a in enumerate("zyx"):
        columns[f"{a}_nm"] = (joined[f"sum_{a}"] / voxels + 0.5) * voxel_nm[axis]
    return columns


def met_labels(records: Records) -> Columns:
    """Labels of either side that come within the gap of another object, ascending."""
    sums = summed(records, _PAIRS)
    return {
        side: np.unique(np.concatenate([sums[pairs][own] for pairs in ("pairs_a", "pairs_b")]))
        for side, own in (("a", "own"), ("b", "other"))
    }


def object_table(
    records: Records,
    *,
    joined: Any,
    voxel_nm: Nm,
    known: Box | None = None,
    cells: Any = None,
    nearest: Any = None,
) -> Columns:
    """One row per object of either side that has a surface, those of A first."""
    far = None if nearest is None else {"cells": cells, "nearest": nearest, "known": known}
    sums = summed(records, _PAIRS | _OBJECTS)
    found = np.concatenate([np.stack([sums[p]["own"], sums[p]["other"]]) for p in ("pairs_a", "pairs_b")], 1)
    pairs = grouped({"own": found[0], "other": found[1]}, ("own", "other"))
    columns: dict[str, list[Array]] = {}
    gaps = [np.concatenate([sums[p][k] for p in ("pairs_a", "pairs_b")]) for k in ("own", "other", "square")]
    for side, own, other in (("a", "own", "other"), ("b", "other", "own")):
        rows = sums[f"objects_{side}"]
        within = (gaps[0], gaps[1], gaps[2]) if side == "a" else (gaps[1], gaps[0], gaps[2])
        begin, end = _ranges(pairs[own], rows["label"], order := np.lexsort([pairs[other], pairs[own]]))
        texts = pairs[other][order].astype(str)
        first, last = _ranges(joined[own], rows["label"], np.argsort(joined[own], kind="stable"))
        table = {
            "side": np.full(len(rows["label"]), side, dtype=object),
            "label": rows["label"],
            "surface_voxels": rows["voxels"],
            "surface_um2": rows["area"] * _step_um2(voxel_nm),
            "contact_voxels": rows["near_voxels"],
            "contact_um2": rows["near_area"] * _step_um2(voxel_nm),
            "contact_fraction": share(rows["near_area"], rows["area"]),
            "partners": end - begin,
            "partner_labels": np.array(
                ["" if a == b else " ".join(texts[a:b]) for a, b in zip(begin, end, strict=True)],
                dtype=object,
            ),
            "sites": last - first,
            **nearest_columns(rows["label"], side, within, far, voxel_nm),
        }
        for name, values in table.items():
            columns.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in columns.items()}


def pair_table(records: Records, *, joined: Any, voxel_nm: Nm) -> Columns:
    """One row per pair that comes within the gap on either side."""
    sums = summed(records, _PAIRS)
    unit, step = whole_unit(voxel_nm), _step_um2(voxel_nm)
    a, b = sums["pairs_a"], sums["pairs_b"]
    keys = [np.stack([rows["own"], rows["other"]], 1) for rows in (a, b)]
    pairs, row = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
    row = row.reshape(-1)
    rows_a, rows_b = row[: len(keys[0])], row[len(keys[0]) :]
    columns: dict[str, Array] = {"label_a": pairs[:, 0], "label_b": pairs[:, 1]}
    for name, what in (("voxels", "voxels"), ("area", "area")):
        for suffix, rows, at in (("", a, rows_a), ("_b", b, rows_b)):
            total = np.zeros(len(pairs), np.int64)
            np.add.at(total, at, rows[what])
            columns[f"{name}{suffix}"] = total
    columns["area_a_um2"] = columns.pop("area") * step
    columns["area_b_um2"] = columns.pop("area_b") * step
    known, begin = np.unique(rows_a, return_index=True)
    least, mean, levels = gap_statistics(begin, a["square"], a["voxels"], unit, PERCENTILES)
    gaps = np.full((3 + len(PERCENTILES), len(pairs)), np.nan)
    gaps[:, known] = np.vstack([least, least, mean, levels])
    known, begin = np.unique(rows_b, return_index=True)
    gaps[0, known] = np.fmin(gaps[0, known], unit.length_nm(b["square"][begin]))
    columns["gap_min_nm"], columns["gap_mean_nm"] = gaps[0], gaps[2]
    columns |= {f"gap_p{p}_nm": values for p, values in zip(PERCENTILES, gaps[3:], strict=True)}
    counts = grouped(
        {"own": joined["own"], "other": joined["other"], "sites": np.ones(len(joined["own"]), np.int64)},
        ("own", "other"),
    )
    # Every pair of a site is a pair of the table.
    columns["sites"] = np.zeros(len(pairs), np.int64)
    at = _rows_of(np.stack([counts["own"], counts["other"]], 1), pairs)
    columns["sites"][at] = counts["sites"]
    return columns


def _step_um2(voxel_nm: Nm) -> float:
    return area_step_nm2(voxel_nm) / NM_PER_UM**2


def _ranges(values: Array, labels: Array, order: Array) -> tuple[Array, Array]:
    """Where each label begins and ends in `values` in the given order."""
    ascending = np.asarray(values)[order]
    return np.searchsorted(ascending, labels), np.searchsorted(ascending, labels, side="right")


def _rows_of(some: Array, pairs: Array) -> Array:
    """Row in `pairs` (sorted, unique) of each row of `some`, which are among them."""
    both = np.concatenate([pairs, some])
    _, row = np.unique(both, axis=0, return_inverse=True)
    found: Array = row.reshape(-1)[len(pairs) :]
    return found
