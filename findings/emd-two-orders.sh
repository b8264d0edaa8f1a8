#!/usr/bin/env bash
# rosettasciio 0.15.0 (October 2026), ncempy 1.16 (May 2026), emdfile 0.0.16 (py4DSTEM)
#
# Behaviour: .emd files of the Berkeley kind are HDF5 with the voxels in "data" and one vector per axis, "dim1",
#   "dim2", .., with names and units. rosettasciio transposes such an array whenever it reads or writes one; ncempy
#   takes it as it lies. Files of emdfile, which count from "dim0", rosettasciio leaves as they lie, and ncempy does
#   not find in them any data set.
# Guess:  (z, y, x) = (3, 4, 5) written by one comes back as (3, 4, 5) from the other.
# Seen:   written by ncempy, it is (5, 4, 3) in rosettasciio, named x, y, z; written by rosettasciio, it lies in the
#   file as (5, 4, 3), and ncempy reads that; written by emdfile, rosettasciio says (3, 4, 5).
# Why it matters: "the only 3-D data set, axes z, y, x" is how HDF5 is usually taken. Here that swaps depth and width,
#   so that 40 nm sections lie along x, and no shape looks wrong where a volume is about cubic.
# Source: rosettasciio, reader of NCEM's EMD files; EMD format description, version 0.2.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python rosettasciio==0.15.0 ncempy==1.16 emdfile==0.0.16 numpy==2.4.6 \
    h5py==3.16.0
env/bin/python - <<'PY'
import sys
import warnings
from importlib.metadata import version

import emdfile
import h5py
import numpy as np
from ncempy.io import emd
from rsciio.emd import file_reader, file_writer

warnings.simplefilter("ignore")
print("rosettasciio", version("rosettasciio"), "ncempy", version("ncempy"), "emdfile", version("emdfile"))
voxels = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
steps = {"z": 40.0, "y": 6.0, "x": 6.0}

with emd.fileEMD("ncempy.emd", readonly=False) as file:
    places = [(np.arange(n) * s, name, "[n_m]") for n, (name, s) in zip(voxels.shape, steps.items(), strict=True)]
    file.put_emdgroup("em", voxels, places)
axes = [
    {"name": name, "scale": s, "offset": 0.0, "units": "nm", "size": n, "index_in_array": i, "navigate": i == 0,
     "_type": "UniformDataAxis", "is_binned": False}
    for i, (n, (name, s)) in enumerate(zip(voxels.shape, steps.items(), strict=True))
]  # fmt: skip
metadata = {"General": {"title": "em"}, "Signal": {"signal_type": ""}}
file_writer("rosettasciio.emd", {"data": voxels, "axes": axes, "metadata": metadata, "original_metadata": {}})
array = emdfile.Array(voxels, name="em", dims=[[0, s] for s in steps.values()], dim_names=list(steps),
                      dim_units=["nm"] * 3)  # fmt: skip
emdfile.save("emdfile.emd", array)


def rosettasciio(name):
    found = file_reader(name)[0]
    return found["data"].shape, "".join(axis["name"] for axis in found["axes"])


def ncem(name):
    try:
        found = emd.emdReader(name)
    except Exception as err:  # its own type, which it does not export
        return type(err).__name__
    return found["data"].shape, "".join(found["pixelName"])


def in_file(name):
    shapes = []
    with h5py.File(name) as file:
        file.visititems(lambda _, item: shapes.append(item.shape) if getattr(item, "ndim", 0) == 3 else None)
    return shapes[0]


seen = {}
for writer in ("ncempy", "rosettasciio", "emdfile"):
    name = f"{writer}.emd"
    seen[writer] = in_file(name), rosettasciio(name), ncem(name)
print("guess: (3, 4, 5), zyx, everywhere")
for writer, (shape, by_rosettasciio, by_ncempy) in seen.items():
    print(f"seen:  by {writer}: in the file {shape}, rosettasciio {by_rosettasciio}, ncempy {by_ncempy}")
recorded = {
    "ncempy": ((3, 4, 5), ((5, 4, 3), "xyz"), ((3, 4, 5), "zyx")),
    "rosettasciio": ((5, 4, 3), ((3, 4, 5), "zyx"), ((5, 4, 3), "xyz")),
    "emdfile": ((3, 4, 5), ((3, 4, 5), "zyx"), "NoEmdDataSets"),
}
if seen != recorded:
    sys.exit(f"this differs from what is recorded: {recorded}")
PY
