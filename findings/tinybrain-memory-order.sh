#!/usr/bin/env bash
# tinybrain 1.7.0 (newest in December 2026; 1.6.0 alike)
#
# Behaviour: tinybrain makes the coarser levels of label volumes for igneous and others: the most frequent label of
#   2 x 2 x 2 voxels. That path takes the array for one in Fortran order and does not look; the others (2 x 2 x 1, and
#   means of grey values) turn the array or follow its strides.
# Guess:  the order in which NumPy keeps an array in memory changes speed at most, never values.
# Seen:   of a volume made of 2 x 2 x 2 cubes, so that there is nothing to choose, the level is exact from an array in
#   Fortran order, and from the same array in NumPy's usual order nearly every voxel has the id of a cube somewhere
#   else: 957 of 960. With two regions, left and right, the level is striped. With 2 x 2 x 1 both orders are exact.
# Why it matters: the ids are real ones, the shape and type are right, and a cube filled with one id, on which one tests,
#   comes out right. cloud-volume gives Fortran order, so igneous is not affected; tifffile, zarr and h5py do not.
# Source: the page of tinybrain speaks of Fortran order for the fast path of means only, as a matter of speed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python tinybrain==1.7.0 numpy==2.4.6
cat > order.py <<'PY'
import sys
from importlib.metadata import version

import numpy as np
import tinybrain

rng = np.random.default_rng(0)
ids = rng.integers(1, 1000, (8, 10, 12), dtype=np.uint64)
halves = np.ones((8, 10, 12), np.uint64)
halves[:, :, 6:] = 2


def wrong(coarse, factor, order):
    """How many voxels of the level differ from the cubes (of `factor` voxels) that the volume is made of."""
    fine = coarse
    for axis, times in enumerate(factor):
        fine = fine.repeat(times, axis)
    (level,) = tinybrain.downsample_segmentation(np.array(fine, order=order), factor, num_mips=1)
    return int((level != coarse).sum()), level


if __name__ == "__main__":
    print("tinybrain", version("tinybrain"), "numpy", version("numpy"))
    factors = ((2, 2, 1), (2, 2, 2))
    seen = {(factor, order): wrong(ids, factor, order)[0] for factor in factors for order in "FC"}
    print(f"guess: 0 of {ids.size} differ, always")
    print("seen: ", seen)
    count, level = wrong(halves, (2, 2, 2), "C")
    print("seen:  ids 1 left and 2 right, C:", count, "differ; one row of the level:", level[0, 0].tolist())
    flat = wrong(np.full((8, 10, 12), 5, np.uint64), (2, 2, 2), "C")[0]
    print("seen:  one id everywhere, C:", flat, "differ")
    recorded = {((2, 2, 1), "F"): 0, ((2, 2, 1), "C"): 0, ((2, 2, 2), "F"): 0, ((2, 2, 2), "C"): 957}
    if seen != recorded or flat != 0 or count < 100:
        sys.exit(f"this differs from what is recorded: {recorded}; halves above 100, one id 0")
PY
env/bin/python order.py
