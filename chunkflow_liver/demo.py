"""The demonstration: the main job on a phantom whose truth is known."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from chunkflow_liver.config import parse
from chunkflow_liver.engine.cluster import cluster
from chunkflow_liver.engine.run import run
from chunkflow_liver.ops.phantom import phantom
from chunkflow_liver.pipeline import plan_run
from chunkflow_liver.reports import report
from chunkflow_liver.store.table import Table, read_table

log = logging.getLogger(__name__)

MODEL = Path(__file__).parent / "models" / "phantom"
SHAPE = (96, 384, 384)
VOXEL_NM = (40.0, 16.0, 16.0)
SEED = 2026


def demo_run_file(folder: Path) -> dict[str, Any]:
    """The run file of the demonstration, as a mapping; `folder` holds the phantom."""
    raw = folder / "phantom" / "raw.ome.zarr"
    return {
        "input": {"path": str(raw), "level": 0},
        "work": str(folder),
        "block": [32, 192, 192],
        "segment": {
            "name": "organelles",
            "model": str(MODEL),
            "mirroring": False,
            "batch": 4,
            "block": [48, 384, 384],
        },
        "label": [{"name": "mitos", "classes": ["mitochondrion"], "min_volume_um3": 0.005}],
        "distance": [{"name": "er-distance", "to": "er", "cap_nm": 300}],
        "contacts": [{"name": "mito-er", "instances": "mitos", "to": "er", "gap_nm": 30}],
        "narrowing": [{"name": "mito-necks", "instances": "mitos", "to": "er", "gap_nm": 30}],
        "measure": [{"name": "mito-table", "instances": "mitos"}],
        "evaluate": [
            {"name": "classes-against-truth", "found": "organelles", "truth": str(raw / "labels" / "truth")},
            {
                "name": "mitos-against-truth",
                "found": "mitos",
                "truth": str(raw / "labels" / "truth-mitos"),
                "iou": 0.5,
            },
        ],
    }


def run_demo(to: Path, *, workers: int = 2) -> str:
    """Make the phantom, run everything on it, and return the scores as text.

    Parameters
    ----------
    to : path
        Folder for phantom, results and report; an earlier demonstration there is gone on with.
    workers : int
        Worker processes.
    """
    start = time.monotonic()
    folder = Path(to).absolute()
    with cluster(workers=workers) as client:
        run(
            phantom(shape=SHAPE, voxel_nm=VOXEL_NM, seed=SEED, work=folder / "phantom", block=(32, 192, 192)),
            client,
        )
        plan = plan_run(parse(demo_run_file(folder), folder, "the demonstration"))
        log.info("plan:\n%s", plan)
        run(plan, client)
    page = report(plan)
    tables = folder / "tables"
    classes = read_table(Table(str(tables / "classes-against-truth.parquet"))).to_pylist()
    mitos = read_table(Table(str(tables / "mitos-against-truth.parquet"))).to_pylist()[0]
    lines = [f"Dice of {row['class']}: {row['dice']:.3f}" for row in classes]
    lines.append(
        f"Mitochondria found as instances at IoU 0.5: F1 {mitos['f1']:.3f} "
        f"({mitos['matched']} of {mitos['truth']} matched, {mitos['found']} found)"
    )
    lines.append(f"Report: {page}")
    lines.append(f"Finished in {time.monotonic() - start:.0f} s with {workers} workers")
    return "\n".join(lines)
