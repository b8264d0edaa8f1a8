"""What a block counts, and the tables that all counts become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Records, Result
from chunkflow_liver.geometry import Block, Nm
from chunkflow_liver.kernels.distance.surface_distances import merge_distances, summary, surface_distances
from chunkflow_liver.kernels.labels.differences import (
    by_slice,
    merge_windows,
    overlap_by_window,
    whole,
    worst_windows,
)
from chunkflow_liver.kernels.labels.overlap import (
    Overlap,
    class_scores,
    fits,
    instance_scores,
    is_of,
    merge_overlaps,
    object_scores,
    overlap,
    pair_iou,
    partition_scores,
)
from chunkflow_liver.store.table import Columns
from chunkflow_liver.store.voxels.region import Known
from chunkflow_liver.xp import Array

Classes = Sequence[tuple[str, int | None, int | None]]
"""Name, number among the found, and in the truth; None where one of them does not know it."""
UNNAMED = "(unnamed)"
"""Stands for voxels whose number no class has."""
OBJECTS = "objects"
"""Stands for a class where instances are compared."""
WINDOW, MOST_WINDOWS = 512, 6


def compared(
    block: Block, truth: Array, ignore: int | None, slices: Sequence[int] | None, seen: Known
) -> Array | None:
    """Voxels of the read box that are compared; None if all are."""
    known = None if ignore is None else truth != ignore
    if (hidden := seen.hidden(block.read)) is not None:
        known = ~hidden if known is None else known & ~hidden
    if slices is not None:
        planes = np.isin(np.arange(block.read.start[0], block.read.stop[0]), slices)[:, None, None]
        known = np.broadcast_to(planes, truth.shape) if known is None else known & planes
    return known


def count_block(
    block: Block, found: Array, truth: Array, *, ignore: int | None, slices: Sequence[int] | None, seen: Known
) -> Result:
    known = compared(block, truth, ignore, slices, seen)
    if known is None:
        return Result(record=overlap(found, truth))
    return Result(record=overlap(found[known][None, None], truth[known][None, None]))


def count_windows(
    block: Block, found: Array, truth: Array, *, ignore: int | None, slices: Sequence[int] | None, seen: Known
) -> Result:
    known = compared(block, truth, ignore, slices, seen)
    return Result(record=overlap_by_window(found, truth, known, block.write.start, WINDOW))


def count_surfaces(
    block: Block,
    found: Array,
    truth: Array,
    *,
    ignore: int | None,
    slices: Sequence[int] | None,
    seen: Known,
    classes: Classes,
    voxel_nm: Nm,
    cap_nm: float,
) -> Result:
    known = compared(block, truth, ignore, slices, seen)
    known = np.ones(truth.shape, bool) if known is None else known
    none = np.zeros(truth.shape, bool)
    record: dict[str, Any] = {}
    for i, (_, a, b) in enumerate(classes):
        masks = (none if a is None else found == a, none if b is None else truth == b)
        made = surface_distances(*masks, known, voxel_nm, cap_nm, block.trim)
        record |= {f"{key}_{i}": values for key, values in made.items()}
    return Result(record=record)


def class_table(records: Records, *, classes: Classes) -> Columns:
    merged = merge_overlaps(record for _, record in records)
    return class_scores(merged, _numbers(merged, classes))


def instance_table(records: Records, *, iou: Sequence[float]) -> Columns:
    return _instances(merge_overlaps(record for _, record in records), iou)


def object_table(records: Records) -> Columns:
    return object_scores(merge_overlaps(record for _, record in records))


def slice_table(records: Records, *, iou: Sequence[float] | None, classes: Classes) -> Columns:
    """A row per slice and class, or per slice and threshold."""
    windows = merge_windows(record for _, record in records)
    names = _numbers(whole(windows), classes)
    rows = [
        (z, class_scores(met, names) if iou is None else _instances(met, iou)) for z, met in by_slice(windows)
    ]
    none = merge_overlaps([])
    empty = class_scores(none, names) if iou is None else _instances(none, iou)
    return {"z": np.array([z for z, found in rows for _ in next(iter(found.values()))], np.int64)} | {
        key: np.concatenate([values[:0], *(found[key] for _, found in rows)]) for key, values in empty.items()
    }


def window_table(records: Records, *, iou: Sequence[float] | None, classes: Classes) -> Columns:
    """The windows of slices with most wrong voxels, of every class; of instances in one."""
    windows = merge_windows(record for _, record in records)
    met = whole(windows)
    a, b = windows["a"], windows["b"]
    if iou is None:
        kinds = {
            name: (is_of(a, mine), is_of(b, there)) for name, (mine, there) in _numbers(met, classes).items()
        }
        rows = {
            name: worst_windows(windows, is_a, is_b, is_a & is_b, MOST_WINDOWS)
            for name, (is_a, is_b) in kinds.items()
        }
    else:
        matched = _matched(met, iou[0])
        right = np.array([pair in matched for pair in zip(a.tolist(), b.tolist(), strict=True)], bool)
        rows = {OBJECTS: worst_windows(windows, a > 0, b > 0, right, MOST_WINDOWS)}
    names = [name for name, found in rows.items() for _ in found["z"]]
    first = next(iter(rows.values()))
    return {"class": np.array(names, str)} | {
        key: np.concatenate([found[key] for found in rows.values()]) for key in first
    }


def surface_table(records: Records, *, names: Sequence[str], tolerance_nm: float, cap_nm: float) -> Columns:
    """A row per class."""
    parts: list[list[dict[str, Any]]] = [[] for _ in names]
    for _, record in records:
        for i, mine in enumerate(parts):
            mine.append({key: record[f"{key}_{i}"] for key in ("side", "distance_nm", "voxels")})
            if len(mine) >= 256:
                parts[i] = [merge_distances(mine)]
    rows = [summary(merge_distances(mine), tolerance_nm, cap_nm) for mine in parts]
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0]} if rows else {}
    tolerance = np.full(len(names), float(tolerance_nm))
    return {"class": np.array(list(names), str), **columns, "tolerance_nm": tolerance}


def _instances(met: Overlap, iou: Sequence[float]) -> Columns:
    """A row per threshold."""
    both = partition_scores(met)
    rows = [instance_scores(met, value) | both for value in iou]
    return {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}


def _matched(met: Overlap, threshold: float) -> set[tuple[int, int]]:
    """Pairs of objects that match."""
    hit = fits(pair_iou(met), threshold)
    return set(zip(met["a"][hit].tolist(), met["b"][hit].tolist(), strict=True))


def _numbers(met: Overlap, classes: Classes) -> Mapping[str, tuple[list[int], list[int]]]:
    """Numbers of every class on both sides, and those that no class has: nothing that is there is dropped."""
    names = {name: ([] if a is None else [a], [] if b is None else [b]) for name, a, b in classes}
    known = ({0, *(n for a, _ in names.values() for n in a)}, {0, *(n for _, b in names.values() for n in b)})
    left = [sorted(set(met[side].tolist()) - of) for side, of in zip(("a", "b"), known, strict=True)]
    return names | ({UNNAMED: (left[0], left[1])} if left[0] or left[1] else {})
