#!/usr/bin/env bash
# scipy 1.17.1, scikit-image 0.26.0, SimpleITK 2.5.7 (their newest for Python 3.11 in December 2026)
#
# Behaviour: labels are resampled with the nearest neighbour, and cleaned by filters that choose one of the values in a
#   window (largest, median), because both give back values that were there.
# Guess:  every id of the result is an id of the input, in the type of the input; what cannot hold 64-bit integers refuses.
# Seen:   of 64 ids like FlyWire's, near 7 * 10^17, not one is in the result of SciPy's zoom, shift, rotate, of its median
#   and maximum filter and grey dilation, of scikit-image's dilation and of SimpleITK's Resample; one is in that of
#   scikit-image's resize, which cuts off at the smallest. All answer in uint64 with ids that are off by up to 64. With
#   ids near 10^15 all are right; expand_labels, block_reduce and SimpleITK's Shrink and Median are right for both.
# Why it matters: the picture is right and the sizes are right; the ids lead to nobody, or to the wrong cell, in every table
#   and proofreading server, and cells whose ids lie close have become one.
# Source: none; all three compute in float64, which has 53 bits for a number.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python scipy==1.17.1 scikit-image==0.26.0 SimpleITK==2.5.7 numpy==2.4.6
cat > nearest.py <<'PY'
import sys
import warnings
from importlib.metadata import version

import numpy as np
import scipy.ndimage as ndi
import SimpleITK
import skimage.measure
import skimage.morphology
import skimage.segmentation
import skimage.transform


def by_itk(call):
    return lambda labels: SimpleITK.GetArrayFromImage(call(SimpleITK.GetImageFromArray(labels)))


def resampled(image):
    """Every second voxel along each axis."""
    size = [n // 2 for n in image.GetSize()]
    return SimpleITK.Resample(
        image, size, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, (0.0,) * 3, (2.0,) * 3,
        image.GetDirection(), 0, image.GetPixelID(),
    )  # fmt: skip


def shrunk(labels):
    half = tuple(n // 2 for n in labels.shape)
    return skimage.transform.resize(labels, half, order=0, preserve_range=True, anti_aliasing=False)


calls = {
    "scipy zoom": lambda labels: ndi.zoom(labels, 0.5, order=0),
    "scipy shift": lambda labels: ndi.shift(labels, 1, order=0, mode="nearest"),
    "scipy rotate": lambda labels: ndi.rotate(labels, 10, order=0, mode="nearest"),
    "scipy median_filter": lambda labels: ndi.median_filter(labels, 3),
    "scipy maximum_filter": lambda labels: ndi.maximum_filter(labels, 3),
    "scipy grey_dilation": lambda labels: ndi.grey_dilation(labels, 3),
    "skimage dilation": skimage.morphology.dilation,
    "skimage resize": shrunk,
    "SimpleITK Resample": by_itk(resampled),
    "skimage expand_labels": skimage.segmentation.expand_labels,
    "skimage block_reduce": lambda labels: skimage.measure.block_reduce(labels, 2, np.max),
    "SimpleITK Shrink": by_itk(lambda image: SimpleITK.Shrink(image, (2, 2, 2))),
    "SimpleITK Median": by_itk(SimpleITK.Median),
}
RIGHT = ("skimage expand_labels", "skimage block_reduce", "SimpleITK Shrink", "SimpleITK Median")


def kept(call, first):
    """How many of the 64 ids, `first` and above, are in the answer, and whether it has others."""
    ids = first + np.random.default_rng(0).permutation(10**6)[:64].astype(np.uint64)
    labels = np.kron(ids.reshape(4, 4, 4), np.ones((5, 5, 5), np.uint64))
    answer = call(labels)
    assert answer.dtype == np.uint64, answer.dtype
    found = np.unique(answer)
    nearest = np.abs(found[:, None].astype(np.int64) - ids.astype(np.int64)).min(1)
    assert nearest.max() <= 64, nearest
    return int(np.isin(ids, found).sum()), bool(nearest.any())


if __name__ == "__main__":
    warnings.simplefilter("error")
    print(*(f"{name} {version(name)}" for name in ("scipy", "scikit-image", "SimpleITK", "numpy")))
    print("guess: 64 ids and no other, in every line")
    seen = {}
    for name, call in calls.items():
        small, large = kept(call, np.uint64(10**15)), kept(call, np.uint64(720575940600000000))
        print(f"seen:  {name}: of 64 ids near 10^15 {small[0]}, near 7 * 10^17 {large[0]}, others: {large[1]}")
        assert small == (64, False), small
        seen[name] = large
    recorded = {name: (64, False) if name in RIGHT else (0, True) for name in calls} | {"skimage resize": (1, True)}
    if seen != recorded:
        sys.exit(f"this differs from what is recorded: {recorded}")
PY
env/bin/python nearest.py
