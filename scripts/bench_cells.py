"""Cells and protrusions of slices of 2000 x 6000 pixels with about 30 cells: CPU time of a slice.

The published pipeline (ResUNet, optical flow, tracking by IoU) was measured by hand on such slices, without
its network: 87 s for cells, 20 and 65 s for the two steps of tracking; it is not run here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import chunkflow_liver as cf
from chunkflow_liver.engine.execute import peak_mib, reset_peak
from chunkflow_liver.kernels.labels.overlap import overlap, partition_scores
from chunkflow_liver.kernels.phantom.tissue import Tissue, planes

SLICES = int(os.environ.get("CELLS_SLICES", "8"))
SHAPE = (SLICES, 2000, 6000)
VOXEL_NM = (20.0, 8.0, 8.0)
PUBLISHED = {"cells": 87.0, "protrusions": 20.0 + 65.0}
"""CPU seconds of a slice of the published pipeline, as stated above."""


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """A row for cells in two modes, one for protrusions, and their sum; between two painted slices."""
    _step(folder / "small", (4, 64, 96), "selective", 1)  # loops are compiled
    total = 0.0
    for mode in ("selective", "recursive"):
        result = _step(folder / "large", SHAPE, mode, 4)
        for what, row in result.items():
            seconds = row["cpu_seconds"]
            factor = PUBLISHED[what] / seconds
            yield {
                "name": "cells",
                "tool": "ours",
                "case": f"{what}, {mode}, a slice of 2000 x 6000",
                "voxels": int(np.prod(SHAPE[1:])),
                **row,
                "value": factor,
                "unit": "times less than published",
                "ok": row["ok"] and factor >= 2,
            }
            total += seconds if mode == "selective" else 0.0
    factor = sum(PUBLISHED.values()) / total
    yield {
        "name": "cells",
        "tool": "ours",
        "case": "both, selective, a slice of 2000 x 6000",
        "voxels": int(np.prod(SHAPE[1:])),
        "cpu_seconds": total,
        "value": factor,
        "unit": "times less than published",
        "ok": factor >= 20,
    }


def _given(folder: Path, shape: tuple[int, int, int]) -> tuple[dict[str, Any], Any]:
    """Volumes of tissue, and the truth; made once."""
    tissue = Tissue(
        shape,
        VOXEL_NM,
        1,
        late=0.0,
        cells=30 if shape[1] > 500 else 2,
        protrusions=20 if shape[1] > 500 else 0,
    )
    stack = [np.stack(a) for a in zip(*planes(tissue), strict=True)]
    painted = np.zeros(shape, np.uint16)
    painted[[0, -1]] = stack[3][[0, -1]]
    arrays = {"raw": stack[0], "interior": stack[1], "boundary": stack[2], "painted": painted}
    given = {
        k: cf.write_volume(
            folder / f"{k}.ome.zarr", v, voxel_nm=VOXEL_NM, kind="label" if k == "painted" else "image"
        )
        for k, v in arrays.items()
    }
    return given, stack[3]


_KNOWN: dict[Path, tuple[dict[str, Any], Any]] = {}


def _step(folder: Path, shape: tuple[int, int, int], mode: str, reduce: int) -> dict[str, dict[str, Any]]:
    """What a slice between painted ones takes."""
    if folder not in _KNOWN:
        _KNOWN[folder] = _given(folder, shape)
    given, truth = _KNOWN[folder]
    work = folder / mode
    plan = cf.cells(**given, mode=mode, reduce=reduce, small_um2=1.0, name="cells", work=work)
    whole = cf.protrusions(plan.output, given["interior"], max_area_um2=1.0, gap=1, name="whole", work=work)  # type: ignore[arg-type]
    out = {}
    for what, part in (("cells", plan), ("protrusions", whole)):
        reset_peak()
        begin, cpu = time.perf_counter(), time.process_time()
        cf.run(part, progress=False)
        many = max(1, shape[0] - 2)
        row = {
            "seconds": (time.perf_counter() - begin) / many,
            "cpu_seconds": (time.process_time() - cpu) / many,
            "peak_mib": peak_mib(),
        }
        found = part.output.read()  # type: ignore[union-attr]
        score = partition_scores(overlap(found[1:-1], truth[1:-1]))["ari"].item()
        out[what] = row | {"ari": score, "ok": bool(score > 0.95)}
    return out
