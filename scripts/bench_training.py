"""Windows per CPU second of training: ours, nnU-Net's own trainer, and the bare passes of the same network.

nnU-Net's trainer gets the same voxels, plans, window and batch, its own augmentation and loss, on one thread
of one process; its data are preprocessed beforehand, which is not counted. Ours and it count reading,
augmentation, loss and optimizer.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from scipy.ndimage import gaussian_filter

import chunkflow_liver as cf
from chunkflow_liver.engine.execute import kept_memory
from chunkflow_liver.training.export import configuration, plans_of
from chunkflow_liver.training.networks import network_of
from chunkflow_liver.training.numerics import prepare

VOXEL_NM = (40.0, 16.0, 16.0)
CASES: dict[str, dict[str, Any]] = {
    "3D, 4x96x96, 16..64": {"window": (4, 96, 96), "features": (16, 32, 64), "batch": 2},
    "2D, 128x128, 16..128": {"window": (128, 128), "features": (16, 32, 64, 128), "batch": 4},
}
STEPS = 40


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """Both precisions of every case."""
    import torch

    torch.set_num_threads(1)
    logging.getLogger("chunkflow_liver").setLevel(logging.ERROR)
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
            plan = cf.train(
                [source],
                name="m",
                work=folder / f"{case} {precision}".replace(" ", "-"),
                steps=STEPS,
                epoch=STEPS,
                split={"by": "none"},
                precision=precision,
                **settings,
            )
            bare = _bare(plan, precision)
            # Its numerics on a CPU are float32 always.
            peer = peer or _nnunet(plan, grey, classes, folder / f"nnunet-{case[:2]}")
            start = time.perf_counter()
            cf.run(plan, progress=False)
            seconds = time.perf_counter() - start
            row = cf.read_table(folder / f"{case} {precision}".replace(" ", "-") / "tables/m-history.parquet")
            ours = row["cpu_seconds"].to_pylist()[0] / STEPS
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
                ("times the bare passes", ours / bare),
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


def _nnunet(plan: cf.Plan, grey: Any, classes: Any, folder: Path) -> float:
    """CPU seconds of a step of nnU-Net's own trainer, one thread, no workers."""
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
            "labels": {"background": 0, "blob": 1},
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
        trainer.initialize()
        windows, _ = trainer.get_dataloaders()
        trainer.network.train()
        times = []
        for _ in range(STEPS):
            start = time.process_time()
            trainer.train_step(next(windows))
            times.append(time.process_time() - start)
    return float(np.mean(times[2:]))
