"""Larger than memory: the main job on up to 1024^3 voxels in a process tree held to 2 GiB."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

LIMIT_MIB = 2048
SHAPES = ((512, 1024, 1024), (1024, 1024, 1024))
VOXEL_NM = (16.0, 16.0, 16.0)
BLOCK = [128, 256, 256]


def tree_mib(process: psutil.Process) -> float:
    """Memory of a process and all below it: proportional set size, so shared pages count once."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 2**20


def tree_cpu(process: psutil.Process) -> float:
    """CPU seconds of a process and all below it that still run or were waited for."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        try:
            times = one.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def watched(command: list[str], limit_mib: float | None) -> dict[str, Any]:
    """Run a command; kill it if its tree grows beyond the limit. Seconds, CPU seconds and peak MiB."""
    start, peak, cpu = time.monotonic(), 0.0, 0.0
    child = subprocess.Popen(command)
    tree = psutil.Process(child.pid)
    while child.poll() is None:
        try:
            peak, cpu = max(peak, tree_mib(tree)), max(cpu, tree_cpu(tree))
        except psutil.Error:
            break
        if limit_mib is not None and peak > limit_mib:
            for one in [*tree.children(recursive=True), tree]:
                one.kill()
            break
        time.sleep(0.2)
    status = child.wait()
    return {"seconds": time.monotonic() - start, "cpu_seconds": cpu, "peak_mib": peak, "ok": status == 0}


def run_file(folder: Path) -> dict[str, Any]:
    """The main job without the network: instances, table, distance, contacts, report."""
    raw = folder / "raw.ome.zarr"
    return {
        "input": {"path": str(raw), "level": 0},
        "semantic": {"path": str(raw / "labels" / "truth")},
        "work": str(folder / "run"),
        "block": BLOCK,
        "label": [{"name": "mitos", "classes": ["mitochondrion"]}],
        "distance": [{"name": "er-distance", "to": "er", "cap_nm": 200}],
        "contacts": [{"name": "mito-er", "instances": "mitos", "to": "er", "gap_nm": 30}],
        "measure": [{"name": "mito-table", "instances": "mitos"}],
    }


def bench(folder: Path, shapes: tuple[tuple[int, int, int], ...] = SHAPES) -> Iterator[dict[str, Any]]:
    """One row per volume: making the phantom, then the job under the limit."""
    exe = str(Path(sys.executable).with_name("chunkflow-liver"))
    script = str(Path(__file__).with_name("make_phantom.py"))
    for shape in shapes:
        place = folder / "x".join(map(str, shape))
        sides = [str(n) for n in shape]
        sizes = [str(v) for v in VOXEL_NM]
        made = watched([sys.executable, script, str(place), "--shape", *sides, "--voxel-nm", *sizes], None)
        voxels = shape[0] * shape[1] * shape[2]
        case = "x".join(sides)
        yield {"name": "memory", "tool": "phantom", "case": case, "voxels": voxels, **_rate(made, voxels)}
        config = place / "run.json"
        config.with_suffix(".yaml").write_text(json.dumps(run_file(place)))
        job = [exe, "run", str(config.with_suffix(".yaml")), "--workers", "2", "--memory-gib", "1.0"]
        found = watched(job, LIMIT_MIB)
        yield {
            "name": "memory",
            "tool": "chunkflow_liver",
            "case": case,
            "voxels": voxels,
            **_rate(found, voxels),
        }


def _rate(found: dict[str, Any], voxels: int) -> dict[str, Any]:
    return {**found, "value": voxels / 1e6 / found["seconds"], "unit": "Mvoxel/s"}
