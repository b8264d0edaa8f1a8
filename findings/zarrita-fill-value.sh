#!/usr/bin/env bash
# zarrita 0.7.5 (npm, newest in December 2026; browser viewers build on it), zarr 3.1.6, tensorstore 0.1.86
#
# Behaviour: a chunk that was never written is read as the fill value of the array's metadata, a number in JSON.
#   Volume EM uses the largest uint64 for "nothing here": it is the background of the synaptic clefts of CREMI.
# Guess:  the browser reads it exactly, or refuses a number that it cannot hold; ids inside chunks, which are 64-bit
#   integers there too, are exact.
# Seen:   2^64-1 and 2^64-3 are read as 0, and 2^53+1 as 2^53, without an error, in Zarr 2 and 3 alike; in the chunks that
#   were written the same values are exact.
# Why it matters: in one array the same value is 2^64-1 where somebody worked and 0 where nobody did. To whoever counts
#   as CREMI does, with all but 2^64-1 as a cleft, the part of the volume that was not worked on is one solid cleft.
# Source: Zarr 3 specification, fill value of integers: JSON numbers; zarr-developers/zarr-specs issue 334;
#   cremi/cremi_python, cremi/evaluation/Clefts.py.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python zarr==3.1.6 numcodecs==0.16.6 tensorstore==0.1.86 numpy==2.4.6
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund zarrita@0.7.5 @zarrita/storage@0.2.0 >/dev/null
cat > read.mjs <<'JS'
import { FileSystemStore } from "@zarrita/storage";
import * as zarr from "zarrita";
for (const name of process.argv.slice(2)) {
  const open = name.startsWith("v2") ? zarr.open.v2 : zarr.open.v3;
  const array = await open(new FileSystemStore(`${process.cwd()}/${name}`), { kind: "array" });
  const { data } = await zarr.get(array);
  console.log(String(data[0]), String(data[data.length - 1]));
}
JS
cat > fill.py <<'PY'
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import tensorstore
import zarr

VALUES = (7, 2**53 + 1, 2**64 - 3, 2**64 - 1)


def by_tensorstore(name):
    """The first voxel, which was written, and the last, which was not."""
    driver = "zarr" if name.startswith("v2") else "zarr3"
    found = tensorstore.open({"driver": driver, "kvstore": {"driver": "file", "path": name}}).result().read().result()
    return [int(found.flat[0]), int(found.flat[-1])]


if __name__ == "__main__":
    print(*(f"{name} {version(name)}" for name in ("zarr", "tensorstore")), "zarrita 0.7.5")
    names = [f"v{form}-{value}" for form in (2, 3) for value in VALUES]
    for name in names:
        form, value = (int(n) for n in name[1:].split("-"))
        config = {"write_empty_chunks": True}
        array = zarr.create_array(
            name, shape=(4, 8, 8), chunks=(2, 8, 8), dtype="uint64", fill_value=value, zarr_format=form,
            compressors=None, config=config,
        )  # fmt: skip
        array[:2] = value
        assert (np.asarray(array[...]) == np.uint64(value)).all()
        assert by_tensorstore(name) == [value, value]
    lines = subprocess.run(["node", "read.mjs", *names], check=True, capture_output=True, text=True).stdout.splitlines()
    seen = {name: [int(n) for n in line.split()] for name, line in zip(names, lines, strict=True)}
    print("guess: twice the value in the name, first in the chunk that was written, then in the one that was not")
    for name, found in seen.items():
        print(f"seen:  {name}: {found}")
    read = {7: 7, 2**53 + 1: 2**53, 2**64 - 3: 0, 2**64 - 1: 0}
    recorded = {f"v{form}-{value}": [value, read[value]] for form in (2, 3) for value in VALUES}
    if seen != recorded:
        sys.exit(f"this differs from what is recorded: {recorded}")
PY
env/bin/python fill.py >out.txt 2>err.txt || { cat out.txt err.txt >&2; exit 1; }
cat out.txt
