"""What it costs that a run cannot lose data: the same operations with all of it, and with parts switched off.

Classes of a phantom become instances, distances, contacts and tables, in turns with everything on and with
single parts off: checksums of chunks, of the voxels of blocks, of artefacts and records, the journal forced
onto the disk, marks of what each process is at, code and inputs in the fingerprint. CPU time is compared, as
the machine may be busy with other work. `SIDE=1000` in the environment is the gigavoxel.
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

SIDE = int(os.environ.get("SIDE", "256"))
BLOCK = int(os.environ.get("BLOCK", "128"))
TURNS = int(os.environ.get("TURNS", "3"))
ONLY = os.environ.get("PARTS", "").split(",")
LIMIT_S = 7200.0
VOXEL_NM = (16.0, 16.0, 16.0)
PARTS = (
    "nothing",
    "chunk checksums",
    "block checksums",
    "artefact and record checksums",
    "journal on disk",
    "marks",
    "fingerprints",
    "all",
)
"""What is switched off; `PARTS=nothing,all` in the environment takes those only."""
OURS = """
import functools, json, operator, sys, time
import chunkflow_liver as cf
from chunkflow_liver.engine import execute, journal, stage
from chunkflow_liver.engine.code import of_stage
from chunkflow_liver.engine.watch import marks
from chunkflow_liver.store import shards, table, volume
from chunkflow_liver.store.scratch import sealed

off = sys.argv[4]
def is_off(part):
    return off in (part, "all")
if is_off("chunk checksums"):
    plain = shards.Zstd
    shards.Zstd = lambda **how: plain(**how | {"checksum": False})
if is_off("block checksums"):
    execute.content_sum = lambda *of: 0
if is_off("artefact and record checksums"):
    table._checksum = lambda path: "0"
    sealed.zlib = type("zlib", (), {**vars(sealed.zlib), "crc32": staticmethod(lambda part, crc=0: 0)})
if is_off("journal on disk"):
    journal.os = type("os", (), {**vars(journal.os), "fsync": staticmethod(lambda file: None)})
if is_off("marks"):
    marks.Marker._write = lambda self: None
if is_off("fingerprints"):
    stage.code_of = lambda of: {}
    execute.check_code = lambda *of: None
    volume.identity_of = lambda of: of.name
source, work, block = cf.open_volume(sys.argv[1]), sys.argv[2], (int(sys.argv[3]),) * 3
at = dict(work=work, block=block)
mitos = cf.label(source, classes=["mitochondrion"], name="mitos", **at)
plan = functools.reduce(operator.add, [
    mitos,
    cf.distance(source, to="er", cap_nm=200, name="far", **at),
    cf.contacts(mitos.output, source, to="er", gap_nm=40, name="touch", **at),
    cf.measure(mitos.output, features=["basic", "shape"], name="basics", **at),
])
start, cpu = time.perf_counter(), time.process_time()
cf.run(plan, progress=False)
print(json.dumps({"seconds": time.perf_counter() - start, "work_cpu": time.process_time() - cpu}))
"""


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of the case `reliability`."""
    shape = (SIDE, SIDE, SIDE)
    plan = cf.phantom(shape=shape, voxel_nm=VOXEL_NM, seed=1, work=folder / "phantom", block=(BLOCK,) * 3)
    cf.run(plan, progress=False)
    truth = f"{plan.output.url}/labels/truth"
    (folder / "run_ours.py").write_text(OURS)
    parts = [part for part in PARTS if ONLY == [""] or part in ONLY]
    spent: dict[str, list[float]] = {part: [] for part in parts}
    # The first run compiles loops, and fills the page cache.
    for turn in range(-1, TURNS):
        for part in parts if turn >= 0 else parts[:1]:
            work = folder / "work"
            shutil.rmtree(work, ignore_errors=True)
            command = [sys.executable, str(folder / "run_ours.py"), truth, str(work), str(BLOCK), part]
            found = watched(command, folder, LIMIT_S)
            if "failed" in found:
                raise RuntimeError(found["failed"])
            if turn >= 0:
                spent[part].append(found["work_cpu"])
    whole = median(spent["nothing"])
    for part in parts:
        cpu = median(spent[part])
        yield {
            "name": "reliability",
            "tool": "chunkflow-liver",
            "case": f"without {part}, median of {TURNS}",
            "voxels": SIDE**3,
            "cpu_seconds": cpu,
            "value": 100 * (whole - cpu) / whole,
            "unit": "% of the run",
            "ok": True,
        }
