"""Instances joined over seams: cells and real neurons with walls redrawn per block; mitochondria split.

`uv run scripts/bench_stitching.py FOLDER` draws the worst seam of the cells and of FIB-25 into FOLDER.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from stitching_peers import clock, redrawn, since

import chunkflow_liver as cf
from chunkflow_liver.kernels.images.downsample import mode
from chunkflow_liver.kernels.labels.overlap import instance_scores, overlap, variation_of_information

DATA = Path(__file__).resolve().parents[2] / "shared/data"
Array = np.ndarray[Any, Any]


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


def joined(folder: Path, case: str, truth: Array, nm: tuple[float, float, float], **how: Any) -> cf.Plan:
    """The plan that redraws walls in every block and stitches; the truth is written first."""
    name = case.replace(" ", "-")
    volume = cf.write_volume(folder / f"{name}.ome.zarr", truth, voxel_nm=nm, kind="label")
    params = {"nm": how.pop("noise_nm")}
    return cf.stitch(volume, redrawn, params=params, name=name, work=folder / "work", **how)


def stitched(
    folder: Path, case: str, truth: Array, nm: tuple[float, float, float], **how: Any
) -> Iterator[Any]:
    """Walls redrawn in every block and stitched; next to it the same redrawing without blocks."""
    noise, name = how["noise_nm"], case.replace(" ", "-")
    plan = joined(folder, case, truth, nm, **how)
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


def faces_only(
    folder: Path, case: str, truth: Array, nm: tuple[float, float, float], **how: Any
) -> Iterator[Any]:
    """Blocks redrawn each by itself and stored without a halo, joined where their faces touch."""
    noise, block = how.pop("noise_nm"), how.pop("block")
    by_block = np.zeros(truth.shape, np.uint32)
    for corner in np.ndindex(*(-(-n // b) for n, b in zip(truth.shape, block, strict=True))):
        here = tuple(slice(c * b, (c + 1) * b) for c, b in zip(corner, block, strict=True))
        by_block[here] = redrawn(truth[here], voxel_nm=nm, nm=noise)
    name = case.replace(" ", "-")
    volume = cf.write_volume(folder / f"{name}.ome.zarr", by_block, voxel_nm=nm, kind="label")
    plan = cf.stitch(volume, name=name, work=folder / "work", block=block, **how)
    start = clock()
    cf.run(plan, progress=False)
    spent = since(start)
    yield row(case, "chunkflow", truth, plan.output.read(), spent, blocks=len(plan.maps[0].grid))


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
        coarse = mode(mask.view(np.uint8), (2, 2, 2))
        half = cf.write_volume(
            folder / f"{cube}-half.ome.zarr", coarse, voxel_nm=[2 * v for v in nm], kind="label"
        )
        for tool, name, seeds in (("chunkflow", "split", None), ("chunkflow, coarse seeds", "coarse", half)):
            plan = cf.split(
                volume, classes=[1], depth_nm=depth, cap_nm=cap, distance_smooth_nm=smooth, seeds_from=seeds,
                steepness=0, connectivity=26,  # as scikit-image beside it
                name=f"{name}-{cube}", work=folder / "work", block=(128, 128, 128),
            )  # fmt: skip
            start = clock()
            cf.run(plan, progress=False)
            yield row(case, tool, truth, plan.output.read(), since(start), blocks=8)
        start = clock()
        distance = np.minimum(ndimage.distance_transform_edt(mask, nm), cap)
        distance = ndimage.gaussian_filter(distance, [smooth / v for v in nm])
        seeds = cc3d.connected_components(h_maxima(distance, depth).astype(np.uint8), connectivity=26)
        found = watershed(-distance, seeds, mask=mask, connectivity=3)
        yield row(case, "skimage", truth, found, since(start))


CELLS: dict[str, Any] = {"halo_nm": 128.0, "block": (48, 48, 48)}
FIB25: dict[str, Any] = {"noise_nm": 10.0, "halo_nm": 200.0, "block": (96, 96, 96), "branches": True}


TILINGS = (48, 64, 96)
"""Sides of blocks, in voxels."""
MOST_MOVED = 0.001
"""By how much of itself our count of objects may differ between tilings."""
BIAPY = "BENCH_BIAPY_PYTHON"
"""Names a Python that has BiaPy 3.7, whose torch would be gigabytes to fetch for one row."""


def tilings(folder: Path) -> Iterator[dict[str, Any]]:
    """The same arrays in three tilings: ours, ngio and BiaPy, each with the same halo of 16 voxels."""
    yield from in_tilings(folder / "cells", "3000 cells", voronoi(192, 3000), 8.0)
    if DATA.is_dir():
        import tifffile

        neurons = tifffile.imread(DATA / "fib25_medulla/sample2_neurons_gt.tif")
        yield from in_tilings(folder / "fib25", "fib25 neurons", neurons, 10.0, branches=True)


def in_tilings(
    folder: Path, case: str, truth: Array, nm: float, *, branches: bool = False
) -> Iterator[dict[str, Any]]:
    """Walls redrawn by one voxel of `nm` in every block, stitched by every tool in a process of its own."""
    folder.mkdir()
    np.save(folder / "truth.npy", truth)
    about = {"voxel_nm": [nm] * 3, "nm": nm, "halo": 16, "branches": branches}
    (folder / "about.json").write_text(json.dumps(about))
    uv = ["uv", "run", "--no-project", "--python", sys.executable, "--with", "ngio==1.1.3", "--with", "scipy"]
    pythons = {"chunkflow_liver": [sys.executable], "ngio": [*uv, "python"]}
    if found := os.environ.get(BIAPY):
        pythons["biapy"] = [found]
    else:
        yield {
            "name": "stitching",
            "tool": "biapy",
            "case": case,
            "unit": f"not measured: no {BIAPY}",
            "ok": True,
        }
    script = Path(__file__).with_name("stitching_peers.py")
    for tool, python in pythons.items():
        counts: list[int] = []
        for block in TILINGS:
            command = [*python, "-W", "ignore", str(script), tool, str(folder), str(block)]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            seconds, cpu, scratch, version = json.loads(said.splitlines()[-1])
            labels = np.load(folder / f"{tool}-{block}.npy")
            made = row(f"{case}, blocks of {block}^3", f"{tool} {version}", truth, labels, (seconds, cpu))
            counts.append(made["objects"])
            moved = (max(counts) - min(counts)) / counts[0]
            ok = tool != "chunkflow_liver" or moved <= MOST_MOVED
            yield made | {"scratch_bytes": scratch, "count_moves_by": round(moved, 5), "ok": ok}


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """3,000 cells in 64 blocks; real neurons in blocks; mitochondria; peers in three tilings."""
    parts = os.environ.get("BENCH_STITCHING_PARTS", "rest,tilings").split(",")
    if "rest" in parts:
        yield from alone(folder)
    if "tilings" in parts:
        yield from tilings(folder)


def alone(folder: Path) -> Iterator[dict[str, Any]]:
    """Ours, with what lies beside it in one array."""
    for noise in (4.0, 8.0):
        yield from stitched(
            folder, f"3000 cells {noise:g} nm", voronoi(192, 3000), (8.0, 8.0, 8.0), noise_nm=noise, **CELLS
        )
        yield from faces_only(
            folder, f"3000 cells {noise:g} nm without a halo", voronoi(192, 3000), (8.0, 8.0, 8.0),
            noise_nm=noise, block=CELLS["block"],
        )  # fmt: skip
        for voxels in (8, 4, 2):
            how = CELLS | {"noise_nm": noise, "halo_nm": voxels * 8.0}
            case = f"3000 cells {noise:g} nm halo of {voxels} voxels"
            yield next(stitched(folder, case, voronoi(192, 3000), (8.0, 8.0, 8.0), **how))
    if not DATA.is_dir():
        return
    import tifffile

    neurons = tifffile.imread(DATA / "fib25_medulla/sample2_neurons_gt.tif")
    yield from stitched(folder, "fib25 neurons", neurons, (10.0, 10.0, 10.0), **FIB25)
    slices = tifffile.imread(DATA / "snemi3d_subset/neurons_gt_z0-24.tif")
    without = {"noise_nm": FIB25["noise_nm"], "block": FIB25["block"], "branches": True}
    yield from faces_only(folder, "fib25 neurons without a halo", neurons, (10.0, 10.0, 10.0), **without)
    yield from stitched(
        folder, "snemi3d neurons", slices, (30.0, 6.0, 6.0),
        noise_nm=6.0, halo_nm=180.0, block=(16, 192, 192), branches=True,
    )  # fmt: skip
    yield from mitochondria(folder)


def named(found: Array, truth: Array) -> Array:
    """The objects with the labels of the truth that they share most voxels with; each label once."""
    met = overlap(found, truth)
    inside = (met["a"] > 0) & (met["b"] > 0)
    a, b, voxels = (met[k][inside].astype(np.int64) for k in ("a", "b", "voxels"))
    lookup = np.arange(int(found.max()) + 1, dtype=np.int64) + 10_000_000
    lookup[0] = 0
    taken: set[int] = set()
    for i in np.argsort(-voxels, kind="stable").tolist():
        if lookup[a[i]] >= 10_000_000 and int(b[i]) not in taken:
            lookup[a[i]] = b[i]
            taken.add(int(b[i]))
    return lookup[found]


def panel(ids: Array, seams: list[list[int]]) -> Array:
    """Objects in colours, four pixels per voxel, with walls and, in black, the borders of blocks."""
    from chunkflow_liver.reports.pictures.slices import instance_colours, label_colours

    wide = ids.repeat(4, 0).repeat(4, 1)
    rgb = label_colours(wide, instance_colours(np.unique(ids)))[..., :3].copy()
    rgb[wide == 0] = 255
    wall = np.zeros(wide.shape, bool)
    wall[1:] |= wide[1:] != wide[:-1]
    wall[:, 1:] |= wide[:, 1:] != wide[:, :-1]
    rgb[wall] //= 2
    for axis, places in enumerate(seams):
        for place in places:
            at = slice(4 * place - 1, 4 * place + 1)
            rgb[(at, slice(None)) if axis == 0 else (slice(None), at)] = 0
    return np.asarray(rgb, np.uint8)


def picture(plan: cf.Plan, truth: Array, to: Path) -> str:
    """Truth, objects of blocks, and stitched ones around the face of two blocks that agree least."""
    from PIL import Image

    stage, found, side = plan.maps[0], plan.output.read(), 80
    table = cf.read_table(next(p.handle for p in plan.products if p.kind == "seam table")).to_pylist()
    faces = [row for row in table if len(row["axis"]) == 1 and np.isfinite(row["score"])]
    worst = min(faces, key=lambda row: row["score"])
    parts = stage.outputs[0].read().astype(np.int64)
    for block in stage.grid:
        # Blocks number their objects on their own.
        here = parts[block.write.slices]
        here[here > 0] += 100_000 * (block.index + 1)
    across = 1 if worst["axis"] == "z" else 0
    axes = [a for a in range(3) if a != across]
    corner = [min(max(0, worst["zyx"[a]] - side // 2), truth.shape[a] - side) for a in axes]
    cut: list[Any] = [slice(c, c + side) for c in corner]
    cut.insert(across, worst["zyx"[across]])
    steps = [range(stage.grid.block[a], truth.shape[a], stage.grid.block[a]) for a in axes]
    seams = [[n - c for n in s if 0 < n - c < side] for s, c in zip(steps, corner, strict=True)]
    gap = np.full((4 * side, 12, 3), 255, np.uint8)
    shown = [panel(truth[tuple(cut)].astype(np.int64), [[], []]), gap, panel(parts[tuple(cut)], seams), gap]
    shown.append(panel(named(found, truth)[tuple(cut)], seams))
    Image.fromarray(np.concatenate(shown, 1)).quantize(128).save(to, optimize=True)
    kept = ("block_a", "block_b", "axis", "score", "matched", "unmatched", "z", "y", "x")
    return f"{to.name}: worst of {len(faces)} faces: { {k: worst[k] for k in kept} }"


def draw(to: Path) -> None:
    """The pictures of the README; of real data only where its licence allows it (FIB-25: CC BY)."""
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        folder, truth = Path(scratch), voronoi(192, 3000)
        plan = joined(folder, "cells", truth, (8.0, 8.0, 8.0), noise_nm=8.0, **CELLS)
        cf.run(plan, progress=False)
        sys.stdout.write(picture(plan, truth, to / "stitching_cells.png") + "\n")
        if DATA.is_dir():
            import tifffile

            truth = tifffile.imread(DATA / "fib25_medulla/sample2_neurons_gt.tif")
            plan = joined(folder, "fib25", truth, (10.0, 10.0, 10.0), **FIB25)
            cf.run(plan, progress=False)
            sys.stdout.write(picture(plan, truth, to / "stitching_fib25.png") + "\n")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
