"""Tables of what was carried: a row per object and slice, and a row per object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Records
from chunkflow_liver.geometry import NM_PER_UM, Nm
from chunkflow_liver.kernels.rows import grouped
from chunkflow_liver.ops.propagate.subjects import Named
from chunkflow_liver.store.table import Columns
from chunkflow_liver.xp import Array

JUMP, CHANGE, LOST = 0.5, 2.0, 0.25
"""What is marked: a centroid that moves by more than this share of the object's diameter, an area that
grows or shrinks by more than this factor, an object that loses more than this share of what it claimed."""
UNSURE = 0.0
"""Logit of the object being there, below which it is marked."""


def slices(records: Records, *, named: Sequence[Named], voxel_nm: Nm, numbers: Any) -> Iterator[Columns]:
    """A row per object and slice, by object."""
    found = _rows(records)
    ids = np.asarray(numbers["object_id"])
    ends = np.flatnonzero(np.diff(found["object"], append=-1)) + 1
    begins = np.concatenate([[0], ends[:-1]]).astype(int)
    if not len(found["object"]):
        yield _of_object(found, named, voxel_nm, ids)
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        yield _of_object({k: v[begin:end] for k, v in found.items()}, named, voxel_nm, ids)


def objects(records: Records, *, named: Sequence[Named], voxel_nm: Nm, numbers: Any) -> Columns:
    """A row per object that was prompted, also of those of which nothing was found."""
    found = _rows(records)
    count = len(named) + 1
    of = found["object"]

    def total(name: str) -> Array:
        return np.bincount(of, found[name].astype(np.float64), count)[1:]

    there = np.bincount(of, minlength=count)[1:]
    first, last = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
    first[of[::-1]] = found["z"][::-1]
    last[of] = found["z"]
    claimed = total("claimed")
    marked = np.zeros(count - 1, np.int64)
    for part in slices_of(found):
        marks = _marks(part, voxel_nm)
        marked[int(part["object"][0]) - 1] = np.count_nonzero(marks != "")
    return {
        "object": np.array([n.name for n in named], str),
        "kind": np.array([n.kind for n in named], str),
        "label": np.asarray(numbers["object_id"])[1:],
        "slices": there,
        "first_z": first[1:],
        "last_z": last[1:],
        "volume_um3": total("voxels") * float(np.prod(voxel_nm)) / NM_PER_UM**3,
        "conflict": 1 - np.divide(total("voxels"), claimed, out=np.ones(count - 1), where=claimed > 0),
        "mean_score": np.divide(total("score"), there, out=np.full(count - 1, np.nan), where=there > 0),
        "marked_slices": marked,
    }


def slices_of(found: Columns) -> Iterator[Columns]:
    """The rows of every object."""
    ends = np.flatnonzero(np.diff(found["object"], append=-1)) + 1
    for begin, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=False):
        yield {k: v[begin:end] for k, v in found.items()}


def _rows(records: Records) -> Columns:
    """Rows of blocks, those of one object and slice together, by object and slice."""
    parts = [
        {k: v for k, v in record.items() if not k.startswith("piece")}
        for _, record in records
        if len(record["z"])
    ]
    names = ("object", "z", "claimed", "voxels", "sum_y", "sum_x")
    if not parts:
        return {**{n: np.zeros(0, np.int64) for n in names}, "score": np.zeros(0, np.float32)}
    columns = {n: np.concatenate([p[n] for p in parts]).astype(np.int64) for n in names}
    columns["score"] = np.concatenate([p["score"] for p in parts]).astype(np.float32)
    return grouped(columns, ("object", "z"), {"score": np.maximum})


def _of_object(found: Columns, named: Sequence[Named], voxel_nm: Nm, ids: Array) -> Columns:
    area, y, x = _places(found, voxel_nm)
    conflict = 1 - found["voxels"] / np.maximum(found["claimed"], 1)
    return {
        "object": np.array([named[n - 1].name for n in found["object"].tolist()], str),
        "label": ids[found["object"]],
        "slice": found["z"],
        "z_nm": (found["z"] + 0.5) * voxel_nm[0],
        "area_um2": area,
        "centroid_y_nm": y,
        "centroid_x_nm": x,
        "jump_nm": _jumps(found, y, x),
        "score": found["score"],
        "conflict": conflict,
        "marks": _marks(found, voxel_nm),
    }


def _places(found: Columns, voxel_nm: Nm) -> tuple[Array, Array, Array]:
    voxels = found["voxels"].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        y = np.where(voxels > 0, (found["sum_y"] / voxels + 0.5) * voxel_nm[1], np.nan)
        x = np.where(voxels > 0, (found["sum_x"] / voxels + 0.5) * voxel_nm[2], np.nan)
    return voxels * voxel_nm[1] * voxel_nm[2] / NM_PER_UM**2, y, x


def _jumps(found: Columns, y: Array, x: Array) -> Array:
    """How far the centroid moved since the slice before; NaN where the object was not there."""
    jumps = np.full(len(y), np.nan)
    jumps[1:] = np.where(np.diff(found["z"]) == 1, np.hypot(np.diff(y), np.diff(x)), np.nan)
    return jumps


def _marks(found: Columns, voxel_nm: Nm) -> Array:
    """What a person should look at, as words."""
    area, y, x = _places(found, voxel_nm)
    jumps = _jumps(found, y, x)
    diameter = 2 * np.sqrt(area / np.pi) * NM_PER_UM
    change = np.ones(len(area))
    near = np.diff(found["z"]) == 1
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = area[1:] / area[:-1]
        change[1:] = np.where(near, np.maximum(ratio, 1 / ratio), 1.0)
        wrong = {
            "jump": jumps > JUMP * diameter,
            "area": change > CHANGE,
            "unsure": found["score"] < UNSURE,
            "conflict": found["claimed"] - found["voxels"] > LOST * found["claimed"],
        }
    words = [[name for name, where in wrong.items() if where[i]] for i in range(len(area))]
    return np.array([" ".join(w) for w in words], str)
