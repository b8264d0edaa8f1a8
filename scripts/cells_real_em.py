"""Cells between painted slices of real EM: every 10th slice is painted, the others are compared.

`uv run scripts/cells_real_em.py [--data ../shared/data] [--every 10] [--picture FOLDER]` prints a table and,
with `--json FILE`, writes it. The interior is everything that the truth labels; the boundary is made from the
image alone (a ridge filter), so that no network is needed: what a network sees would be better.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from scipy import ndimage

import chunkflow_liver as cf
from chunkflow_liver.kernels.instances.slice_links import Rule, link_slices
from chunkflow_liver.kernels.labels.overlap import overlap, partition_scores
from chunkflow_liver.kernels.tissue.planes import Cutting

SETS = {
    "snemi3d_subset": ("raw_z0-24.tif", "neurons_gt_z0-24.tif", (29.0, 6.0, 6.0)),
    "fib25_medulla": ("sample2_raw.tif", "sample2_neurons_gt.tif", (10.0, 10.0, 10.0)),
}
"""Image, truth and voxel size in nm."""
METHODS = {m: (m, True) for m in ("mask", "boundary", "contours", "selective", "recursive")} | {
    f"{m}, no boundary": (m, False) for m in ("contours", "recursive")
}
"""Mode of `cells`, and whether it gets the boundary."""


def ridges(raw: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Dark lines of a stack, slice by slice, 0 to 255: the largest curvature of the smoothed image."""
    out = np.empty(raw.shape, np.uint8)
    for z, plane in enumerate(raw.astype(np.float32)):
        yy, xx, xy = (ndimage.gaussian_filter(plane, 2.0, order=o) for o in ((2, 0), (0, 2), (1, 1)))
        largest = (yy + xx) / 2 + np.sqrt(((yy - xx) / 2) ** 2 + xy**2)
        out[z] = np.clip(largest / np.quantile(largest, 0.97) * 255, 0, 255).astype(np.uint8)
    return out


def linked(truth: np.ndarray[Any, Any], painted: list[int], boundary: np.ndarray[Any, Any]) -> Any:
    """What `link` makes of slices that were segmented one by one from the same maps.

    Parts of the interior between boundaries are the objects of a slice; painted slices are as painted.
    """
    objects = np.zeros(truth.shape, np.uint32)
    for z in range(len(truth)):
        inside = truth[z] > 0
        seeds, _ = ndimage.label(inside & (boundary[z] < 128))
        from skimage.segmentation import watershed

        objects[z] = watershed(boundary[z], seeds, mask=inside)
    for z in painted:
        objects[z] = truth[z]
    return link_slices(objects, Rule(0.3, np.inf, 0.0, 0), (1.0, 1.0, 1.0))


def scores(found: Any, truth: Any, rest: np.ndarray[Any, Any]) -> dict[str, float]:
    """Means over slices, each compared by itself, and all slices as one."""
    one = [partition_scores(overlap(found[z][None], truth[z][None])) for z in rest]
    whole = partition_scores(overlap(found[rest], truth[rest]))
    return {
        "ari": float(np.mean([o["ari"].item() for o in one])),
        "vi": float(np.mean([(o["vi_split"] + o["vi_merge"]).item() for o in one])),
        "ari_3d": whole["ari"].item(),
        "vi_3d": (whole["vi_split"] + whole["vi_merge"]).item(),
    }


def compared(
    name: str, folder: Path, every: int, work: Path, methods: list[str]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of the table of one set, and its labels by method."""
    image, labels, voxel_nm = SETS[name]
    raw, truth = (tifffile.imread(folder / name / n) for n in (image, labels))
    painted = list(range(0, len(raw), every))
    rest = np.setdiff1d(np.arange(len(raw)), painted)
    boundary = ridges(raw)
    seen = np.where(np.isin(np.arange(len(raw)), painted)[:, None, None], truth, 0)
    arrays = {"raw": raw, "boundary": boundary, "interior": np.where(truth > 0, 255, 0).astype(np.uint8)}
    given = {k: cf.write_volume(work / f"{k}.ome.zarr", v, voxel_nm=voxel_nm) for k, v in arrays.items()}
    given["painted"] = cf.write_volume(work / "painted.ome.zarr", seen, voxel_nm=voxel_nm, kind="label")
    nearest = np.array([min(painted, key=lambda p: abs(p - z)) for z in range(len(raw))])
    results: dict[str, Any] = {
        "nearest painted slice": np.where(truth > 0, truth[nearest], 0),
        "link": linked(truth, painted, boundary),
    }
    seconds = dict.fromkeys(results, float("nan"))
    for method in methods:
        mode, walls = METHODS[method]
        without = {"boundary": not (walls and Cutting(mode=mode).walls), "raw": not Cutting(mode=mode).moves}
        maps = {k: v for k, v in given.items() if not without.get(k)}
        how = {"mode": mode, "small_um2": 0.0, "near_nm": 5 * voxel_nm[1]}
        plan = cf.cells(**maps, **how, name=method.replace(", ", "-").replace(" ", "-"), work=work / "work")
        begin = time.process_time()
        cf.run(plan, progress=False)
        seconds[method] = (time.process_time() - begin) / len(raw)
        results[method] = plan.output.read()  # type: ignore[union-attr]
    rows = [
        {"set": name, "method": m, **scores(found, truth, rest), "cpu_seconds_per_slice": seconds[m]}
        for m, found in results.items()
    ]
    return rows, {"raw": raw, "truth": truth, **results}


def picture(found: dict[str, Any], z: int, to: Path) -> None:
    """A slice as the methods see it, wrong pixels in white, as a PNG."""
    from PIL import Image

    colours = np.random.default_rng(0).integers(50, 230, (1 << 16, 3)).astype(np.uint8)
    colours[0] = 0
    panels = [np.repeat(found["raw"][z][..., None], 3, 2), colours[found["truth"][z] % 60_000]]
    for what, labels in found.items():
        if what in ("raw", "truth", "link"):
            continue
        panel = colours[labels[z] % 60_000].copy()
        panel[(labels[z] != found["truth"][z]) & (found["truth"][z] > 0)] = 255
        panels.append(panel)
    side = (len(panels) + 1) // 2
    rows = [np.hstack(panels[i : i + side]) for i in range(0, len(panels), side)]
    wide = max(r.shape[1] for r in rows)
    rows = [np.pad(r, ((0, 0), (0, wide - r.shape[1]), (0, 0)), constant_values=255) for r in rows]
    Image.fromarray(np.vstack(rows)).save(to)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path, help="folder for a picture of each set")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in options.sets:
        with tempfile.TemporaryDirectory() as folder:
            more, found = compared(name, options.data, options.every, Path(folder), options.methods)
        rows += more
        if options.picture:
            options.picture.mkdir(parents=True, exist_ok=True)
            picture(found, options.every // 2, options.picture / f"{name}.png")
    print(f"{'set':16} {'method':22} {'ARI':>6} {'VI':>6} {'ARI 3D':>7} {'VI 3D':>6} {'s/slice':>8}")
    for row in rows:
        values = "{ari:6.3f} {vi:6.3f} {ari_3d:7.3f} {vi_3d:6.3f} {cpu_seconds_per_slice:8.2f}".format(**row)
        print(f"{row['set']:16} {row['method']:22} {values}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
