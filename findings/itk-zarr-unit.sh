#!/usr/bin/env bash
# itk-ioomezarrngff 0.3.0 on ITK 5.4.7 (newest in December 2026), ngio 1.1.3 writes and compares
#
# Behaviour: ITK's module for OME-Zarr turns the scale of an image into the spacing, and a spacing into a scale with a
#   unit; ITK itself has no units, by custom its spacings are millimetres.
# Guess:  the unit of the axes is converted or kept; where neither is possible it warns, and on writing states none.
# Seen:   6 nm, 6 um and 6 mm all become the spacing 6; what is written states millimeter. Read and written again, with
#   nothing done to it, an image of 40 x 6 x 6 nm is one of 40 x 6 x 6 mm for the next reader, and nothing warns.
# Why it matters: the voxels, the order of the axes and the numbers are right; only the sample has grown a million times.
#   A registration of an image in nm with one of the same place in micrometres starts a thousand times off.
# Source: OME-Zarr 0.4, axes: unit; InsightSoftwareConsortium/ITKIOOMEZarrNGFF issue 42, on reading.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python itk-ioomezarrngff==0.3.0 itk-io==5.4.7 ngio==1.1.3 zarr==3.1.6 \
    numcodecs==0.16.6 numpy==2.4.6
cat > unit.py <<'PY'
import sys
import warnings
from importlib.metadata import version

import itk
import numpy as np
from ngio import create_ome_zarr_from_array, open_image

voxels = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)


def stated(name):
    """Voxel size in the order x, y, z and unit, by ngio."""
    size = open_image(name).pixel_size
    return [size.x, size.y, size.z], size.space_unit


def through_itk(name, copy):
    """ITK's spacing in the order x, y, z; it also writes what it read as `copy`."""
    image = itk.imread(name, itk.US, imageio=itk.OMEZarrNGFFImageIO.New())
    assert np.array_equal(itk.array_from_image(image), voxels)
    itk.imwrite(image, copy, imageio=itk.OMEZarrNGFFImageIO.New(), compression=False)
    return list(itk.spacing(image))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(*(f"{name} {version(name)}" for name in ("itk-ioomezarrngff", "itk-io", "ngio", "zarr")))
    print("guess: three spacings that differ by thousands, or warnings; each copy as large as its original")
    seen = {}
    for unit in ("nanometer", "micrometer", "millimeter"):
        create_ome_zarr_from_array(
            f"{unit}.zarr", voxels, pixelsize=6.0, z_spacing=40.0, space_unit=unit, levels=1,
            axes_names=["z", "y", "x"], ngff_version="0.4",
        )  # fmt: skip
        assert stated(f"{unit}.zarr") == ([6.0, 6.0, 40.0], unit)
        seen[unit] = (through_itk(f"{unit}.zarr", f"{unit}-copy.zarr"), *stated(f"{unit}-copy.zarr"))
        print(f"seen:  6 x 6 x 40 {unit}: ITK {seen[unit][0]}; its copy, by ngio, {seen[unit][1:]}")
    recorded = ([6.0, 6.0, 40.0], [6.0, 6.0, 40.0], "millimeter")
    if any(found != recorded for found in seen.values()):
        sys.exit(f"this differs from what is recorded: {recorded} of all three")
PY
env/bin/python unit.py >out.txt 2>err.txt || { cat out.txt err.txt >&2; exit 1; }
[ ! -s err.txt ] || { cat err.txt >&2; echo "this differs from what is recorded: nothing is said" >&2; exit 1; }
cat out.txt
