"""What `soak.py` runs again and again: sources, a plan of many kinds of stages, and what it must come to."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

import chunkflow_liver as cf
from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.ops.distance import distance
from chunkflow_liver.ops.label import label
from chunkflow_liver.ops.measure import measure
from chunkflow_liver.ops.profiles import profiles
from chunkflow_liver.ops.stitch import stitch

HIDDEN = {"artefacts", "outdated", "records"}
SHAPE, BLOCK = (32, 64, 64), (16, 16, 16)


def larger(labels: Any, *, voxel_nm: Any) -> Any:
    """Objects of a block, for `stitch`: those of value 1."""
    from scipy.ndimage import label as components

    return components(labels == 1)[0].astype("uint32")


def write_source(folder: Path) -> None:
    """A volume of two classes and one of grey values."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(5)
    smooth = gaussian_filter(rng.standard_normal(SHAPE), 2.0)
    classes = np.digitize(smooth, np.quantile(smooth, [0.72, 0.9])).astype("uint8")
    at: dict[str, Any] = {"voxel_nm": (8, 8, 8), "chunks": BLOCK}
    names = (("mito", 1), ("er", 2))
    cf.write_volume(folder / "classes.ome.zarr", classes, kind="label", classes=names, **at)
    cf.write_volume(folder / "raw.ome.zarr", (smooth * 1000 + 5000).astype("uint16"), **at)


def plan_in(folder: Path, work: Path) -> Plan:
    """Maps, folds, pyramids, artefacts, several stages in one pass, and a user's function."""
    classes, raw = (cf.open_volume(folder / f"{n}.ome.zarr") for n in ("classes", "raw"))
    at: dict[str, Any] = {"work": work, "block": BLOCK}
    mitos = label(classes, classes=["mito"], name="mitos", **at)
    cells = stitch(classes, larger, halo_nm=32.0, name="cells", **at)
    far = distance(classes, to="er", cap_nm=64, name="er-distance", **at)
    plan = mitos + cells + far
    plan += profiles(mitos.output, classes, to="er", cap_nm=64, name="shells", **at)
    return plan + measure(mitos.output, raw=raw, features=["basic", "firstorder"], name="table", **at)


def digest(work: Path) -> dict[str, str]:
    """Of every chunk and table that a run made for people."""
    places = [p for p in chunks_and(work, (".parquet",)) if not HIDDEN & set(p.relative_to(work).parts)]
    return {str(p.relative_to(work)): hashlib.sha256(p.read_bytes()).hexdigest() for p in places}


def chunks_and(work: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Chunks of images, but for the overview (no number comes from it, and `repair` leaves it), and files."""
    files = [p for p in work.rglob("*") if p.is_file() and "/overview-" not in p.as_posix()]
    return sorted(p for p in files if p.suffix in suffixes or "/c/" in p.as_posix())
