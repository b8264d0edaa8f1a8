"""A model from three painted slices of a gigavoxel phantom, and one from all labels; a round of corrections.

Trained on slices below `FIRST_TEST`, looked for in blocks above it. A correction is what a person does who
goes over one box of the result: its labels become a further source, and the model is trained on.
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
FIRST_TEST = 860
TESTS = [Box((FIRST_TEST, y, x), (FIRST_TEST + 96, y + 256, x + 256)) for y in (100, 600) for x in (100, 600)]
ASKED = [Box((660, y, x), (708, y + 256, x + 256)) for y in (60, 370, 680) for x in (60, 370, 680)]
"""Boxes that a person may look at; the worst of them is corrected."""

log = logging.getLogger("chunkflow_liver.phantom_from_slices")


def main() -> None:
    """Generate, train, look, correct, train on; write what was found into `results.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder for phantom, checkpoints, models and results")
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--more", type=int, default=250, help="steps after the correction")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("chunkflow_liver").setLevel(logging.INFO)
    work, found = given.work.absolute(), {}

    made = cf.phantom(
        shape=(SIDE,) * 3, voxel_nm=(NM,) * 3, seed=3, work=work / "phantom", block=(256, 256, 256)
    )
    cf.run(made, progress=False)
    at = {"image": made.output.url, "labels": f"{made.output.url}/labels/truth"}
    truth = cf.open_volume(at["labels"])
    sparse = at | {"slices": SLICES}
    dense = at | {"boxes_nm": [[(0.0, 0.0, 0.0), (FIRST_TEST * NM - 1600, SIDE * NM, SIDE * NM)]]}
    for name, source in (("sparse", sparse), ("dense", dense)):
        found[name] = trained(work, name, [source], given.steps)
        found[name] |= {"elsewhere": dice(work, name, name, truth, TESTS)}
        log.info("%s: %s", name, found[name])
    # As a person sees it who looks at several boxes of the result.
    seen = [dice(work, "sparse", f"sparse-{i}", truth, [box]) for i, box in enumerate(ASKED)]
    worst = ASKED[int(np.argmin([s["mean"] for s in seen]))]
    around = [Box((worst.stop[0], *worst.start[1:]), (worst.stop[0] + 48, *worst.stop[1:]))]
    corners = [[tuple(NM * v for v in corner) for corner in (worst.start, worst.stop)]]
    found["corrected"] = trained(
        work,
        "corrected",
        [sparse, at | {"boxes_nm": corners}],
        given.more,
        fine_tune=model_of(work, "sparse"),
    )
    for what, boxes in (("box", [worst]), ("beside it", around), ("elsewhere", TESTS)):
        for name in ("sparse", "corrected"):
            found[name][what] = dice(work, name, f"{name}-{what.replace(' ', '-')}", truth, boxes)
    (work / "results.json").write_text(json.dumps(found, indent=2))
    for name, result in found.items():
        log.info("%s: %s", name, result)


def model_of(work: Path, name: str) -> Path:
    return work / name / "models" / name


def trained(
    work: Path, name: str, sources: list[dict[str, Any]], steps: int, **options: Any
) -> dict[str, Any]:
    """Minutes, and the most memory of this process so far, of a training."""
    if "fine_tune" not in options:
        options |= {"window": (16, 128, 128), "features": (8, 16, 24, 32, 48), "convolutions": 1}
    plan = cf.train(
        sources,
        name=name,
        work=work / name,
        steps=steps,
        rate=2e-3,
        split={"by": "none"},
        **options,
    )
    start, cpu = time.monotonic(), time.process_time()
    cf.run(plan)
    return {
        "minutes": round((time.monotonic() - start) / 60, 1),
        "cpu_minutes": round((time.process_time() - cpu) / 60, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }


def dice(work: Path, model: str, name: str, truth: cf.Volume, boxes: list[Box]) -> dict[str, float]:
    """Dice of every class over all voxels of some boxes, and the mean."""
    raw = cf.open_volume(truth.url.rpartition("/labels/")[0])
    hits, sizes = np.zeros(len(truth.classes) + 1), np.zeros(len(truth.classes) + 1)
    for i, box in enumerate(boxes):
        ends = [tuple(NM * v for v in corner) for corner in (box.start, box.stop)]
        plan = cf.segment(
            raw,
            model=model_of(work, model),
            mirroring=False,
            engine="torch",  # no trial: it takes longer than so small a box
            precision="float32",
            within=(ends[0], ends[1]),
            name=f"{name}-{i}",
            work=work / "found",
        )
        cf.run(plan, progress=False)
        got, true = plan.output.read(box), truth.read(box)
        hits += [np.sum((got == c) & (true == c)) for c in range(len(hits))]
        sizes += [np.sum(got == c) + np.sum(true == c) for c in range(len(hits))]
    found = {called: float(2 * hits[c] / sizes[c]) for called, c in truth.classes if sizes[c]}
    return {k: round(v, 4) for k, v in ({"mean": float(np.mean(list(found.values())))} | found).items()}


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
