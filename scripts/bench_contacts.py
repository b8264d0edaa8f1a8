"""Contacts of 256^3 and 512^3 voxels at gaps of 24, 40 and 100 nm: ours, a KD-tree, cellmap-analyze.

Ours reads two compressed label images in blocks with halo and makes the tables of pairs (areas and gaps of
both sides), objects and sites, and the label image of sites; `first_stage` is the stage that reads both and
does all but the image's final ids, `first_use_seconds` what a few voxels took before (imports, and compiled
loops: from disk, or, the first time, in some 10 s). The job is done three times in one process: the second
fastest counts, `all` has all three. cellmap-analyze makes a label image of its own contact sites: voxels
between the two objects on lines that connect surface voxels, by centre distance; its answer cannot be
compared voxel by voxel. The KD-tree (SciPy, surface voxels in memory) gives what ours must find:
surface voxels of A within the gap of B, where gaps are between boxes of voxels; it is asked at the smallest
gap only.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bench_instances import CLUSTER, VOXEL_NM, blobs, watched

import chunkflow_liver as cf

SIDES = (256, 512)
BLOCK = 256
PEER_BLOCK = 128
GAPS_NM = (24.0, 40.0, 100.0)
PEER_GAPS_NM = (24.0, 40.0)
PEERS = ["cellmap-analyze>=0.6"]

OURS = """
import json, sys, time
import numpy as np
import chunkflow_liver as cf
from chunkflow_liver.engine.journal import read_rows
a, b, work, gap, block = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5])
# A few voxels first: what a run imports, and loops that are compiled once and kept on disk.
begun = time.process_time()
some = np.zeros((9, 9, 9), np.uint32)
some[1, 1, 1], some[4, 4, 4] = 1, 2
few = [cf.write_volume(f"{work}-{n}.ome.zarr", labels, voxel_nm=(8, 8, 8), kind="label")
       for n, labels in enumerate((some, some[::-1].astype(np.uint8)))]
cf.run(cf.contacts(*few, gap_nm=gap, name="few", sites=True, work=f"{work}-few"), progress=False)
first_use = time.process_time() - begun
runs = []
for n in range(3):
    plan = cf.contacts(
        cf.open_volume(a), cf.open_volume(b), to=1, gap_nm=gap, name="c", sites=True,
        work=f"{work}-{n}", block=(block,) * 3,
    )
    start, begun = time.perf_counter(), time.process_time()
    cf.run(plan, progress=False)
    cpu = time.process_time() - begun
    rows = list(read_rows(f"{work}-{n}"))
    levels = sum(row["cpu"] for stage, row in rows if "level" in stage)
    first = sum(row["cpu"] for stage, row in rows if stage == "c/contacts")
    runs.append((cpu, time.perf_counter() - start, levels, first))
cpu, seconds, levels, first = sorted(runs)[1]
table = cf.read_table(plan.output).to_pydict()
print(json.dumps({"seconds": seconds, "work_cpu": cpu, "all_cpu": [run[0] for run in runs],
                  "levels_cpu": levels, "first_cpu": first, "first_use": first_use,
                  "contact_voxels": sum(table["voxels"]), "sites": sum(table["sites"])}))
"""
TREE = """
import json, sys, time
import numpy as np, zarr
from scipy.spatial import cKDTree
a, b = (zarr.open_array(path + "/0", mode="r")[:] for path in sys.argv[1:3])
size, gap = float(sys.argv[3]), float(sys.argv[4])
start, begun = time.perf_counter(), time.process_time()

def surface(labels):
    found = np.zeros(labels.shape, bool)
    for axis in range(3):
        lead = (slice(None),) * axis
        before, after = (*lead, slice(None, -1)), (*lead, slice(1, None))
        differs = labels[before] != labels[after]
        found[before] |= differs
        found[after] |= differs
    return np.argwhere(found & (labels > 0))

# The gap to a voxel is the distance of centres to the nearest of its 27 neighbours.
own, other = surface(a), surface(b)
grown = np.unique(np.concatenate([other + np.array(d) - 1 for d in np.ndindex(3, 3, 3)]), axis=0)
distance, _ = cKDTree(grown * size).query(own * size, distance_upper_bound=gap * (1 + 1e-9) + 1e-9)
print(json.dumps({"seconds": time.perf_counter() - start, "work_cpu": time.process_time() - begun,
                  "contact_voxels": int(np.isfinite(distance).sum())}))
"""
CELLMAP = """
import json, sys, time
from cellmap_analyze.process.contact_sites import ContactSites

def main():
    start, begun = time.perf_counter(), time.process_time()
    sites = ContactSites(sys.argv[1], sys.argv[2], sys.argv[3], contact_distance_nm=float(sys.argv[4]),
                         minimum_volume_nm_3=0, num_workers=1, chunk_shape=(int(sys.argv[5]),) * 3)
    sites.get_contact_sites()
    print(json.dumps({"seconds": time.perf_counter() - start, "work_cpu": time.process_time() - begun}))

if __name__ == "__main__":
    main()
"""


def cases(folder: Path) -> Iterator[tuple[str, Path, Path]]:
    """Name of each case, and its images of instances and of a class beside them."""
    import cc3d

    for side in SIDES:
        a, b = folder / f"mito-{side}.ome.zarr", folder / f"er-{side}.ome.zarr"
        mitos = cc3d.connected_components(blobs(side, 6.0, 0.1, side), connectivity=26, out_dtype=np.uint32)
        er = blobs(side, 2.0, 0.15, side + 1)
        er[mitos > 0] = 0
        cf.write_volume(a, mitos, voxel_nm=VOXEL_NM, kind="label")
        cf.write_volume(b, er, voxel_nm=VOXEL_NM, kind="label", classes={"er": 1})
        yield f"mito-er {side}^3", a, b
        shutil.rmtree(a)
        shutil.rmtree(b)


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of the case `contacts`."""
    uv = shutil.which("uv")
    for text, name in ((OURS, "ours"), (TREE, "tree"), (CELLMAP, "cellmap")):
        (folder / f"run_{name}.py").write_text(text)
    for case, a, b in cases(folder):
        voxels = int(np.prod(cf.open_volume(a).shape))
        for gap in GAPS_NM:
            place = folder / "tools"
            place.mkdir()
            (place / "dask-config.yaml").write_text(CLUSTER)
            pair = [str(a), str(b)]
            ours = [sys.executable, str(folder / "run_ours.py"), *pair, str(place / "work"), str(gap)]
            row = {"name": "contacts", "case": f"{case}, gap {gap:g} nm", "voxels": voxels}
            found = watched([*ours, str(BLOCK)], place, 1800)
            truth = {}
            if gap == GAPS_NM[0] and voxels == SIDES[0] ** 3:
                tree = [sys.executable, str(folder / "run_tree.py"), *pair, str(VOXEL_NM[0]), str(gap)]
                truth = watched(tree, place, 1800)
                yield _row(row | {"tool": "SciPy KD-tree in memory"}, truth, True)
            agrees = truth.get("contact_voxels", found.get("contact_voxels")) == found.get("contact_voxels")
            yield _row(
                row | {"tool": "chunkflow_liver, out of core"}, found, agrees and "failed" not in found
            )
            if uv is not None and gap in PEER_GAPS_NM and voxels == SIDES[0] ** 3:
                python = f"{sys.version_info.major}.{sys.version_info.minor}"
                wanted = [part for package in PEERS for part in ("--with", package)]
                start = [uv, "run", "-q", "--no-project", "--python", python, *wanted, "python"]
                out = [str(place / "cellmap.zarr"), str(gap), str(PEER_BLOCK)]
                said = watched([*start, str(folder / "run_cellmap.py"), *pair, *out], place, 1800)
                yield _row(row | {"tool": "cellmap-analyze, 1 worker"}, said, True)
            shutil.rmtree(place)


def _row(row: dict[str, Any], found: dict[str, Any], ok: bool) -> dict[str, Any]:
    if "failed" in found:
        return row | {"unit": f"not measured: {found['failed']}", "ok": ok}
    mega, work = row["voxels"] / 1e6, found["work_cpu"]
    more = {k: found[k] for k in ("contact_voxels", "sites") if k in found}
    if "levels_cpu" in found:
        more["without_levels"] = round(mega / (work - found["levels_cpu"]), 2)
        more["first_stage"] = round(mega / found["first_cpu"], 2)
        more["all"] = [round(mega / cpu, 2) for cpu in found["all_cpu"]]
        more["first_use_seconds"] = round(found["first_use"], 1)
    return row | {
        "seconds": round(found["seconds"], 3),
        "cpu_seconds": round(found["cpu_seconds"], 3),
        "peak_mib": round(found["peak_mib"], 1),
        "value": round(mega / work, 2),
        "unit": "Mvoxel/CPU-s",
        **more,
        "ok": ok,
    }
