"""A small project whose instances and table a test damages and has made again."""

from __future__ import annotations

from pathlib import Path

import chunkflow_liver as cf

MADE = ("results.ome.zarr", "tables")


def plan_in(folder: Path, work: str) -> cf.Plan:
    labels = cf.open_volume(folder / "semantic.ome.zarr")
    at = {"work": folder / work, "block": (8, 16, 16)}
    mitos = cf.label(labels, classes=["mitochondrion"], min_volume_um3=1e-6, name="mitos", **at)
    return mitos + cf.measure(mitos.output, name="table", **at)
