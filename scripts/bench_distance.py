"""Distance maps of 256^3 and 512^3 voxels: ours out of core, edt and SciPy in memory; on a GPU cuCIM.

Ours reads a compressed OME-Zarr in blocks with halo and writes float32 distances, flags and coarser levels;
the others get an array in memory and keep the answer there. The rate of ours is that of everything but
imports and compiling; `without_levels` leaves out the coarser levels, and the kernel in memory does what the
others do. Rates are the best of two runs in one process, those of SciPy of one. `of_edt` is the rate over
that of edt in the same minutes. All answers are compared with edt's, voxel by voxel, up to the cap.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench_instances import VOXEL_NM, blobs, watched

import chunkflow_liver as cf

CAPS_NM: dict[int, tuple[float, ...]] = {256: (100.0, 300.0, np.inf), 512: (300.0, np.inf)}
BLOCK = (128, 256, 256)
SCIPY_SIDE = 256
TOLERANCE = {"cpu": 1e-6, "cuda": 1e-5}

OURS = """
import json, shutil, sys, time
import numpy as np
import chunkflow_liver as cf
from chunkflow_liver.engine.journal import read_rows
source, work, cap, device = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]
block = tuple(int(n) for n in sys.argv[5:8])

def run(volume, block):
    shutil.rmtree(work, ignore_errors=True)
    cap_nm = cap if np.isfinite(cap) else None
    plan = cf.distance(volume, to=1, cap_nm=cap_nm, name="found", work=work, block=block, device=device)
    start, begun = time.perf_counter(), time.process_time()
    cf.run(plan, progress=False)
    cpu, seconds = time.process_time() - begun, time.perf_counter() - start
    rows = list(read_rows(work))
    levels = {k: sum(row[k] for stage, row in rows if "level" in stage) for k in ("cpu", "seconds")}
    return cpu, seconds, levels["cpu"], levels["seconds"]

volume = cf.open_volume(source)
few = np.zeros((32, 32, 32), np.uint8)
few[0, 0, 0] = 1
small = cf.write_volume(work + "-small.ome.zarr", few, voxel_nm=volume.voxel_nm, kind="label")
# Compiles what the others have compiled; a few voxels with few ends need the same loops.
run(small, (16, 16, 16))
cpu, seconds, levels_cpu, levels_seconds = min(run(volume, block) for _ in range(2))
print(json.dumps({"seconds": seconds, "work_cpu": cpu, "levels_cpu": levels_cpu, "levels_s": levels_seconds}))
"""
IN_MEMORY = """
import json, sys, time
import numpy as np, zarr
tool, source, target, cap = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
size = tuple(float(v) for v in sys.argv[5:8])
mask = zarr.open_array(source + "/0", mode="r")[:] > 0
if tool == "edt":
    import edt
    run = lambda: edt.edt(~mask, anisotropy=size, black_border=False, parallel=1)
elif tool == "scipy":
    from scipy.ndimage import distance_transform_edt
    run = lambda: distance_transform_edt(~mask, sampling=size)
else:
    from chunkflow_liver.kernels import distance_nm
    run = lambda: distance_nm(mask, size, cap)
    distance_nm(mask[:8, :8, :8] | (np.indices((8, 8, 8)).sum(0) == 0), size, cap)
best = None
for _ in range(1 if tool == "scipy" else 2):
    found = None
    start, begun = time.perf_counter(), time.process_time()
    found = run()
    took = (time.process_time() - begun, time.perf_counter() - start)
    best = took if best is None else min(best, took)
print(json.dumps({"work_cpu": best[0], "seconds": best[1]}))
out = zarr.create_array(target, shape=found.shape, dtype="float32", chunks=(64,) * 3)
out[:] = found
"""
ON_DEVICE = """
import json, sys, time
import cupy, numpy as np, zarr
tool, source, target, cap = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
size = tuple(float(v) for v in sys.argv[5:8])
mask = cupy.asarray(zarr.open_array(source + "/0", mode="r")[:] > 0)
if tool == "cucim":
    from cucim.core.operations.morphology import distance_transform_edt
    run = lambda: distance_transform_edt(~mask, sampling=size)
else:
    from chunkflow_liver.kernels import distance_nm
    run = lambda: distance_nm(mask, size, cap)

def seconds(work):
    work()
    times = []
    for _ in range(5):
        cupy.cuda.Device().synchronize()
        start = time.perf_counter()
        found = work()
        cupy.cuda.Device().synchronize()
        times.append(time.perf_counter() - start)
    return min(times), found

block = cupy.zeros(1 << 28, cupy.float32)
copied, _ = seconds(block.copy)
took, found = seconds(run)
rate = 2 * block.nbytes / copied
# At least the mask is read and a float written.
share = mask.size * 5 / took / rate
print(json.dumps({"seconds": took, "work_cpu": took, "copy_gb_per_s": rate / 1e9, "of_copy": share}))
out = zarr.create_array(target, shape=found.shape, dtype="float32", chunks=(64,) * 3)
out[:] = found.astype(cupy.float32).get()
"""


@dataclass(frozen=True)
class Case:
    """A label image, and where the tools put their answers."""

    name: str
    source: Path
    side: int
    place: Path

    def command(self, script: str, tool: str, cap_nm: float) -> tuple[list[str], str]:
        """Command of a tool that works in memory, and where it stores what it found."""
        out = str(self.place / f"{tool}.zarr")
        shutil.rmtree(out, ignore_errors=True)
        size = [str(v) for v in VOXEL_NM]
        program = str(self.place.parent / f"run_{script}.py")
        return [sys.executable, program, tool, str(self.source), out, str(cap_nm), *size], out

    def out_of_core(self, cap_nm: float, device: str) -> tuple[list[str], str]:
        """Command of ours, and where it stores what it found."""
        work = self.place / f"work-{device}"
        for old in (work, Path(f"{work}-small.ome.zarr")):
            shutil.rmtree(old, ignore_errors=True)
        program = str(self.place.parent / "run_ours.py")
        block = [str(n) for n in BLOCK]
        command = [sys.executable, program, str(self.source), str(work), str(cap_nm), device, *block]
        return command, str(work / "found.ome.zarr/0")


def cases(folder: Path) -> Iterator[Case]:
    """Few large objects and many small ones, of every size."""
    for side in CAPS_NM:
        for name, sigma, share in (("mito", 6.0, 0.1), ("er", 1.0, 0.15)):
            path = folder / f"{name}-{side}.ome.zarr"
            array = blobs(side, sigma, share, side)
            cf.write_volume(path, array, voxel_nm=VOXEL_NM, kind="label", classes={name: 1})
            place = folder / "tools"
            place.mkdir()
            yield Case(f"{name} {side}^3", path, side, place)
            shutil.rmtree(path)
            shutil.rmtree(place)


def same(found: str, truth: str, cap_nm: float, tolerance: float) -> bool:
    """Whether stored distances are those of edt up to the cap, and infinite beyond."""
    import zarr

    a, b = zarr.open_array(found, mode="r"), zarr.open_array(truth, mode="r")
    for z in range(0, a.shape[0], 64):
        wanted = b[z : z + 64]
        wanted = np.where(wanted <= np.float32(cap_nm * (1 + 1e-6)), wanted, np.inf)
        if not np.allclose(a[z : z + 64], wanted, rtol=tolerance, atol=0):
            return False
    return True


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of the case `distance`."""
    for text, name in ((OURS, "ours"), (IN_MEMORY, "memory"), (ON_DEVICE, "device")):
        (folder / f"run_{name}.py").write_text(text)
    device = has_device()
    for case in cases(folder):
        command, truth = case.command("memory", "edt", np.inf)
        edt = _row(case, "edt in memory", np.inf, watched(command, case.place, 1800))
        yield edt
        if case.side <= SCIPY_SIDE:
            command, out = case.command("memory", "scipy", np.inf)
            row = _row(case, "SciPy in memory", np.inf, watched(command, case.place, 1800))
            yield row | {"ok": row["ok"] and same(out, truth, np.inf, 1e-6)}
        for cap_nm in CAPS_NM[case.side]:
            runs = [("chunkflow_liver, out of core", *case.out_of_core(cap_nm, "cpu"), "cpu")]
            if np.isfinite(cap_nm):
                runs.append(("chunkflow_liver, in memory", *case.command("memory", "kernel", cap_nm), "cpu"))
            if device:
                runs.append(("cuCIM on the GPU", *case.command("device", "cucim", np.inf), "cuda"))
                runs.append(("chunkflow_liver on the GPU", *case.command("device", "kernel", cap_nm), "cuda"))
                if np.isfinite(cap_nm):
                    runs.append(
                        ("chunkflow_liver, out of core, GPU", *case.out_of_core(cap_nm, "cuda"), "cuda")
                    )
            for tool, command, out, where in runs:
                row = _row(case, tool, cap_nm, watched(command, case.place, 1800), edt.get("value"))
                cap = np.inf if tool.startswith("cuCIM") else cap_nm
                yield row | {"ok": row["ok"] and same(out, truth, cap, TOLERANCE[where])}
    if not device:
        yield {
            "name": "distance",
            "tool": "cuCIM and chunkflow_liver on a GPU",
            "unit": "not measured: no CUDA device, or no CuPy and cuCIM",
            "ok": True,
        }


def has_device() -> bool:
    """Whether there are a CUDA device, CuPy and cuCIM."""
    try:
        import cucim  # noqa: F401
        import cupy
    except ImportError:
        return False
    return bool(cupy.cuda.is_available())


def _row(
    case: Case, tool: str, cap_nm: float, found: dict[str, Any], edt: float | None = None
) -> dict[str, Any]:
    named = f"{case.name}, {f'cap {cap_nm:g} nm' if np.isfinite(cap_nm) else 'no cap'}"
    row = {"name": "distance", "tool": tool, "case": named, "voxels": case.side**3}
    if "failed" in found:
        return row | {"unit": f"not measured: {found['failed']}", "ok": False}
    mega, work = case.side**3 / 1e6, found["work_cpu"]
    gpu = "GPU" in tool
    if gpu:
        work = found["seconds"]
    row |= {
        "seconds": round(found["seconds"], 3),
        "cpu_seconds": round(found["cpu_seconds"], 3),
        "peak_mib": round(found["peak_mib"], 1),
        "value": round(mega / work, 2),
        "unit": "Mvoxel/s" if gpu else "Mvoxel/CPU-s",
    }
    if edt is not None and not gpu:
        row["of_edt"] = round(mega / work / edt, 2)
    if "levels_cpu" in found:
        less = found["levels_s" if gpu else "levels_cpu"]
        row["without_levels"] = round(mega / (work - less), 2)
        if "of_edt" in row:
            row["without_levels_of_edt"] = round(row["without_levels"] / edt, 2)
    row |= {k: round(found[k], 3) for k in ("copy_gb_per_s", "of_copy") if k in found}
    return row | {"ok": True}
