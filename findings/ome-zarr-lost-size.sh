#!/usr/bin/env bash
# ome-zarr (ome-zarr-py) 0.16.0 and 0.18.0; and 0.21.0 (October 2026), which needs Python 3.12, where there is one
#
# Behaviour: for years the voxel size went into write_image() by 'coordinate_transformations', one list per level, and
#   the unit by the dictionaries in 'axes'. Releases of 2026 have 'scale' and 'axes_units' for that. The older
#   argument is still taken and is said to be deprecated, but write_image() does nothing with it any more, and of the
#   dictionaries it keeps name and type only.
# Guess:  a deprecated argument works until it is removed: 40 x 5.9 x 5.9, nanometer.
# Seen:   the same call writes 40 x 5.9 x 5.9 nanometer with 0.16.0, and 1 x 1 x 1 without any unit with 0.18.0 and
#   0.21.0. The only sign is a DeprecationWarning, which Python hides by default.
# Why it matters: an upgrade turns every newly written volume into one of unit cubes. The image is valid, opens
#   everywhere, and volumes in it are off by a factor of 1400.
# Source: ome/ome-zarr-py pull request 553, which says that the old argument is used if it is given.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > write.py <<'PY'
import json
import warnings

import numpy as np
import zarr
from ome_zarr.writer import write_image

warnings.simplefilter("ignore")
axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
levels = [[{"type": "scale", "scale": [40.0, 5.9 * 2**i, 5.9 * 2**i]}] for i in range(5)]
group = zarr.open_group("image.zarr", mode="w")
write_image(np.zeros((8, 32, 32), np.uint8), group, axes=axes, coordinate_transformations=levels)
with open("image.zarr/zarr.json") as file:
    image = json.load(file)["attributes"]["ome"]["multiscales"][0]
scale = image["datasets"][0]["coordinateTransformations"][0]["scale"]
print(scale, *[axis.get("unit", "none") for axis in image["axes"]])
PY
newer=""
for python in python3.14 python3.13 python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-4].*/bin/python; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
        newer=$(command -v "$python")
        break
    fi
done

seen() {  # version of ome-zarr, of zarr, and the Python for it
    rm -rf env image.zarr
    uv venv --quiet --python "$3" env
    uv pip install --quiet --python env/bin/python "ome-zarr==$1" "zarr==$2" numpy==2.4.6
    env/bin/python write.py
}

check() {  # what is recorded, what was seen
    if [ "$1" != "$2" ]; then
        echo "this differs from what is recorded: $1" >&2
        exit 1
    fi
}

kept="[40.0, 5.9, 5.9] nanometer nanometer nanometer"
lost="[1.0, 1.0, 1.0] none none none"
echo "guess: $kept, with every version"
found=$(seen 0.16.0 3.1.6 3.11)
echo "seen:  ome-zarr 0.16.0: $found"
check "$kept" "$found"
found=$(seen 0.18.0 3.1.6 3.11)
echo "seen:  ome-zarr 0.18.0: $found"
check "$lost" "$found"
if [ -n "$newer" ]; then
    found=$(seen 0.21.0 3.4.2 "$newer")
    echo "seen:  ome-zarr 0.21.0: $found"
    check "$lost" "$found"
else
    echo "ome-zarr 0.21.0 is left out: no Python 3.12 or newer was found"
fi
