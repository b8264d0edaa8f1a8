#!/usr/bin/env bash
# imagecodecs 2026.3.6 (OpenJPEG 2.5.4) behind tifffile 2026.3.3; imagecodecs 2026.10.10 does the same
#
# Behaviour: a TIFF may hold 32-bit labels as JPEG 2000, and the reversible wavelet is lossless by definition. The
#   codec first shifts unsigned numbers by half their range, so that 0 becomes -2^31, and then computes the wavelet in
#   32-bit integers, which leaves no room for sums. Nothing warns, at writing or at reading.
# Guess:  labels written as lossless JPEG 2000 come back as they were, or 32-bit ones are refused.
# Seen:   an empty uint32 image comes back as all ones. Three labels become hundreds. The same labels as int32 or
#   uint16 are exact, and so is uint32 noise: sums of noise stay small, sums over a flat area do not, so a test with
#   random numbers passes.
# Why it matters: labels are flat, and uint32 is their usual type. Background turns into object 1, and the ids that
#   appear along edges look like thousands of small objects.
# Source: none for this; cgohlke/imagecodecs issue 153 reports that reversible uint32 round-trips exactly.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python imagecodecs==2026.3.6 tifffile==2026.3.3 numpy==2.4.6
env/bin/python - <<'PY'
import sys

import imagecodecs
import numpy as np
import tifffile

print("imagecodecs", imagecodecs.__version__, "tifffile", tifffile.__version__, imagecodecs.jpeg2k_version())


def written(voxels):
    tifffile.imwrite("l.tif", voxels, compression="jpeg2000", compressionargs={"level": 0, "reversible": True})
    found = tifffile.imread("l.tif")
    assert found.dtype == voxels.dtype
    assert found.shape == voxels.shape
    return found


labels = np.zeros((256, 256), np.uint32)
labels[32:85, 32:192], labels[128:192, 10:85] = 3, 2
noise = np.random.default_rng(0).integers(0, 4096, (256, 256)).astype(np.uint32)
empty = np.zeros((256, 256), np.uint32)

back = written(labels)
exact = {
    "noise, uint32": bool((written(noise) == noise).all()),
    "labels, uint16": bool((written(labels.astype(np.uint16)) == labels).all()),
    "labels, int32": bool((written(labels.astype(np.int32)) == labels).all()),
    "labels, uint32": bool((back == labels).all()),
    "empty, uint32": bool((written(empty) == empty).all()),
}
print("guess: all exact")
print("seen: ", exact)
print(f"seen:  empty image, uint32: {np.unique(written(empty)).tolist()}")
print(f"seen:  labels 0, 2, 3 as uint32: {(back == labels).mean():.0%} of voxels kept, {len(np.unique(back))} labels")
if list(exact.values()) != [True, True, True, False, False] or np.unique(written(empty)).tolist() != [1]:
    sys.exit("this differs from what is recorded: flat uint32 comes back wrong, 0 as 1; the others are exact")
if len(np.unique(back)) < 100:
    sys.exit("this differs from what is recorded: three labels become more than 100")
PY
