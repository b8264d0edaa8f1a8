#!/usr/bin/env bash
# kerchunk 0.2.10, virtualizarr 2.5.1 (2026), pyfive 1.3.0; h5py 3.16.0 writes and compares
#
# Behaviour: an HDF5 dataset may be virtual (a map onto datasets of other files, as detectors and microscopes write one
#   file a section and a master) or external (its bytes lie in a raw file beside it). kerchunk and VirtualiZarr make a
#   Zarr view of HDF5 files from the places of their chunks. Such a dataset has no chunks in the file; both take that
#   for chunks that were never written, which Zarr reads as the fill value.
# Guess:  they point at the files where the bytes are, or say that they cannot.
# Seen:   no error and no warning: an array of the right shape and type, filled with the fill value. The same for
#   external data, where pyfive, a reader in pure Python, too gives zeros. h5py reads all of it.
# Why it matters: the index of a stack of terabytes is made in a minute, opens, and is black; with the fill value 0 a
#   segmentation is just empty.
# Source: HDF5 reference, virtual datasets and H5Pset_external.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python kerchunk==0.2.10 virtualizarr==2.5.1 pyfive==1.3.0 h5py==3.16.0 \
    zarr==3.1.6 numcodecs==0.16.6 fsspec==2026.9.0 obstore==0.12.1 obspec-utils==0.9.0 numpy==2.4.6
cat > views.py <<'PY'
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import fsspec
import h5py
import numpy as np
import pyfive
import zarr
from kerchunk.hdf import SingleHdf5ToZarr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import LocalStore
from virtualizarr.parsers import HDFParser

SECTIONS, FILL = 4, 7
voxels = np.arange(100, 100 + SECTIONS * 6 * 8, dtype=np.uint16).reshape(SECTIONS, 6, 8)


def write():
    layout = h5py.VirtualLayout(shape=voxels.shape, dtype=voxels.dtype)
    for z, section in enumerate(voxels):
        with h5py.File(f"section{z}.h5", "w") as file:
            file["raw"] = section
        layout[z] = h5py.VirtualSource(f"section{z}.h5", "raw", shape=section.shape)
    with h5py.File("virtual.h5", "w") as file:
        file.create_virtual_dataset("raw", layout, fillvalue=FILL)
    voxels.tofile("camera.raw")
    with h5py.File("external.h5", "w") as file:
        file.create_dataset("raw", voxels.shape, voxels.dtype, external=[("camera.raw", 0, voxels.nbytes)])
    with h5py.File("plain.h5", "w") as file:
        file.create_dataset("raw", data=voxels, chunks=(1, 6, 8))


def by_h5py(name):
    with h5py.File(name) as file:
        return file["raw"][...]


def by_kerchunk(name):
    options = {"asynchronous": True}
    system = fsspec.filesystem(
        "reference", fo=SingleHdf5ToZarr(name).translate(), remote_protocol="file", remote_options=options, **options
    )
    return zarr.open_group(zarr.storage.FsspecStore(system, read_only=True), mode="r")["raw"][...]


def by_virtualizarr(name):
    registry = ObjectStoreRegistry({"file://": LocalStore()})
    store = HDFParser()(url=Path(name).absolute().as_uri(), registry=registry)
    return zarr.open_group(store, mode="r", zarr_format=3)["raw"][...]


def by_pyfive(name):
    with pyfive.File(name) as file:
        return file["raw"][...]


def outcome(reader, name):
    """What `reader` makes of the file, and how many warnings it gives that are not about the future."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = np.asarray(reader(name))
        except Exception as err:
            return f"{type(err).__name__}: {err}"
    told = [w for w in said if not issubclass(w.category, FutureWarning | DeprecationWarning | ResourceWarning)]
    if found.shape != voxels.shape:
        what = f"shape {found.shape}"
    elif np.array_equal(found, voxels):
        what = "right"
    else:
        what = f"all {found.flat[0]}" if np.ptp(found) == 0 else "other voxels"
    return what + (f", warned: {told[0].message}" if told else "")


if __name__ == "__main__":
    print(*(f"{name} {version(name)}" for name in ("kerchunk", "virtualizarr", "pyfive", "h5py", "zarr")))
    write()
    readers = {"h5py": by_h5py, "kerchunk": by_kerchunk, "virtualizarr": by_virtualizarr, "pyfive": by_pyfive}
    kinds = ("plain", "virtual", "external")
    seen = {kind: {who: outcome(f, f"{kind}.h5") for who, f in readers.items()} for kind in kinds}
    print("guess: right or refused, everywhere")
    for kind, found in seen.items():
        print(f"seen:  {kind}: {found}")
    blank = {"kerchunk": "all 0", "virtualizarr": "all 0", "pyfive": "all 0"}
    recorded = {
        "plain": dict.fromkeys(readers, "right"),
        "virtual": {"h5py": "right", "kerchunk": f"all {FILL}", "virtualizarr": f"all {FILL}", "pyfive": "shape ()"},
        "external": {"h5py": "right"} | blank,
    }
    if seen != recorded:
        sys.exit(f"this differs from what is recorded: {recorded}")
PY
env/bin/python views.py 2>err.txt || { cat err.txt >&2; exit 1; }
[ ! -s err.txt ] || { cat err.txt >&2; echo "this differs from what is recorded: nothing is said" >&2; exit 1; }
