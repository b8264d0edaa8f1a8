"""Which cell every piece belongs to, and what speaks for another one."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Records
from chunkflow_liver.geometry import Nm
from chunkflow_liver.kernels.rows import joined
from chunkflow_liver.kernels.tissue.chains import attach
from chunkflow_liver.ops.protrusions.pieces import NEAR
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.xp import Array

STEP = 2.0
"""Strength of an overlap with the next slice is above 1; each missing slice between costs this factor."""
NEARNESS = 1e-3
"""Below every overlap."""


def decide(records: Records) -> Columns:
    """Of every piece, in the order of (z, number): its label (0: none), chain and strength; and conflicts.

    Overlaps with the next slice come before those over a missing one: an overlap over more slices is followed
    only where nothing nearer is as sure.
    """
    pieces, links = _gathered(records)
    count = len(pieces["z"])
    cells = np.unique(np.concatenate([links["a_cell"], links["b_cell"]]))
    cells = cells[cells > 0]
    nodes = [_node(pieces, links, cells, side) for side in ("a", "b")]
    strength = _strength(links)
    cell = np.concatenate([np.zeros(count, np.int64), 1 + np.arange(len(cells))])
    found = attach(np.stack(nodes, 1), strength, cell)
    owner = found.cell[:count]
    label = np.concatenate([np.zeros(1, np.uint64), cells])
    rows = found.conflicts
    return {
        "z": pieces["z"],
        "label": label[owner],
        "chain": found.group[:count],
        "strength": found.strength[:count],
        "conflict": rows,
        "conflict_a": label[found.cell[nodes[0][rows]]],
        "conflict_b": label[found.cell[nodes[1][rows]]],
    }


def _strength(links: Columns) -> Array:
    """Of links by overlap its share, less over missing slices; of near ones less than any."""
    near = links["strength"] <= NEAR
    share = np.where(near, 0.0, links["strength"]) / STEP ** (links["step"] - 1)
    nearness = 1e-3 * NEARNESS / (1 + NEAR - links["strength"]) / STEP ** (links["step"] - 1)
    return np.where(near, nearness, np.maximum(share, NEARNESS))


def _gathered(records: Records) -> tuple[dict[str, Any], dict[str, Any]]:
    parts = [record for _, record in records]
    return tuple(  # type: ignore[return-value]
        joined([{k.removeprefix(what): v for k, v in p.items() if k.startswith(what)} for p in parts])
        for what in ("piece_", "link_")
    )


def _node(pieces: Columns, links: Columns, cells: Array, side: str) -> Array:
    """Rows of `pieces`, and beyond them of `cells`, on one side of links."""
    z = links["z"] + (links["step"] if side == "b" else 0)
    piece, cell = links[f"{side}_piece"], links[f"{side}_cell"]
    first = np.searchsorted(pieces["z"], z)
    return np.where(piece > 0, first + piece - 1, len(pieces["z"]) + np.searchsorted(cells, cell))


def attachments(records: Records, *, decided: Arrays, area_um2: float, voxel_nm: Nm) -> Columns:
    """A row for every piece of a slice."""
    pieces, links = _gathered(records)
    label, strength = np.asarray(decided["label"]), np.asarray(decided["strength"])
    shared = np.zeros(len(label), np.int64)
    for side in ("a", "b"):
        own = links[f"{side}_piece"] > 0
        row = _node(pieces, {k: v[own] for k, v in links.items()}, np.zeros(0, np.uint64), side)
        np.maximum.at(shared, row, links["shared"][own])
    reason = np.select(
        [pieces["large"], (label > 0) & (strength < NEARNESS), label > 0, shared > 0],
        ["larger than a protrusion", "near", "overlap", "its chain ends in no cell"],
        "overlaps nothing",
    )
    return {
        "slice": pieces["z"],
        "piece": pieces["number"],
        "label": label,
        "chain": np.asarray(decided["chain"]),
        "area_um2": pieces["voxels"] * area_um2,
        "shared_um2": shared * area_um2,
        "strength": np.where(label > 0, strength, np.nan),
        "centroid_z_nm": (pieces["z"] + 0.5) * voxel_nm[0],
        "centroid_y_nm": (pieces["sum_y"] / pieces["voxels"] + 0.5) * voxel_nm[1],
        "centroid_x_nm": (pieces["sum_x"] / pieces["voxels"] + 0.5) * voxel_nm[2],
        "reason": reason,
    }


def conflicts(records: Records, *, decided: Arrays, area_um2: float, voxel_nm: Nm) -> Columns:
    """A row for every link, by overlap or nearness, between what belongs to two cells."""
    _, links = _gathered(records)
    rows = np.asarray(decided["conflict"])
    of = {k: v[rows] for k, v in links.items()}
    return {
        "slice": of["z"],
        "piece": of["a_piece"],
        "label": np.asarray(decided["conflict_a"]),
        "to_slice": of["z"] + of["step"],
        "to_piece": of["b_piece"],
        "to_label": np.asarray(decided["conflict_b"]),
        "shared_um2": of["shared"] * area_um2,
        "strength": _strength(of),
    }
