"""Train the demonstration model on rendered phantoms and measure it on one it has not seen."""

from __future__ import annotations

import argparse
import logging
import os
import time
from pathlib import Path

from train_nnunet import Case, Recipe, dice, predict, train

from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.phantom.volume import CLASSES, Phantom, render

MODEL = Path(__file__).parents[1] / "chunkflow_liver" / "models" / "phantom"
VOXEL_NM = (40.0, 16.0, 16.0)
SHAPE = (48, 256, 256)
TRAIN_SEEDS = range(101, 113)
TEST_SEED = 999

log = logging.getLogger(__name__)


def case(seed: int) -> Case:
    """Image and semantic labels of one phantom."""
    phantom = Phantom(SHAPE, VOXEL_NM, seed)
    rendered = render(phantom, Box.of(phantom.shape))
    return rendered.raw, rendered.semantic


def main() -> None:
    """Train, save and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=MODEL, help="model folder to write")
    parser.add_argument("--iterations", type=int, default=1300)
    parser.add_argument("--minutes", type=float, default=30, help="limit, not reached by default")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    start = time.monotonic()
    cases = {f"phantom{seed}": case(seed) for seed in TRAIN_SEEDS}
    log.info("rendered %d phantoms in %.0f s", len(cases), time.monotonic() - start)
    recipe = Recipe(
        classes=tuple(name for name, number in CLASSES.items() if number),
        voxel_nm=VOXEL_NM,
        patch=(16, 128, 128),
        features=(8, 16, 24, 32, 48),
        iterations=given.iterations,
        minutes=given.minutes,
        convolutions=1,
        rate=2e-3,
    )
    train(cases, recipe, to=given.to)
    log.info("trained in %.0f s", time.monotonic() - start)

    raw, truth = case(TEST_SEED)
    start = time.monotonic()
    found = predict(given.to, raw, mirror=False)
    log.info("predicted %.2f Mvoxel/s", raw.size / 1e6 / (time.monotonic() - start))
    for name, number in CLASSES.items():
        log.info("Dice of %s: %.3f", name, dice(found == number, truth == number))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
