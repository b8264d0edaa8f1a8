#!/usr/bin/env bash
# zarr (zarr-python) 3.1.6; and 3.4.2 (November 2026), which needs Python 3.12, where there is one; tensorstore 0.1.86
#
# Behaviour: a Zarr 3 array may be turned (codec transpose) before it is cut into shards, as writers do that count x, y, z.
#   The specification has each codec work on what the one before it gives, so the inner chunks must divide the turned
#   shard. TensorStore takes it so.
# Guess:  zarr-python, whose group wrote the specification, opens what TensorStore writes.
# Seen:   with shards of 16 x 128 x 128 and inner chunks of 16 x 32 x 32 it refuses: it divides the shard by the chunk
#   before the turn. The bytes, taken apart by hand, are right; so is what zarr-python itself reads where the shards are
#   cubes, for which the check does not matter.
# Why it matters: shards of volume EM are flat, tests are cubes. The message blames the file, and with zarr-python dask,
#   xarray, napari and ome-zarr are shut out.
# Source: Zarr 3 specification, encoding of chunks and sharding_indexed: chunk_shape; zarr-developers/zarr-python issue
#   2050, open since 2024; zarr-developers/zarr-specs issue 241.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > write.py <<'PY'
from importlib.metadata import version

import numpy as np
import tensorstore

LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
voxels = np.arange(32 * 128 * 256, dtype=np.uint32).reshape(32, 128, 256)
print("guess: read by zarr-python as by tensorstore", version("tensorstore"))
for name, shard, inner in (("flat", (16, 128, 128), (16, 32, 32)), ("cubes", (32, 32, 32), (8, 16, 16))):
    sharding = {"chunk_shape": inner[::-1], "codecs": [LITTLE], "index_codecs": [LITTLE, {"name": "crc32c"}]}
    metadata = {
        "shape": voxels.shape,
        "data_type": "uint32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard}},
        "codecs": [
            {"name": "transpose", "configuration": {"order": [2, 1, 0]}},
            {"name": "sharding_indexed", "configuration": sharding},
        ],
    }
    place = {"driver": "zarr3", "kvstore": {"driver": "file", "path": name}}
    tensorstore.open({**place, "metadata": metadata}, create=True).result().write(voxels).result()
    assert np.array_equal(tensorstore.open(place).result().read().result(), voxels)

# by hand: the shard is 4 x 4 x 1 chunks in x, y, z; an index at its end says where each begins and how long it is
with open("flat/c/0/0/0", "rb") as file:
    shard = file.read()
index = np.frombuffer(shard[-(4 * 4 * 16 + 4) : -4], "<u8").reshape(4, 4, 1, 2)
for x, y in np.ndindex(4, 4):
    begin, length = (int(n) for n in index[x, y, 0])
    chunk = np.frombuffer(shard[begin : begin + length], "<u4").reshape(32, 32, 16).T
    assert np.array_equal(chunk, voxels[:16, y * 32 : y * 32 + 32, x * 32 : x * 32 + 32])
print("seen:  tensorstore and the bytes taken apart by hand agree with what was written")
PY
cat > read.py <<'PY'
import sys
from importlib.metadata import version

import numpy as np
import zarr

voxels = np.arange(32 * 128 * 256, dtype=np.uint32).reshape(32, 128, 256)


def outcome(name):
    try:
        found = zarr.open_array(name, mode="r")[...]
    except ValueError as err:
        return "refused: not divisible" if "divisible" in str(err) else f"refused: {err}"
    return "right" if np.array_equal(found, voxels) else "other voxels"


seen = {name: outcome(name) for name in ("flat", "cubes")}
print("seen:  zarr", version("zarr"), seen)
recorded = {"flat": "refused: not divisible", "cubes": "right"}
if seen != recorded:
    sys.exit(f"this differs from what is recorded: {recorded}")
PY
newer=
for python in python3.14 python3.13 python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-4].*/bin/python; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
        newer=$(command -v "$python")
        break
    fi
done
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python tensorstore==0.1.86 zarr==3.1.6 numcodecs==0.16.6 numpy==2.4.6
run() {
    env/bin/python "$1" >out.txt 2>err.txt || { cat out.txt err.txt >&2; exit 1; }
    cat out.txt
}
run write.py
run read.py
if [ -n "$newer" ]; then
    rm -rf env
    uv venv --quiet --python "$newer" env
    uv pip install --quiet --python env/bin/python zarr==3.4.2 numcodecs==0.17.1 numpy==2.4.6
    run read.py
else
    echo "zarr 3.4.2 is left out: no Python 3.12 or newer was found"
fi
