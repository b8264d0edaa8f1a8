"""37,920 mitochondria in a gigavoxel: shape and first order of all of them, on 2 workers in 4 GiB."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from bench_memory import tree_mib

import chunkflow_liver as cf
from chunkflow_liver.engine.journal import read_rows
from chunkflow_liver.engine.plan import Plan

SIDE = int(os.environ.get("BENCH_SIDE", "1000"))
OBJECTS = int(os.environ.get("BENCH_OBJECTS", "37920"))
VOXEL_NM = (37.5, 37.5, 37.5)
SCALE = 3.0
BLOCK = (256, 256, 256)
WORKERS = 2
MEMORY_GIB = 4.0
"""Of all processes together; each worker gets half of it."""
SECONDS = 600.0


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of the case `measure_large`: making the volume, and measuring it."""
    made = cf.phantom(
        shape=(SIDE,) * 3,
        voxel_nm=VOXEL_NM,
        scale=SCALE,
        mitochondria=OBJECTS,
        work=folder / "made",
        block=BLOCK,
    )
    with cf.cluster("local", workers=WORKERS, memory_gib=MEMORY_GIB / WORKERS) as client:
        yield timed("phantom with its truth", made, folder / "made", client)
        labels = cf.open_volume(folder / "made/raw.ome.zarr/labels/truth-mitos", level=0)
        raw = cf.open_volume(folder / "made/raw.ome.zarr", level=0)
        for features in (["basic"], ["basic", "shape", "firstorder"]):
            work = folder / "-".join(features)
            plan = cf.measure(labels, raw=raw, features=features, name="t", work=work, block=BLOCK)
            row = timed(", ".join(features), plan, work, client)
            found = cf.read_table(plan.output)
            voxels = int(np.sum(found["voxels"].to_numpy()))
            yield row | {
                "value": round(found.num_rows / row["seconds"], 2),
                "unit": "instances/s",
                "ok": found.num_rows == OBJECTS
                and voxels == counted(labels)
                and row["seconds"] < SECONDS
                and row["peak_mib"] < MEMORY_GIB * 1024,
            }


def timed(case: str, plan: Plan, work: Path, client: Any) -> dict[str, Any]:
    """One run of a plan: wall time, CPU of workers and driver, and the most memory of all processes."""
    before, start = driver_cpu(), time.perf_counter()
    with watched_mib() as peak:
        cf.run(plan, client, progress=False)
    seconds = time.perf_counter() - start
    rows = [row for _, row in read_rows(work)]
    return {
        "name": "measure_large",
        "tool": "chunkflow_liver",
        "case": f"{case}: {OBJECTS} objects, {WORKERS} workers",
        "voxels": SIDE**3,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(sum(row["cpu"] for row in rows) + driver_cpu() - before, 2),
        "peak_mib": round(max(peak), 1),
        "value": round(SIDE**3 / seconds / 1e6, 3),
        "unit": "Mvoxel/s",
        "ok": True,
    }


@contextmanager
def watched_mib() -> Iterator[list[float]]:
    """Memory of this process and its workers, five times a second."""
    seen, done = [tree_mib(psutil.Process())], threading.Event()

    def look() -> None:
        while not done.wait(0.2):
            seen.append(tree_mib(psutil.Process()))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def counted(labels: cf.Volume) -> int:
    """Voxels of all objects, counted without us."""
    step = 64
    return sum(
        int(np.count_nonzero(labels.read(cf.Box((z, 0, 0), (min(z + step, SIDE), SIDE, SIDE)))))
        for z in range(0, SIDE, step)
    )


def driver_cpu() -> float:
    """CPU seconds of this process alone: workers report theirs by block."""
    use = psutil.Process().cpu_times()
    return use.user + use.system
