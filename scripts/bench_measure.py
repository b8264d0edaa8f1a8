"""The instance table beside PyRadiomics, nyxus, cellmap-analyze, scikit-image and cc3d on one label array."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import chunkflow_liver as cf

# A cube of the phantom that holds 37,920 mitochondria in 1000^3 voxels, with as many as find room.
SIDE = 256
VOXEL_NM = (37.5, 37.5, 37.5)
SCALE = 3.0
REAL = Path(__file__).parents[2] / "shared/data/urocell_labels/mito_instance_fib1-3-2-1.tif"
REAL_NM = (15.0, 16.0, 16.0)
CHUNK = 128
CASES = (
    ("basics", "chunkflow_liver", ""),
    ("basics", "kernel", ""),
    ("basics", "cc3d", ""),
    ("basics", "skimage", ""),
    ("basics", "cellmap-analyze", "cellmap-analyze"),
    ("shape", "chunkflow_liver", ""),
    ("shape", "kernel", ""),
    ("shape", "pyradiomics", ""),
    ("shape", "nyxus", "nyxus"),
    ("all", "chunkflow_liver", ""),
    ("all", "pyradiomics", ""),
    ("all", "nyxus", "nyxus"),
)
# With so many objects what a run costs by itself no longer counts; the peers' rates do not depend on it.
MANY = tuple(case for case in CASES if case[1] in ("chunkflow_liver", "kernel") and case[0] != "all")
SHORT, TIMES = 2.0, 5
PEERS = Path(__file__).with_name("measure_peers.py")


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of the case `measure`: instances per second of CPU, and whether the numbers agree.

    `kernel` and PyRadiomics work on arrays in memory, `chunkflow_liver` from OME-Zarr to Parquet.
    """
    sets = (
        ("phantom", phantom, CASES),
        ("many", many, MANY),
        ("urocell", real, CASES),
        ("large", large, CASES),
    )
    for name, make, cases in sets:
        at = folder / name
        at.mkdir()
        if not make(at):
            yield {
                "name": "measure",
                "tool": "all",
                "case": name,
                "unit": "not measured: no data",
                "ok": True,
            }
            continue
        labels = np.load(at / "labels.npy", mmap_mode="r")
        objects = len(np.unique(labels)) - 1
        for what, tool, package in cases:
            case = f"{what} of {objects} {name} objects"
            row = {"name": "measure", "tool": tool, "case": case, "voxels": labels.size}
            yield row | measured(at, tool, what, package, objects)


def many(at: Path) -> bool:
    """The same in eight times the volume."""
    return phantom(at, 2 * SIDE)


def phantom(at: Path, side: int = SIDE) -> bool:
    """Mitochondria of about 2,000 voxels in 7 % of the volume."""
    plan = cf.phantom(shape=(side,) * 3, voxel_nm=VOXEL_NM, scale=SCALE, work=at / "made", block=(CHUNK,) * 3)
    cf.run(plan, progress=False)
    raw = plan.output
    labels = cf.open_volume(at / "made/raw.ome.zarr/labels/truth-mitos", level=0)
    return written(at, labels.read(), raw.read(), VOXEL_NM)


def real(at: Path) -> bool:
    """74 mitochondria of a hepatocyte-like cell, 2,000 to 50,000 voxels each; the image is made up."""
    if not REAL.exists():
        return False
    import tifffile

    labels = tifffile.imread(REAL)
    z, y, x = np.indices(labels.shape, sparse=True)
    noise = np.random.default_rng(0).normal(0, 12, labels.shape)
    raw = 120 + 0.2 * z + 20 * np.sin(y / 5) * np.cos(x / 7) + noise
    return written(at, labels, raw.clip(0, 255).astype(np.uint8), REAL_NM)


def large(at: Path) -> bool:
    """8 bodies of about 400,000 voxels with uneven surfaces, like nuclei."""
    z, y, x = np.indices((SIDE,) * 3, dtype=np.float32, sparse=True)
    labels = np.zeros((SIDE,) * 3, np.uint16)
    for i in range(8):
        c = [SIDE / 4 + SIDE / 2 * (i >> axis & 1) for axis in range(3)]
        uneven = 0.06 * np.sin(z / 4 + i) + 0.06 * np.sin(y / 5) + 0.06 * np.sin(x / 6)
        apart = ((z - c[0]) / 0.18) ** 2 + ((y - c[1]) / (0.14 + 0.005 * i)) ** 2 + ((x - c[2]) / 0.19) ** 2
        labels[np.sqrt(apart) / SIDE + uneven < 1] = i + 1
    raw = np.random.default_rng(0).integers(60, 200, labels.shape, np.uint8)
    return written(at, labels, raw, VOXEL_NM)


def written(at: Path, labels: np.ndarray, raw: np.ndarray, voxel_nm: tuple[float, ...]) -> bool:
    """The same voxels as OME-Zarr, NumPy and NIfTI files, with small consecutive ids."""
    import nibabel

    ids, labels = np.unique(labels, return_inverse=True)
    labels = labels.reshape(raw.shape).astype(np.uint16 if len(ids) < 2**16 else np.uint32)
    options = {"voxel_nm": voxel_nm, "chunks": (CHUNK,) * 3}
    cf.write_volume(at / "labels.ome.zarr", labels, kind="label", **options)
    cf.write_volume(at / "raw.ome.zarr", raw, **options)
    for name, array in (("labels", labels), ("raw", raw)):
        np.save(at / f"{name}.npy", array)
        file = nibabel.Nifti1Image(np.ascontiguousarray(array.T), np.diag([*voxel_nm[::-1], 1]))
        nibabel.save(file, at / f"{name}.nii")
    about = {
        "labels": "labels.ome.zarr",
        "image": "raw.ome.zarr",
        "voxel_nm": voxel_nm,
        "block": (CHUNK * 2,) * 3,
    }
    (at / "about.json").write_text(json.dumps(about))
    return True


def measured(at: Path, tool: str, what: str, package: str, objects: int) -> dict[str, Any]:
    """One tool in its own process; `ok` if its numbers are those of ours.

    What takes below `SHORT` CPU seconds is measured `TIMES` times, and the least counts: fresh memory alone
    makes such a run up to three times as long on a machine that others use as well.
    """
    command = [sys.executable]
    if package:
        uv, python = shutil.which("uv"), f"{sys.version_info.major}.{sys.version_info.minor}"
        if uv is None:
            return {"unit": "not measured: no uv to install it with", "ok": True}
        command = [uv, "run", "--no-project", "--python", python, "--with", package, "python"]
    runs: list[tuple[float, float, float, str]] = []
    while len(runs) < TIMES and all(cpu < SHORT for _, cpu, _, _ in runs):
        child = subprocess.run(
            [*command, str(PEERS), tool, what, str(at)],
            capture_output=True,
            text=True,
            timeout=3600,
            check=False,
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path if not package else [])},
        )
        found = re.search(r"^\[.*\]$", child.stdout, re.MULTILINE)
        if found is None:
            said = child.stderr.strip().splitlines()
            return {"unit": f"not measured: {said[-1][:120] if said else 'no answer'}", "ok": True}
        runs.append(tuple(json.loads(found.group())))
    seconds, cpu, peak, release = min(runs, key=lambda run: run[1])
    return {
        "tool": f"{tool} {release}",
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "peak_mib": round(peak, 1),
        "value": round(objects / cpu, 3),
        "unit": "instances/CPU s",
        "ok": agrees(at, tool, what),
    }


def agrees(at: Path, tool: str, what: str) -> bool:
    """Whether a tool has our numbers: voxels, or PyRadiomics' features within 1e-6."""
    ours = np.load(at / f"chunkflow_liver-{what}.npz")
    found = np.load(at / f"{tool}-{what}.npz")
    if not np.array_equal(ours["label"], found["label"]):
        return False
    if "voxels" in found.files and "voxels" in ours.files:
        # nyxus gives a volume in float32, about 2e-6 too small
        return bool(np.allclose(ours["voxels"], found["voxels"], rtol=1e-5 if tool == "nyxus" else 0, atol=0))
    shared = [name for name in found.files if name in ours.files and name != "label"]
    return all(np.allclose(found[name], ours[name], rtol=1e-6, atol=2e-8, equal_nan=True) for name in shared)
