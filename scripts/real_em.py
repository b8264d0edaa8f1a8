"""The main job on real EM: train an nnU-Net on 16 slices, run the pipeline on slices it has not seen.

Mouse brain, SBF-SEM, 40 x 5.9 x 5.9 nm, mitochondria (CDeep3M, Haberl et al. 2018,
doi:10.1038/s41592-018-0106-z; licence: non-profit research). The network works at level 1 of the
pyramid (11.8 nm); Dice is computed at full resolution. Data, model and pictures stay out of the repository.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

import chunkflow_liver as cf

DATA = Path(__file__).parents[2] / "shared" / "data" / "cdeep3m_sbem_mito"
VOXEL_NM = (40.0, 5.9, 5.9)
LEVEL1_NM = (40.0, 11.8, 11.8)
CLASSES = [("mitochondrion", 1)]
LABELLED, UNLABELLED = "train_z10-29", "unlabelled_z40-44"
FIRST = {LABELLED: 10, UNLABELLED: 40}
TRAIN, HELD_OUT, NEW = (10, 25), (26, 29), (40, 44)
LEFT = (16, 1024, 512)
"""Voxels of the half that `--half` trains on."""

log = logging.getLogger("chunkflow_liver.real_em")


def converted(data: Path, work: Path, stack: str, slices: tuple[int, int], what: str = "raw") -> cf.Volume:
    """OME-Zarr of some slices of a stack."""
    pages = tifffile.imread(data / f"{stack}_{what}.tif")
    planes = {z: pages[z - FIRST[stack]] for z in range(slices[0], slices[1] + 1)}
    if what == "mito":
        planes = {z: (page > 0).astype(np.uint8) for z, page in planes.items()}
    name = f"{what}_z{slices[0]}-{slices[1]}"
    image = converted_slices(planes, work / name, VOXEL_NM, CLASSES if what == "mito" else None)
    return cf.open_volume(image.url, voxel_nm=LEVEL1_NM)


def converted_slices(
    planes: Mapping[int, np.ndarray[Any, Any]],
    folder: Path,
    voxel_nm: tuple[float, float, float],
    classes: list[tuple[str, int]] | None = None,
) -> cf.Volume:
    """OME-Zarr of an image or of classes, beside a folder of TIFF slices, as a microscope leaves them."""
    target = folder.with_name(f"{folder.name}.ome.zarr")
    folder.mkdir(parents=True, exist_ok=True)
    for z, plane in planes.items():
        tifffile.imwrite(folder / f"slice_{z}.tif", plane)
    kind: dict[str, Any] = {} if classes is None else {"kind": "label", "classes": classes}
    cf.run(cf.convert(folder, target, voxel_nm=voxel_nm, **kind), progress=False)
    return cf.open_volume(target)


def run_file(work: Path, raw: cf.Volume, name: str, model: Path) -> Path:
    """A run file for one volume: mitochondria as classes and instances, table, distances, neighbours."""
    content = {
        "input": {"path": raw.url, "voxel_nm": list(LEVEL1_NM)},
        "work": str(work / f"run_{name}"),
        "segment": {"name": "organelles", "model": str(model), "precision": "bfloat16", "mirroring": True},
        "label": [{"name": "mitos", "classes": ["mitochondrion"], "min_volume_um3": 0.002}],
        "measure": [{"name": "mito-table", "instances": "mitos"}],
        "distance": [{"name": "mito-distance", "to": "mitochondrion", "cap_nm": 400}],
        "contacts": [{"name": "mito-mito", "instances": "mitos", "other": "mitos", "gap_nm": 60}],
    }
    path = work / f"{name}.yaml"
    path.write_text(json.dumps(content, indent=2))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder for images, model, results and reports")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--model", type=Path, help="use this trained folder instead of training")
    parser.add_argument("--steps", type=int, default=900, help="of the training")
    parser.add_argument(
        "--slices", type=int, nargs="+", help="train on these painted slices only; on 10 to 25 by default"
    )
    parser.add_argument(
        "--half", action="store_true", help="train on the left half of each slice, look at the right one only"
    )
    parser.add_argument("--flat", action="store_true", help="a network that sees single planes")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("chunkflow_liver").setLevel(logging.INFO)
    if not given.data.is_dir():
        raise SystemExit(f"no data at {given.data}: give the folder of the CDeep3M stack with --data")
    work = given.work.absolute()

    model = given.model or work / "model"
    if not (model / "plans.json").exists():
        start, cpu = time.monotonic(), time.process_time()
        plan = training(given.data, work, model, given.steps, given.slices, flat=given.flat, half=given.half)
        cf.run(plan)
        minutes = [
            (end - begin) / 60 for begin, end in ((start, time.monotonic()), (cpu, time.process_time()))
        ]
        log.info("trained in %.1f min, %.1f of CPU", *minutes)

    results: dict[str, Any] = {}
    for stack, slices in ((LABELLED, HELD_OUT), (UNLABELLED, NEW)):
        name = f"z{slices[0]}-{slices[1]}"
        volume = converted(given.data, work, stack, slices)
        plan = cf.plan_run(cf.read_run_file(run_file(work, volume, name, model)))
        start = time.monotonic()
        cf.run(plan)
        results[name] = {"seconds": round(time.monotonic() - start, 1), "report": str(cf.report(plan))}
        found = cf.open_volume(work / f"run_{name}" / "results.ome.zarr" / "labels" / "organelles").read()
        if stack == LABELLED:
            truth = cf.open_volume(converted(given.data, work, LABELLED, slices, "mito").url, level=0).read()
            up = found.repeat(2, 1).repeat(2, 2)[:, : truth.shape[1], : truth.shape[2]]
            # Not what lies beside what was trained on: objects go over the middle.
            first = LEFT[2] + 64 if given.half else 0
            results[name]["dice"] = round(dice(up[..., first:] == 1, truth[..., first:] == 1), 4)
        results[name]["share"] = round(float((found == 1).mean()), 4)
    (work / "results.json").write_text(json.dumps(results, indent=2))
    for name, result in results.items():
        log.info("%s: %s", name, result)


def training(
    data: Path, work: Path, model: Path, steps: int, slices: list[int] | None, *, flat: bool, half: bool
) -> cf.Plan:
    """The network and its training; nothing is held out: the slices to be found are the test."""
    raw = converted(data, work, LABELLED, TRAIN)
    truth = converted(data, work, LABELLED, TRAIN, "mito")
    source: dict[str, Any] = {"image": raw.url, "labels": truth.url}
    if slices:
        source["slices"] = [z - TRAIN[0] for z in slices]
    if half:
        source["boxes_nm"] = [[(0.0, 0.0, 0.0), tuple(n * v for n, v in zip(LEFT, VOXEL_NM, strict=True))]]
    return cf.train(
        [source],
        name="mitochondria",
        work=work / "training",
        to=model,
        voxel_nm=LEVEL1_NM,
        window=(192, 192) if flat else (4, 192, 192),
        features=(16, 32, 64, 128, 192),
        batch=8 if flat else 2,
        steps=steps,
        split={"by": "none"},
    )


def dice(got: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> float:
    """Overlap of two masks of one shape, 2 |A and B| / (|A| + |B|)."""
    return float(2 * np.sum(got & truth) / max(1, np.sum(got) + np.sum(truth)))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
