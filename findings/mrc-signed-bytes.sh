#!/usr/bin/env bash
# mrcfile 1.5.4, ncempy 1.16, rosettasciio 0.15.0, SimpleITK 2.5.7
#
# Behaviour: voxels of MRC's mode 0 are one byte. MRC2014 says that it is signed; older programs meant unsigned. Where a
#   file has no mark of IMOD, mrcfile and ncempy take it as signed, rosettasciio as unsigned, and SimpleITK goes by
#   the smallest value that the header states, which a file need not state. SimpleITK writes uint8 as mode 0.
# Guess:  four readers, one rule; and a uint8 image written by one of them comes back as it was in the others.
# Seen:   a uint8 image of 100..219 by SimpleITK is -128..127 in mrcfile and ncempy, with no warning. A
#   signed image of -60..59 by mrcfile is 0..255 in rosettasciio, and if its header leaves the statistics unset, as
#   MRC2014 allows, also in SimpleITK: -1 is then 255, the brightest.
# Why it matters: most volumes of electron microscopy are uint8. Read as signed, every voxel from 128 on is darker than
#   all others: a threshold, a mean or a network then answers about another picture, and nothing stops.
# Source: MRC2014 format, words 4 and 20 to 22.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python mrcfile==1.5.4 ncempy==1.16 rosettasciio==0.15.0 SimpleITK==2.5.7 \
    numpy==2.4.6
cat > read.py <<'PY'
import sys
import warnings
from importlib.metadata import version

import mrcfile
import numpy as np
import SimpleITK
from ncempy.io import mrc
from rsciio.mrc import file_reader

warnings.simplefilter("ignore")
NAMES = ("mrcfile", "ncempy", "rosettasciio", "SimpleITK")


def by_mrcfile(name):
    with mrcfile.open(name) as file:
        return file.data.copy()


READERS = {
    "mrcfile": by_mrcfile,
    "ncempy": lambda name: mrc.mrcReader(name)["data"],
    "rosettasciio": lambda name: file_reader(name)[0]["data"],
    "SimpleITK": lambda name: SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(name)),
}


def seen(name):
    found = {reader: np.asarray(read(name)) for reader, read in READERS.items()}
    return {reader: f"{values.dtype} {values.min()}..{values.max()}" for reader, values in found.items()}


if __name__ == "__main__":
    print(*[f"{name} {version(name)}" for name in NAMES])
    unsigned = np.arange(100, 220, dtype=np.uint8).reshape(4, 5, 6)
    signed = np.arange(-60, 60, dtype=np.int8).reshape(4, 5, 6)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(unsigned), "unsigned.mrc")
    with mrcfile.new("signed.mrc", signed) as file:
        assert file.header.mode == 0
    with mrcfile.new("unset.mrc", signed) as file:
        file.reset_header_stats()
    assert mrcfile.validate("signed.mrc", print_file=sys.stderr)
    assert mrcfile.validate("unset.mrc", print_file=sys.stderr)
    recorded = {
        "unsigned": ["int8 -128..127", "int8 -128..127", "uint8 100..219", "uint8 100..219"],
        "signed": ["int8 -60..59", "int8 -60..59", "uint8 0..255", "int8 -60..59"],
        "unset": ["int8 -60..59", "int8 -60..59", "uint8 0..255", "uint8 0..255"],
    }
    print("guess: uint8 100..219 everywhere, then int8 -60..59 everywhere, twice")
    for name, values in recorded.items():
        found = seen(f"{name}.mrc")
        print(f"seen:  {name}.mrc:", found)
        if list(found.values()) != values:
            sys.exit(f"this differs from what is recorded: {values}")
PY
env/bin/python read.py 2>err.txt || { cat err.txt >&2; exit 1; }
