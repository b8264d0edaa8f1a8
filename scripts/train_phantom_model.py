"""Train the demonstration model on generated phantoms and measure it on one that it has not seen.

The folder it makes can replace `chunkflow_liver/models/phantom`, without its training.json.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from pathlib import Path

import chunkflow_liver as cf

VOXEL_NM = (40.0, 16.0, 16.0)
SHAPE = (48, 256, 256)
FIRST_SEED, TEST_SEED = 101, 999

log = logging.getLogger("chunkflow_liver.train_phantom_model")


def phantom(work: Path, seed: int) -> dict[str, str]:
    """Image and true classes of one phantom."""
    plan = cf.phantom(shape=SHAPE, voxel_nm=VOXEL_NM, seed=seed, work=work / f"phantom{seed}")
    cf.run(plan, progress=False)
    return {"image": plan.output.url, "labels": f"{plan.output.url}/labels/truth"}


def main() -> None:
    """Generate, train and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder for phantoms, checkpoints, model and tables")
    parser.add_argument("--steps", type=int, default=1300)
    parser.add_argument("--phantoms", type=int, default=12)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("chunkflow_liver").setLevel(logging.INFO)

    start = time.monotonic()
    sources = [phantom(given.work, FIRST_SEED + i) for i in range(given.phantoms)]
    log.info("generated %d phantoms in %.0f s", len(sources), time.monotonic() - start)
    plan = cf.train(
        sources,
        name="phantom",
        work=given.work / "training",
        window=(16, 128, 128),
        features=(8, 16, 24, 32, 48),
        convolutions=1,
        steps=given.steps,
        rate=2e-3,
        split={"by": "none"},
    )
    cf.run(plan)
    log.info("trained in %.0f s", time.monotonic() - start)

    test = phantom(given.work, TEST_SEED)
    found = cf.segment(
        cf.open_volume(test["image"]),
        model=plan.output.model,
        mirroring=False,
        name="found",
        work=given.work / "test",
    )
    checked = cf.evaluate(
        found.output, cf.open_volume(test["labels"]), name="scores", work=given.work / "test"
    )
    cf.run(found + checked, progress=False)
    for row in cf.read_table(checked.output).to_pylist():
        log.info("Dice of %s: %.3f", row["class"], row["dice"])
    log.info("model: %s", plan.output.model)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
