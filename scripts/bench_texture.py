"""Textures of all objects of a volume: ours from disk, and PyRadiomics on crops that lie in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

import chunkflow_liver as cf

CLASSES = ("glcm", "gldm", "glrlm", "glszm", "ngtdm")
VOXEL_NM = (8.0, 8.0, 8.0)
CASES = {"small objects": (128, 2.0, 0.35), "large objects": (192, 6.0, 0.2)}
"""Side of the volume, width of the blobs in voxels, and share of their deviation above which they are."""
CHILD = """
import json, logging, resource, sys, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
folder, tool, classes = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
import cc3d, numpy as np, pandas
import chunkflow_liver as cf
TEXTS = ("class", "pyradiomics_refused")
labels, raw = (cf.open_volume(folder / f"{n}.ome.zarr") for n in ("labels", "raw"))

def use():
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])

if tool == "PyRadiomics":
    import radiomics
    import SimpleITK
    from radiomics.featureextractor import RadiomicsFeatureExtractor
    from scipy import ndimage
    radiomics.setVerbosity(logging.CRITICAL)
    extractor = RadiomicsFeatureExtractor(additionalInfo=False)
    extractor.disableAllFeatures()
    for name in classes:
        extractor.enableFeatureClassByName(name)
    ids, image = labels.read(), raw.read()
    boxes = ndimage.find_objects(ids)
    found = {"label": []}
    cpu, start = use(), time.perf_counter()
    for label, box in enumerate(boxes, 1):
        mask = np.pad((ids[box] == label).astype(np.uint8), 1)
        parts = [SimpleITK.GetImageFromArray(a) for a in (np.pad(image[box], 1).astype(float), mask)]
        for part in parts:
            part.SetSpacing([n / 1000 for n in labels.voxel_nm[::-1]])
        values = extractor.execute(*parts)
        found["label"].append(label)
        for name, value in values.items():
            found.setdefault(name.removeprefix("original_"), []).append(float(np.real(np.squeeze(value))))
else:
    options = {"engine": "pyradiomics"} if tool == "engine pyradiomics" else {}
    # Loops are compiled and loaded where they are used first, which a run of any size does once.
    small = folder / tool.replace(" ", "-") / "warm"
    ones = np.ones((4, 4, 4), labels.dtype)
    few = cf.write_volume(small / "l.ome.zarr", ones, kind="label", voxel_nm=labels.voxel_nm)
    flat = cf.write_volume(small / "r.ome.zarr", ones.astype(raw.dtype), voxel_nm=labels.voxel_nm)
    cf.run(cf.measure(few, raw=flat, features=classes, name="t", work=small / "w", **options), progress=False)
    at = {"name": "t", "work": folder / tool.replace(" ", "-"), "block": (128, 128, 128)}
    plan = cf.measure(labels, raw=raw, features=classes, **options, **at)
    cpu, start = use(), time.perf_counter()
    cf.run(plan, progress=False)
    found = cf.read_table(plan.output).to_pydict()
    found = {k.removeprefix("original_"): v for k, v in found.items() if k not in TEXTS}
seconds, cpu = time.perf_counter() - start, use() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
(folder / f"{tool}.json").write_text(json.dumps(found))
print(json.dumps([seconds, cpu, peak]))
"""


def make(folder: Path, side: int, width: float, share: float) -> tuple[int, int]:
    """A volume of blobs with a smooth texture; number of objects and of their voxels."""
    rng = np.random.default_rng(7)
    field = ndimage.gaussian_filter(rng.normal(size=(side,) * 3).astype(np.float32), width)
    labels, _ = ndimage.label(field > (1 - share) * 2 * field.std())
    size = np.bincount(labels.ravel())
    size[0] = 0
    # PyRadiomics refuses lines and single voxels.
    kept = size >= 64
    labels = (np.cumsum(kept) * kept)[labels].astype(np.uint32)
    noise = ndimage.gaussian_filter(rng.normal(size=labels.shape).astype(np.float32), 1.2)
    raw = ((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)
    at: dict[str, Any] = {"voxel_nm": VOXEL_NM, "chunks": (64, 64, 64)}
    cf.write_volume(folder / "labels.ome.zarr", labels, kind="label", **at)
    cf.write_volume(folder / "raw.ome.zarr", raw, **at)
    return int(kept.sum()), int(size[kept].sum())


def agree(folder: Path, tool: str) -> bool:
    """Whether all features of all objects are within 1e-6 of PyRadiomics' (or 1e-9 where they are small)."""
    ours, theirs = (json.loads((folder / f"{name}.json").read_text()) for name in (tool, "PyRadiomics"))
    if ours.keys() != theirs.keys():
        return False
    return all(np.allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-9, equal_nan=True) for name in theirs)


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """One row per case and tool: objects per CPU second."""
    for case, (side, width, share) in CASES.items():
        here = folder / case.replace(" ", "-")
        here.mkdir()
        objects, voxels = make(here, side, width, share)
        for tool in ("PyRadiomics", "engine pyradiomics", "ours"):
            command = [sys.executable, "-c", CHILD, str(here), tool, json.dumps(CLASSES)]
            made = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, cpu, peak = json.loads(made.stdout.splitlines()[-1])
            yield {
                "name": "texture",
                "tool": tool,
                "case": f"{side}^3, {objects} {case}",
                "voxels": voxels,
                "seconds": seconds,
                "cpu_seconds": cpu,
                "peak_mib": peak,
                "value": objects / cpu,
                "unit": "objects/cpu-s",
                "ok": agree(here, tool),
            }
