"""Neurons of real EM carried from a box each, by a small model trained on other slices of the same volume.

Mouse cortex, serial-section SEM, 30 x 6 x 6 nm (SNEMI3D, Kasthuri 2015, doi:10.1016/j.cell.2015.06.054).
The model of the demonstration goes on being trained on slices 0 to 11; the 20 largest neurons of slices 12
to 24 are marked on slice 12. Data, model and pictures stay out of the repository.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from phantom_clips import Sample
from train_phantom_sam2 import Trainer, train

import chunkflow_liver as cf
from chunkflow_liver.demo import SAM2
from chunkflow_liver.store.prompts import Prompt

DATA = Path(__file__).parents[2] / "shared" / "data" / "snemi3d_subset"
VOXEL_NM = (30.0, 6.0, 6.0)
TRAINED, COUNT = 12, 20
"""Slices that are trained on, and neurons that are carried."""
LOST = 0.5
"""Dice below which a neuron is lost."""

log = logging.getLogger("chunkflow_liver.real_em_sam2")


def boxes(truth: np.ndarray[Any, Any]) -> list[Prompt]:
    """A box on the first slice around each of the largest neurons that are on it."""
    voxels = np.bincount(truth.ravel())
    voxels[0] = 0
    voxels[np.setdiff1d(np.arange(len(voxels)), truth[0])] = 0
    found = []
    for number in np.argsort(voxels)[::-1][:COUNT].tolist():
        rows, columns = np.nonzero(truth[0] == number)
        low, high = (rows.min(), columns.min()), (rows.max() + 1, columns.max() + 1)
        corners = [float(n * v) for n, v in zip((*low, *high), VOXEL_NM[1:] * 2, strict=True)]
        found.append(Prompt(str(number), 0.5 * VOXEL_NM[0], box_nm=tuple(corners)))  # type: ignore[arg-type]
    return found


def measure(model: Path, raw: Any, truth: Any, work: Path) -> dict[str, Any]:
    """Mean Dice over neurons and slices, and how far each was carried before it was lost."""
    at: dict[str, Any] = {"voxel_nm": VOXEL_NM, "chunks": (16, 256, 256)}
    image = cf.write_volume(work / "raw.ome.zarr", raw, **at)
    labels = cf.write_volume(work / "truth.ome.zarr", truth, kind="label", **at)
    plan = cf.propagate(image, boxes(truth), model=model, truth=labels, name="neurons", work=work)
    cf.run(plan, progress=False)
    rows = cf.read_table(work / "tables" / "neurons-truth.parquet").to_pandas()
    lengths, shares = [], []
    for name, own in rows.sort_values("slice").groupby("object"):
        there = int((truth == int(name)).any((1, 2)).sum())
        lost = np.flatnonzero(own.dice.to_numpy() < LOST)
        lengths.append(int(lost[0]) if len(lost) else len(own))
        shares.append(min(1.0, lengths[-1] / there))
        log.info("%s: Dice %.3f, %d of %d slices", name, own.dice.mean(), lengths[-1], there)
    first = rows[rows["slice"] == 0]
    return {
        "neurons": len(lengths),
        "slices": len(raw),
        "dice": float(rows.dice.mean()),
        "dice_where_marked": float(first.dice.mean()),
        "switched": int(rows.switched.sum()),
        "median_slices_until_lost": float(np.median(lengths)),
        "carried_to_the_end": float(np.mean(np.array(shares) >= 1)),
    }


def main() -> None:
    """Measure a model as it is, train it, measure again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--begin", type=Path, default=SAM2, help="a model folder that training goes on from")
    parser.add_argument("--minutes", type=float, default=20.0, help="how long training takes")
    parser.add_argument("--rate", type=float, default=5e-4)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    raw = tifffile.imread(given.data / "raw_z0-24.tif")
    truth = tifffile.imread(given.data / "neurons_gt_z0-24.tif")
    held = raw[TRAINED:], truth[TRAINED:]
    found = {"before": measure(given.begin, *held, given.work / "before")}
    log.info("%s", found["before"])
    trainer = Trainer(0, given.rate)
    trainer.begin(given.begin)
    pool = [Sample(raw[:TRAINED], truth[:TRAINED])]
    to = given.work / "model"
    train(trainer, pool, to, length=8, batch=24, minutes=given.minutes, single=0.5, short=0.7)
    found["after"] = measure(to, *held, given.work / "after")
    log.info("%s", found["after"])
    (given.work / "found.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
