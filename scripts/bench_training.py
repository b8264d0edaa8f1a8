"""What a training costs beside the network's own passes: windows per CPU second, ours and bare."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

import chunkflow_liver as cf
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
            start = time.perf_counter()
            cf.run(plan, progress=False)
            seconds = time.perf_counter() - start
            row = cf.read_table(folder / f"{case} {precision}".replace(" ", "-") / "tables/m-history.parquet")
            ours = row["cpu_seconds"].to_pylist()[0] / STEPS
            for tool, cpu in (("bare passes", bare), ("ours", ours)):
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
            yield {
                "name": "training",
                "tool": "ours",
                "case": f"{case}, {precision}: times the bare passes",
                "value": ours / bare,
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
    for _ in range(12):
        images = torch.randn((recipe.batch, 1, *recipe.window))
        network.zero_grad(set_to_none=True)
        start = time.process_time()
        sum(scores.float().square().mean() for scores in network(images)).backward()
        times.append(time.process_time() - start)
    return float(np.median(times[2:]))
