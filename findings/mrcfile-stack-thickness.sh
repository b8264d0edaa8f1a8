#!/usr/bin/env bash
# mrcfile 1.5.4; read back by ncempy 1.16 and SimpleITK 2.5.7
#
# Behaviour: an MRC header holds no voxel size, only a cell length and the number of samples along it (MX, MY,
#   MZ). mrcfile's set_image_stack() turns a volume into a stack of images by setting ISPG = 0 and MZ = 1, and
#   leaves the cell length alone. The section thickness is the quotient, so it is multiplied by the number of
#   sections at that moment; nothing is said.
# Guess:  marking 3 sections of 40 nm as an image stack leaves them 40 nm thick.
# Seen:   120 nm. With the two calls the other way round the file says 40 nm. Two other readers follow the file.
# Why it matters: a serial-section stack of 1000 slices becomes 1000 times too thick: volumes, distances and the
#   choice of anisotropic filters are all wrong, and x and y look right.
# Source: MRC2014 format, note on ISPG, MZ and volume stacks; mrcfile, MrcObject.set_image_stack.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python mrcfile==1.5.4 ncempy==1.16 SimpleITK==2.5.7 numpy==2.4.6 h5py==3.16.0
env/bin/python - <<'PY'
import sys

import mrcfile
import numpy as np
import SimpleITK
from ncempy.io import mrc

print("mrcfile", mrcfile.__version__, "SimpleITK", SimpleITK.Version.VersionString())
voxels = np.arange(3 * 4 * 8, dtype=np.int16).reshape(3, 4, 8)
angstrom = (59.0, 59.0, 400.0)  # 5.9 x 5.9 x 40 nm

with mrcfile.new("size_first.mrc") as file:
    file.set_data(voxels)
    file.voxel_size = angstrom
    file.set_image_stack()
with mrcfile.new("stack_first.mrc") as file:
    file.set_data(voxels)
    file.set_image_stack()
    file.voxel_size = angstrom

seen = {}
for name in ("size_first.mrc", "stack_first.mrc"):
    with mrcfile.open(name) as file:
        header = file.header
        print(f"{name}: ISPG {header.ispg}, NZ {header.nz}, MZ {header.mz}, cell along z {header.cella.z}")
        thickness = [float(file.voxel_size.z)]
    thickness.append(float(mrc.mrcReader(name)["pixelSize"][0]))
    thickness.append(float(SimpleITK.ReadImage(name).GetSpacing()[2]))
    seen[name] = thickness

print("guess: 400 angstrom in both files")
print("seen: ", seen, "(mrcfile, ncempy, SimpleITK)")
if seen != {"size_first.mrc": [1200.0] * 3, "stack_first.mrc": [400.0] * 3}:
    sys.exit("this differs from what is recorded: 1200 where the size was set first, else 400")
PY
