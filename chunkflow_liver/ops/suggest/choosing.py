"""From what is known of all boxes to those that are suggested, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Records
from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box, Nm, zyx
from chunkflow_liver.kernels.images.box_choice import distance_to, mean_rank, ranks, side_by_side, spread_out
from chunkflow_liver.kernels.images.box_sums import Lattice, merge_extents, over_boxes
from chunkflow_liver.ops.suggest.looking import FULL
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.xp import Array

PAINTED = 0.25
"""Boxes of which this share is painted already are not suggested."""


def choose(
    records: Records,
    *,
    lattice: Lattice,
    voxel_nm: Nm,
    maps: int,
    compared: int,
    painted: Sequence[tuple[Nm, Nm]],
    criteria: Mapping[str, float],
    boxes: int,
    apart_nm: float,
    **joined: Arrays,
) -> Columns:
    """The boxes that are suggested, with what speaks for them."""
    cells = {key: np.zeros(lattice.cells, np.int64) for key in ("uncertainty", "disagreement", "hidden")}
    masks: dict[str, list[dict[str, Array]]] = {}
    for _, record in records:
        for key in cells.keys() & record.keys():
            at = Box(zyx(record["met"].tolist()), zyx((record["met"] + record[key].shape).tolist()))
            cells[key][at.slices] += record[key]
        for key in record:
            kind, _, i = key.partition("_")
            if kind == "cell":
                part = {k: record[f"{k}_{i}"] for k in ("cell", "low", "high")}
                masks.setdefault(i, []).append(part)
    voxels = math.prod(lattice.side)
    pairs = compared * (compared - 1) // 2
    every: dict[str, Array] = {}
    if "uncertainty" in criteria:
        every["uncertainty"] = over_boxes(cells["uncertainty"], lattice) / (FULL * maps * voxels)
    if "disagreement" in criteria:
        every["disagreement"] = over_boxes(cells["disagreement"], lattice) / (pairs * voxels)
    if "seams" in criteria:
        every["seams"] = over_boxes(_worst(joined, lattice), lattice, np.maximum)
    # At no distance only boxes side by side leave room for all.
    free = np.ones(lattice.counts, bool) if apart_nm or boxes == 1 else side_by_side(lattice)
    low, high = _painted_voxels(painted, [merge_extents(parts) for parts in masks.values()], voxel_nm)
    if len(low):
        distance, share = distance_to(low, high, lattice, voxel_nm)
        free &= share < PAINTED
        if "distance" in criteria:
            every["distance"] = distance
    whole = over_boxes(cells["hidden"], lattice) == 0
    free &= whole
    score = np.zeros(lattice.counts)
    if whole.any():
        score[whole] = mean_rank({key: values[whole] for key, values in every.items()}, criteria)
    found = spread_out(score, free, lattice, voxel_nm, boxes=boxes, apart_nm=apart_nm)
    if len(found) < boxes:
        known = "" if whole.all() else " and a mask leaves nothing of it out"
        raise InputError(
            f"only {len(found)} of {boxes} boxes find room where less than {PAINTED:.0%} of a box is "
            f"painted{known}; ask for fewer, a smaller box_nm or a smaller apart_nm"
        )
    columns: dict[str, Any] = {"rank": np.arange(1, boxes + 1)}
    columns["score"] = np.array([score[at] for at in found])
    corners = [lattice.box(at) for at in found]
    for a, axis in enumerate("zyx"):
        for end in ("start", "stop"):
            columns[f"{axis}_{end}"] = np.array([getattr(box, end)[a] for box in corners], np.int64)
    for a, axis in enumerate("zyx"):
        for end in ("start", "stop"):
            columns[f"{axis}_{end}_nm"] = columns[f"{axis}_{end}"] * voxel_nm[a]
    for key, values in every.items():
        columns[_column(key)] = np.array([values[at] for at in found])
        placed = np.zeros(lattice.counts)
        placed[whole] = ranks(values[whole])
        columns[f"rank_{key}"] = np.array([placed[at] for at in found])
    return columns


def _column(criterion: str) -> str:
    return "distance_nm" if criterion == "distance" else criterion


def _worst(joined: Mapping[str, Arrays], lattice: Lattice) -> Array:
    """1 minus the lowest score of the seams whose worst place lies in a cell; 0 where there is none."""
    found = np.zeros(lattice.cells)
    for arrays in joined.values():
        score = np.asarray(arrays["seam_score"])
        place = np.stack([np.asarray(arrays[f"seam_{a}"]) for a in "zyx"], 1) - lattice.known.start
        cell = place // np.array(lattice.cell)
        inside = np.isfinite(score) & (place >= 0).all(1) & (cell < np.array(lattice.cells)).all(1)
        np.maximum.at(found, tuple(cell[inside].T), 1 - score[inside])
    return found


def _painted_voxels(
    boxes: Sequence[tuple[Nm, Nm]], masks: Sequence[tuple[Array, Array]], voxel_nm: Nm
) -> tuple[Array, Array]:
    """First and end corners of all that is painted, in voxels."""
    nm = np.array(boxes, float).reshape(-1, 2, 3) / np.array(voxel_nm)
    low = np.concatenate([nm[:, 0], *(a for a, _ in masks)])
    high = np.concatenate([nm[:, 1], *(b for _, b in masks)])
    return low, high


def rows_of(records: Records, *, criteria: Sequence[str], chosen: Arrays) -> Columns:
    """The suggested boxes as a person reads them."""
    columns = {key: np.asarray(chosen[key]) for key in chosen.names()}
    ends = [f"{a}_{end}" for a in "zyx" for end in ("start", "stop")]
    order = ["rank", "score", *ends, *(f"{end}_nm" for end in ends), *(_column(key) for key in criteria)]
    number = len(columns["rank"])
    why = ["; ".join(_why(key, columns, i) for key in criteria) for i in range(number)]
    return {**{key: columns[key] for key in order}, "why": np.array(why)}


def _why(criterion: str, columns: Columns, i: int) -> str:
    """One criterion of a box in words."""
    value, share = float(columns[_column(criterion)][i]), float(columns[f"rank_{criterion}"][i])
    # Rounded down: only the first is above all others.
    others = "all others" if share == 1 else f"{math.floor(100 * share)} % of all boxes"
    if criterion == "distance":
        return f"{value:.0f} nm from what is painted, farther than {others}"
    if criterion == "seams":
        return f"the worst seam here has a score of {1 - value:.2f}" if value else "no seam disagrees here"
    what = "uncertainty" if criterion == "uncertainty" else "results that differ:"
    return f"{what} {value:.3f}, more than in {others}"
