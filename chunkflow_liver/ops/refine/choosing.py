"""Which objects stay after a clean-up, judged as wholes; what has a row per object lies on disk."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Records
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import NM_PER_UM, Box, Nm, Zyx, voxels
from chunkflow_liver.kernels.instances.holes import enclosing
from chunkflow_liver.kernels.instances.smoothing import check_not_negative
from chunkflow_liver.ops.steps.numbering import Numbering, spilled_roots
from chunkflow_liver.ops.steps.shared_planes import Seams
from chunkflow_liver.store.scratch.sorting import sorted_rows
from chunkflow_liver.store.scratch.spill import Spill, SpilledTable
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.xp import Array

BATCH = 1 << 18
"""Rows taken into memory at once."""
LARGEST = np.iinfo(np.int64).max
COLUMNS = ("label", "before", "voxels", *(f"{end}_{a}" for end in ("low", "high") for a in "zyx"), "first")
LOW, HIGH = slice(3, 6), slice(6, 9)
SPACES = {"lowest": "uint64", "highest": "uint64", "open": "bool", "voxels": "int64"}

REASONS = {
    "": "stay",
    "vanished": "vanished when shapes were opened or smoothed",
    "border": "touch the end of the volume",
    "small": "are too small",
    "large": "are too large",
    "flat": "are too flat",
}
"""Why an object is gone, and in words; the first that holds, in this order."""


@dataclass(frozen=True)
class Keep:
    """Which objects stay, judged by their new shapes.

    Attributes
    ----------
    min_volume_um3, max_volume_um3 : float
        Smallest and largest volume.
    min_span_z_nm : float
        Smallest extent along z: the object's slices times their distance.
    border : bool
        Whether objects stay that touch the end of the volume, or of the region that was segmented.
    """

    min_volume_um3: float = 0.0
    max_volume_um3: float = math.inf
    min_span_z_nm: float = 0.0
    border: bool = True

    def __post_init__(self) -> None:
        check_not_negative({"min_volume_um3": self.min_volume_um3, "min_span_z_nm": self.min_span_z_nm})
        if not self.max_volume_um3 >= self.min_volume_um3:
            raise ConfigError(
                f"max_volume_um3 must be at least min_volume_um3, {self.min_volume_um3!r}, got "
                f"{self.max_volume_um3!r}"
            )


def choose(
    records: Records,
    *,
    counts: Zyx,
    volume: Box,
    known: Box,
    keep: Keep,
    voxel_nm: Nm,
    dtype: str,
    made: Arrays,
    scratch: Path,
) -> Columns:
    """What becomes of every id, and which pieces of background are holes of which object.

    Parameters
    ----------
    records : iterator
        Of every block: `before_label`, `before_voxels`; `label`, `voxels`, `low`, `high`, `first` of the
        objects as they are now, and of them `cut`, what a mask cuts; where holes are filled
        `space_lowest` ... (see `kernels.holes`) and the planes that blocks share.
    counts : Zyx
        Blocks along (z, y, x).
    volume, known : Box
        The whole, and the part whose ends cut objects.
    keep : Keep
    voxel_nm : tuple of float
    dtype : str
        Of the new ids.
    made : Arrays
        What the operation that made the objects knows of their classes, if it exists.
    scratch : Path
        Empty folder, for about 300 bytes per object and 80 more per object and block that it is in.

    Returns
    -------
    dict of ndarray
        Per id, ascending: `label, final, removed` (place in `REASONS`), `before, after` (voxels), `span`
        (slices), `touches`; per piece of background `hole`, with `offsets` of blocks; per new id `voxels,
        value`; `class_name, class_number`. Memory-mapped.
    """
    rows, cut = Spill(scratch / "rows", "int64"), [np.zeros(0, np.uint64)]
    spaces = SpilledTable(scratch / "spaces", SPACES)
    joined = SpilledTable(scratch / "joined", {"a": "int64", "b": "int64"})
    seams, offsets = Seams(counts, scratch / "seams"), [0]
    for index, record in records:
        rows.append(_rows_of(record).ravel())
        cut.append(np.asarray(record.get("cut", cut[0])))
        for pairs in seams.meet(index, offsets[-1], record):
            joined.append({"a": pairs[:, 0], "b": pairs[:, 1]})
        offsets.append(offsets[-1] + len(record.get("space_open", ())))
        if "space_open" in record:
            spaces.append({k: record[f"space_{k}"] for k in SPACES})
    table = SpilledTable(scratch / "objects", dict.fromkeys(COLUMNS[1:], "int64") | {"label": "uint64"})
    for part in _whole_objects(
        sorted_rows(rows.array().reshape(-1, len(COLUMNS)), scratch / "sorted", keys=1)
    ):
        table.append(dict(zip(COLUMNS, part.T, strict=True)) | {"label": _label_of(part[:, 0])})
    hole = Spill(scratch / "hole", "uint64")
    label, size = table["label"], table["voxels"]
    begin = 0
    for found in enclosing(
        {k: spaces[k] for k in SPACES}, spilled_roots(joined, len(spaces), scratch / "roots")
    ):
        inside = np.flatnonzero(found)
        np.add.at(size, np.searchsorted(label, found[inside]), spaces["voxels"][begin + inside])
        hole.append(found)
        begin += len(found)
    return {
        "offsets": np.array(offsets),
        "hole": hole.array(),
        **_numbered(table, keep, (volume, known), np.concatenate(cut), voxel_nm, dtype, made, scratch),
    }


def _key_of(label: Array) -> Array:
    """Numbers with a sign in the order of `label`, uint64."""
    return (label ^ np.uint64(1 << 63)).view(np.int64)


def _label_of(key: Array) -> Array:
    return np.ascontiguousarray(key).view(np.uint64) ^ np.uint64(1 << 63)


def _rows_of(record: Any) -> Array:
    """What a block says of its objects as they were, then as they are: (K, 10) int64, see `COLUMNS`."""
    before, now = len(record["before_label"]), len(record["label"])
    rows = np.zeros((before + now, len(COLUMNS)), np.int64)
    rows[:, LOW], rows[:, HIGH], rows[:, -1] = LARGEST, -1, LARGEST
    rows[:before, 0], rows[:before, 1] = _key_of(record["before_label"]), record["before_voxels"]
    rows[before:, 0], rows[before:, 2] = _key_of(record["label"]), record["voxels"]
    rows[before:, LOW], rows[before:, HIGH] = record["low"], record["high"]
    rows[before:, -1] = record["first"]
    return rows


def _whole_objects(parts: Iterator[Array]) -> Iterator[Array]:
    """Rows sorted by object as one row per object."""
    open_end = np.zeros((0, len(COLUMNS)), np.int64)
    for part in parts:
        rows = np.concatenate([open_end, part])
        begin = np.flatnonzero(np.diff(rows[:, 0], prepend=rows[0, 0] - 1)) if len(rows) else rows[:0, 0]
        if not len(begin):
            continue
        merged = np.empty((len(begin), len(COLUMNS)), np.int64)
        merged[:, 0] = rows[begin, 0]
        merged[:, 1:3] = np.add.reduceat(rows[:, 1:3], begin)
        merged[:, LOW] = np.minimum.reduceat(rows[:, LOW], begin)
        merged[:, HIGH] = np.maximum.reduceat(rows[:, HIGH], begin)
        merged[:, -1] = np.minimum.reduceat(rows[:, -1], begin)
        # The last object may go on in the next part.
        open_end = merged[-1:]
        yield merged[:-1]
    yield open_end


def _numbered(
    table: SpilledTable,
    keep: Keep,
    boxes: tuple[Box, Box],
    cut: Array,
    voxel_nm: Nm,
    dtype: str,
    made: Arrays,
    scratch: Path,
) -> Columns:
    """New ids, in the raster order of first voxels, and why others are gone."""
    scratch = scratch / "ids"
    scratch.mkdir()
    volume, known = boxes
    numbering = Numbering(scratch, volume.size)
    about = SpilledTable(scratch / "about", {"removed": "uint8", "span": "int64", "touches": "bool"})
    names, value = _classes(made, int(table["label"][-1]) if len(table) else 0)
    for _, part in table.parts(BATCH):
        low, high = (np.stack([part[f"{end}_{a}"] for a in "zyx"], 1) for end in ("low", "high"))
        size, there = part["voxels"], part["voxels"] > 0
        touches = ((low == known.start) | (high == known.stop)).any(axis=1)
        touches = (touches | np.isin(part["label"], cut)) & there
        span = np.where(there, high[:, 0] - low[:, 0], 0)
        removed = _removed(size, span, touches, keep, voxel_nm)
        about.append({"removed": removed, "span": span, "touches": touches})
        kind = np.zeros(len(size), np.int64) if value is None else value[part["label"].astype(np.int64) - 1]
        numbering.add(np.where(removed == 0, size, 0), part["first"], kind)
    found = numbering.finish(min_voxels=1, dtype=dtype)
    return {
        "label": table["label"],
        "before": table["before"],
        "after": table["voxels"],
        **{k: about[k] for k in ("removed", "span", "touches")},
        **{k: found[k] for k in ("final", "voxels", "value")},
        **names,
    }


def _removed(size: Array, span: Array, touches: Array, keep: Keep, voxel_nm: Nm) -> Array:
    """Place in `REASONS` for every object."""
    voxel_um3 = math.prod(voxel_nm) / NM_PER_UM**3
    largest = keep.max_volume_um3 / voxel_um3
    conditions = [
        size == 0,
        touches & (not keep.border),
        size < math.ceil(round(keep.min_volume_um3 / voxel_um3, 9)),
        size > (LARGEST if largest == math.inf else math.floor(round(largest, 9))),
        span < voxels(keep.min_span_z_nm, voxel_nm)[0],
    ]
    return np.select(conditions, range(1, len(REASONS)), 0).astype(np.uint8)


def _classes(made: Arrays, last: int) -> tuple[dict[str, Array], Array | None]:
    """Classes, and that of every object up to `last`, as the operation that made the instances found them."""
    if made.exists() and "value" in made.names() and len(made["value"]) >= last:
        return {k: made[k] for k in ("class_name", "class_number")}, made["value"]
    return {"class_name": np.array([""]), "class_number": np.zeros(1, np.int64)}, None
