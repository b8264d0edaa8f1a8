"""Windows per CPU second of training: ours, nnU-Net's own trainer, and the bare passes of the same network.

nnU-Net's trainer gets the same voxels, plans, window and batch, its own augmentation and loss, on one thread
of one process; its data are preprocessed beforehand, which is not counted. Ours and it count reading,
augmentation, loss and optimizer. Bare passes and our steps are measured in turns: other work on the machine
changes both. `BENCH_TRAINING_PARTS` names what is measured: `windows`, `dice`, or both.

Time to equal Dice: both train on one generated phantom and are looked at on another one after every `LOOK`
of their steps, by the same code and on the same windows, which is not counted; the schedules of both end with
their steps. What counts is the first look at a Dice within 0.01 of the lower of the two best.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import resource
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from scipy.ndimage import gaussian_filter

import chunkflow_liver as cf
from chunkflow_liver.engine.execute import kept_memory
from chunkflow_liver.training import launch
from chunkflow_liver.training.export import configuration, plans_of
from chunkflow_liver.training.fit import Fit
from chunkflow_liver.training.networks import network_of
from chunkflow_liver.training.numerics import prepare

VOXEL_NM = (40.0, 16.0, 16.0)
CASES: dict[str, dict[str, Any]] = {
    "3D, 4x96x96, 16..64": {"window": (4, 96, 96), "features": (16, 32, 64), "batch": 2},
    "2D, 128x128, 16..128": {"window": (128, 128), "features": (16, 32, 64, 128), "batch": 4},
}
STEPS, ROUNDS = 40, 3
SIDES = {"ours": (1200, 100), "nnU-Net's trainer": (480, 40)}
"""Steps to equal Dice, of which every so many are followed by a look: as much CPU for both, about."""
WITHIN = 0.01


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """What is asked for."""
    import torch

    torch.set_num_threads(1)
    logging.getLogger("chunkflow_liver").setLevel(logging.ERROR)
    parts = os.environ.get("BENCH_TRAINING_PARTS", "windows,dice").split(",")
    if "windows" in parts:
        yield from _windows(folder)
    if "dice" in parts:
        yield from _to_dice(folder)


def _windows(folder: Path) -> Iterator[dict[str, Any]]:
    """Windows per CPU second, both precisions of every case."""
    rng = np.random.default_rng(0)
    field = gaussian_filter(rng.standard_normal((48, 512, 512), np.float32), (1, 6, 6))
    classes = (field > field.std()).astype(np.uint8)
    grey = (120 + 40 * classes + rng.normal(0, 12, field.shape)).clip(1, 255).astype(np.uint8)
    cf.write_volume(folder / "raw.ome.zarr", grey, voxel_nm=VOXEL_NM)
    cf.write_volume(
        folder / "labels.ome.zarr", classes, voxel_nm=VOXEL_NM, kind="label", classes=[("blob", 1)]
    )
    source = {"image": folder / "raw.ome.zarr", "labels": folder / "labels.ome.zarr"}
    for case, settings in CASES.items():
        peer = 0.0
        for precision in ("float32", "bfloat16"):
            plan = _plan(folder, f"{case} {precision}", source, precision, settings)
            # Its numerics on a CPU are float32 always.
            peer = peer or _nnunet_step(plan, grey, classes, folder / f"nnunet-{case[:2]}")
            turns = []
            for i in range(ROUNDS):
                before = _bare(plan, precision)
                mine = _plan(folder, f"{case} {precision} {i}", source, precision, settings)
                start = time.perf_counter()
                cf.run(mine, progress=False)
                seconds = time.perf_counter() - start
                turns.append((0.5 * (before + _bare(plan, precision)), _step_seconds(mine)))
            bare, ours = (statistics.median(column) for column in zip(*turns, strict=True))
            over = statistics.median(b / a for a, b in turns)
            for tool, cpu in (("bare passes", bare), ("nnU-Net's trainer", peer), ("ours", ours)):
                yield {
                    "name": "training",
                    "tool": tool,
                    "case": f"{case}, {precision}",
                    "seconds": seconds if tool == "ours" else None,
                    "cpu_seconds": cpu,
                    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                    "value": settings["batch"] / cpu,
                    "unit": "window/CPU s",
                    "ok": True,
                }
            for what, ratio in (
                ("times the bare passes", over),
                ("windows of the trainer", peer / ours),
            ):
                yield {
                    "name": "training",
                    "tool": "ours",
                    "case": f"{case}, {precision}: {what}",
                    "value": ratio,
                    "unit": "1",
                    "ok": True,
                }


def _plan(folder: Path, name: str, source: Any, precision: str, settings: Any) -> cf.Plan:
    """A training whose first half is the start, which is not counted."""
    work = folder / name.replace(" ", "-")
    return cf.train([source], name="m", work=work, steps=2 * STEPS, epoch=STEPS, split={"by": "none"},
                    precision=precision, **settings)  # fmt: skip


def _step_seconds(plan: cf.Plan) -> float:
    """CPU seconds of a step of the second half."""
    spent = _history(plan)["cpu_seconds"]
    return float(spent[1] - spent[0]) / STEPS


def _history(plan: cf.Plan) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = cf.read_table(plan.work / "tables/m-history.parquet").to_pydict()
    return found


def _to_dice(folder: Path) -> Iterator[dict[str, Any]]:
    """CPU seconds of both trainers to equal Dice on another phantom."""
    made = [cf.phantom(shape=(48, 256, 256), voxel_nm=VOXEL_NM, seed=seed, work=folder / f"phantom{seed}")
            for seed in (101, 102)]  # fmt: skip
    for plan in made:
        cf.run(plan, progress=False)
    sources = [{"image": p.output.url, "labels": f"{p.output.url}/labels/truth"} for p in made]
    steps, look = SIDES["ours"]
    case = next(iter(CASES))
    plan = cf.train(sources, name="m", work=folder / "dice", steps=steps, epoch=look, validation_windows=12,
                    split={"by": "volume", "folds": 2}, **CASES[case])  # fmt: skip
    module = importlib.import_module("chunkflow_liver.ops.train")
    fits: list[Fit] = []
    looked: list[float] = []

    def trained(fit: Fit) -> Any:
        fits.append(fit)
        return launch.trained(fit)

    def validate(self: Fit, network: Any, precision: str) -> list[float]:
        start = time.process_time()
        found = kept(self, network, precision)
        looked.append(time.process_time() - start)
        return found

    kept = Fit.validate
    with mock.patch.object(module, "trained", trained), mock.patch.object(Fit, "validate", validate):
        cf.run(plan, progress=False)
    table = _history(plan)
    # A look is counted with the steps after it.
    spent = np.array(table["cpu_seconds"]) - np.cumsum([0.0, *looked[:-1]])
    curves = {"ours": list(zip(spent.tolist(), table["dice"], strict=True))}
    names = [name for name, _ in cf.open_volume(sources[0]["labels"]).classes]
    arrays = [cf.open_volume(sources[0][key]).read() for key in ("image", "labels")]
    curves["nnU-Net's trainer"] = _nnunet_curve(plan, arrays, names, folder / "nnunet-dice", fits[0])
    wanted = min(max(dice for _, dice in curve) for curve in curves.values()) - WITHIN
    reached = {tool: next(cpu for cpu, dice in curve if dice >= wanted) for tool, curve in curves.items()}
    for tool, curve in curves.items():
        yield {
            "name": "training",
            "tool": tool,
            "case": f"{case}: to Dice {wanted:.3f} on another phantom; best {max(d for _, d in curve):.3f}",
            "cpu_seconds": reached[tool],
            "value": reached["nnU-Net's trainer"] / reached[tool],
            "unit": "1",
            "curve": [[round(cpu, 1), round(dice, 4)] for cpu, dice in curve],
            "ok": True,
        }


def _nnunet_curve(plan: cf.Plan, arrays: Any, names: list[str], folder: Path, fit: Fit) -> Any:
    """CPU seconds of nnU-Net's trainer and Dice, as `fit` finds it, at every look."""
    steps, look = SIDES["nnU-Net's trainer"]
    found, spent = [], 0.0
    with _nnunet(plan, *arrays, names, folder, steps // look) as (trainer, windows):
        for step in range(1, steps + 1):
            start = time.process_time()
            if step % look == 1:
                trainer.lr_scheduler.step(step // look)
            trainer.train_step(next(windows))
            spent += time.process_time() - start
            if step % look == 0:
                dices = fit.validate(trainer.network, "float32")
                found.append((spent, float(np.nanmean(dices))))
    return found


def _bare(plan: cf.Plan, precision: str) -> float:
    """CPU seconds of a forward and a backward pass of the same network, nothing else."""
    import torch

    recipe = plan.output.recipe
    network = network_of(recipe, plan.output.architecture)
    prepare(network, precision, "cpu")
    times = []
    # As a run does: without it, half of the time is faulting pages in again.
    with kept_memory():
        for _ in range(12):
            images = torch.randn((recipe.batch, 1, *recipe.window))
            network.zero_grad(set_to_none=True)
            start = time.process_time()
            sum(scores.float().square().mean() for scores in network(images)).backward()
            times.append(time.process_time() - start)
    return float(np.median(times[2:]))


def _nnunet_step(plan: cf.Plan, grey: Any, classes: Any, folder: Path) -> float:
    """CPU seconds of a step of nnU-Net's own trainer."""
    times = []
    with _nnunet(plan, grey, classes, ["blob"], folder) as (trainer, windows):
        for _ in range(STEPS):
            start = time.process_time()
            trainer.train_step(next(windows))
            times.append(time.process_time() - start)
    return float(np.mean(times[2:]))


@contextlib.contextmanager
def _nnunet(
    plan: cf.Plan, grey: Any, classes: Any, names: list[str], folder: Path, epochs: int = 1000
) -> Iterator[tuple[Any, Any]]:
    """nnU-Net's own trainer, one thread, no workers, and its windows."""
    import torch

    recipe = plan.output.recipe
    plans = plans_of(recipe, plan.output.architecture, grey.shape)
    roots = {name: str(folder / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    threads = {"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1"}
    with mock.patch.dict(os.environ, roots | threads), contextlib.redirect_stdout(io.StringIO()):
        from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
        from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        name = configuration(recipe)
        dataset = {
            "channel_names": {"0": "EM"},
            "labels": {"background": 0} | {called: i for i, called in enumerate(names, 1)},
            "file_ending": ".nii.gz",
        }
        manager = PlansManager(plans)
        settings = manager.get_configuration(name)
        case = folder / "nnUNet_preprocessed" / plans["dataset_name"] / settings.data_identifier / "case"
        case.parent.mkdir(parents=True)
        made = DefaultPreprocessor(verbose=False).run_case_npy(
            grey[None], classes[None].astype(np.int8), {"spacing": list(VOXEL_NM)}, manager, settings, dataset
        )
        blocks, chunks = comp_blosc2_params(made[0].shape, recipe.window)
        nnUNetDatasetBlosc2.save_case(*made, str(case), chunks=chunks, blocks=blocks)
        trainer = nnUNetTrainer(
            plans | {"continue_training": False}, name, "all", dataset, device=torch.device("cpu")
        )
        trainer.num_epochs = epochs
        trainer.initialize()
        windows, _ = trainer.get_dataloaders()
        trainer.network.train()
        yield trainer, windows
