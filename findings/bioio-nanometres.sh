#!/usr/bin/env bash
# bioio 3.6.0, bioio-tifffile 1.3.1, bioio-ome-tiff 1.4.0, bioio-ome-zarr 3.8.1 (newest in December 2026)
#
# Behaviour: bioio reads many formats by one interface. Its pages say that it attaches no unit to physical_pixel_sizes and
#   send the reader to the file's metadata for the unit; dimension_properties may state one.
# Guess:  the numbers are those of the file, in the unit of the file, or micrometres, as bioio is at home in light
#   microscopy; one of the two for all formats.
# Seen:   an image of 40 x 6 x 6 nm has the size 0.04, 0.006, 0.006 as a TIFF of ImageJ, and 40, 6, 6 as OME-TIFF and as
#   OME-Zarr. Only for OME-Zarr a unit is stated. Where the unit is micrometre all three agree.
# Why it matters: who follows the advice and takes the unit from the file, nm, makes 0.006 nm of ImageJ's; who has tested
#   with ImageJ's and holds that bioio converts, as a course for biologists found, makes 6 micrometres of OME-TIFF's.
# Source: bioio, BioImage.physical_pixel_sizes; OME model: PhysicalSizeXUnit; bioio-devs/bioio issue 25;
#   NEUBIAS/training-resources issue 746.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python bioio==3.6.0 bioio-tifffile==1.3.1 bioio-ome-tiff==1.4.0 \
    bioio-ome-zarr==3.8.1 tifffile==2026.3.3 zarr==3.1.6 numcodecs==0.16.6 numpy==2.4.6
cat > sizes.py <<'PY'
import sys
import warnings
from importlib.metadata import version

import bioio_ome_tiff
import bioio_ome_zarr
import bioio_tifffile
import numpy as np
import tifffile
import zarr
from bioio import BioImage

voxels = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)
UNITS = {"nm": ("nanometer", 1), "um": ("micrometer", 1000)}


def write(short):
    """The image in three formats, with its size in the unit."""
    unit, factor = UNITS[short]
    z, yx = 40 / factor, 6 / factor
    metadata = {"axes": "ZYX", "spacing": z, "unit": short}
    tifffile.imwrite(f"{short}.tif", voxels, imagej=True, resolution=(1 / yx, 1 / yx), metadata=metadata)
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", (z, yx, yx), strict=True)}
    units = {f"PhysicalSize{axis}Unit": {"um": "µm"}.get(short, short) for axis in "XYZ"}
    tifffile.imwrite(f"{short}.ome.tif", voxels, ome=True, metadata={"axes": "ZYX", **sizes, **units})
    group = zarr.open_group(f"{short}.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=voxels, chunks=voxels.shape)
    scale = {"type": "scale", "scale": [z, yx, yx]}
    axes = [{"name": name, "type": "space", "unit": unit} for name in "zyx"]
    levels = [{"path": "0", "coordinateTransformations": [scale]}]
    group.attrs["multiscales"] = [{"version": "0.4", "name": "image", "axes": axes, "datasets": levels}]


def read(short):
    """Size in z and x and the unit by bioio."""
    found = {}
    for name, reader in (("tif", bioio_tifffile), ("ome.tif", bioio_ome_tiff), ("zarr", bioio_ome_zarr)):
        image = BioImage(f"{short}.{name}", reader=reader.Reader)
        assert np.array_equal(image.get_image_data("ZYX"), voxels)
        size, unit = image.physical_pixel_sizes, image.dimension_properties.X.unit
        found[name] = ([round(size.Z, 6), round(size.X, 6)], unit and str(unit))
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    names = ("bioio", "bioio-tifffile", "bioio-ome-tiff", "bioio-ome-zarr")
    print(*(f"{name} {version(name)}" for name in names))
    print("guess: 40 and 6 in all three files in nm, or 0.04 and 0.006 in all three")
    seen = {}
    for short in UNITS:
        write(short)
        seen[short] = read(short)
        print(f"seen:  file in {short}:", seen[short])
    recorded = {
        "nm": {"tif": ([0.04, 0.006], None), "ome.tif": ([40.0, 6.0], None), "zarr": ([40.0, 6.0], "nanometer")},
        "um": {key: ([0.04, 0.006], "micrometer" if key == "zarr" else None) for key in ("tif", "ome.tif", "zarr")},
    }
    if seen != recorded:
        sys.exit(f"this differs from what is recorded: {recorded}")
PY
env/bin/python sizes.py >out.txt 2>err.txt || { cat out.txt err.txt >&2; exit 1; }
cat out.txt
