"""One read for all: distances, contacts, profiles and basics of 512^3 voxels, in one pass and one by one.

What is asked is how much is read from storage: bytes that the process asked the operating system for, the
tables and records included (Linux counts them). On a fast local disk the time is nearly the same; where a
volume lies on a network or in an object store, what is read is what is waited for.
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

SIDE = 512
BLOCK = 128
OURS = """
import functools, hashlib, json, operator, sys, time
from pathlib import Path
import chunkflow_liver as cf
a, er = (cf.open_volume(path) for path in sys.argv[1:3])
at = dict(work=sys.argv[3], block=(int(sys.argv[4]),) * 3)
plans = [cf.distance(er, to="er", cap_nm=200, name="far", **at),
         cf.contacts(a, er, to="er", gap_nm=40, name="touch", **at),
         cf.profiles(a, er, to="er", cap_nm=100, name="near", **at),
         cf.measure(a, name="basics", **at)]
whole = sys.argv[5] == "together"

def asked():
    return int(Path("/proc/self/io").read_text().split()[1])

before, start, cpu = asked(), time.perf_counter(), time.process_time()
for plan in [functools.reduce(operator.add, plans)] if whole else plans:
    cf.run(plan, progress=False)
found = {"seconds": time.perf_counter() - start, "work_cpu": time.process_time() - cpu,
         "read": asked() - before}
tables = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(at["work"], "tables").iterdir())))
print(json.dumps(found | {"tables": tables.hexdigest()}))
"""


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of the case `passes`."""
    import cc3d

    a, b = folder / "mito.ome.zarr", folder / "er.ome.zarr"
    mitos = cc3d.connected_components(blobs(SIDE, 6.0, 0.1, SIDE), connectivity=26, out_dtype=np.uint32)
    er = blobs(SIDE, 2.0, 0.15, SIDE + 1)
    er[mitos > 0] = 0
    cf.write_volume(a, mitos, voxel_nm=VOXEL_NM, kind="label")
    cf.write_volume(b, er, voxel_nm=VOXEL_NM, kind="label", classes={"er": 1})
    (folder / "run_ours.py").write_text(OURS)
    answers = set()
    for how in ("one by one", "together", "together"):
        place = folder / "tools"
        place.mkdir()
        command = [sys.executable, str(folder / "run_ours.py"), str(a), str(b), str(place / "work")]
        found = watched([*command, str(BLOCK), how], place, 1800)
        shutil.rmtree(place)
        row = {"name": "passes", "tool": "chunkflow_liver", "case": f"four operations, {how}"}
        if "failed" in found:
            yield row | {"unit": f"not measured: {found['failed']}", "ok": False}
            continue
        answers.add(found["tables"])
        yield row | {
            "voxels": SIDE**3,
            "seconds": round(found["seconds"], 2),
            "cpu_seconds": round(found["work_cpu"], 2),
            "peak_mib": round(found["peak_mib"], 1),
            "value": round(found["read"] / 2**20, 1),
            "unit": "MiB read",
            "ok": len(answers) == 1,
        }
