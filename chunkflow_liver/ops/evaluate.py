"""Agreement with a ground truth, out of core: Dice per class, F1 of instances."""

from __future__ import annotations

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.stage import Fold, Map, Records, Result
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Block, BlockGrid, Zyx, zyx
from chunkflow_liver.kernels.labels.overlap import class_scores, instance_scores, merge_overlaps, overlap
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import PathLike, checked_labels, same_voxels, table_at, work_folder
from chunkflow_liver.store.table import Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array


@operation
def evaluate(
    found: Volume,
    truth: Volume,
    *,
    iou: float | None = None,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
) -> Plan:
    """Plan a table that compares labels with the truth on the same voxels.

    Parameters
    ----------
    found, truth : Volume
        Semantic volumes, compared class by class (by name); or instances, with `iou`.
    iou : float, optional
        Compare instances: a found and a true one match if their IoU is above 0.5, or reaches a
        larger value given here.
    name : str
        Name of the table.
    {work}
    {block}

    Returns
    -------
    Plan
        Its `output` is a `Table`: `class, dice, iou, precision, recall, voxels_found, voxels_truth`, or
        one row `iou_threshold, matched, found, truth, precision, recall, f1, mean_iou`.

    Raises
    ------
    ConfigError, InputError
        If the volumes hold no labels, do not lie on the same voxels or share no class, or `iou` is not
        0.5 to 1.
    """
    if iou is not None and not 0.5 <= iou <= 1:
        raise ConfigError(f"iou lies between 0.5 (below, a match would not be unique) and 1, got {iou!r}")
    found, truth = (checked_labels(volume, "classes and instances") for volume in (found, truth))
    same_voxels(found, truth, "evaluate needs both on the same voxels")
    there = dict(truth.classes)
    shared = [(c, n, there[c]) for c, n in found.classes if c in there]
    if iou is None and not shared:
        raise InputError(
            f"{found.url} and {truth.url} have no class name in common: {dict(found.classes)} and {there}"
        )
    output = table_at(work, name)
    grid = BlockGrid(found.box, block or zyx(list(found.write_unit)))
    stages = (
        Map(f"{name}/overlap", _block, grid, (found, truth), working=20.0),
        Fold(f"{name}/table", _table, f"{name}/overlap", output, params={"iou": iou, "classes": shared}),
    )
    about = (("found", found.name), ("truth", truth.name), ("iou", iou))
    return Plan(stages, work_folder(work), output, (Product("evaluation", name, output, about),))


def _block(block: Block, found: Array, truth: Array) -> Result:
    return Result(record=overlap(found, truth))


def _table(records: Records, *, iou: float | None, classes: list[tuple[str, int, int]]) -> Columns:
    merged = merge_overlaps(record for _, record in records)
    if iou is not None:
        return instance_scores(merged, iou)
    return class_scores(merged, {name: (a, b) for name, a, b in classes})
