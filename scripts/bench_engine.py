"""Overhead of the engine: empty blocks here and on two workers, beside daisy; the scan of a journal."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from chunkflow_liver.engine.cluster import cluster
from chunkflow_liver.engine.execute import peak_mib, reset_peak
from chunkflow_liver.engine.journal import Journal, read_journal, read_rows
from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.engine.run import run
from chunkflow_liver.engine.stage import Map, Result
from chunkflow_liver.engine.watch.done import batch
from chunkflow_liver.geometry import Block, BlockGrid, Box

BLOCKS = 2000
WORKERS = 2
JOURNAL_ROWS = 100_000
MANY = int(float(os.environ.get("ENGINE_BLOCKS", "1e6")))
SIDE = 16
DAISY = """
import sys, time, json, warnings, resource
warnings.simplefilter("ignore")
import daisy
from importlib.metadata import version
blocks, workers = int(sys.argv[1]), int(sys.argv[2])

def empty(block):
    pass

def main():
    # Both keep track of finished blocks on disk, so that a run can be resumed.
    daisy.set_done_marker_basedir(sys.argv[3])
    roi = daisy.Roi((0, 0, 0), (16 * blocks, 16, 16))
    one = daisy.Roi((0, 0, 0), (16, 16, 16))
    task = daisy.Task("empty", roi, one, one, empty, read_write_conflict=False, max_workers=max(1, workers))
    start = time.perf_counter()
    options = dict(progress=False, summary=False, block_tracking=True)
    done = daisy.run_blockwise(task, multiprocessing=workers > 0, **options)
    seconds = time.perf_counter() - start
    use = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(u.ru_utime + u.ru_stime for u in use)
    peak = max(u.ru_maxrss for u in use) / 1024
    print(json.dumps([seconds, cpu, peak, bool(done), version("daisy")]))

if __name__ == "__main__":
    main()
"""


def empty(block: Block) -> Result:
    """Nothing: what is left is the engine."""
    return Result()


def plan_of(work: Path, blocks: int = BLOCKS) -> Plan:
    """A map over `blocks` blocks without inputs or outputs."""
    grid = BlockGrid(Box.of((SIDE * blocks, SIDE, SIDE)), (SIDE, SIDE, SIDE))
    return Plan((Map("empty", empty, grid),), work, None)


def cpu_now() -> float:
    """CPU seconds of this process and of those below it, the dead ones included."""
    here = psutil.Process()
    times = [here.cpu_times(), *(p.cpu_times() for p in here.children(recursive=True))]
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


def timed(case: str, blocks: int, work: Callable[[], bool]) -> dict[str, Any]:
    """One row: milliseconds per block of `work`, which says whether its answer is right."""
    reset_peak()
    cpu, start = cpu_now(), time.perf_counter()
    ok = work()
    seconds = time.perf_counter() - start
    return {
        "name": "engine",
        "tool": "chunkflow_liver",
        "case": case,
        "voxels": 0,
        "seconds": round(seconds, 4),
        "cpu_seconds": round(cpu_now() - cpu, 4),
        "peak_mib": round(peak_mib(), 1),
        "value": round(1000 * seconds / blocks, 5),
        "unit": "ms/block",
        "ok": ok,
    }


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of the case `engine`."""

    def everything(work: Path, client: Any = None) -> bool:
        run(plan_of(work), client, progress=False)
        return len({row["block"] for _, row in read_rows(work)}) == BLOCKS

    yield timed(f"{BLOCKS} empty blocks, serial", BLOCKS, lambda: everything(folder / "serial"))
    again = f"{BLOCKS} finished blocks, run again"
    yield timed(again, BLOCKS, lambda: everything(folder / "serial"))
    started = {
        "name": "engine",
        "tool": "chunkflow_liver",
        "case": f"start of {WORKERS} dask workers, not part of the next row",
        "unit": "s",
        "ok": True,
    }
    start = time.perf_counter()
    with cluster("local", workers=WORKERS, memory_gib=1) as client:
        client.wait_for_workers(WORKERS)
        yield started | {
            "seconds": round(time.perf_counter() - start, 4),
            "value": time.perf_counter() - start,
        }
        everything(folder / "warm", client)
        case = f"{BLOCKS} empty blocks, {WORKERS} dask workers"
        yield timed(case, BLOCKS, lambda: everything(folder / "dask", client))
    for workers in (0, WORKERS):
        yield daisy(workers, folder)
    yield timed(f"resume scan of {JOURNAL_ROWS} rows", JOURNAL_ROWS, scan(folder / "journal"))
    yield from many(folder / "many")


def many(work: Path) -> Iterator[dict[str, Any]]:
    """What `MANY` blocks cost the process that drives the run: to plan, to do, to look at again."""
    plan = plan_of(work, MANY)

    def planned() -> bool:
        return bool(str(plan)) and len(list(plan.descriptions())) == 1

    def gone_through() -> bool:
        run(plan, progress=False)
        return len(read_journal(work).stage("empty").records) == MANY

    def opened() -> bool:
        with Journal(work) as journal:
            return len(journal.stage("empty").records) == MANY

    yield timed(f"{MANY} blocks planned", MANY, planned)
    yield timed(f"{MANY} empty blocks, serial", MANY, gone_through)
    yield timed(f"{MANY} finished blocks, run again", MANY, gone_through)
    yield timed(f"{MANY} finished blocks, resume scan", MANY, opened)


def scan(work: Path) -> Callable[[], bool]:
    """Opens a journal of `JOURNAL_ROWS` rows, one line per block as in a run of long blocks."""
    row = {"seconds": 31.234567, "cpu": 30.98765, "read": 10**8, "written": 10**8, "peak_mib": 812.5}
    with Journal(work) as journal:
        for i in range(JOURNAL_ROWS):
            journal.append(batch("a/b", f"{i:010d}.npz", [{"block": i, **row}]))

    def opened() -> bool:
        with Journal(work) as journal:
            return len(journal.stage("a/b").records) == JOURNAL_ROWS

    return opened


def daisy(workers: int, folder: Path) -> dict[str, Any]:
    """The same number of empty blocks in daisy 2, in an environment of its own; a row with ok if it ran."""
    how = f"{workers} workers and their start" if workers else "serial"
    row = {"name": "engine", "tool": "daisy", "case": f"{BLOCKS} empty blocks, {how}", "voxels": 0}
    script = folder / "daisy_empty.py"
    script.write_text(DAISY)
    uv = shutil.which("uv")
    if uv is None:
        return row | {"unit": "not measured: no uv to install daisy with", "ok": True}
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = [uv, "run", "--no-project", "--python", python, "--with", "daisy>=2", "python", str(script)]
    child = subprocess.run(
        [*command, str(BLOCKS), str(workers), str(folder / f"daisy-{workers}")],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
        check=False,
    )
    found = re.search(r"^\[.*\]$", child.stdout, re.MULTILINE)
    if found is None:
        said = child.stderr.strip().splitlines()
        return row | {"unit": f"not measured: {said[-1] if said else 'no answer'}", "ok": True}
    seconds, cpu, peak, done, release = json.loads(found.group())
    return row | {
        "tool": f"daisy {release}",
        "seconds": round(seconds, 4),
        "cpu_seconds": round(cpu, 4),
        "peak_mib": round(peak, 1),
        "value": round(1000 * seconds / BLOCKS, 5),
        "unit": "ms/block",
        "ok": done,
    }
