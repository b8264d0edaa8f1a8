"""Training: from images with a few painted slices to a model that `segment` takes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.stage import Fold, Map, Records, Result, Stage, plain
from chunkflow_liver.engine.watch.marks import advance
from chunkflow_liver.geometry import Block, BlockGrid, Box
from chunkflow_liver.kernels.images.statistics import block_statistics, merge_statistics, summarise
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import PathLike, arrays_at, table_at, work_folder
from chunkflow_liver.ops.train.designs import Design, design
from chunkflow_liver.ops.train.kept import Kept
from chunkflow_liver.ops.train.model import (
    PICTURES,
    WEIGHTS,
    TrainedModel,
    Trial,
    compared,
    fold_folder,
)
from chunkflow_liver.ops.train.opening import called
from chunkflow_liver.ops.train.pictures import save_pictures
from chunkflow_liver.ops.train.sources import Given, opened
from chunkflow_liver.ops.train.splits import Part, Split, divided
from chunkflow_liver.ops.train.stored import Stored
from chunkflow_liver.ops.train.targets import Classes
from chunkflow_liver.ops.train.telling import check_classes, check_parts, notes_of
from chunkflow_liver.ops.train.trials import check_trials, chosen, space_of
from chunkflow_liver.store.location import checked_name
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.training import checkpoints
from chunkflow_liver.training.export import refuse_foreign
from chunkflow_liver.training.fit import Data, Fit
from chunkflow_liver.training.launch import trained
from chunkflow_liver.xp import Array, checked_device

__all__ = ["train"]


@operation
def train(
    sources: Sequence[Given | Mapping[str, Any]],
    *,
    name: str,
    work: PathLike,
    classes: Classes | None = None,
    regions: bool = False,
    voxel_nm: Sequence[float] | None = None,
    split: Split | Mapping[str, Any] | None = None,
    fine_tune: PathLike | None = None,
    to: PathLike | None = None,
    **settings: Any,
) -> Plan:
    """Plan a model that is trained on painted labels.

    Parameters
    ----------
    sources : sequence of mapping
        Each with `image` and `labels` (OME-Zarr, or files that `convert` reads) or `masks` (one per class),
        and if wanted what is painted: `slices` (their numbers), `boxes_nm` (corners), `ignore` (number of
        voxels that nobody painted), `instances_of` (the class of all ids), `voxel_nm` (of files), `channel`,
        `timepoint`; see `Given`. What nobody painted never counts as background. Several images are the
        channels of one.
    name : str
        Name of the model.
    work : path
        Work folder; checkpoints lie in its `training` folder.
    classes : mapping or sequence of str, optional
        Class names, with their numbers in the labels where those do not state them; several numbers of a
        class where classes overlap, the larger ones first.
    regions : bool
        Whether classes may overlap (nnU-Net's regions): each is learned for itself, and where several are
        found `segment` writes the one named last.
    voxel_nm : sequence of float, optional
        Size that the network sees, in nm (z, y, x); that of the first image if not given.
    split : Split or mapping, optional
        What is held out: `by` ('slab', 'box', 'volume', 'none'), `folds`, `train` (which), `axis`, `gap_nm`.
    fine_tune : path, optional
        nnU-Net folder to begin with; its classes may be others.
    to : path, optional
        Model folder; `models/<name>` in the work folder by default.
    **settings
        Fields of `Recipe` (`window`, `network`, `features`, `batch`, `steps`, `epoch`, `rate`, `loss`,
        `augment`, `patience`, `precision`, `device`, `seed`, ...), or `preset` ('cpu', 'plain', 'm', 'l',
        'xl': what nnU-Net's planner chooses) with `dimensions` (2 or 3) and `memory_gb`. Without a window and
        a preset it is 'cpu', or 'plain' on a GPU, with 2 dimensions where nothing but slices apart from each
        other is painted. `trials`: how many
        settings are tried, those given and then others of `search`, a mapping with for `rate` two ends of a
        range, for other settings (`window`, `features`, `loss`, ...) what is chosen from; by default the rate
        within a factor of 4, loss, augmentation and share of foreground. The trial with the best Dice on
        what is held out, as the mean of the folds, becomes the model.

    Returns
    -------
    Plan
        Its `output.model` is what `segment` takes. Planning reads every painted voxel once.

    Raises
    ------
    ConfigError, InputError, SegmenterError
        If sources, split or settings cannot be used.
    OutputError
        If the model's folder holds something else.
    """
    checked_name(name)
    given = [Given.of(entry, i) for i, entry in enumerate(sources)]
    divide = Split.of(split)
    trials, search = settings.pop("trials", 1), settings.pop("search", None)
    check_trials(trials, search, divide.by != "none")
    wanted: Design = design(settings, fine_tune, apart=all(source.apart for source in given))
    data = opened(given, classes, voxel_nm or wanted.voxel_nm, flat=wanted.is_2d, regions=regions)
    stored, names, size = data.sources, data.names, data.voxel_nm
    heads = len(names) + 1
    rows = [source.index(heads) for source in stored]
    check_classes(rows, names)
    painted = sum(sum(counts) for mine in rows for _, _, counts in mine)
    recipe, architecture, start = wanted.recipe(data, painted)
    checked_device(recipe.device)
    parts = divided(stored, rows, divide, heads)
    tried = [Trial({}, recipe, architecture)]
    if trials > 1:
        space = space_of(search, settings)
        tried += [Trial(own, *wanted.but(own).recipe(data, painted)[:2])
                  for own in chosen(trials, space, recipe.seed)[1:]]  # fmt: skip
    check_parts(parts, names)
    runs = str(work_folder(work) / "training" / name)
    volumes = tuple(dict.fromkeys(v for s in stored for v in (*s.raws, s.truth)))
    about = {
        "sources": [_about(g, s, mine) for g, s, mine in zip(given, stored, rows, strict=True)],
        "split": asdict(divide) | {"held_out": {p.name: p.boxes for p in parts}},
        "fine_tune": None if start is None else start.fingerprint,
        "voxel_nm": size,
    }
    target = work_folder(work) / "models" / name if to is None else Path(to).absolute()
    refuse_foreign(target)
    model = TrainedModel(
        str(target),
        tuple(tried),
        runs,
        tuple(part.name for part in parts),
        stored[0].shape,
        about,
        volumes,
    )
    scans, artefacts = _scans(name, work, stored)
    identity = {
        "start": None if start is None else start.fingerprint,
        "parts": _digest(parts),
        "sources": about["sources"],
    }
    fit = Map(
        f"{name}/fit",
        _fit,
        BlockGrid(Box.of((len(parts), len(tried), 1)), (1, 1, 1)),
        volumes,
        params={
            "parts": parts,
            "trials": tuple(tried),
            "start": start,
            "runs": runs,
            "name": name,
            "identity": plain(identity),
        },
        identity=identity | {"trials": tried},
        artefacts=artefacts,
        resident=max(wanted.host_bytes(t.recipe, t.architecture) for t in tried),
        device_bytes=max(wanted.device_bytes(t.recipe, t.architecture) for t in tried),
        streams=True,
        device=recipe.device,
        notes=notes_of(recipe, parts, names, (*wanted.notes, *(trial.note for trial in tried[1:]))),
    )
    history = table_at(work, f"{name}-history")
    columns = {"folds": [part.name for part in parts], "classes": names, "trials": trials}
    stages: tuple[Stage, ...] = (
        *scans,
        fit,
        Fold(f"{name}/history", _history, fit.name, history, params=columns),
        *(
            Fold(f"{name}/trials", _trials, fit.name, table_at(work, f"{name}-trials"), {"trials": tried})
            for _ in tried[1:2]
        ),
        Fold(f"{name}/model", _history, fit.name, model, params=columns),
    )
    shown = {"model": str(target), "runs": runs, "classes": names, "folds": columns["folds"]}
    return Plan(stages, work_folder(work), model, (Product("training", name, history, tuple(shown.items())),))


def _about(given: Given, source: Stored, rows: Sequence[Any]) -> dict[str, Any]:
    """A source as training.json states it: without the folders that it lies in."""
    counts = np.sum([counts for _, _, counts in rows], 0) if rows else []
    return {
        "image": ", ".join(map(called, given.images)),
        "labels": ", ".join(map(called, [given.labels] if given.labels else (given.masks or {}).values())),
        "levels": [source.raws[0].level, source.truth.level],
        "shape": source.shape,
        "voxel_nm": source.voxel_nm,
        "slices": given.slices,
        "boxes_nm": given.boxes_nm,
        "ignore": given.ignore,
        "instances_of": given.instances_of,
        "numbers": source.numbers,
        "painted_voxels": counts,
    }


def _digest(parts: Sequence[Part]) -> str:
    """Of what is trained on and held out."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr((part.name, part.boxes)).encode())
        for side in (part.train, part.held):
            for values in (side.painted.source, side.painted.start, side.painted.stop, side.painted.counts):
                digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _scans(name: str, work: PathLike, sources: Sequence[Stored]) -> tuple[list[Stage], dict[str, Arrays]]:
    """Stages that find the statistics of every image; an image of several sources is read once."""
    stages: list[Stage] = []
    found: dict[str, Arrays] = {}
    for i, raws in enumerate(dict.fromkeys(source.raws for source in sources)):
        key = f"statistics_{i}"
        found[key] = arrays_at(work, name, f"statistics-{i}")
        grid = BlockGrid(raws[0].box, raws[0].write_unit)
        stages.append(Map(f"{name}/statistics-{i}", _statistics, grid, raws, working=14.0))
        stages.append(Fold(f"{name}/normalisation-{i}", _merge, f"{name}/statistics-{i}", found[key]))
    return stages, found


def _trials(records: Records, *, trials: Sequence[Trial]) -> Columns:
    """One row per trial: its settings and what became of it."""
    dices: list[list[float]] = [[] for _ in trials]
    spent = np.zeros(len(trials))
    for index, record in records:
        dices[index % len(trials)] += record["dice"][record["kept"]].tolist()
        spent[index % len(trials)] += float(record["cpu_seconds"][-1])
    return compared(trials, dices) | {"cpu_seconds": spent}


def _statistics(block: Block, *raws: Array) -> Result:
    return Result(record=block_statistics(np.stack(raws), block.write.start))


def _merge(records: Records) -> Columns:
    return merge_statistics(record for _, record in records)


def _fit(
    block: Block,
    *volumes: Any,
    parts: Sequence[Part],
    trials: Sequence[Trial],
    start: Any,
    runs: str,
    name: str,
    identity: Mapping[str, Any],
    **statistics: Arrays,
) -> Iterator[Result]:
    """Train one fold, from its last checkpoint if there is one, and keep its weights."""
    part, number = parts[block.index // len(trials)], block.index % len(trials)
    trial = trials[number]
    images = list(dict.fromkeys(source.raws for source in part.train.sources))
    known = {}
    for i, raws in enumerate(images):
        found = statistics[f"statistics_{i}"]
        known[raws] = summarise({key: found[key] for key in found.names()})
    sides = [[s.normalised_by(known[s.raws]) for s in side.sources] for side in (part.train, part.held)]
    kept = Kept()
    sides[0] = [source.keeping(kept, trial.recipe.window_zyx[0]) for source in sides[0]]
    folder = fold_folder(runs, part.name, number if len(trials) > 1 else None)
    numbers = [[v.mean, v.sd] for v in known.values()]
    own = plain({"recipe": trial.recipe, "architecture": trial.architecture})
    text = json.dumps([dict(identity) | own, part.name, plain(numbers)], sort_keys=True)
    fit = Fit(
        trial.recipe,
        trial.architecture,
        Data(sides[0], part.train.painted, sides[1], part.held.painted),
        folder=folder,
        identity=hashlib.sha256(text.encode()).hexdigest(),
        name=f"{name}, fold {part.name}" + (f", trial {number}" if len(trials) > 1 else ""),
        start=None if start is None else start.weights(),
        advance=advance,
    )
    outcome = trained(fit)
    dice = next((row.get("dice") for row in outcome.history if row["step"] == outcome.step), None)
    content = {
        "network": dict(outcome.weights),
        "step": outcome.step,
        "precision": outcome.precision,
        "dice": None if dice is None or math.isnan(dice) else dice,
    }
    save_pictures(fit, outcome, folder / PICTURES)
    checkpoints.save(content, folder / WEIGHTS)
    keys = list(dict.fromkeys(key for row in outcome.history for key in row))
    record = {key: np.array([row.get(key, np.nan) for row in outcome.history]) for key in keys}
    yield Result(record=record | {"kept": record["step"] == outcome.step})


def _history(records: Records, *, folds: Sequence[str], classes: Sequence[str], trials: int) -> Columns:
    """One row per fold, trial and epoch."""
    rows: list[tuple[int, dict[str, Any]]] = []
    for index, record in records:
        count = len(record["step"])
        rows += [(index, {key: values[i] for key, values in record.items()}) for i in range(count)]
    numbers = {f"dice_{i}": f"dice_{name}" for i, name in enumerate(classes, 1)}
    keys = ("epoch", "step", "loss", "rate", "seconds", "cpu_seconds", "dice", *numbers)
    made: dict[str, Any] = {"fold": np.array([folds[index // trials] for index, _ in rows])}
    if trials > 1:
        made["trial"] = np.array([index % trials for index, _ in rows], np.int64)
    for key in keys:
        values = np.array([float(row.get(key, np.nan)) for _, row in rows])
        made[numbers.get(key, key)] = values.astype(np.int64) if key in ("epoch", "step") else values
    return made
