"""Instances joined over seams: cells and real neurons with walls redrawn per block; mitochondria split."""

from __future__ import annotations

import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import chunkflow_liver as cf
from chunkflow_liver.kernels.overlap import instance_scores, overlap, variation_of_information

DATA = Path(__file__).resolve().parents[2] / "shared/data"
Array = np.ndarray[Any, Any]


def redrawn(labels: Array, *, voxel_nm: Any, nm: float) -> Array:
    """The labels with walls drawn anew for every block, off by about `nm`, and ids of its own."""
    from scipy import ndimage

    rng = np.random.default_rng(zlib.crc32(labels.tobytes()))
    at = np.indices(labels.shape).astype(np.float32)
    for axis, (side, v) in enumerate(zip(labels.shape, voxel_nm, strict=True)):
        shift = ndimage.gaussian_filter(rng.standard_normal(labels.shape).astype(np.float32), 2.0)
        at[axis] += shift * np.float32(nm / v / max(float(shift.std()), 1e-6))
        np.clip(at[axis], 0, side - 1, out=at[axis])
    z, y, x = np.rint(at).astype(np.intp)
    found = labels[z, y, x]
    ids, member = np.unique(found, return_inverse=True)
    new = rng.permutation(len(ids)) + 1
    new[ids == 0] = 0
    return new[member].reshape(labels.shape)


def voronoi(side: int, count: int) -> Array:
    """Cells that fill a cube and touch everywhere."""
    from scipy.spatial import cKDTree

    centres = np.random.default_rng(0).random((count, 3)) * side
    out = np.empty((side,) * 3, np.uint32)
    tree = cKDTree(centres)
    plane = np.stack(np.indices((side, side)), -1)
    for z in range(side):
        points = np.concatenate([np.full((side, side, 1), z), plane], -1).reshape(-1, 3)
        out[z] = (tree.query(points)[1] + 1).reshape(side, side)
    return out


def errors(met: dict[str, Array]) -> tuple[int, int]:
    """Cells that are part of a wrongly merged object, and objects too many of one cell, by most voxels."""
    inside = (met["a"] > 0) & (met["b"] > 0)
    a, b, n = (met[k][inside] for k in ("a", "b", "voxels"))
    counts = []
    for own, other in ((b, a), (a, b)):
        order = np.lexsort((-n, own))
        head = np.ones(len(order), bool)
        head[1:] = own[order][1:] != own[order][:-1]
        partner = other[order][head]
        counts.append(len(partner) - len(np.unique(partner)))
    return counts[0], counts[1]


def row(
    case: str, tool: str, truth: Array, found: Array, spent: tuple[float, float], **more: Any
) -> dict[str, Any]:
    """One case with its scores; `value` is the F1 at an IoU of 0.5."""
    met = overlap(found, truth)
    merged, extra = errors(met)
    split, merge = variation_of_information(met)
    scores = instance_scores(met, 0.5)
    return {
        "name": "stitching", "tool": tool, "case": case, "voxels": truth.size,
        "seconds": spent[0], "cpu_seconds": spent[1],
        "value": float(scores["f1"][0]), "unit": "F1",
        "objects": int(scores["found"][0]), "truth": int(scores["truth"][0]),
        "false_merges": merged, "splits": extra, "vi_split": split, "vi_merge": merge, **more,
    }  # fmt: skip


def clock() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def since(start: tuple[float, float]) -> tuple[float, float]:
    now = clock()
    return now[0] - start[0], now[1] - start[1]


def stitched(
    folder: Path, case: str, truth: Array, nm: tuple[float, float, float], **how: Any
) -> Iterator[Any]:
    """Walls redrawn in every block and stitched; next to it the same redrawing without blocks."""
    sys.modules.setdefault("bench_stitching", sys.modules[__name__])
    volume = cf.write_volume(folder / f"{case.replace(' ', '-')}.ome.zarr", truth, voxel_nm=nm, kind="label")
    noise = how.pop("noise_nm")
    name = case.replace(" ", "-")
    plan = cf.stitch(volume, redrawn, params={"nm": noise}, name=name, work=folder / "work", **how)
    start = clock()
    cf.run(plan, progress=False)
    spent = since(start)
    seams = cf.read_table(folder / f"work/tables/{name}-seams.parquet").to_pandas()
    more = {k: int(seams[k].sum()) for k in ("matched", "unmatched", "ambiguous", "vetoed")}
    score = float(seams["score"].median())
    yield row(
        case,
        "chunkflow",
        truth,
        plan.output.read(),
        spent,
        blocks=len(plan.maps[0].grid),
        seam_score=score,
        **more,
    )
    start = clock()
    whole = redrawn(truth, voxel_nm=nm, nm=noise)
    yield row(case, "one block", truth, whole, since(start))


def mitochondria(folder: Path) -> Iterator[dict[str, Any]]:
    """Split of the binary mask against the instances, next to components and to scikit-image."""
    import cc3d
    import tifffile
    from scipy import ndimage
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    nm, depth, cap, smooth = (15.0, 16.0, 16.0), 60.0, 400.0, 16.0
    for cube in ("1-0-0-0", "1-1-0-3", "1-3-2-1"):
        mask = tifffile.imread(DATA / f"urocell_labels/mito_binary_fib{cube}.tif") > 0
        truth = tifffile.imread(DATA / f"urocell_labels/mito_instance_fib{cube}.tif")
        case = f"urocell {cube}"
        start = clock()
        found = cc3d.connected_components(mask, connectivity=26)
        yield row(case, "components", truth, found, since(start))
        volume = cf.write_volume(folder / f"{cube}.ome.zarr", mask, voxel_nm=nm, kind="label")
        plan = cf.split(
            volume, classes=[1], depth_nm=depth, cap_nm=cap, distance_smooth_nm=smooth,
            name=f"split-{cube}", work=folder / "work", block=(128, 128, 128),
        )  # fmt: skip
        start = clock()
        cf.run(plan, progress=False)
        yield row(case, "chunkflow", truth, plan.output.read(), since(start), blocks=8)
        start = clock()
        distance = np.minimum(ndimage.distance_transform_edt(mask, nm), cap)
        distance = ndimage.gaussian_filter(distance, [smooth / v for v in nm])
        seeds = cc3d.connected_components(h_maxima(distance, depth).astype(np.uint8), connectivity=26)
        found = watershed(-distance, seeds, mask=mask, connectivity=3)
        yield row(case, "skimage", truth, found, since(start))


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """3,000 cells in 64 blocks; real neurons in blocks; mitochondria."""
    for noise in (4.0, 8.0):
        yield from stitched(
            folder, f"3000 cells {noise:g} nm", voronoi(192, 3000), (8.0, 8.0, 8.0),
            noise_nm=noise, halo_nm=128.0, block=(48, 48, 48),
        )  # fmt: skip
    if not DATA.is_dir():
        return
    import tifffile

    neurons = tifffile.imread(DATA / "fib25_medulla/sample2_neurons_gt.tif")
    yield from stitched(
        folder, "fib25 neurons", neurons, (10.0, 10.0, 10.0),
        noise_nm=10.0, halo_nm=200.0, block=(96, 96, 96), branches=True,
    )  # fmt: skip
    slices = tifffile.imread(DATA / "snemi3d_subset/neurons_gt_z0-24.tif")
    yield from stitched(
        folder, "snemi3d neurons", slices, (30.0, 6.0, 6.0),
        noise_nm=6.0, halo_nm=180.0, block=(16, 192, 192), branches=True,
    )  # fmt: skip
    yield from mitochondria(folder)
