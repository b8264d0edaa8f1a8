"""Networks of known tubes: how right lengths, radii, angles and degrees are, and what 1e9 voxels take.

Tubes between the nodes of a shaken lattice are painted into an OME-Zarr; ours traces them out of core, in
three cuts into blocks, of which all tables must be the same bytes. A tube's branch is right within a voxel of
length and a quarter of a voxel of radius, an angle within 3 degrees. On the whole array in memory
scikit-image's thinning and skan's branches stand beside it: lengths over the truth, and branch points after
the same pruning. `--json` rows give shares of what is right; the last is one object, a tenth of 1e9 voxels.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bench_instances import watched
from scipy.spatial import cKDTree

import chunkflow_liver as cf
from chunkflow_liver.geometry import BlockGrid, Box, Nm, Zyx
from chunkflow_liver.kernels.phantom.tubes import Tubes, lattice, paint_tubes

ENDS = ("", "-nodes", "-angles", "-networks", "-points", "-summary")
CASES: tuple[tuple[str, Zyx, Nm, float, tuple[float, float]], ...] = (
    ("radii of 2 to 4 voxels", (192, 192, 192), (8.0, 8.0, 8.0), 280.0, (16.0, 32.0)),
    ("radii of 3 to 6 voxels", (192, 192, 192), (8.0, 8.0, 8.0), 344.0, (24.0, 48.0)),
    ("radii of 5 to 8 voxels", (192, 192, 192), (8.0, 8.0, 8.0), 480.0, (40.0, 64.0)),
    ("voxels of 10, 8, 8 nm", (160, 192, 192), (10.0, 8.0, 8.0), 360.0, (30.0, 50.0)),
)
LARGE = ("one object of 1e9 voxels", (1000, 1000, 1000), (8.0, 8.0, 8.0), 380.0, (48.0, 60.0))
BLOCKS: tuple[Zyx, ...] = ((256, 256, 256), (64, 128, 128), (96, 96, 64))
LARGE_BLOCKS: tuple[Zyx, ...] = ((256, 256, 256), (192, 256, 336), (128, 336, 256))

OURS = """
import json, sys, time
import chunkflow_liver as cf
source, work, widest = sys.argv[1], sys.argv[2], float(sys.argv[3])
block = tuple(int(n) for n in sys.argv[4:7])
plan = cf.network(cf.open_volume(source), widest_nm=widest, name="n", work=work, block=block)
start, begun = time.perf_counter(), time.process_time()
cf.run(plan, progress=False)
print(json.dumps({"seconds": time.perf_counter() - start, "work_cpu": time.process_time() - begun}))
"""


def stored(folder: Path, tubes: Tubes, shape: Zyx, voxel_nm: Nm) -> tuple[Path, float]:
    """The tubes as an image, and which part of the volume they fill."""
    array = np.zeros(shape, np.uint8)
    for block in BlockGrid(Box.of(shape), (200, 200, 200)):
        array[block.write.slices] = paint_tubes(tubes, block.write, voxel_nm)
    path = folder / "tubes.ome.zarr"
    shutil.rmtree(path, ignore_errors=True)
    cf.write_volume(path, array, voxel_nm=voxel_nm, kind="label", classes={"tube": 1}, chunks=(64, 64, 64))
    return path, float(array.mean())


def largest(tubes: Tubes) -> Tubes:
    """What is connected and has most tubes, alone."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(tubes.nodes_nm)
    joins = coo_array((np.ones(len(tubes.ends)), tuple(tubes.ends.T)), shape=(n, n))
    part = connected_components(joins, directed=False)[1]
    own = part == np.bincount(part).argmax()
    kept = own[tubes.ends[:, 0]]
    return Tubes(tubes.nodes_nm[own], (np.cumsum(own) - 1)[tubes.ends[kept]], tubes.radius_nm[kept])


def compared(tubes: Tubes, work: Path, voxel_nm: Nm) -> dict[str, float]:
    """Shares of nodes, branches and angles that are right, and the largest errors, in voxels and degrees."""
    read = {
        end: {k: np.array(v) for k, v in cf.read_table(work / f"tables/n{end}.parquet").to_pydict().items()}
        for end in ("", "-nodes", "-angles")
    }
    nodes, rows, side = read["-nodes"], read[""], max(voxel_nm)
    place = np.stack([nodes[f"{a}_nm"] for a in "zyx"], 1)
    found = cKDTree(place).query(tubes.nodes_nm)[1]
    of = {tuple(sorted(e)): i for i, e in enumerate(zip(rows["start"] - 1, rows["stop"] - 1, strict=True))}
    at = np.array([of.get(tuple(sorted(e)), -1) for e in found[tubes.ends].tolist()])
    there = at >= 0
    length = (rows["length_nm"][at] - tubes.length_nm)[there] / side
    radius = (rows["radius_mean_nm"][at] - tubes.radius_nm)[there] / side
    ways = {}
    for tube in np.flatnonzero(there):
        for end in (0, 1):
            one, two = tubes.nodes_nm[tubes.ends[tube, [end, 1 - end]]]
            ways[int(found[tubes.ends[tube, end]]) + 1, int(at[tube]) + 1] = (two - one) / np.linalg.norm(
                two - one
            )
    off = [
        degrees - np.degrees(np.arccos(np.clip(ways[n, a] @ ways[n, b], -1, 1)))
        for n, a, b, degrees in zip(
            *(read["-angles"][k].tolist() for k in ("node", "branch", "other", "angle_deg")), strict=True
        )
        if (n, a) in ways and (n, b) in ways
    ]
    return {
        "nodes": len(found),
        "degree_right": float((nodes["degree"][found] == tubes.degree).mean()),
        "branches_found": float(there.mean()),
        "branches_too_many": int(len(rows["branch"]) - there.sum()),
        "length_within_1_voxel": float((np.abs(length) <= 1).mean()),
        "length_rms_voxels": float(np.sqrt((length**2).mean())),
        "radius_within_quarter_voxel": float((np.abs(radius) <= 0.25).mean()),
        "radius_bias_voxels": float(radius.mean()),
        "angle_within_3_degrees": float((np.abs(off) <= 3).mean()),
        "angle_rms_degrees": float(np.sqrt(np.mean(np.square(off)))),
        "length_over_truth": float(rows["length_nm"].sum() / tubes.length_nm.sum()),
        "branch_points": int((nodes["degree"] > 2).sum()),
        "true_branch_points": int((tubes.degree > 2).sum()),
    }


def digest(work: Path) -> str:
    """Of the bytes of all tables."""
    return hashlib.sha256(b"".join((work / f"tables/n{e}.parquet").read_bytes() for e in ENDS)).hexdigest()[
        :16
    ]


def bench(folder: Path, only: str = "") -> Iterator[dict[str, Any]]:
    """Rows of the case `network`."""
    (folder / "ours.py").write_text(OURS)
    for name, shape, voxel_nm, spacing, radii in (*CASES, LARGE):
        if only and only != name:
            continue
        tubes = lattice(shape, voxel_nm, spacing_nm=spacing, radii_nm=radii, seed=1)
        tubes = largest(tubes) if name == LARGE[0] else tubes
        source, filled = stored(folder, tubes, shape, voxel_nm)
        first = ""
        for block in LARGE_BLOCKS if name == LARGE[0] else BLOCKS:
            work = folder / "work"
            shutil.rmtree(work, ignore_errors=True)
            command = [sys.executable, str(folder / "ours.py"), str(source), str(work), str(2.6 * radii[1])]
            found = watched([*command, *map(str, block)], folder, 7200)
            row = _row("chunkflow_liver", f"{name}, blocks of {block}", shape, found)
            if "failed" not in found:
                row |= {k: round(v, 4) for k, v in compared(tubes, work, voxel_nm).items()}
                row |= {"filled": round(filled, 4), "tables": digest(work)}
                first = first or row["tables"]
                row["ok"] = row["tables"] == first
            yield row
        if name == LARGE[0]:
            # The whole array and its distances would take 5 GB and more.
            continue
        skan = Path(__file__).with_name("skan_network.py")
        found = watched([sys.executable, str(skan), str(source), *map(str, voxel_nm)], folder, 3600)
        row = _row("scikit-image and skan in memory", name, shape, found)
        if "failed" not in found:
            row |= {"length_over_truth": round(found["length"] / tubes.length_nm.sum(), 4)}
            row |= {"smooth_over_truth": round(found["smooth"] / tubes.length_nm.sum(), 4)}
            row |= {"branch_points": found["points"], "true_branch_points": int((tubes.degree > 2).sum())}
        yield row


def _row(tool: str, case: str, shape: Zyx, found: dict[str, Any]) -> dict[str, Any]:
    row = {"name": "network", "tool": tool, "case": case, "voxels": int(np.prod(shape))}
    if "failed" in found:
        return row | {"unit": f"not measured: {found['failed']}", "ok": False}
    return row | {
        "seconds": round(found["seconds"], 1),
        "cpu_seconds": round(found["cpu_seconds"], 1),
        "peak_mib": round(found["peak_mib"], 1),
        "value": round(row["voxels"] / 1e6 / found["work_cpu"], 2),
        "unit": "Mvoxel/CPU-s",
        "ok": True,
    }
