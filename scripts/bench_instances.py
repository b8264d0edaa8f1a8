"""Connected components of 256^3, 512^3 and a real 1.2 gigavoxels: ours, cc3d, dask-image, cellmap-analyze.

Every tool reads a compressed zarr of classes and writes a compressed zarr of ids. Every answer is compared,
voxel by voxel, with cc3d on the whole array in memory. Voxels per CPU second are those of the work, reading
and writing included; imports, compilation (a tiny volume is labelled first) and the start of workers not.
`imports_and_all` has those too. Ours also writes the coarser levels of the pyramid, which the others do not,
and is measured without them as well.

About 13 minutes on 2 idle cores. `INSTANCES_SIDES=64,96` takes other sides, `INSTANCES_REAL=0` leaves the
real volume out, `INSTANCES_LIMIT_S` ends a tool that takes longer (300 s). What fails is a row that says so.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import chunkflow_liver as cf

CONNECTIVITY = 26
VOXEL_NM = (8.0, 8.0, 8.0)
SIDES = tuple(int(side) for side in os.environ.get("INSTANCES_SIDES", "256,512").split(","))
LIMIT_S = float(os.environ.get("INSTANCES_LIMIT_S", "300"))
BLOCK = 256
PEER_BLOCK = 128
REAL = "hela_nuclei_labels/classes_multinuclei.tif"
SLICED = {
    "snemi3d_subset/neurons_gt_z0-24.tif": (30.0, 6.0, 6.0),
    "urocell_labels/mito_instance_fib1-3-2-1.tif": (15.0, 16.0, 16.0),
}
PEERS = {
    "dask-image": ["dask-image>=2026", "zarr>=3", "dask>=2026"],
    "cellmap-analyze": ["cellmap-analyze>=0.6"],
}

OURS = """
import dataclasses, json, sys, tempfile, time
import numpy as np
import scipy.sparse.csgraph, yaozarrs
import chunkflow_liver as cf
from chunkflow_liver.engine.journal import read_rows

def tiny():
    with tempfile.TemporaryDirectory() as folder:
        array = np.random.default_rng(0).integers(0, 2, (48, 48, 288), dtype=np.uint8)
        volume = cf.write_volume(folder + "/tiny.ome.zarr", array, voxel_nm=(8, 8, 8), kind="label")
        cf.run(cf.label(volume, name="tiny", work=folder, block=(32, 32, 64)), progress=False)

def flat(plan):
    stages = [s for s in plan.stages if "/level-" not in s.name]
    for i, stage in enumerate(stages):
        if len(getattr(stage, "outputs", ())) > 1:
            params = {**stage.params, "factor": None}
            stages[i] = dataclasses.replace(stage, outputs=stage.outputs[:1], params=params)
    return dataclasses.replace(plan, stages=tuple(stages))

def main():
    source, work, block, workers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    volume = cf.open_volume(source)
    cut = tuple(min(block, -(-n // 16) * 16) for n in volume.shape)
    plan = cf.label(volume, name="found", work=work, block=cut)
    if sys.argv[5] == "flat":
        plan = flat(plan)
    if not workers:
        tiny()
        start, cpu = time.perf_counter(), time.process_time()
        cf.run(plan, progress=False)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    else:
        with cf.cluster(workers=workers, memory_gib=3) as client:
            client.wait_for_workers(workers)
            client.run(tiny)
            tiny()
            start, cpu = time.perf_counter(), None
            cf.run(plan, client, progress=False)
            seconds = time.perf_counter() - start
    # Workers measure their blocks themselves; in one process the driver's work counts too.
    cpu = sum(row["cpu"] for _, row in read_rows(work)) if cpu is None else cpu
    print(json.dumps({"seconds": seconds, "work_cpu": cpu}))

if __name__ == "__main__":
    main()
"""
CC3D = """
import json, sys, time
import cc3d, numpy as np, zarr
start, begun = time.perf_counter(), time.process_time()
labels = zarr.open_array(sys.argv[1] + "/0", mode="r")[:]
middle = time.process_time()
found = cc3d.connected_components(labels, connectivity=26, out_dtype=np.uint32)
inside = time.process_time() - middle
out = zarr.create_array(sys.argv[2], shape=found.shape, dtype="uint32", chunks=(64,) * 3,
                        shards=(256,) * 3, compressors=zarr.codecs.ZstdCodec(level=1))
out[:] = found
print(json.dumps({"seconds": time.perf_counter() - start, "work_cpu": time.process_time() - begun,
                  "inside_cpu": inside}))
"""
DASK_IMAGE = """
import json, sys, time
import dask, dask.array as da, numpy as np, zarr
from dask_image.ndmeasure import label
start, begun = time.perf_counter(), time.process_time()
side, workers = int(sys.argv[3]), int(sys.argv[4])
source = zarr.open_array(sys.argv[1] + "/0", mode="r")
labels = da.from_array(source, chunks=(side,) * 3)
found, n = label(labels, structure=np.ones((3, 3, 3)))
out = zarr.create_array(sys.argv[2], shape=found.shape, dtype="uint32", chunks=(64,) * 3,
                        compressors=zarr.codecs.ZstdCodec(level=1), config={"write_empty_chunks": True})
with dask.config.set(scheduler="threads", num_workers=workers):
    da.store(found.astype("uint32"), out, lock=False)
print(json.dumps({"seconds": time.perf_counter() - start, "work_cpu": time.process_time() - begun}))
"""
CELLMAP = """
import json, sys, time, logging
from cellmap_analyze.process.connected_components import ConnectedComponents

def main():
    side, workers = int(sys.argv[3]), int(sys.argv[4])
    start, begun = time.perf_counter(), time.process_time()
    ConnectedComponents(input_path=sys.argv[1], output_path=sys.argv[2], intensity_threshold_minimum=1,
                        connectivity=3, num_workers=workers, chunk_shape=(side,) * 3,
                        delete_tmp=False).get_connected_components()
    found = {"seconds": time.perf_counter() - start}
    if workers == 1:
        # With more it starts processes, whose time only the whole tells.
        found["work_cpu"] = time.process_time() - begun
    print(json.dumps(found))

if __name__ == "__main__":
    main()
"""
CLUSTER = """jobqueue:
  local:
    ncpus: 1
    processes: 1
    cores: 1
    log-directory: job-logs
    name: peer
distributed:
  scheduler:
    work-stealing: true
"""


def blobs(side: int, sigma: float, share: float, seed: int) -> np.ndarray[Any, Any]:
    """The highest `share` of smoothed noise: few compact objects, or a net with many crumbs."""
    from scipy import ndimage

    noise = np.random.default_rng(seed).standard_normal((side,) * 3, dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, sigma, output=np.float32)
    return (smooth > np.quantile(smooth[::4, ::4, ::4], 1 - share)).astype(np.uint8)


def cases(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name of each case, and the label image it is about."""
    for side in SIDES:
        for name, sigma, share in (("mito", 6.0, 0.1), ("er", 1.0, 0.15)):
            if name == "er" and side != min(SIDES):
                continue
            path = folder / f"{name}-{side}.ome.zarr"
            array = blobs(side, sigma, share, side)
            cf.write_volume(path, array, voxel_nm=VOXEL_NM, kind="label", classes={name: 1})
            yield f"{name} {side}^3", path
            shutil.rmtree(path)
    real = Path(__file__).resolve().parents[2] / "shared/data" / REAL
    if real.is_file() and os.environ.get("INSTANCES_REAL", "1") != "0":
        path = folder / "hela.ome.zarr"
        plan = cf.convert(real, path, voxel_nm=(50, 10, 10), kind="label")
        cf.run(plan, progress=False)
        yield "hela_nuclei_labels 300x2000x2000", path


def watched(command: list[str], folder: Path, limit_s: float) -> dict[str, Any]:
    """What a command says of itself, its CPU seconds (all processes), and the peak of its memory."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    clean = {k: v for k, v in os.environ.items() if not (k == "PYTHONPATH" and command[0] != sys.executable)}
    environment = {**clean, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "BLOSC_NTHREADS": "1"}
    start = time.perf_counter()
    with (folder / "said").open("w") as said, (folder / "told").open("w") as told:
        child = subprocess.Popen(command, stdout=said, stderr=told, cwd=folder, env=environment)
        peak = 0.0
        while child.poll() is None:
            peak = max(peak, tree_mib(child.pid))
            if time.perf_counter() - start > limit_s:
                for process in [
                    *psutil.Process(child.pid).children(recursive=True),
                    psutil.Process(child.pid),
                ]:
                    process.kill()
            time.sleep(0.1)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(getattr(after, k) - getattr(before, k) for k in ("ru_utime", "ru_stime"))
    lines = [text for text in (folder / "said").read_text().splitlines() if text.startswith("{")]
    errors = (folder / "told").read_text().strip().splitlines()
    answer = (
        json.loads(lines[-1]) if lines and child.returncode == 0 else {"failed": (errors or ["?"])[-1][:200]}
    )
    return {"cpu_seconds": cpu, "peak_mib": peak, **answer}


def tree_mib(pid: int) -> float:
    """Memory of a process and all below it; pages that they share count once."""
    total = 0.0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for process in family:
            total += process.memory_full_info().pss
    except psutil.Error:
        pass
    return total / 2**20


def same_partition(found: Any, truth: np.ndarray[Any, Any]) -> bool:
    """Whether two labellings are one up to the names of ids; `found` is read slab by slab."""
    most = int(truth.max())
    to_found = np.zeros(most + 1, np.int64)
    back: dict[int, int] = {}
    for z in range(0, truth.shape[0], 64):
        ours, theirs = truth[z : z + 64].ravel(), np.asarray(found[z : z + 64]).ravel().astype(np.int64)
        fresh = np.ones(len(ours), bool)
        fresh[1:] = (ours[1:] != ours[:-1]) | (theirs[1:] != theirs[:-1])
        pairs = np.unique(np.stack([ours[fresh].astype(np.int64), theirs[fresh]], 1), axis=0)
        if ((pairs == 0).sum(axis=1) == 1).any():
            return False
        pairs = pairs[pairs[:, 0] > 0]
        known = to_found[pairs[:, 0]]
        if ((known != 0) & (known != pairs[:, 1])).any():
            return False
        to_found[pairs[:, 0]] = pairs[:, 1]
        if len(np.unique(pairs[:, 0])) != len(pairs):
            return False
        for a, b in pairs.tolist():
            if back.setdefault(b, a) != a:
                return False
    return len(back) == most


def tools(source: Path, folder: Path, large: bool) -> Iterator[tuple[str, list[str], str]]:
    """Name, command and resulting array of every tool."""
    uv = shutil.which("uv")
    (folder / "dask-config.yaml").write_text(CLUSTER)
    for name, text in (("ours", OURS), ("cc3d", CC3D), ("dask_image", DASK_IMAGE), ("cellmap", CELLMAP)):
        (folder / f"run_{name}.py").write_text(text)
    ours = [sys.executable, str(folder / "run_ours.py"), str(source)]
    for workers, levels, how in (
        (0, "levels", "in one process"),
        (0, "flat", "in one process, no pyramid"),
        (1, "levels", "1 dask worker"),
        (2, "levels", "2 dask workers"),
    ):
        work = folder / f"work-{workers}-{levels}"
        output = work / "results.ome.zarr/labels/found/0"
        yield f"chunkflow_liver, {how}", [*ours, str(work), str(BLOCK), str(workers), levels], str(output)
    out = str(folder / "cc3d.zarr")
    yield "cc3d, the whole array", [sys.executable, str(folder / "run_cc3d.py"), str(source), out], out
    if uv is None:
        return
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    for tool, script, level in (("dask-image", "dask_image", ""), ("cellmap-analyze", "cellmap", "/s0")):
        wanted = [part for package in PEERS[tool] for part in ("--with", package)]
        start = [uv, "run", "-q", "--no-project", "--python", python, *wanted, "python"]
        for workers in (2,) if large else (1,):
            out = str(folder / f"{script}-{workers}.zarr")
            command = [
                *start,
                str(folder / f"run_{script}.py"),
                str(source),
                out,
                str(PEER_BLOCK),
                str(workers),
            ]
            yield f"{tool}, {workers} worker(s)", command, out + level


def linked(folder: Path, file: str, voxel_nm: tuple[float, float, float]) -> Iterator[dict[str, Any]]:
    """Real instances cut into slices with ids of their own, every seventh slice missing, and linked again."""
    import cc3d
    import tifffile

    path = Path(__file__).resolve().parents[2] / "shared/data" / file
    if not path.is_file():
        return
    truth = tifffile.imread(path).astype(np.uint32)
    truth[3::7] = 0
    rng = np.random.default_rng(0)
    slices = np.zeros_like(truth)
    for z, plane in enumerate(truth):
        parts, n = cc3d.connected_components(plane, connectivity=8, return_N=True)
        slices[z] = np.concatenate([[0], rng.permutation(n) + 1])[parts]
    place = folder / path.stem
    volumes = [
        cf.write_volume(place / f"{name}.ome.zarr", array, voxel_nm=voxel_nm, kind="label")
        for name, array in (("slices", slices), ("truth", truth))
    ]
    plan = cf.link(volumes[0], name="linked", work=place / "work", block=(16, 64, 128))
    start, cpu = time.perf_counter(), time.process_time()
    cf.run(plan, progress=False)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    check = cf.evaluate(plan.output, volumes[1], iou=0.5, name="check", work=place / "work")
    cf.run(check, progress=False)
    score = cf.read_table(check.output).to_pylist()[0]
    yield {
        "name": "instances",
        "tool": "chunkflow_liver, link",
        "case": f"{file.partition('/')[0]}, slices with gaps",
        "voxels": truth.size,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "value": round(score["f1"], 4),
        "unit": f"F1 at IoU 0.5; {score['found']} found, {score['truth']} true",
        "ok": True,
    }


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of the case `instances`."""
    for file, voxel_nm in SLICED.items():
        try:
            yield from linked(folder, file, voxel_nm)
        except Exception as err:  # noqa: BLE001 - the other cases are still worth their rows
            yield failed("chunkflow_liver, link", file, repr(err)[:200])
    for case, source in cases(folder):
        place = folder / "tools"
        place.mkdir()
        try:
            yield from compared(case, source, place)
        except Exception as err:  # noqa: BLE001 - likewise
            yield failed("all tools", case, repr(err)[:200])
        shutil.rmtree(place)


def failed(tool: str, case: str, why: str) -> dict[str, Any]:
    """The row of what could not be measured; a peer that fails is no failure of ours."""
    ok = not (tool.startswith("chunk") or tool == "all tools")
    return {"name": "instances", "tool": tool, "case": case, "unit": f"not measured: {why}", "ok": ok}


def compared(case: str, source: Path, place: Path) -> Iterator[dict[str, Any]]:
    """One row per tool on one volume."""
    import cc3d
    import zarr

    labels = cf.open_volume(source).read()
    truth = cc3d.connected_components(labels, connectivity=CONNECTIVITY, out_dtype=np.uint32)
    voxels = labels.size
    mega = voxels / 1e6
    del labels
    alone = None
    for tool, command, output in tools(source, place, voxels > 512**3):
        found = watched(command, place, LIMIT_S)
        if "failed" in found:
            yield failed(tool, case, found["failed"])
            continue
        try:
            ok = same_partition(zarr.open_array(output, mode="r"), truth)
        except (OSError, ValueError) as err:
            yield failed(tool, case, repr(err)[:200])
            continue
        work = found.get("work_cpu", found["cpu_seconds"])
        rates = {"wall_mvoxel_s": mega / found["seconds"], "imports_and_all": mega / found["cpu_seconds"]}
        if "inside_cpu" in found:
            rates["without_zarr"] = mega / found["inside_cpu"]
        if tool.startswith("chunk") and "1 dask" in tool:
            alone = found["seconds"]
        if tool.startswith("chunk") and "2 dask" in tool and alone:
            rates["times_one_worker"] = alone / found["seconds"]
        yield {
            "name": "instances",
            "tool": tool,
            "case": case,
            "voxels": voxels,
            "seconds": round(found["seconds"], 3),
            "cpu_seconds": round(found["cpu_seconds"], 3),
            "peak_mib": round(found["peak_mib"], 1),
            "value": round(mega / work, 2),
            "unit": "Mvoxel/CPU-s",
            **{k: round(v, 2) for k, v in rates.items()},
            "ok": ok,
        }
