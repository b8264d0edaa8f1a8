"""Tables of contacts: pairs, objects and sites, from the sums of all blocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Records
from chunkflow_liver.geometry import NM_PER_UM, Box, Nm, Zyx
from chunkflow_liver.kernels.contacts.areas import area_step_nm2
from chunkflow_liver.kernels.contacts.curves import curve, every_nm, in_bands, within_own
from chunkflow_liver.kernels.contacts.sites import merge_sites
from chunkflow_liver.kernels.contacts.tallies import (
    NEAREST,
    OBJECT,
    PAIR,
    gap_statistics,
    no_nearest,
    no_objects,
    no_pairs,
    share,
)
from chunkflow_liver.kernels.distance.squares import Unit, whole_unit
from chunkflow_liver.kernels.rows import Rows, grouped
from chunkflow_liver.ops.contacts.sides import SUMS, Sides
from chunkflow_liver.ops.steps.far.nearest import nearest_columns
from chunkflow_liver.ops.steps.rows import rows_of, summed
from chunkflow_liver.ops.steps.shared_planes import Seams
from chunkflow_liver.store.table import Columns
from chunkflow_liver.xp import Array

PERCENTILES = (10, 50, 90)

_PAIRS: dict[str, tuple[tuple[str, ...], Rows]] = {f"pairs_{side}": (PAIR, no_pairs()) for side in "ab"}
_OBJECTS: dict[str, tuple[tuple[str, ...], Rows]] = {
    f"objects_{side}": (OBJECT, no_objects()) for side in "ab"
}
_NEAREST: dict[str, tuple[tuple[str, ...], Rows]] = {
    f"nearest_{side}": (NEAREST, no_nearest()) for side in "ab"
}
_AT_ONCE = 1 << 20
"""Rows of a curve that are made together."""
Bands = tuple[tuple[float, float], ...]


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


def met_labels(records: Records, *, voxel_nm: Nm, gap_nm: float) -> Columns:
    """Labels of either side that come within the gap of another object, ascending."""
    sums = _pairs(summed(records, _PAIRS), voxel_nm, gap_nm)
    return {
        side: np.unique(np.concatenate([sums[pairs][own] for pairs in ("pairs_a", "pairs_b")]))
        for side, own in (("a", "own"), ("b", "other"))
    }


def object_table(  # noqa: PLR0913
    records: Records,
    *,
    joined: Any,
    voxel_nm: Nm,
    gap_nm: float,
    bands_nm: Bands,
    centres: bool,
    sides: Sides,
    known: Box | None = None,
    cells: Any = None,
    nearest: Any = None,
) -> Columns:
    """One row per object of either side that has a surface, those of A first."""
    far = None if nearest is None else {"cells": cells, "nearest": nearest, "known": known}
    every = summed(records, _PAIRS | _OBJECTS | _NEAREST | _centred(_OBJECTS) | SUMS)
    sums = _pairs(dict(every), voxel_nm, gap_nm)
    wide, of = _both(every["pairs_a"], every["pairs_b"])
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
        near, unit = sums[f"nearest_{side}"], whole_unit(voxel_nm)
        at = np.searchsorted(rows["label"], near["label"])
        for band, area in in_bands(near, at, len(rows["label"]), bands_nm, unit).items():
            table[f"{band}_contact_um2"] = area * _step_um2(voxel_nm)
            table[f"{band}_fraction"] = share(area, rows["area"])
        if centres:
            # The same objects have a surface, whatever a gap is between.
            area = sums[f"centre_objects_{side}"]["near_area"]
            table["centre_contact_um2"] = area * _step_um2(voxel_nm)
            table["centre_contact_fraction"] = share(area, rows["area"])
        sure = None
        if sides.local:
            area = np.bincount(of["ab".index(side)], every[f"pairs_{side}"]["area"], len(wide))
            own_errors, others = sides.of_objects(every, rows["label"], wide, area, side)
            sure = own_errors[0], others
            table |= sides.columns_of_objects(side, own_errors, others)
        ends = _ends(near, at, len(rows["label"]), sides, side, gap_nm, voxel_nm, sure)
        for which, area in zip(("low", "high"), ends, strict=True):
            table[f"contact_{which}_um2"] = area * _step_um2(voxel_nm)
            table[f"contact_{which}_fraction"] = share(area, rows["area"])
        for name, values in table.items():
            columns.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in columns.items()}


def pair_table(
    records: Records,
    *,
    joined: Any,
    voxel_nm: Nm,
    gap_nm: float,
    bands_nm: Bands,
    centres: bool,
    sides: Sides,
) -> Columns:
    """One row per pair that comes within the gap on either side."""
    every = summed(records, _PAIRS | _centred(_PAIRS) | SUMS)
    sums = _pairs(dict(every), voxel_nm, gap_nm)
    unit, step = whole_unit(voxel_nm), _step_um2(voxel_nm)
    a, b = sums["pairs_a"], sums["pairs_b"]
    pairs, (rows_a, rows_b) = _both(a, b)
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
    for side, rows, at in (("a", a, rows_a), ("b", b, rows_b)):
        for band, area in in_bands(rows, at, len(pairs), bands_nm, unit).items():
            columns[f"{band}_area_{side}_um2"] = area * step
    wide, of = _both(every["pairs_a"], every["pairs_b"])
    place = _rows_of(pairs, wide)
    errors = {side: sides.of_pairs(every, wide, side) for side in "ab"} if sides.local else {}
    sure = (errors["a"][0], errors["b"][0]) if errors else None
    for side, at in zip("ab", of, strict=True):
        ends = _ends(every[f"pairs_{side}"], at, len(wide), sides, "a", gap_nm, voxel_nm, sure)
        for end, area in zip(("low", "high"), ends, strict=True):
            columns[f"area_{side}_{end}_um2"] = area[place] * step
    off = sides.between_nm("a", None if sure is None else (sure[0][place], sure[1][place]))
    columns["gap_min_low_nm"] = np.maximum(columns["gap_min_nm"] - off, 0.0)
    columns["gap_min_high_nm"] = columns["gap_min_nm"] + off
    for side, seen in errors.items():
        columns |= sides.columns(side, *(values[place] for values in seen))
    if centres:
        for side, suffix in (("a", ""), ("b", "_b")):
            rows = sums[f"centre_pairs_{side}"]
            at = _rows_of(np.stack([rows["own"], rows["other"]], 1), pairs)
            for name, what, scale in ((f"voxels{suffix}", "voxels", 1), (f"area_{side}_um2", "area", step)):
                found = np.zeros(len(pairs), np.int64)
                np.add.at(found, at, rows[what])
                columns[f"centre_{name}"] = found * scale
    return columns


def pair_curve(records: Records, *, voxel_nm: Nm, curve_nm: float) -> Iterator[Columns]:
    """Area and voxels of every pair within every nm up to the cap, some pairs at a time."""
    sums = _pairs(summed(records, _PAIRS), voxel_nm, curve_nm)
    unit, step, gaps = whole_unit(voxel_nm), _step_um2(voxel_nm), every_nm(curve_nm)
    sides = sums["pairs_a"], sums["pairs_b"]
    pairs, at = _both(*sides)
    for begin, end in _parts(len(pairs), len(gaps)):
        columns = {
            "label_a": np.repeat(pairs[begin:end, 0], len(gaps)),
            "label_b": np.repeat(pairs[begin:end, 1], len(gaps)),
            "gap_nm": np.tile(gaps, end - begin),
        }
        for what, scale, names in (
            ("voxels", 1, ("voxels", "voxels_b")),
            ("area", step, ("area_a_um2", "area_b_um2")),
        ):
            for name, rows, row in zip(names, sides, at, strict=True):
                columns[name] = _some(rows, row, begin, end, gaps, unit, what) * scale
        yield columns


def object_curve(records: Records, *, voxel_nm: Nm, curve_nm: float) -> Iterator[Columns]:
    """Surface of every object within every nm of another one up to the cap, some objects at a time."""
    sums = summed(records, _OBJECTS | _NEAREST)
    unit, step, gaps = whole_unit(voxel_nm), _step_um2(voxel_nm), every_nm(curve_nm)
    for side in "ab":
        objects, near = sums[f"objects_{side}"], sums[f"nearest_{side}"]
        label, row = objects["label"], np.searchsorted(objects["label"], near["label"])
        # Without objects on any side the columns still have their names.
        for begin, end in _parts(len(label), len(gaps)) if side == "a" or len(label) else ():
            area = _some(near, row, begin, end, gaps, unit, "area")
            whole = np.repeat(objects["area"][begin:end], len(gaps))
            yield {
                "side": np.full(len(area), side),
                "label": np.repeat(label[begin:end], len(gaps)),
                "gap_nm": np.tile(gaps, end - begin),
                "contact_um2": area * step,
                "contact_fraction": share(area, whole),
            }


def _parts(count: int, gaps: int) -> list[tuple[int, int]]:
    """First and last of some objects at a time; of none there is one part."""
    step = max(1, _AT_ONCE // gaps)
    return [(begin, min(begin + step, count)) for begin in range(0, max(count, 1), step)]


def _some(rows: Rows, row: Array, begin: int, end: int, gaps: Array, unit: Unit, what: str) -> Array:
    """The curves of objects `begin` to `end`, one after the other."""
    chosen = (row >= begin) & (row < end)
    some = {name: rows[name][chosen] for name in ("square", what)}
    return curve(some, row[chosen] - begin, end - begin, gaps, unit, what).reshape(-1)


def _ends(
    rows: Rows,
    row: Array,
    count: int,
    sides: Sides,
    side: str,
    gap_nm: float,
    voxel_nm: Nm,
    sure: tuple[Array, Array] | None,
) -> tuple[Array, Array]:
    """Area of each object within the gap less, and more, what both boundaries may be off together.

    Errors are averaged over a disc of the area within the gap: of several patches of it, too much is left.
    `sure` are the errors of the side and of the other one, where scores say them.
    """
    unit, gap = whole_unit(voxel_nm), np.full(count, gap_nm)
    radius_nm = np.sqrt(within_own(rows, row, gap, unit) * area_step_nm2(voxel_nm) / np.pi)
    off = sides.patch_nm(side, radius_nm, sure)
    less, more = (within_own(rows, row, gap + way * off, unit) for way in (-1, 1))
    return less, more


def _centred(kinds: dict[str, tuple[tuple[str, ...], Rows]]) -> dict[str, tuple[tuple[str, ...], Rows]]:
    """The same kinds of rows, of gaps between the centres of voxels."""
    return {f"centre_{name}": kind for name, kind in kinds.items()}


def _pairs(sums: dict[str, Rows], voxel_nm: Nm, gap_nm: float) -> dict[str, Rows]:
    """The same sums, with the pairs within a gap only: a curve may reach farther."""
    limit = whole_unit(voxel_nm).squares(gap_nm)
    for name in _PAIRS:
        kept = sums[name]["square"] <= limit
        sums[name] = {column: values[kept] for column, values in sums[name].items()}
    return sums


def _both(a: Rows, b: Rows) -> tuple[Array, tuple[Array, Array]]:
    """Every pair that either side has (P, 2), sorted, and the pair of each row of both sides."""
    keys = [np.stack([rows["own"], rows["other"]], 1) for rows in (a, b)]
    pairs, row = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
    row = row.reshape(-1)
    return pairs, (row[: len(keys[0])], row[len(keys[0]) :])


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
