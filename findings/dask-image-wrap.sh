#!/usr/bin/env bash
# dask-image 2026.5.0 (newest in December 2026), dask 2026.8.0, SciPy 1.17.1
#
# Behaviour: the filters of dask-image are those of SciPy on arrays in chunks; their pages repeat SciPy's text, with
#   mode="wrap" for an image that goes on at its other end.
# Guess:  the same values as SciPy's for any chunks, as in the other modes.
# Seen:   with one chunk all filters agree. With two chunks convolve and correlate do, since a fault in them was mended in
#   2021; the thirteen others take what lies beyond the first and the last voxel from the end of the chunk, not of the
#   image, and warn of nothing. Of noise in 0..1 a mean over 3^3 is wrong by up to 0.12 there, a median by 0.32.
# Why it matters: wrap is for images without an end: angles around a tube or a nucleus, simulated tissue. There the
#   first and the last columns are the middle of the data, and the seam comes and goes with the chunks.
# Source: SciPy, ndimage filters: mode; dask/dask-image issue 242 and pull request 243, on convolve and correlate.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python dask-image==2026.5.0 dask==2026.8.0 scipy==1.17.1 numpy==2.4.6
cat > wrap.py <<'PY'
import sys
import warnings
from importlib.metadata import version

import dask
import dask.array as da
import numpy as np
import scipy.ndimage
from dask_image import ndfilters

noise = np.random.default_rng(0).random((12, 14, 40))
calls = {
    "convolve": {"weights": np.ones((3, 3, 3)) / 27},
    "correlate": {"weights": np.ones((3, 3, 3)) / 27},
    "gaussian_filter": {"sigma": 1.0},
    "gaussian_gradient_magnitude": {"sigma": 1.0},
    "gaussian_laplace": {"sigma": 1.0},
    "generic_filter": {"function": np.ptp, "size": 3},
    "laplace": {},
    "maximum_filter": {"size": 3},
    "median_filter": {"size": 3},
    "minimum_filter": {"size": 3},
    "percentile_filter": {"percentile": 30, "size": 3},
    "prewitt": {"axis": 2},
    "rank_filter": {"rank": 2, "size": 3},
    "sobel": {"axis": 2},
    "uniform_filter": {"size": 3},
}


def error(name, mode, width):
    """Largest difference to SciPy with chunks that are `width` wide; it must lie at the two ends in x."""
    right = getattr(scipy.ndimage, name)(noise, mode=mode, **calls[name])
    chunked = da.from_array(noise, chunks=(12, 14, width))
    off = np.abs(getattr(ndfilters, name)(chunked, mode=mode, **calls[name]).compute() - right)
    assert off[..., 8:-8].max() < 1e-3
    return round(float(off.max()), 2)


if __name__ == "__main__":
    warnings.simplefilter("error")
    dask.config.set(scheduler="synchronous")
    print(*(f"{name} {version(name)}" for name in ("dask-image", "dask", "scipy")))
    print("guess: the largest difference to SciPy is 0, whatever the mode, the chunks and the filter")
    for name in calls:
        assert not any("chunk" in line for line in getattr(ndfilters, name).__doc__.splitlines())
        assert max(error(name, mode, 20) for mode in ("reflect", "nearest", "constant", "mirror")) == 0
    seen = {width: {name: error(name, "wrap", width) for name in calls} for width in (40, 20)}
    print("seen:  wrap, one chunk, largest of all:", max(seen[40].values()))
    print("seen:  wrap, two chunks:", seen[20])
    wrong = sorted(name for name, off in seen[20].items() if off > 0.01)
    if max(seen[40].values()) > 0 or wrong != sorted(set(calls) - {"convolve", "correlate"}):
        sys.exit("this differs from what is recorded: right in one chunk; in two, convolve and correlate alone")
PY
env/bin/python wrap.py
