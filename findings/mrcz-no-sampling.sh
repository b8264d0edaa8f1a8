#!/usr/bin/env bash
# mrcz 0.6.0 (August 2026); read by mrcfile 1.5.4, ncempy 1.16 and SimpleITK 2.5.7
#
# Behaviour: mrcz writes the cell lengths of an uncompressed MRC file but leaves the number of samples along them
#   (MX, MY, MZ) at zero: it uses that field for something of its own. Every other program divides by it.
# Guess:  the pixel size given to writeMRC comes back in any MRC reader.
# Seen:   only mrcz finds it. mrcfile and SimpleITK say infinity (SimpleITK prints a matrix and goes on), and
#   ncempy hands out the length of the whole volume as the size of one voxel.
# Why it matters: infinity passes every test of the form "size > 0", and a voxel as long as the volume is a number
#   like any other.
# Source: em-MRCZ/python-mrcz issue 13, open since 2019; MRC2014 format, words 8 to 13.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python mrcz==0.6.0 mrcfile==1.5.4 ncempy==1.16 SimpleITK==2.5.7 \
    numpy==2.4.6 h5py==3.16.0
env/bin/python - <<'PY'
import math
import sys
import warnings
from importlib.metadata import version

import mrcfile
import mrcz
import numpy as np
import SimpleITK
from ncempy.io import mrc

print("mrcz", version("mrcz"), "mrcfile", mrcfile.__version__, "ncempy", version("ncempy"))
warnings.simplefilter("ignore")
SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
voxels = np.arange(3 * 4 * 8, dtype=np.int16).reshape(3, 4, 8)
mrcz.writeMRC(voxels, "volume.mrc", pixelsize=[4.0, 0.5, 0.5], pixelunits="nm")

seen = {"mrcz": [float(v) for v in mrcz.readMRC("volume.mrc")[1]["pixelsize"]]}
with mrcfile.open("volume.mrc", permissive=True) as file:
    print("MX, MY, MZ:", file.header.mx, file.header.my, file.header.mz, " cell:", file.header.cella)
    size = file.voxel_size
    seen["mrcfile"] = [float(size.z), float(size.y), float(size.x)]
seen["SimpleITK"] = [float(v) for v in SimpleITK.ReadImage("volume.mrc").GetSpacing()[::-1]]
seen["ncempy"] = [float(v) for v in mrc.mrcReader("volume.mrc")["pixelSize"]]

print("guess: [40, 5, 5] angstrom (z, y, x) everywhere")
print("seen: ", seen)
same = seen["mrcz"] == [40.0, 5.0, 5.0] and seen["ncempy"] == [120.0, 20.0, 40.0]
if not (same and all(map(math.isinf, seen["mrcfile"] + seen["SimpleITK"]))):
    sys.exit("this differs from what is recorded: inf by mrcfile and SimpleITK, the cell lengths by ncempy")
PY
