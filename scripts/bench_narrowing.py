"""Narrowings of phantoms with known necks, by centre line and by straight axis; branches of UroCell."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import chunkflow_liver as cf

PHANTOMS = (((96, 384, 384), (40.0, 16.0, 16.0)), ((200, 352, 352), (16.0, 16.0, 16.0)))
DATA = Path(__file__).resolve().parents[2] / "shared/data/urocell_labels"
CROPS = ("fib1-0-0-0", "fib1-1-0-3", "fib1-3-2-1")
NEAR_VOXELS = 2


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of all measurements; `folder` is for data."""
    for shape, voxel_nm in PHANTOMS:
        place = folder / f"phantom{int(voxel_nm[0])}"
        cf.run(cf.phantom(shape=shape, voxel_nm=voxel_nm, seed=2026, work=place), progress=False)
        for axis in ("centreline", "major"):
            yield from against_truth(place, shape, voxel_nm, axis)
    if DATA.is_dir():
        yield from branches(folder)


def measured(plan: Any) -> tuple[dict[str, Any], dict[str, Any], float, float]:
    """Tables of narrowings and objects, seconds and CPU seconds."""
    start, cpu = time.perf_counter(), time.process_time()
    cf.run(plan, progress=False)
    spent = time.perf_counter() - start, time.process_time() - cpu
    tables = [cf.read_table(p.handle).to_pydict() for p in plan.products[:2]]
    return tables[0], tables[1], *spent


def against_truth(place: Path, shape: Any, voxel_nm: Any, axis: str) -> Iterator[dict[str, Any]]:
    """Recall and precision, and errors in voxels, of the necks that the volume's end does not cut."""
    raw = place / "raw.ome.zarr"
    mitos, er = (cf.open_volume(raw / "labels" / n, level=0) for n in ("truth-mitos", "truth"))
    plan = cf.narrowing(mitos, er=er, axis=axis, name=f"necks-{axis}", work=place)
    found, objects, seconds, cpu = measured(plan)
    truth = cf.read_table(place / "tables/truth.parquet").to_pydict()
    size, extent = np.array(voxel_nm), np.array(shape) * voxel_nm
    at = np.array([found[f"{a}_nm"] for a in "zyx"]).T.reshape(-1, 3)
    neck = np.array([truth[f"neck_{a}_nm"] for a in "zyx"]).T
    radius = np.array(truth["radius_nm"])[:, None]
    whole = np.isfinite(neck).all(1) & ((neck >= radius) & (neck <= extent - radius)).all(1)
    cut = set(np.array(truth["label"])[np.isfinite(neck).all(1) & ~whole].tolist())
    apart, off = [], []
    for label, place_nm, width in zip(
        np.array(truth["label"])[whole], neck[whole], np.array(truth["neck_width_nm"])[whole], strict=True
    ):
        own = np.flatnonzero(np.array(found["label"]) == label)
        if len(own):
            distance = np.linalg.norm((at[own] - place_nm) / size, axis=1)
            apart.append(distance.min())
            off.append(abs(found["width_nm"][own[distance.argmin()]] - width) / max(voxel_nm))
    hits = int((np.array(apart) <= NEAR_VOXELS).sum())
    counted = sum(label not in cut for label in found["label"])
    what = {"centreline": "centre line", "major": "straight axis"}[axis]
    row = {
        "name": "narrowing",
        "tool": what,
        "voxels": int(np.prod(shape)),
        "seconds": seconds,
        "cpu_seconds": cpu,
    }
    case = f"phantom of {len(objects['label'])}, voxels of {'x'.join(f'{v:g}' for v in voxel_nm)} nm"
    good = axis == "major" or (hits >= 0.95 * whole.sum() and hits >= 0.95 * counted)
    yield row | {
        "case": case,
        "value": hits / int(whole.sum()),
        "unit": f"recall of {int(whole.sum())}",
        "ok": good,
    }
    yield row | {"case": case, "value": hits / max(counted, 1), "unit": f"precision of {counted}", "ok": good}
    for errors, unit in ((apart, "voxels off, 95 %"), (off, "voxels too wide, 95 %")):
        yield row | {"case": case, "value": float(np.percentile(errors, 95)), "unit": unit, "ok": True}


def branches(folder: Path) -> Iterator[dict[str, Any]]:
    """Agreement of 'has a branch point' with the flags of UroCell, for whole and for cut mitochondria."""
    import tifffile

    flags, told, cut, seconds, cpu, narrow = [], [], [], 0.0, 0.0, 0
    for crop in CROPS:
        labels = tifffile.imread(DATA / f"mito_instance_{crop}.tif")
        branched = tifffile.imread(DATA / f"mito_branched_{crop}.tif")
        volume = cf.write_volume(
            folder / f"{crop}.ome.zarr", labels.astype(np.uint16), voxel_nm=(15, 16, 16), kind="label"
        )
        plan = cf.narrowing(volume, name=crop, work=folder / "urocell")
        found, objects, more, most = measured(plan)
        seconds, cpu, narrow = seconds + more, cpu + most, narrow + len(found["label"])
        first = np.unique(labels, return_index=True)
        flag = dict(zip(first[0].tolist(), branched.ravel()[first[1]].tolist(), strict=True))
        flags += [flag[label] == 1 for label in objects["label"]]
        told += [n > 0 for n in objects["branch_points"]]
        cut += objects["touches_border"]
    same, at_end = np.array(flags) == np.array(told), np.array(cut)
    row = {
        "name": "narrowing",
        "tool": "centre line",
        "voxels": 3 * 256**3,
        "seconds": seconds,
        "cpu_seconds": cpu,
    }
    for mask, what in ((~at_end, "whole"), (at_end, "cut")):
        case = f"UroCell, {int(mask.sum())} {what} mitochondria: branched as flagged"
        yield row | {"case": case, "value": float(same[mask].mean()), "unit": "agree", "ok": True}
    yield row | {
        "case": f"UroCell, {len(flags)} mitochondria",
        "value": narrow,
        "unit": "narrowings",
        "ok": True,
    }
