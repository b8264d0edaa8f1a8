#!/usr/bin/env bash
# funlib.persistence 0.7.0, funlib.geometry 0.3.0 (newest in December 2026; daisy and volara build on them), ngio 1.1.3
#
# Behaviour: funlib reads the scale of an OME-Zarr image into a Coordinate, which is documented as a tuple of integers.
#   It becomes one by cutting off what is behind the point.
# Guess:  a voxel size that is no whole number is kept, or refused; the page of the reader names no limit.
# Seen:   40 x 5.9 x 5.9 nm become 40 x 5 x 5: the volume is 15 % shorter in y and x, an object has 72 % of its volume,
#   and a request for the first 59 nm returns 11 voxels, not 10. The same image in micrometres has the voxel size
#   0, 0, 0 and an empty box. Neither warns. 4 nm is right.
# Why it matters: whole nanometres are the rule in test data and the exception from a microscope. All that is in nm (boxes,
#   halos, distances, volumes) is off by one factor, which nothing inside the program contradicts.
# Source: OME-Zarr 0.4: the scale is a list of floats. Docstring of funlib.geometry.Coordinate.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python funlib.persistence==0.7.0 funlib.geometry==0.3.0 ngio==1.1.3 \
    zarr==3.1.6 numcodecs==0.16.6 numpy==2.4.6
cat > scale.py <<'PY'
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import zarr
from funlib.geometry import Roi
from funlib.persistence import open_ome_ds
from ngio import create_ome_zarr_from_array, open_image

SHAPE = (4, 100, 100)


def read(name, unit, z, yx):
    """The voxel size by ngio and by funlib, funlib's box in that unit, and its warnings."""
    create_ome_zarr_from_array(
        name, np.ones(SHAPE, np.uint8), pixelsize=yx, z_spacing=z, space_unit=unit, levels=1,
        axes_names=["z", "y", "x"], ngff_version="0.4",
    )  # fmt: skip
    level = open_image(name).path
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        array = open_ome_ds(Path(name), level)
    told = [str(w.message) for w in said if "scale" in str(w.message) or "voxel" in str(w.message)]
    assert not told, told
    return list(open_image(name).pixel_size.zyx), list(array.voxel_size), list(array.roi.shape), array


if __name__ == "__main__":
    print(*(f"{name} {version(name)}" for name in ("funlib.persistence", "funlib.geometry", "ngio", "zarr")))
    files = {"4 nm": ("nanometer", 40.0, 4.0), "5.9 nm": ("nanometer", 40.0, 5.9), "um": ("micrometer", 0.04, 0.0059)}
    print("guess: the two agree, or funlib refuses")
    seen = {}
    for name, given in files.items():
        stated, got, box, array = read(name.replace(" ", "") + ".zarr", *given)
        seen[name] = (stated, got, box)
        print(f"seen:  {name}: ngio {stated}, funlib {got}, its box {box}")
        if name == "5.9 nm":
            voxels = array[Roi((0, 0, 0), (40, 59, 59))].shape
            print("seen:  voxels in the first 40 x 59 x 59 nm:", voxels)
    recorded = {
        "4 nm": ([40.0, 4.0, 4.0], [40, 4, 4], [160, 400, 400]),
        "5.9 nm": ([40.0, 5.9, 5.9], [40, 5, 5], [160, 500, 500]),
        "um": ([0.04, 0.0059, 0.0059], [0, 0, 0], [0, 0, 0]),
    }
    if seen != recorded or voxels != (1, 11, 11):
        sys.exit(f"this differs from what is recorded: {recorded}, 1 x 11 x 11")
PY
env/bin/python scale.py >out.txt 2>err.txt || { cat out.txt err.txt >&2; exit 1; }
cat out.txt
