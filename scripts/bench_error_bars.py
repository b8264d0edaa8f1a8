"""What error bars of contacts cost: runs without, with half a voxel, calibrated, from scores, in turns.

The first turn warms up; of the others the median of CPU seconds counts, and of the ratios to the run without
in the same turn. Without them (`boundary_nm: 0`) nothing beyond the gap is looked at.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bench_contacts import BLOCK
from bench_instances import VOXEL_NM, blobs

import chunkflow_liver as cf

SIDE = 256
TURNS = 12
GAPS_NM = (24.0, 40.0)
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
    for gap in GAPS_NM:
        spent: dict[str, list[float]] = {way: [] for way in WAYS}
        for turn in range(TURNS):
            for i, (way, boundary) in enumerate(WAYS.items()):
                work = folder / f"work-{gap:g}-{turn}-{i}"
                at: dict[str, Any] = {"gap_nm": gap, "name": "c", "work": work, "block": (BLOCK,) * 3}
                at |= dict(zip(("scores", "partner_scores"), scores, strict=True)) if way == "scores" else {}
                plan = cf.contacts(a, b, to=1, boundary=boundary, **at)
                begun = time.process_time()
                cf.run(plan, progress=False)
                spent[way].append(time.process_time() - begun)
        bare = np.array(spent["without"][1:])
        for way, seconds in spent.items():
            ratio = float(np.median(np.array(seconds[1:]) / bare))
            yield {
                "name": "error_bars",
                "tool": way,
                "case": f"mito-er {SIDE}^3, gap {gap:g} nm",
                "voxels": SIDE**3,
                "cpu_seconds": round(float(np.median(seconds[1:])), 3),
                "value": round(ratio, 3),
                "unit": "of the run without",
                "ok": ratio <= 1.3,
            }
