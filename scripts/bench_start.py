"""What a run costs beside its work: compiling, the start of processes, two workers, time outside of stages.

CPU seconds of all processes together, imports included. Loops lie in folders of their own, so that what is
measured as nothing compiled is that. Python's byte code must lie there, as it does after a first start; where
it cannot be written (`PYTHONDONTWRITEBYTECODE`) every process takes 3 CPU s more, and this measures that.
`TURNS` and `SHAPE=256,512,512` in the environment.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from bench_instances import watched

import chunkflow_liver as cf

TURNS = int(os.environ.get("TURNS", "3"))
SMALL = (128, 128, 128)
LARGE = tuple(int(n) for n in os.environ.get("SHAPE", "256,512,512").split(","))
VOXEL_NM = (16.0, 16.0, 16.0)
LIMIT_S = 1800.0
AHEAD = """
from chunkflow_liver.compiling import compile_loops
compile_loops()
print("{}")
"""
OURS = """
import functools, hashlib, importlib, json, operator, sys, time
from pathlib import Path
import chunkflow_liver as cf

execute, run = (importlib.import_module("chunkflow_liver.engine." + name) for name in ("execute", "run"))

raw, work, block, workers, what = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
inside = 0.0

def counted(function):
    def call(*of, **how):
        global inside
        start = time.process_time()
        try:
            return function(*of, **how)
        finally:
            inside += time.process_time() - start
    return call

def main():
    classes = cf.open_volume(raw + "/labels/truth")
    at = dict(work=work, block=(block,) * 3)
    mitos = cf.label(classes, classes=["mitochondrion"], name="mitos", **at)
    plans = [mitos]
    if what != "label":
        plans += [cf.distance(classes, to="er", cap_nm=200, name="far", **at)]
    if what == "some":
        plans += [cf.measure(mitos.output, features=["basic", "shape"], name="table", **at)]
    if what == "all":
        groups = ["basic", "shape", "firstorder", "glcm", "glrlm", "glszm", "gldm", "ngtdm"]
        plans += [
            cf.contacts(mitos.output, classes, to="er", gap_nm=40, name="touch", **at),
            cf.profiles(mitos.output, classes, to="er", cap_nm=100, name="near", **at),
            cf.measure(mitos.output, raw=cf.open_volume(raw), features=groups, name="table", **at),
        ]
    plan = functools.reduce(operator.add, plans)
    execute._timed, run._run_fold = counted(execute._timed), counted(run._run_fold)
    start = time.process_time()
    if workers:
        with cf.cluster(workers=workers) as client:
            cf.run(plan, client, progress=False)
    else:
        cf.run(plan, progress=False)
    spent = time.process_time() - start
    tables = sorted(Path(work, "tables").glob("*")) if what != "label" else []
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in tables)).hexdigest()
    print(json.dumps({"run": spent, "inside": inside, "tables": digest}))

if __name__ == "__main__":
    main()
"""


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of the case `start`."""
    (folder / "run_ours.py").write_text(OURS)
    images = {}
    for name, shape in (("small", SMALL), ("large", LARGE)):
        plan = cf.phantom(shape=shape, voxel_nm=VOXEL_NM, seed=1, work=folder / name, block=(128,) * 3)
        cf.run(plan, progress=False)
        images[name] = plan.output.url

    def ours(image: str, what: str, workers: int, block: int = 64) -> dict[str, Any]:
        work = folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        command = [sys.executable, str(folder / "run_ours.py"), images[image], str(work)]
        found = watched([*command, str(block), str(workers), what], folder, LIMIT_S)
        if "failed" in found:
            raise RuntimeError(found["failed"])
        return found

    for workers, case in ((2, "2 workers"), (0, "one process")):
        os.environ["NUMBA_CACHE_DIR"] = str(folder / f"loops-{workers}")
        yield row(f"all operations, nothing compiled, {case}", SMALL, [ours("small", "all", workers)])
    os.environ["NUMBA_CACHE_DIR"] = str(folder / "loops")
    ahead = watched([sys.executable, "-c", AHEAD], folder, LIMIT_S)
    if "failed" in ahead:
        raise RuntimeError(ahead["failed"])
    yield row("compile: all loops ahead", SMALL, [ahead])
    for workers, case in ((2, "2 workers"), (0, "one process")):
        turns = [ours("small", "all", workers) for _ in range(TURNS)]
        yield row(f"all operations after it, {case}", SMALL, turns)
    yield row("warm start: labels alone", SMALL, [ours("small", "label", 0) for _ in range(TURNS)])
    ours("large", "some", 0, 128)
    pairs = [(ours("large", "some", 0, 128), ours("large", "some", 2, 128)) for _ in range(TURNS)]
    same = len({one["tables"] for pair in pairs for one in pair}) == 1
    yield row("instances, distances, shapes, one process", LARGE, [one for one, _ in pairs])
    yield row("the same, 2 workers", LARGE, [two for _, two in pairs])
    ratios = sorted(two["cpu_seconds"] / one["cpu_seconds"] for one, two in pairs)
    shares = [100 * (1 - one["inside"] / one["run"]) for one, _ in pairs]
    yield {
        "name": "start",
        "tool": "chunkflow-liver",
        "case": f"2 workers over one process ({ratios[0]:.2f}-{ratios[-1]:.2f})",
        "voxels": volume(LARGE),
        "value": round(median(ratios), 3),
        "unit": "times the CPU",
        "ok": same,
    }
    yield {
        "name": "start",
        "tool": "chunkflow-liver",
        "case": f"outside of stages, one process ({min(shares):.1f}-{max(shares):.1f})",
        "voxels": volume(LARGE),
        "value": round(median(shares), 2),
        "unit": "% of the run",
        "ok": same,
    }


def row(case: str, shape: tuple[int, ...], turns: list[dict[str, Any]]) -> dict[str, Any]:
    """Median of the CPU seconds of some turns."""
    return {
        "name": "start",
        "tool": "chunkflow-liver",
        "case": f"{case}, {'one run' if len(turns) == 1 else f'median of {len(turns)}'}",
        "voxels": volume(shape),
        "cpu_seconds": round(median(turn["cpu_seconds"] for turn in turns), 2),
        "peak_mib": round(max(turn["peak_mib"] for turn in turns), 1),
        "ok": True,
    }


def volume(shape: tuple[int, ...]) -> int:
    """Voxels of a shape."""
    return shape[0] * shape[1] * shape[2]
