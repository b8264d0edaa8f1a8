#!/usr/bin/env bash
# ngio 1.1.3 (newest in December 2026), anndata 0.12.19
#
# Behaviour: ngio keeps boxes and the extents of objects beside an OME-Zarr image in tables whose columns are called
#   x_micrometer, len_x_micrometer and so on; its specification says that they are in micrometres.
# Guess:  that is what they hold, whatever the unit of the image; where it is nm, they are converted.
# Seen:   they hold the unit of the image. A cell of 60 nm is 60 "micrometres" wide in the file; nothing beside it says
#   otherwise, and nothing warns. The other way round, a table in true micrometres cuts an empty array out of the image in
#   nm, without an error. Where the image is in micrometres all is right.
# Why it matters: such tables are made to be joined: with those of other images, of other programs, of the light
#   microscope. A thousand times too large looks like any other number in a column with its unit in the name.
# Source: ngio documentation, table specifications, ROI table V1; OME-Zarr 0.4: units of space.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python ngio==1.1.3 anndata==0.12.19 zarr==3.1.6 numcodecs==0.16.6 numpy==2.4.6
cat > columns.py <<'PY'
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import anndata
import numpy as np
from ngio import create_ome_zarr_from_array

SHAPE, CELL = (8, 20, 30), (slice(2, 4), slice(5, 10), slice(7, 17))  # 80 x 30 x 60 nm


def image(name, unit, yx, z):
    """An image with one cell, and a table of where the cell lies."""
    made = create_ome_zarr_from_array(
        name, np.ones(SHAPE, np.uint8), pixelsize=yx, z_spacing=z, space_unit=unit,
        levels=1, axes_names=["z", "y", "x"], ngff_version="0.4",
    )  # fmt: skip
    labels = np.zeros(SHAPE, np.uint32)
    labels[CELL] = 1
    label = made.derive_label("cells")
    label.set_array(labels)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        made.add_table("boxes", made.build_masking_roi_table("cells"))
    told = [str(w.message) for w in said if "unit" in str(w.message) or "micro" in str(w.message)]
    assert not told, told
    return made


def stored(name):
    """Size of the cell by its columns, read without ngio."""
    path = Path(name) / "tables/boxes"
    assert "nanometer" not in "".join(file.read_text() for file in path.rglob(".zattrs"))
    table = anndata.read_zarr(path)
    return [round(float(table[:, f"len_{axis}_micrometer"].X[0, 0]), 6) for axis in "xyz"]


def picked(made, table):
    """Voxels that the box of the cell cuts out of the image."""
    return made.get_image().get_roi(table.rois()[0]).size


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(*(f"{name} {version(name)}" for name in ("ngio", "anndata", "zarr")))
    nm, um = image("nm.zarr", "nanometer", 6.0, 40.0), image("um.zarr", "micrometer", 0.006, 0.04)
    assert [made.get_image().pixel_size.space_unit for made in (nm, um)] == ["nanometer", "micrometer"]
    own, foreign = picked(um, um.get_table("boxes")), picked(nm, um.get_table("boxes"))
    seen = {name: stored(f"{name}.zarr") for name in ("um", "nm")}
    print("guess: 0.06 x 0.03 x 0.08 in both files, and the cell, whichever table is taken")
    print("seen:  len_x, len_y, len_z:", seen)
    print("seen:  voxels by the table in micrometres:", own, "of the image in micrometres,", foreign, "of that in nm")
    recorded = {"um": [0.06, 0.03, 0.08], "nm": [60.0, 30.0, 80.0]}
    if seen != recorded or (own, foreign) != (100, 0):
        sys.exit(f"this differs from what is recorded: {recorded}, 100 voxels, none")
PY
env/bin/python columns.py >out.txt 2>err.txt || { cat out.txt err.txt >&2; exit 1; }
cat out.txt
