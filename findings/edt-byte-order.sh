#!/usr/bin/env bash
# edt 3.1.2, crackle-codec 0.55.0, zmesh 1.15.0 (all 2026); cc3d 4.1.1, fastremap 1.21.0, fill-voids 2.1.2, kimimaro 5.8.5
#
# Behaviour: labels kept with the most significant byte first are as NumPy reads them from a TIFF of ImageJ, an MRC or an
#   HDF5 file of an older machine: dtype >u2, values right. One family of libraries works on labels in connectomics.
# Guess:  all of them refuse such an array or give what they give for the same values in the other byte order.
# Seen:   four refuse. edt answers with a distance of 0 nm in every voxel; in the other order it finds up to 30 nm, as
#   scipy does. crackle, which compresses without loss, gives back the ids 256 and 512 for 1 and 2, and zmesh has meshes
#   under those names. None of the three warns.
# Why it matters: 0 is what edt gives to the background, so radii, widths and the seeds of a watershed vanish quietly, for
#   the files of one instrument and not for those of another.
# Source: none; NumPy, byte order of dtypes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python edt==3.1.2 crackle-codec==0.55.0 zmesh==1.15.0 \
    connected-components-3d==4.1.1 fastremap==1.21.0 fill-voids==2.1.2 kimimaro==5.8.5 tifffile==2026.3.3 \
    h5py==3.16.0 scipy==1.17.1 numpy==2.4.6
cat > bytes.py <<'PY'
import sys
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")
import cc3d  # noqa: E402
import crackle  # noqa: E402
import edt  # noqa: E402
import fastremap  # noqa: E402
import fill_voids  # noqa: E402
import h5py  # noqa: E402
import kimimaro  # noqa: E402
import numpy as np  # noqa: E402
import tifffile  # noqa: E402
import zmesh  # noqa: E402
from scipy.ndimage import distance_transform_edt  # noqa: E402

NM = (40, 6, 6)  # z, y, x
labels = np.zeros((20, 24, 28), np.uint16)
labels[4:16, 5:20, 6:12] = 1
labels[4:16, 5:20, 12:22] = 2


def stored():
    """The labels as they come out of two files, with the most significant byte first."""
    tifffile.imwrite("imagej.tif", labels, imagej=True, byteorder=">")
    with h5py.File("old.h5", "w") as file:
        file.create_dataset("labels", data=labels, dtype=">u2")
    with h5py.File("old.h5") as file:
        return {"tifffile": tifffile.memmap("imagej.tif", mode="r"), "h5py": file["labels"][...]}


def ids_of_meshes(array):
    mesher = zmesh.Mesher(NM)
    mesher.mesh(array)
    return sorted(int(n) for n in mesher.ids())


def widest(array):
    return float(edt.edt(array, anisotropy=NM).max())


calls = {
    "edt": widest,
    "crackle": lambda array: np.unique(crackle.decompress(crackle.compress(array))).tolist(),
    "zmesh": ids_of_meshes,
    "cc3d": lambda array: int(cc3d.connected_components(array).max()),
    "fastremap": lambda array: fastremap.unique(array).tolist(),
    "fill-voids": lambda array: int(fill_voids.fill(array).sum()),
    "kimimaro": lambda array: len(kimimaro.skeletonize(array, anisotropy=NM, dust_threshold=0, progress=False)),
}


def outcome(call, array):
    try:
        return call(array)
    except (TypeError, ValueError):
        return "refused"


if __name__ == "__main__":
    print(*(f"{name} {version(name)}" for name in ("edt", "crackle-codec", "zmesh", "fastremap", "kimimaro")))
    right = {name: outcome(call, labels) for name, call in calls.items()}
    scipy = max(float(distance_transform_edt(labels == n, sampling=NM).max()) for n in (1, 2))
    print("guess: refused or", right, f"(scipy: {scipy})")
    seen = {}
    for reader, array in stored().items():
        assert array.dtype.byteorder == ">"
        assert np.array_equal(array, labels)
        seen[reader] = {name: outcome(call, np.array(array)) for name, call in calls.items()}
        print(f"seen:  read by {reader}:", seen[reader])
    refused = dict.fromkeys(("cc3d", "fastremap", "fill-voids", "kimimaro"), "refused")
    recorded = {"edt": 0.0, "crackle": [0, 256, 512], "zmesh": [256, 512]} | refused
    if seen != {"tifffile": recorded, "h5py": recorded}:
        sys.exit(f"this differs from what is recorded: {recorded}")
    if (right["edt"], right["crackle"], right["zmesh"]) != (scipy, [0, 1, 2], [1, 2]):
        sys.exit("this differs from what is recorded: all right in the machine's own byte order")
PY
env/bin/python bytes.py 2>err.txt || { cat err.txt >&2; exit 1; }
