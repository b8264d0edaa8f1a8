#!/usr/bin/env bash
# z5py 3.0.2 (July 2026) writes, tensorstore 0.1.86 reads
#
# Behaviour: the metadata of an N5 array compressed with Blosc carry 'nthreads', a wish of the writer for its own
#   compressor. The Java reference (n5-blosc) has been reported to fail without that field, so z5py writes it;
#   TensorStore takes any field that it does not know for an error.
# Guess:  an N5 array with the Blosc compression, which both name as supported, written by one opens in the other.
# Seen:   TensorStore refuses to open it because of "nthreads"; with that one word taken out of attributes.json it
#   reads every voxel. If the report holds, no spelling of the metadata pleases both it and the Java reference.
# Why it matters: N5 is the format of Janelia's and Saalfeld's tools. A converter built on TensorStore reports that a
#   healthy volume of terabytes is no readable N5.
# Source: zarr-developers/zarr-python pull request 496 (Java needs the field), constantinpape/z5 issue 164.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python z5py==3.0.2 tensorstore==0.1.86 numpy==2.4.6
env/bin/python - <<'PY'
import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tensorstore
import z5py

print("z5py", version("z5py"), "tensorstore", version("tensorstore"))
voxels = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)
z5py.N5File("volume.n5", mode="w").create_dataset("raw", data=voxels, chunks=(2, 5, 6), compression="blosc")
attributes = Path("volume.n5/raw/attributes.json")
metadata = json.loads(attributes.read_text())
print("compression:", metadata["compression"])


def opened() -> str:
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": "volume.n5/raw"}}
    try:
        found = tensorstore.open(spec, open=True, read=True).result().read().result()
    except ValueError as err:
        return "refused: nthreads" if 'extra members: "nthreads"' in str(err) else f"refused: {err}"
    return "equal" if np.array_equal(found.T, voxels) else "other voxels"


seen = [opened()]
del metadata["compression"]["nthreads"]
attributes.write_text(json.dumps(metadata))
seen.append(opened())
print("guess: ['equal', 'equal']")
print("seen: ", seen, "(as written, without nthreads)")
if seen != ["refused: nthreads", "equal"]:
    sys.exit("this differs from what is recorded: refused because of nthreads, equal without")
PY
