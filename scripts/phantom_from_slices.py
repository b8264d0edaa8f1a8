"""A model from three painted slices of a gigavoxel phantom, and one from all labels; a round of corrections.

Trained on slices below `DENSE`, looked for in blocks above it. The slices are seen in single planes, as
`train` chooses by itself where slices lie apart; the network that has all labels is three-dimensional, that
of the demonstration, and gets as much CPU. A correction is what a person does who goes over one box of the
result: its labels become a further source, beside the slices, and the model is trained on.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

import chunkflow_liver as cf
from chunkflow_liver.geometry import Box

SIDE, NM = 1000, 16.0
SLICES = [200, 400, 600]
DENSE = 760
TESTS = [Box((936, y, x), (1000, y + 320, x + 320)) for y in (140, 460) for x in (140, 680)]
"""Blocks in which every class is, 2.8 um and more above all that is trained on."""
ASKED = [Box((660, y, x), (708, y + 256, x + 256)) for y in (60, 370, 680) for x in (60, 370, 680)]
"""Boxes that a person may look at; the worst of them is corrected."""
NETWORK = {
    "sparse": {"window": (256, 256), "features": (16, 32, 48, 64, 96), "convolutions": 1, "batch": 4},
    "dense": {"window": (16, 128, 128), "features": (8, 16, 24, 32, 48), "convolutions": 1},
}
RATE, RATE_ON = 2e-3, 1e-3

log = logging.getLogger("chunkflow_liver.phantom_from_slices")


def main() -> None:
    """Generate, train, look, correct, train on; write what was found into `results.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder for phantom, checkpoints, models and results")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--more", type=int, default=500, help="steps after the correction")
    parser.add_argument("--dense", type=int, default=600, help="steps with all labels")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("chunkflow_liver").setLevel(logging.INFO)
    work = given.work.absolute()
    found: dict[str, dict[str, Any]] = {}

    made = cf.phantom(
        shape=(SIDE,) * 3, voxel_nm=(NM,) * 3, seed=3, work=work / "phantom", block=(256, 256, 256)
    )
    cf.run(made, progress=False)
    at = {"image": made.output.url, "labels": f"{made.output.url}/labels/truth"}
    truth = cf.open_volume(at["labels"])
    sparse = at | {"slices": SLICES}
    found["sparse"] = trained(work, "sparse", [sparse], steps=given.steps, rate=RATE, **NETWORK["sparse"])
    told(work, found)
    # As a person sees it who looks at several boxes of the result.
    seen = [dice(work, "sparse", truth, [box]) for box in ASKED]
    worst = ASKED[int(np.argmin([s["mean"] for s in seen]))]
    corners = [[tuple(NM * v for v in corner) for corner in (worst.start, worst.stop)]]
    found["corrected"] = trained(
        work,
        "corrected",
        [sparse, at | {"boxes_nm": corners}],
        steps=given.more,
        rate=RATE_ON,
        fine_tune=model_of(work, "sparse"),
    )
    around = [Box((worst.stop[0], *worst.start[1:]), (worst.stop[0] + 48, *worst.stop[1:]))]
    for what, boxes in (("box", [worst]), ("beside it", around), ("elsewhere", TESTS)):
        for name in ("sparse", "corrected"):
            found[name][what] = dice(work, name, truth, boxes)
            told(work, found)
    dense = at | {"boxes_nm": [[(0.0, 0.0, 0.0), (DENSE * NM, SIDE * NM, SIDE * NM)]]}
    found["dense"] = trained(work, "dense", [dense], steps=given.dense, rate=RATE, **NETWORK["dense"])
    found["dense"]["elsewhere"] = dice(work, "dense", truth, TESTS)
    told(work, found)


def told(work: Path, found: dict[str, dict[str, Any]]) -> None:
    """Write what is known so far, with the load of the machine."""
    content = json.dumps(found | {"load": os.getloadavg()[1]}, indent=2)
    (work / "results.json").write_text(content)
    log.info("%s", content)


def model_of(work: Path, name: str) -> Path:
    return work / name / "models" / name


def trained(work: Path, name: str, sources: list[dict[str, Any]], **settings: Any) -> dict[str, Any]:
    """Steps, window, minutes, and the most memory of this process so far, of a training."""
    plan = cf.train(sources, name=name, work=work / name, split={"by": "none"}, **settings)
    start, cpu = time.monotonic(), time.process_time()
    cf.run(plan)
    return {
        "steps": settings["steps"],
        "window": plan.output.recipe.window,
        "minutes": round((time.monotonic() - start) / 60, 1),
        "cpu_minutes": round((time.process_time() - cpu) / 60, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }


def dice(work: Path, model: str, truth: cf.Volume, boxes: list[Box]) -> dict[str, float]:
    """Dice of every class over all voxels of some boxes, each an image of its own, and the mean."""
    raw = cf.open_volume(truth.url.rpartition("/labels/")[0])
    hits, sizes = np.zeros(len(truth.classes) + 1), np.zeros(len(truth.classes) + 1)
    for box in boxes:
        name = "-".join(map(str, box.start))
        image = work / "boxes" / f"{name}.ome.zarr"
        if not image.exists():
            cf.write_volume(image, raw.read(box), voxel_nm=(NM,) * 3)
        plan = cf.segment(
            cf.open_volume(image),
            model=model_of(work, model),
            mirroring=False,
            engine="torch",  # no trial: it takes longer than so small a box
            precision="float32",
            name="found",
            work=work / "found" / f"{model}-{name}",
        )
        cf.run(plan, progress=False)
        got, true = plan.output.read(), truth.read(box)
        hits += [np.sum((got == c) & (true == c)) for c in range(len(hits))]
        sizes += [np.sum(got == c) + np.sum(true == c) for c in range(len(hits))]
    found = {called: float(2 * hits[c] / sizes[c]) for called, c in truth.classes if sizes[c]}
    return {k: round(v, 4) for k, v in ({"mean": float(np.mean(list(found.values())))} | found).items()}


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
