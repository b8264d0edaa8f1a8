"""Form and place of the mitochondria of a phantom: ours from disk, and scikit-image on crops in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull
from skimage.measure import euler_number, marching_cubes
from skimage.morphology import skeletonize

import chunkflow_liver as cf

SHAPE, VOXEL_NM = (96, 384, 384), (40.0, 16.0, 16.0)


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """One row per tool and group of columns, on one core."""
    cf.run(cf.phantom(shape=SHAPE, voxel_nm=VOXEL_NM, work=folder / "phantom"), progress=False)
    labels = cf.open_volume(folder / "phantom/raw.ome.zarr/labels/truth-mitos")
    classes = cf.open_volume(folder / "phantom/raw.ome.zarr/labels/truth")
    array, other = labels.read(), classes.read()
    boxes = [(n, box) for n, box in enumerate(ndimage.find_objects(array), 1) if box is not None]

    def masks() -> Iterator[np.ndarray[Any, Any]]:
        return (np.pad(array[box] == n, 1) for n, box in boxes)

    cases: dict[str, tuple[dict[str, Any], str, Callable[[], Any], Callable[..., bool]]] = {
        "morphology": (
            {"features": ["shape", "morphology"]},
            "scikit-image",
            lambda: [form(mask) for mask in masks()],
            same_form,
        ),
        "parents": (
            {"features": ["basic"], "parents": classes},
            "numpy",
            lambda: [np.bincount(other[box][array[box] == n]).argmax() for n, box in boxes],
            lambda found, wanted: found["parent"] == [int(w) for w in wanted],
        ),
        "skeleton (peer: voxels of the line only)": (
            {"features": ["skeleton"]},
            "scikit-image",
            lambda: [int(skeletonize(mask).sum()) for mask in masks()],
            lambda found, wanted: len(found["label"]) == len(wanted),
        ),
    }
    for case, (options, peer, work, same) in cases.items():
        plan = cf.measure(labels, name=case.split()[0], work=folder / "work", block=(96, 128, 128), **options)
        _, ours = timed(lambda plan=plan: cf.run(plan, progress=False))
        wanted, theirs = timed(work)
        ok = same(cf.read_table(plan.output).to_pydict(), wanted)
        for tool, (seconds, cpu) in (("ours", ours), (peer, theirs)):
            yield {
                "name": "morphology",
                "tool": tool,
                "case": case,
                "voxels": array.size,
                "seconds": seconds,
                "cpu_seconds": cpu,
                "value": len(boxes) / cpu,
                "unit": "objects/CPU s",
                "ok": bool(ok),
            }


def form(mask: np.ndarray[Any, Any]) -> tuple[int, float]:
    """Euler number, and volume of the hull of the mesh in nm^3."""
    vertices = marching_cubes(mask.astype(np.float32), 0.5, spacing=VOXEL_NM)[0]
    return euler_number(mask, 3), ConvexHull(vertices).volume


def same_form(found: dict[str, list[Any]], wanted: list[tuple[int, float]]) -> bool:
    """Whether Euler numbers are equal, and hulls up to rounding."""
    hulls = np.array(found["shape_MeshVolume"]) * 1e9 / np.array(found["solidity"])
    euler = found["euler_number"] == [w[0] for w in wanted]
    return bool(euler and np.allclose(hulls, [w[1] for w in wanted], rtol=1e-5))


def timed(work: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """What `work` gives, and its seconds and CPU seconds."""
    start, cpu = time.perf_counter(), time.process_time()
    made = work()
    return made, (time.perf_counter() - start, time.process_time() - cpu)
