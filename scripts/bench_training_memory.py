"""Memory of a training beside the size of its image: 1e8 and 1e9 voxels of which 20 slices are painted."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bench_memory import LIMIT_MIB, VOXEL_NM, watched
from scipy import ndimage

import chunkflow_liver as cf


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """A training on 20 painted slices of an image, which is ten times as deep in the second row."""
    exe = str(Path(sys.executable).with_name("chunkflow-liver"))
    rng = np.random.default_rng(0)
    truth = ndimage.gaussian_filter(rng.standard_normal((100, 1000, 1000), np.float32), 6) > 0
    grey = (100 + 60 * truth + rng.integers(0, 40, truth.shape)).astype(np.uint8)
    for depth in (100, 1000):
        place = folder / f"{depth}"
        image, labels = (str(place / f"{what}.ome.zarr") for what in ("raw", "painted"))
        for url, part, kind in ((image, grey, "image"), (labels, truth.astype(np.uint8), "label")):
            whole = np.tile(part, (depth // 100, 1, 1))
            cf.write_volume(url, whole, voxel_nm=VOXEL_NM, chunks=(20, 250, 250), kind=kind)
        slices = list(range(0, depth, depth // 20))
        content = {
            "name": "net",
            "work": str(place / "run"),
            "sources": [{"image": image, "labels": labels, "slices": slices}],
            "classes": {"bright": 1},
            "network": {"window": [16, 64, 64], "features": [8, 16, 32]},
            "training": {"steps": 60, "epoch": 30, "precision": "float32"},
            "split": {"folds": 5, "train": [4]},
        }
        config = place / "train.yaml"
        config.write_text(json.dumps(content))
        found = watched([exe, "train", str(config)], LIMIT_MIB)
        voxels = depth * 10**6
        case = f"{depth}x1000x1000, 20 painted slices, 60 steps"
        yield {"name": "training_memory", "tool": "chunkflow_liver", "case": case, "voxels": voxels, **found,
               "value": found["peak_mib"], "unit": "MiB"}  # fmt: skip
