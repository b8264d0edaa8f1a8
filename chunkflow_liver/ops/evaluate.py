"""Agreement with a ground truth, out of core: classes, instances, surfaces, slice by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.stage import Fold, Map, Records, Result, Stage
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Block, BlockGrid, Nm, Zyx, voxels, zyx
from chunkflow_liver.kernels.distance.surface_distances import merge_distances, summary, surface_distances
from chunkflow_liver.kernels.labels.overlap import (
    class_scores,
    instance_scores,
    merge_overlaps,
    overlap,
    partition_scores,
)
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import PathLike, checked_labels, same_voxels, table_at, work_folder
from chunkflow_liver.store.table import Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

Classes = Sequence[tuple[str, int | None, int | None]]


@operation
def evaluate(
    found: Volume,
    truth: Volume,
    *,
    iou: float | Sequence[float] | None = None,
    ignore: int | None = None,
    surfaces_nm: tuple[float, float] | None = None,
    per_slice: bool = False,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
) -> Plan:
    """Plan tables that compare labels with the truth on the same voxels.

    Parameters
    ----------
    found, truth : Volume
        Semantic volumes, compared class by class (by name); or instances, with `iou`.
    iou : float or sequence of float, optional
        Compare instances: a found and a true one match if their IoU is above 0.5, or reaches a
        larger value given here; one row for each value.
    ignore : int, optional
        Number in the truth of voxels that are not compared.
    surfaces_nm : (float, float), optional
        Compare surfaces of classes, too: the tolerance within which they agree, and the largest distance
        that is told from larger ones.
    per_slice : bool
        Compare classes in every z slice, too.
    name : str
        Name of the table; surfaces are in `<name>-surfaces`, slices in `<name>-slices`.
    {work}
    {block}

    Returns
    -------
    Plan
        Its `output` is a `Table`: `class, dice, iou, precision, recall, under_segmentation,
        over_segmentation, voxels_found, voxels_truth`, a row for every class of either volume; or
        `iou_threshold, matched, found, truth, precision, recall, f1, mean_iou, pq, ari, vi_split, vi_merge,
        false_merges, false_splits`.

    Raises
    ------
    ConfigError, InputError
        If the volumes hold no labels, do not lie on the same voxels or share no class, or a setting makes
        no sense.
    """
    thresholds = None if iou is None else [iou] if isinstance(iou, int | float) else list(iou)
    _check(thresholds, ignore, surfaces_nm, per_slice)
    found, truth = (checked_labels(volume, "classes and instances") for volume in (found, truth))
    same_voxels(found, truth, "evaluate needs both on the same voxels")
    there, mine = dict(truth.classes), dict(found.classes)
    if thresholds is None and not mine.keys() & there.keys():
        raise InputError(f"{found.url} and {truth.url} have no class name in common: {mine} and {there}")
    classes = [
        (c, mine.get(c), there.get(c)) for c in {**mine, **there} if mine.get(c, 1) and there.get(c, 1)
    ]
    output = table_at(work, name)
    grid = BlockGrid(found.box, block or zyx(list(found.write_unit)))
    both = (found, truth)
    stages: list[Stage] = [
        Map(f"{name}/overlap", _block, grid, both, params={"ignore": ignore}, working=24.0),
        Fold(
            f"{name}/table", _table, f"{name}/overlap", output, params={"iou": thresholds, "classes": classes}
        ),
    ]
    about = (("found", found.name), ("truth", truth.name), ("iou", thresholds[0] if thresholds else None))
    products = [Product("evaluation", name, output, about)]
    if per_slice:
        table = table_at(work, f"{name}-slices")
        stages += [
            Map(f"{name}/slices", _slices, grid, both, params={"ignore": ignore}, working=24.0),
            Fold(f"{name}/slice-table", _slice_table, f"{name}/slices", table, params={"classes": classes}),
        ]
        products.append(Product("slice evaluation", f"{name}-slices", table, about))
    if surfaces_nm is not None:
        tolerance, cap = surfaces_nm
        table = table_at(work, f"{name}-surfaces")
        shared = [(c, a, b) for c, a, b in classes if a is not None and b is not None]
        halo = zyx([n + 1 for n in voxels(cap, found.voxel_nm)])
        params: dict[str, Any] = {
            "ignore": ignore,
            "classes": shared,
            "voxel_nm": found.voxel_nm,
            "cap_nm": cap,
        }
        end = {"names": [c for c, _, _ in shared], "tolerance_nm": tolerance, "cap_nm": cap}
        wide = BlockGrid(found.box, grid.block, halo, halo)
        stages += [
            Map(f"{name}/distances", _surfaces, wide, both, params=params, working=24.0),
            Fold(f"{name}/surface-table", _surface_table, f"{name}/distances", table, params=end),
        ]
        products.append(Product("surface evaluation", f"{name}-surfaces", table, about))
    return Plan(tuple(stages), work_folder(work), output, tuple(products))


def _check(
    thresholds: Sequence[float] | None,
    ignore: int | None,
    surfaces_nm: tuple[float, float] | None,
    per_slice: bool,
) -> None:
    for value in thresholds or ():
        if not 0.5 <= value <= 1:
            raise ConfigError(
                f"iou lies between 0.5 (below, a match would not be unique) and 1, got {value!r}"
            )
    if thresholds == []:
        raise ConfigError("iou is one value, or several; got none")
    if ignore is not None and (not isinstance(ignore, int) or isinstance(ignore, bool) or ignore < 1):
        raise ConfigError(f"ignore is the number of voxels that are not compared, from 1 on; got {ignore!r}")
    if surfaces_nm is not None and not (
        len(surfaces_nm) == 2 and 0 <= surfaces_nm[0] < surfaces_nm[1] < float("inf")
    ):
        raise ConfigError(f"surfaces_nm is a tolerance and a larger cap, in nm, got {tuple(surfaces_nm)}")
    if thresholds is not None and (surfaces_nm is not None or per_slice):
        raise ConfigError("surfaces and slices are compared class by class, not with 'iou', for instances")


def _known(truth: Array, ignore: int | None) -> Array | None:
    return None if ignore is None else truth != ignore


def _met(found: Array, truth: Array, ignore: int | None) -> dict[str, Any]:
    """Overlap of the voxels that are compared."""
    known = _known(truth, ignore)
    if known is None:
        return overlap(found, truth)
    return overlap(found[known][None, None], truth[known][None, None])


def _block(block: Block, found: Array, truth: Array, *, ignore: int | None) -> Result:
    return Result(record=_met(found, truth, ignore))


def _slices(block: Block, found: Array, truth: Array, *, ignore: int | None) -> Result:
    parts = []
    for z, (a, b) in enumerate(zip(found, truth, strict=True), block.write.start[0]):
        met = _met(a[None], b[None], ignore)
        parts.append({"z": np.full(len(met["a"]), z, np.int64), **met})
    return Result(record={key: np.concatenate([part[key] for part in parts]) for key in parts[0]})


def _surfaces(
    block: Block,
    found: Array,
    truth: Array,
    *,
    ignore: int | None,
    classes: Sequence[tuple[str, int, int]],
    voxel_nm: Nm,
    cap_nm: float,
) -> Result:
    known = _known(truth, ignore)
    known = np.ones(truth.shape, bool) if known is None else known
    record: dict[str, Any] = {}
    for i, (_, a, b) in enumerate(classes):
        made = surface_distances(found == a, truth == b, known, voxel_nm, cap_nm, block.trim)
        record |= {f"{key}_{i}": values for key, values in made.items()}
    return Result(record=record)


def _table(records: Records, *, iou: Sequence[float] | None, classes: Classes) -> Columns:
    merged = merge_overlaps(record for _, record in records)
    if iou is None:
        return class_scores(merged, {name: (a, b) for name, a, b in classes})
    whole = partition_scores(merged)
    rows = [instance_scores(merged, value) | whole for value in iou]
    return {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}


def _slice_table(records: Records, *, classes: Classes) -> Columns:
    """A row per slice and class."""
    by_slice: dict[int, list[Mapping[str, Any]]] = {}
    for _, record in records:
        for z in np.unique(record["z"]).tolist():
            here = record["z"] == z
            by_slice.setdefault(z, []).append({key: record[key][here] for key in ("a", "b", "voxels")})
    names = {name: (a, b) for name, a, b in classes}
    rows = []
    for z in sorted(by_slice):
        scores = class_scores(merge_overlaps(by_slice[z]), names)
        rows.append({"z": np.full(len(names), z, np.int64), **scores})
    if not rows:
        empty = class_scores(merge_overlaps([]), names)
        return {"z": np.zeros(0, np.int64)} | {key: values[:0] for key, values in empty.items()}
    return {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}


def _surface_table(records: Records, *, names: Sequence[str], tolerance_nm: float, cap_nm: float) -> Columns:
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
