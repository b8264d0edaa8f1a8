"""What error bars of contacts and necks cost: runs without, half a voxel, calibrated, from scores, in turns.

The first turn warms up; of the others the median of CPU seconds counts, and of the ratios to the run without
in the same turn. Without them (`boundary_nm: 0`) nothing beyond the gap is looked at. Before each run as much
memory is touched as any of them takes: where a virtual machine hands free pages back to its host, the first
run that needs a little more than the others before pays for that, up to 5 ms for each 2 MiB.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from bench_contacts import BLOCK
from bench_instances import VOXEL_NM, blobs

import chunkflow_liver as cf

SIDE = 256
TURNS = 12
GAPS_NM = (24.0, 40.0)
TOUCHED_BYTES = 1 << 30
WAYS = {
    "without": cf.Boundary(boundary_nm=0),
    "half a voxel": cf.Boundary(),
    "calibrated, 8 nm": cf.Boundary(boundary_nm=8),
    "scores": cf.Boundary(),
}


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of the case `error_bars`."""
    import cc3d
    from scipy.ndimage import gaussian_filter

    mitos = cc3d.connected_components(blobs(SIDE, 6.0, 0.1, SIDE), connectivity=26, out_dtype=np.uint32)
    er = blobs(SIDE, 2.0, 0.15, SIDE + 1)
    er[mitos > 0] = 0
    a = cf.write_volume(folder / "a.ome.zarr", mitos, voxel_nm=VOXEL_NM, kind="label")
    b = cf.write_volume(folder / "b.ome.zarr", er, voxel_nm=VOXEL_NM, kind="label", classes={"er": 1})
    scores = [
        cf.write_volume(
            folder / f"score-{name}.ome.zarr",
            np.rint(255 * gaussian_filter((mask > 0).astype(np.float32), 1)).astype(np.uint8),
            voxel_nm=VOXEL_NM,
        )
        for name, mask in (("a", mitos), ("b", er))
    ]
    sides: dict[str, Any] = dict(zip(("scores", "partner_scores"), scores, strict=True))

    def contacts(gap: float, way: str) -> Callable[[Path], cf.Plan]:
        given = sides if way == "scores" else {}
        return lambda work: cf.contacts(
            a, b, to=1, boundary=WAYS[way], gap_nm=gap, name="c", work=work, block=(BLOCK,) * 3, **given
        )

    def necks(way: str) -> Callable[[Path], cf.Plan]:
        given: dict[str, Any] = {"scores": scores[0]} if way == "scores" else {}
        return lambda work: cf.narrowing(
            a, boundary=WAYS[way], name="n", work=work, block=(BLOCK,) * 3, **given
        )

    for gap in GAPS_NM:
        ways = {way: contacts(gap, way) for way in WAYS}
        yield from in_turns(f"mito-er {SIDE}^3, gap {gap:g} nm", ways, TURNS, folder / f"gap-{gap:g}")
    ways = {way: necks(way) for way in ("without", "scores")}
    yield from in_turns(f"narrowings of mitochondria, {SIDE}^3", ways, TURNS // 2, folder / "necks")


def in_turns(
    case: str, ways: Mapping[str, Callable[[Path], cf.Plan]], turns: int, folder: Path
) -> Iterator[dict[str, Any]]:
    """Rows of one case; the first of the ways is the one without."""
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(turns):
        for i, (way, planned) in enumerate(ways.items()):
            plan = planned(folder / f"{turn}-{i}")
            np.ones(TOUCHED_BYTES, np.uint8)
            begun = time.process_time()
            cf.run(plan, progress=False)
            spent[way].append(time.process_time() - begun)
    bare = np.array(next(iter(spent.values()))[1:])
    for way, seconds in spent.items():
        ratios = np.array(seconds[1:]) / bare
        yield {
            "name": "error_bars",
            "tool": way,
            "case": case,
            "voxels": SIDE**3,
            "cpu_seconds": round(float(np.median(seconds[1:])), 3),
            "value": round(float(np.median(ratios)), 3),
            "quartiles": [round(float(q), 3) for q in np.percentile(ratios, (25, 75))],
            "unit": "of the run without",
            "ok": bool(np.median(ratios) <= 1.3),
        }
