"""`python measure_peers.py TOOL WHAT FOLDER`: one tool measures the objects of FOLDER and says what it took.

Every tool runs in a process of its own, in the environment that has it, and prints one line of JSON: seconds,
CPU seconds (its children included), peak MiB, version. Its columns go to FOLDER/TOOL-WHAT.npz.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = {
    "shape": ["shape"],
    "all": ["shape", "firstorder", "glcm", "gldm", "glrlm", "glszm", "ngtdm"],
}
GROUPS = {
    "basics": ["basic"],
    "shape": ["shape"],
    "shape and first order": ["shape", "firstorder"],
    "all": ["basic", *CLASSES["all"]],
}
PROCESSES = 2


def ours(what: str, folder: Path) -> dict[str, Any]:
    """The whole operation: OME-Zarr in blocks, one process, Parquet out."""
    import chunkflow_liver as cf

    about = json.loads((folder / "about.json").read_text())
    labels, raw = (cf.open_volume(folder / about[k], level=0) for k in ("labels", "image"))
    work = folder / f"work-{what.replace(' ', '-')}-{os.getpid()}"
    settings = {"bin_width": 25.0}
    block = tuple(about["block"])
    plan = cf.measure(
        labels, raw=raw, features=GROUPS[what], settings=settings, name="t", work=work, block=block
    )
    cf.run(plan, progress=False)
    return dict(cf.read_table(plan.output).to_pydict())


def kernel(what: str, folder: Path) -> dict[str, Any]:
    """The numbers of an array in memory, to compare with tools that need one."""
    from chunkflow_liver.geometry import Block, Box
    from chunkflow_liver.kernels.features.basic import describe, object_sums
    from chunkflow_liver.kernels.features.groups import Settings, View, runs_ahead
    from chunkflow_liver.kernels.labels.object_runs import runs_by_object
    from chunkflow_liver.kernels.shape.pyradiomics_shape import describe_shapes, shape_sums

    labels = np.load(folder / "labels.npy")
    size = tuple(json.loads((folder / "about.json").read_text())["voxel_nm"])
    runs = runs_by_object(labels)
    objects = describe(object_sums(runs, labels), size, labels.shape)
    if what == "basics":
        return objects
    box = Box.of(labels.shape)
    view = View(
        Block(0, (0, 0, 0), box, box, box), labels, None, objects, size, Settings(), {runs_ahead: runs}
    )
    shapes = describe_shapes(shape_sums(view), objects, size, Settings())
    return {"label": objects["label"], **shapes}


def cc3d_statistics(what: str, folder: Path) -> dict[str, Any]:
    """Voxels, boxes and centroids; no axes and no intensities."""
    import cc3d

    found = cc3d.statistics(np.load(folder / "labels.npy"))
    label = np.flatnonzero(found["voxel_counts"][1:]) + 1
    return {"label": label, "voxels": found["voxel_counts"][label]}


def skimage_regionprops(what: str, folder: Path) -> dict[str, Any]:
    """Area, box, centroid, inertia and intensity of every region."""
    from skimage.measure import regionprops_table

    names = ("label", "area", "bbox", "centroid", "inertia_tensor_eigvals", "intensity_mean", "intensity_std")
    labels, raw = np.load(folder / "labels.npy"), np.load(folder / "raw.npy")
    found = regionprops_table(labels, raw, properties=names)
    return {"label": found["label"], "voxels": found["area"]}


def cellmap_analyze(what: str, folder: Path) -> dict[str, Any]:
    """Its `measure` on one worker: volume, area, box, axes, intensity."""
    import pandas
    from cellmap_analyze.analyze.measure import Measure

    about = json.loads((folder / "about.json").read_text())
    at = {k: str(folder / about[k] / "0") for k in ("labels", "image")}
    Measure(at["labels"], folder / "cellmap", raw_path=at["image"], num_workers=1).get_measurements()
    found = pandas.read_csv(next((folder / "cellmap").glob("*.csv")))
    voxel = np.prod(about["voxel_nm"])
    return {"label": found["Object ID"], "voxels": (found["Volume (nm^3)"] / voxel).round()}


def nyxus(what: str, folder: Path) -> dict[str, Any]:
    """Its 3D features of NIfTI files, one thread; 'shape' has no diameters."""
    import nyxus as package

    features = {"shape": ["*3D_ALL_MORPHOLOGY*"], "all": ["*3D_ALL*"]}[what]
    engine = package.Nyxus3D(features, n_feature_calc_threads=1)
    found = engine.featurize_files([str(folder / "raw.nii")], [str(folder / "labels.nii")], False)
    return {"label": found["ROI_label"], "voxels": found["3VOXEL_VOLUME"].round()}


def pyradiomics(what: str, folder: Path) -> dict[str, Any]:
    """Its extractor on the crop of every object, float64, on `PROCESSES` processes."""
    from scipy import ndimage

    labels, raw = np.load(folder / "labels.npy"), np.load(folder / "raw.npy")
    about = json.loads((folder / "about.json").read_text())
    boxes = ndimage.find_objects(labels)
    jobs = [
        ((labels[box] == i).astype(np.uint8), raw[box].astype(np.float64), about["voxel_nm"], CLASSES[what])
        for i, box in enumerate(boxes, 1)
        if box is not None
    ]
    with multiprocessing.Pool(PROCESSES) as pool:
        rows = pool.map(_extracted, jobs, chunksize=4)
        # The CPU seconds of a process count when it has ended.
        pool.close()
        pool.join()
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return {"label": [i for i, box in enumerate(boxes, 1) if box is not None], **columns}


def _extracted(job: tuple[Any, ...]) -> dict[str, float]:
    import radiomics
    import SimpleITK as sitk
    from radiomics import featureextractor

    mask, values, voxel_nm, classes = job
    radiomics.logger.setLevel(50)
    extractor = featureextractor.RadiomicsFeatureExtractor(binWidth=25)
    extractor.disableAllFeatures()
    for name in classes:
        extractor.enableFeatureClassByName(name)
    image, region = sitk.GetImageFromArray(values), sitk.GetImageFromArray(mask)
    for made in (image, region):
        made.SetSpacing([size / 1000 for size in voxel_nm[::-1]])
    found = extractor.execute(image, region, label=1)
    return {
        k.removeprefix("original_"): float(np.real(v)) for k, v in found.items() if k.startswith("original_")
    }


TOOLS: dict[str, tuple[str, Callable[[str, Path], dict[str, Any]], tuple[str, ...]]] = {
    "chunkflow_liver": ("chunkflow-liver", ours, ("chunkflow_liver",)),
    "kernel": ("chunkflow-liver", kernel, ("chunkflow_liver.kernels.features.basic",)),
    "cc3d": ("connected-components-3d", cc3d_statistics, ("cc3d",)),
    "skimage": ("scikit-image", skimage_regionprops, ("skimage.measure",)),
    "cellmap-analyze": ("cellmap-analyze", cellmap_analyze, ("pandas", "cellmap_analyze.analyze.measure")),
    "nyxus": ("nyxus", nyxus, ("nyxus",)),
    "pyradiomics": ("pyradiomics", pyradiomics, ("SimpleITK", "radiomics.featureextractor", "scipy.ndimage")),
}


def main() -> None:
    """Run one tool; what it takes to import it is not counted."""
    warnings.simplefilter("ignore")
    tool, what, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    package, function, modules = TOOLS[tool]
    for name in modules:
        importlib.import_module(name)
    if tool in ("chunkflow_liver", "kernel"):
        _warm(folder)
    before, start = _cpu(), time.perf_counter()
    columns = function(what, folder)
    seconds = time.perf_counter() - start
    np.savez(folder / f"{tool}-{what}.npz", **{k: np.asarray(v) for k, v in columns.items() if k != "class"})
    print(json.dumps([seconds, _cpu() - before, _peak_mib(), version(package)]))


def _warm(folder: Path) -> None:
    """Our own imports and compiled loops are loaded where something is used first: use it once."""
    import chunkflow_liver as cf

    small = folder / "warm"
    if not small.exists():
        cf.write_volume(small / "l.ome.zarr", np.ones((4, 4, 4), np.uint16), kind="label", voxel_nm=(8, 8, 8))
        cf.write_volume(small / "r.ome.zarr", np.ones((4, 4, 4), np.uint8), voxel_nm=(8, 8, 8))
    labels, raw = (cf.open_volume(small / f"{k}.ome.zarr", level=0) for k in "lr")
    work = small / f"work-{os.getpid()}"
    cf.run(cf.measure(labels, raw=raw, features=GROUPS["all"], name="t", work=work), progress=False)


def _cpu() -> float:
    # The clock of children has ticks of 10 ms, that of this process has none.
    use = os.times()
    return time.process_time() + use.children_user + use.children_system


def _peak_mib() -> float:
    """Most memory this process had; the resource module also counts what came before its exec."""
    line = next(r for r in Path("/proc/self/status").read_text().splitlines() if r.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
