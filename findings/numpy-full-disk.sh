#!/usr/bin/env bash
# numpy 1.26.4 and 2.4.6 (November 2026)
#
# Behaviour: `ndarray.tofile` writes through a C stream of its own, and does not look whether that could be closed. What
#   the stream still holds (up to 4096 bytes, so a small array whole) is lost without an error when the disk is full.
# Guess:  a write for which there is no room raises OSError, as `file.write` does.
# Seen:   100 numbers written to /dev/full, which has room for nothing: no error; `file.write` of the same bytes raises.
#   On a disk with room for a few bytes the file is short, and what is appended later follows the gap.
# Why it matters: columns that are appended piece by piece lose rows and shift against each other, and the run goes on.
# Source: npy_3kcompat.h, `npy_PyFile_DupClose2`: what `fclose(handle)` returns is not looked at.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > see.py <<'PY'
import numpy as np

values = np.arange(100)
with open("/dev/full", "wb") as file:
    values.tofile(file)
try:
    with open("/dev/full", "wb") as file:
        file.write(values.tobytes())
except OSError as err:
    print(f"numpy {np.__version__}: tofile says nothing, file.write says {err}")
else:
    raise SystemExit("file.write says nothing either")
PY
for version in 1.26.4 2.4.6; do
    uv run --quiet --no-project --python 3.11 --with "numpy==$version" see.py
done
