"""What held-out truth says of scores: whether they are calibrated, and how far boundaries are off."""

from __future__ import annotations

import math

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.stage import Fold, Map, Records, Result
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Block, BlockGrid, Nm, Zyx, zyx
from chunkflow_liver.kernels.distance.boundary_errors import (
    BINS,
    calibration,
    compare_scores,
    halo_of,
    merge_scores,
)
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    checked_labels,
    known_in_all,
    same_voxels,
    table_at,
    work_folder,
)
from chunkflow_liver.store.table import Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.voxels.region import Known
from chunkflow_liver.xp import Array

PARTS = ("", "-bins")
"""Ends of the names of the tables."""


@operation
def calibrate(
    scores: Volume,
    truth: Volume,
    *,
    to: str | int | None = None,
    cap_nm: float = 100.0,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
) -> Plan:
    """Plan how far the scores of a class, and the boundaries that they draw, may be trusted.

    Parameters
    ----------
    scores : Volume
        Scores of one class, 0 to 1 or, in whole numbers, to the largest that the type holds (`segment` keeps
        them, 255 for 1). Of tissue that the network has not seen in training. The boundary is where they
        become 0.5, the class found where they are 0.5 or more.
    truth : Volume
        Labels on the same voxels.
    to : str or int, optional
        The class in `truth`; all that is not background by default.
    cap_nm : float
        A boundary that is farther off is missing, not shifted; in nm, and in the halo of the blocks.
    name : str
        Name of the table.
    {work}
    {block}

    Returns
    -------
    Plan
        Its `output` is a `Table` of one row: `ece`, `ece_unsure`, `bias_nm`, `error_nm`, `boundary_nm`,
        `correlation_nm`, `boundary_voxels`, `missed_fraction`, as
        `kernels.distance.boundary_errors.calibration` says; `boundary_nm`, `bias_nm` and
        `correlation_nm` are what `Boundary` takes. `<name>-bins` has a row per bin of scores: `voxels`,
        `score` (mean), `true_fraction`.

    Raises
    ------
    ConfigError, InputError
        If the class does not exist, the cap is not above 0, or the volumes do not lie on the same voxels; in
        a block, if scores are not from 0 to 1.
    """
    if not (math.isfinite(cap_nm) and cap_nm > 0):
        raise ConfigError(f"cap_nm must be above 0, got {cap_nm!r}")
    kind = np.dtype(scores.dtype)
    if kind.kind not in "fu":
        raise ConfigError(
            f"{scores.url} holds {scores.dtype} voxels; scores are floats or whole numbers from 0 on"
        )
    truth = checked_labels(truth, "the truth")
    same_voxels(scores, truth, "calibrate needs both on the same voxels")
    number = None if to is None else truth.class_number(to)
    halo = halo_of(scores.voxel_nm, cap_nm)
    stage = Map(
        f"{name}/scores",
        _block,
        BlockGrid(scores.box, block or zyx(list(scores.write_unit)), halo, halo),
        (scores, truth),
        params={
            "voxel_nm": scores.voxel_nm,
            "cap_nm": float(cap_nm),
            "number": number,
            "full": 1.0 if kind.kind == "f" else float(np.iinfo(kind).max),
            "name": scores.name,
            "known": known_in_all(scores, truth),
        },
        working=120.0,
        resident=64 << 20,
    )
    provenance = {"operation": "calibrate", "voxel_nm": list(scores.voxel_nm), "cap_nm": float(cap_nm)}
    about = (("scores", scores.name), ("truth", truth.name), ("to", to))
    folds = [
        Fold(
            f"{name}/table{part}",
            function,
            stage.name,
            table_at(work, f"{name}{part}"),
            params={"voxel_nm": scores.voxel_nm},
            provenance=provenance,
        )
        for part, function in zip(PARTS, (_table, _bins), strict=True)
    ]
    products = tuple(
        Product("calibration", f"{name}{part}", table_at(work, f"{name}{part}"), about) for part in PARTS
    )
    return Plan((stage, *folds), work_folder(work), table_at(work, name), products)


def _block(
    block: Block,
    scores: Array,
    truth: Array,
    *,
    voxel_nm: Nm,
    cap_nm: float,
    number: int | None,
    full: float,
    name: str,
    known: Known,
) -> Result:
    whole, block = block, block.within(known.box)
    if not block.write.size:
        return Result()
    inner = block.read.relative_to(whole.read).slices
    wanted = truth[inner] != 0 if number is None else truth[inner] == number
    score = scores[inner].astype(np.float32) / np.float32(full)
    if not ((score >= 0) & (score <= 1)).all():
        raise InputError(
            f"scores of {name} in {block.read} are {np.min(score)} to {np.max(score)}, where 0 to 1 are "
            "wanted; give probabilities, not logits or distances"
        )
    hidden = known.hidden(block.read)
    return Result(record=compare_scores(score, wanted, voxel_nm, cap_nm, block.trim, hidden))


def _table(records: Records, *, voxel_nm: Nm) -> Columns:
    found = calibration(merge_scores(record for _, record in records), voxel_nm)
    return {name: np.array([value]) for name, value in found.items()}


def _bins(records: Records, *, voxel_nm: Nm) -> Columns:
    sums = merge_scores(record for _, record in records)
    some = np.maximum(sums["voxels"], 1)
    missing = sums["voxels"] == 0
    return {
        "bin_low": np.arange(BINS) / BINS,
        "bin_high": np.arange(1, BINS + 1) / BINS,
        "voxels": sums["voxels"],
        "score": np.where(missing, np.nan, sums["score"] / (1 << 20) / some),
        "true_fraction": np.where(missing, np.nan, sums["true"] / some),
    }
