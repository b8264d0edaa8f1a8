"""Distance maps of 256^3 and 512^3 voxels up to a cap: ours out of core, edt and SciPy in memory.

Ours reads a compressed OME-Zarr in blocks with halo and writes float32 distances, flags and coarser levels;
the others get an array in memory and keep the answer there. The rate of ours is that of everything but
imports; `without_levels` leaves out the coarser levels, and the kernel in memory does what the others do. All
answers are compared with edt's, voxel by voxel, up to the cap. The cap is the halo: our rates fall with it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bench_instances import VOXEL_NM, blobs, watched

import chunkflow_liver as cf

SIDES = (256, 512)
BLOCK = 256
CAPS_NM = (100.0, 300.0)
SCIPY_SIDE = 256

OURS = """
import json, sys, time
import chunkflow_liver as cf
from chunkflow_liver.engine.journal import read_rows
source, work, cap, block = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
plan = cf.distance(cf.open_volume(source), to=1, cap_nm=cap, name="found", work=work, block=(block,) * 3)
start, begun = time.perf_counter(), time.process_time()
cf.run(plan, progress=False)
cpu = time.process_time() - begun
levels = sum(row["cpu"] for stage, row in read_rows(work) if "level" in stage)
print(json.dumps({"seconds": time.perf_counter() - start, "work_cpu": cpu, "levels_cpu": levels}))
"""
IN_MEMORY = """
import json, sys, time
import numpy as np, zarr
tool, source, target, cap = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
mask = zarr.open_array(source + "/0", mode="r")[:] > 0
size = tuple(float(v) for v in sys.argv[5:8])
if tool == "edt":
    import edt
    run = lambda: edt.edt(~mask, anisotropy=size, black_border=False, parallel=1)
elif tool == "scipy":
    from scipy.ndimage import distance_transform_edt
    run = lambda: distance_transform_edt(~mask, sampling=size)
else:
    from chunkflow_liver.kernels import distance_nm
    run = lambda: distance_nm(mask, size, cap)
start, begun = time.perf_counter(), time.process_time()
found = run()
print(json.dumps({"seconds": time.perf_counter() - start, "work_cpu": time.process_time() - begun}))
out = zarr.create_array(target, shape=found.shape, dtype="float32", chunks=(64,) * 3)
out[:] = np.where(found <= np.float32(cap * (1 + 1e-6)), found, np.inf)
"""


def cases(folder: Path, sides: tuple[int, ...] = SIDES) -> Iterator[tuple[str, Path]]:
    """Name of each case, and the label image it is about."""
    for side in sides:
        for name, sigma, share in (("mito", 6.0, 0.1), ("er", 1.0, 0.15)):
            path = folder / f"{name}-{side}.ome.zarr"
            array = blobs(side, sigma, share, side)
            cf.write_volume(path, array, voxel_nm=VOXEL_NM, kind="label", classes={name: 1})
            yield f"{name} {side}^3", path
            shutil.rmtree(path)


def same(found: str, truth: str) -> bool:
    """Whether two stored distances agree to 1e-6, infinite where the other is."""
    import zarr

    a, b = zarr.open_array(found, mode="r"), zarr.open_array(truth, mode="r")
    planes = range(0, a.shape[0], 64)
    return all(np.allclose(a[z : z + 64], b[z : z + 64], rtol=1e-6, atol=0) for z in planes)


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of the case `distance`."""
    for text, name in ((OURS, "ours"), (IN_MEMORY, "memory")):
        (folder / f"run_{name}.py").write_text(text)
    memory = [sys.executable, str(folder / "run_memory.py")]
    for case, source in cases(folder):
        voxels = int(np.prod(cf.open_volume(source).shape))
        for cap in CAPS_NM:
            place = folder / "tools"
            place.mkdir()
            truth = str(place / "edt.zarr")
            size = [str(v) for v in VOXEL_NM]
            ours = [sys.executable, str(folder / "run_ours.py"), str(source), str(place / "work")]
            runs = [("edt in memory", [*memory, "edt", str(source), truth, str(cap), *size], truth)]
            for tool, name in (("scipy", "scipy in memory"), ("kernel", "chunkflow_liver, kernel in memory")):
                out = str(place / f"{tool}.zarr")
                runs.append((name, [*memory, tool, str(source), out, str(cap), *size], out))
            out = str(place / "work/found.ome.zarr/0")
            runs.append(("chunkflow_liver, out of core", [*ours, str(cap), str(BLOCK)], out))
            for tool, command, out in runs:
                if tool.startswith("scipy") and voxels > SCIPY_SIDE**3:
                    continue
                yield _row(
                    f"{case}, cap {cap:g} nm", tool, voxels, watched(command, place, 1800), (out, truth)
                )
            shutil.rmtree(place)


def _row(case: str, tool: str, voxels: int, found: dict[str, Any], stored: tuple[str, str]) -> dict[str, Any]:
    row = {"name": "distance", "tool": tool, "case": case, "voxels": voxels}
    if "failed" in found:
        return row | {"unit": f"not measured: {found['failed']}", "ok": False}
    mega, work = voxels / 1e6, found["work_cpu"]
    levels = (
        {"without_levels": round(mega / (work - found["levels_cpu"]), 2)} if "levels_cpu" in found else {}
    )
    return row | {
        "seconds": round(found["seconds"], 3),
        "cpu_seconds": round(found["cpu_seconds"], 3),
        "peak_mib": round(found["peak_mib"], 1),
        "value": round(mega / work, 2),
        "unit": "Mvoxel/CPU-s",
        **levels,
        "ok": same(*stored),
    }
