"""Run files of tests, with all that they name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from strategies import components, write

import chunkflow_liver as cf
from chunkflow_liver.config import parse

SHAPE = (10, 12, 9)


def project_in(folder, array):
    """An image, its classes, a truth; and the run file that uses them all."""
    raw = (array.astype(np.uint16) * 100) + 7
    write(folder, raw, "raw")
    write(folder, array, "classes", kind="label", classes=[("er", 1), ("mitochondrion", 2)])
    truth = components(array, 6, [2]).astype(np.uint32)
    write(folder, truth, "truth", kind="label")
    return {
        "input": {"path": "raw.ome.zarr"},
        "work": "work",
        "block": [5, 7, 3],
        "semantic": {"path": "classes.ome.zarr"},
        "label": [{"name": "mitos", "classes": ["mitochondrion"]}],
        "measure": [{"name": "mito-table", "instances": "mitos"}],
        "distance": [{"name": "er-distance", "to": "er", "cap_nm": 30}],
        "contacts": [
            {"name": "mito-er", "instances": "mitos", "to": "er", "gap_nm": 10},
            {"name": "mito-mito", "instances": "mitos", "other": "mitos", "gap_nm": 10},
        ],
        "evaluate": [
            {"name": "check", "found": "mitos", "truth": "truth.ome.zarr", "iou": 0.5},
            {"name": "classes-check", "found": "classes", "truth": "classes.ome.zarr"},
        ],
    }


def planned(folder, content):
    return cf.plan_run(parse(content, Path(folder), "run.yaml"))
