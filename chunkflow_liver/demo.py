"""The demonstration: the main job, and objects carried from prompts, on phantoms whose truth is known."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.config import parse
from chunkflow_liver.engine.cluster import cluster
from chunkflow_liver.engine.run import run
from chunkflow_liver.kernels.phantom.bundle import Bundle, render_bundle
from chunkflow_liver.ops.phantom import phantom
from chunkflow_liver.pipeline import plan_run
from chunkflow_liver.reports import report
from chunkflow_liver.store.create import write_volume
from chunkflow_liver.store.prompts import Prompt, write_prompts
from chunkflow_liver.store.table import Table, read_table

log = logging.getLogger(__name__)

MODEL = Path(__file__).parent / "models" / "phantom"
SHAPE = (96, 384, 384)
VOXEL_NM = (40.0, 16.0, 16.0)
SEED = 2026

SAM2 = Path(__file__).parent / "models" / "phantom_sam2"
BUNDLE = Bundle((64, 352, 352), (80.0, 20.0, 20.0), SEED, missing=(23,), shifted=((41, 9, -7),))
MARKED = 12
"""Slice on which objects are marked, before the vessel branches."""


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


def bundle_prompts(truth: Any, objects: Mapping[str, int], z: int) -> list[Prompt]:
    """A box on slice `z` around every object, as a person would draw it.

    Parameters
    ----------
    truth : ndarray of shape (Z, Y, X), uint8
        Of `BUNDLE`.
    objects : mapping of str to int
        Names, and numbers in the truth.
    z : int
    """
    dz, dy, dx = BUNDLE.voxel_nm
    found = []
    for name, number in objects.items():
        rows, columns = np.nonzero(truth[z] == number)
        y0, x0 = float(rows.min() * dy), float(columns.min() * dx)
        y1, x1 = float((rows.max() + 1) * dy), float((columns.max() + 1) * dx)
        found.append(Prompt(name, (z + 0.5) * dz, box_nm=(y0, x0, y1, x1)))
    return found


def carrying_run_file(folder: Path) -> dict[str, Any]:
    """The run file that carries three cells and a vessel through the bundle, as a mapping."""
    raw = folder / "bundle.ome.zarr"
    return {
        "input": {"path": str(raw), "level": 0},
        "work": str(folder),
        "propagate": [
            {
                "name": "carried",
                "model": str(SAM2),
                "prompts": str(folder / "prompts.tsv"),
                "truth": str(raw / "labels" / "truth"),
                "group": 2,
            }
        ],
        "measure": [{"name": "carried-table", "instances": "carried"}],
    }


def run_carrying(to: Path, *, workers: int = 2) -> str:
    """Make a bundle of cells and a vessel, carry four of them from a box each, and return the scores as text.

    Parameters
    ----------
    to : path
        Folder for the bundle, results and report; an earlier run there is gone on with.
    workers : int
        Worker processes.

    Raises
    ------
    SegmenterError
        If transformers is not installed.
    """
    start = time.monotonic()
    folder = Path(to).absolute()
    raw, truth = render_bundle(BUNDLE)
    if not (folder / "prompts.tsv").exists():
        at: dict[str, Any] = {"voxel_nm": BUNDLE.voxel_nm, "chunks": (16, 176, 176)}
        image = write_volume(folder / "bundle.ome.zarr", raw, **at)
        write_volume(f"{image.url}/labels/truth", truth, kind="label", **at)
        objects = {"cell 1": 1, "cell 2": 2, "cell 3": 3, "vessel": BUNDLE.vessel}
        write_prompts(bundle_prompts(truth, objects, MARKED), folder / "prompts.tsv")
    with cluster(workers=workers) as client:
        plan = plan_run(parse(carrying_run_file(folder), folder, "the demonstration"))
        log.info("plan:\n%s", plan)
        run(plan, client)
    page = report(plan)
    rows = read_table(Table(str(folder / "tables" / "carried-truth.parquet"))).to_pandas()
    lines = [f"Dice of {name}: {own.dice.mean():.3f}" for name, own in rows.groupby("object")]
    lines.append(f"Mean Dice over all objects and slices: {rows.dice.mean():.3f}")
    lines.append(f"Objects that lie in another one on some slice: {rows[rows.switched].object.nunique()}")
    lines.append(f"Report: {page}")
    lines.append(f"Finished in {time.monotonic() - start:.0f} s with {workers} workers")
    return "\n".join(lines)
