#!/usr/bin/env bash
# pyfive 1.3.0 (newest in December 2026), h5py 3.16.0
#
# Behaviour: an HDF5 file may begin with a block of the user's own; files of MATLAB 7.3 do, with 512 bytes. All addresses
#   in it count from behind that block. pyfive, the HDF5 reader without the C library, opens such files since summer 2026.
# Guess:  what it opens it reads as h5py does, or it refuses.
# Seen:   names, shapes, types and attributes are right, and so are values stored in the header. Of an array stored in one
#   piece pyfive reads the 512 bytes before it and leaves off the last 512: every voxel comes from 256 voxels earlier
#   (uint16), or 64 (float64). Chunked arrays end in an AssertionError. Without the block all is right.
# Why it matters: a volume displaced by half a row still looks like tissue; a checksum finds it, an eye does not.
# Source: HDF5 file format specification, superblock: base address; NCAS-CMS/pyfive pull request 258.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python pyfive==1.3.0 h5py==3.16.0 numpy==2.4.6
cat > block.py <<'PY'
import sys
import warnings
from importlib.metadata import version

import h5py
import numpy as np
import pyfive

BLOCK = 512
voxels = np.arange(1000, 1000 + 6 * 20 * 600, dtype=np.uint16).reshape(6, 20, 600)


def write(name, block):
    with h5py.File(name, "w", userblock_size=block) as file:
        file["image"] = voxels
        file["image"].attrs["MATLAB_class"] = np.bytes_("uint16")
        file["distance"] = voxels.astype(np.float64)
        file.create_dataset("chunked", data=voxels, chunks=(3, 10, 300))
    if block:
        with open(name, "r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def in_the_file(name, key):
    """The voxels by h5py, which are the same where the file's bytes are read at the address that HDF5 states."""
    with h5py.File(name) as file:
        found, place = file[key][...], file[key].id.get_offset()
    plain = np.fromfile(name, found.dtype, found.size, offset=place).reshape(found.shape)
    assert np.array_equal(found, plain)
    assert np.array_equal(found, voxels)
    return found


def by_pyfive(name, key):
    """What pyfive makes of it, and by how many voxels that is displaced."""
    right = in_the_file(name, key).ravel()
    with warnings.catch_warnings(), pyfive.File(name) as file:
        warnings.simplefilter("error")
        found = file[key][...].ravel()
    assert found.dtype == right.dtype
    places = [n for n in (0, BLOCK // right.itemsize) if np.array_equal(found[n:], right[: right.size - n])]
    return places[0] if places else "other voxels"


def chunked(name):
    with pyfive.File(name) as file:
        try:
            return "right" if np.array_equal(file["chunked"][...], voxels) else "other voxels"
        except AssertionError:
            return "AssertionError"


def known(name):
    with pyfive.File(name) as file:
        return sorted(file), file["image"].shape, bytes(file["image"].attrs["MATLAB_class"])


if __name__ == "__main__":
    print(*(f"{name} {version(name)}" for name in ("pyfive", "h5py", "numpy")))
    print("guess: displaced by 0 voxels, or refused")
    seen = {}
    for block in (0, BLOCK):
        write(f"{block}.mat", block)
        assert known(f"{block}.mat") == (["chunked", "distance", "image"], voxels.shape, b"uint16")
        seen[block] = [by_pyfive(f"{block}.mat", key) for key in ("image", "distance")] + [chunked(f"{block}.mat")]
        print(f"seen:  block of {block}: uint16 displaced by {seen[block][0]}, float64 by {seen[block][1]},", end=" ")
        print("chunked:", seen[block][2])
    recorded = {0: [0, 0, "right"], BLOCK: [256, 64, "AssertionError"]}
    if seen != recorded:
        sys.exit(f"this differs from what is recorded: {recorded}")
PY
env/bin/python block.py
