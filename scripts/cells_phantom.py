"""Cells and protrusions of phantom tissue, one slice in 50 painted, against its truth.

`uv run scripts/cells_phantom.py [--every 50] [--modes mask ...] [--json FILE]` prints, per mode, how
well all slices between painted ones agree (slices without an image left out), and of the pieces of
protrusions that a slice shows apart from their cell, how many were joined to the right one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

import chunkflow_liver as cf
from chunkflow_liver.kernels.labels.overlap import overlap, partition_scores
from chunkflow_liver.kernels.phantom.tissue import Tissue, planes
from chunkflow_liver.kernels.tissue.planes import MODES, Cutting

VOXEL_NM = (25.0, 8.0, 8.0)
LOST = (30, 31)
LEAST = 12
"""Pixels of a piece that counts."""


def pieces(
    stack: list[np.ndarray[Any, Any]], cells: Any, whole: Any, slices: np.ndarray[Any, Any]
) -> dict[str, float]:
    """Precision and recall of pieces of protrusions that are in no cell before they are joined."""
    _, interior, _, _, thread = stack
    right = wrong = lost = 0
    for z in slices:
        parts, many = ndimage.label((thread[z] > 0) & (interior[z] > 0) & (cells[z] == 0), np.ones((3, 3)))
        for i in range(1, many + 1):
            own = parts == i
            if own.sum() < LEAST:
                continue
            got, true = (int(np.bincount(a[z][own]).argmax()) for a in (whole, thread))
            right, wrong, lost = right + (got == true), wrong + (got not in (0, true)), lost + (got == 0)
    return {
        "pieces": right + wrong + lost,
        "precision": right / max(1, right + wrong),
        "recall": right / max(1, right + wrong + lost),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=list(MODES))
    parser.add_argument("--shape", nargs=3, type=int, default=(101, 288, 384))
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    shape = tuple(options.shape)
    tissue = Tissue(
        shape, VOXEL_NM, options.seed, cells=10, protrusions=16, gaps=0.5, drift=2.0, late=0.15, missing=LOST
    )  # type: ignore[arg-type]
    stack = [np.stack(a) for a in zip(*planes(tissue), strict=True)]
    truth = stack[3]
    used = list(range(0, len(truth), options.every))
    rest = np.setdiff1d(np.arange(len(truth)), [*used, *LOST])
    painted = np.zeros(truth.shape, np.uint16)
    painted[used] = truth[used]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        arrays = {"raw": stack[0], "interior": stack[1], "boundary": stack[2], "painted": painted}
        given: dict[str, Any] = {
            k: cf.write_volume(
                work / f"{k}.ome.zarr", v, voxel_nm=VOXEL_NM, kind="label" if k == "painted" else "image"
            )
            for k, v in arrays.items()
        }
        for mode in options.modes:
            without = {"boundary": not Cutting(mode=mode).walls, "raw": not Cutting(mode=mode).moves}
            maps = {k: v for k, v in given.items() if not without.get(k)}
            cells = cf.cells(**maps, mode=mode, small_um2=0.05, name=mode, work=work / "work")
            whole = cf.protrusions(
                cells.output,  # type: ignore[arg-type]
                given["interior"],
                max_area_um2=0.05,
                min_area_um2=4 * 0.008**2,
                window_nm=60.0,
                gap=2,
                name=f"{mode}-whole",
                work=work / "work",
            )
            begin = time.process_time()
            cf.run(cells + whole, progress=False)
            seconds = (time.process_time() - begin) / len(truth)
            before, after = cells.output.read(), whole.output.read()  # type: ignore[union-attr]
            score = {k: v.item() for k, v in partition_scores(overlap(after[rest], truth[rest])).items()}
            rows.append({"mode": mode, **score, **pieces(stack, before, after, rest), "cpu_seconds": seconds})
            print(
                " ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in rows[-1].items())
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
