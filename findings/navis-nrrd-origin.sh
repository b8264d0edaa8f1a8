#!/usr/bin/env bash
# navis 1.12.0, SimpleITK 2.5.7, pynrrd 1.1.3
#
# Behaviour: NRRD has the place of the first voxel in its field 'space origin'. navis writes the voxel size and the unit
#   of a VoxelNeuron, but not its offset, and reading takes the voxel size and leaves the origin.
# Guess:  an object cut out of a volume keeps its place when it is written and read, and so in another program.
# Seen:   an object at 60, 120, 400 nm lies at 0, 0, 0 after navis.write_nrrd, for SimpleITK as for navis, and a file of
#   SimpleITK with that origin is read by navis at 0, 0, 0, as voxels and as points. Size and unit survive, and there
#   is no warning.
# Why it matters: an object's crop is what one passes on. Distances between objects, contacts and the side of a boundary
#   on which a cell lies are then of pieces that all begin at zero.
# Source: NRRD format definition, section on orientation ('space origin': centre of the first sample).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python navis==1.12.0 SimpleITK==2.5.7 pynrrd==1.1.3 numpy==2.4.6 pandas==3.1.1
cat > place.py <<'PY'
import sys
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")
import navis  # noqa: E402
import nrrd  # noqa: E402
import numpy as np  # noqa: E402
import SimpleITK  # noqa: E402

VOXEL, PLACE = (6.0, 6.0, 40.0), (60.0, 120.0, 400.0)  # x, y, z in nm
voxels = np.zeros((5, 6, 7), np.uint8)
voxels[1:3, 2:4, 3:6] = 1


def numbers(values):
    return [float(v) for v in values]


def written_by_navis():
    neuron = navis.VoxelNeuron(voxels, units=[f"{size} nm" for size in VOXEL], offset=PLACE)
    assert numbers(neuron.bbox[:, 0]) == list(PLACE)
    navis.write_nrrd(neuron, "navis.nrrd")
    image, again = SimpleITK.ReadImage("navis.nrrd"), navis.read_nrrd("navis.nrrd")
    assert numbers(image.GetSpacing()) == numbers(again.units_xyz.magnitude) == list(VOXEL)
    origin = nrrd.read_header("navis.nrrd").get("space origin")
    return {"pynrrd": origin, "SimpleITK": numbers(image.GetOrigin()), "navis": numbers(again.bbox[:, 0])}


def written_by_simpleitk():
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels.T))
    image.SetSpacing(VOXEL)
    image.SetOrigin(PLACE)
    SimpleITK.WriteImage(image, "simpleitk.nrrd")
    neuron = navis.read_nrrd("simpleitk.nrrd")
    points = navis.read_nrrd("simpleitk.nrrd", output="dotprops", threshold=0.5, k=3).points
    first = np.argwhere(voxels).min(axis=0) * VOXEL
    origin = nrrd.read_header("simpleitk.nrrd")["space origin"]
    return {
        "pynrrd": numbers(origin),
        "SimpleITK": numbers(SimpleITK.ReadImage("simpleitk.nrrd").GetOrigin()),
        "navis": numbers(neuron.bbox[:, 0]),
        "navis, points": numbers(points.min(axis=0) - first),
    }


if __name__ == "__main__":
    print("navis", version("navis"), "SimpleITK", version("SimpleITK"), "pynrrd", version("pynrrd"))
    seen = {"navis": written_by_navis(), "SimpleITK": written_by_simpleitk()}
    print(f"guess: {list(PLACE)} nm everywhere")
    for writer, places in seen.items():
        print(f"seen:  written by {writer}: {places}")
    zero, place = [0.0, 0.0, 0.0], list(PLACE)
    recorded = {
        "navis": {"pynrrd": None, "SimpleITK": zero, "navis": zero},
        "SimpleITK": {"pynrrd": place, "SimpleITK": place, "navis": zero, "navis, points": zero},
    }
    if seen != recorded:
        sys.exit(f"this differs from what is recorded: {recorded}")
PY
env/bin/python place.py >out.txt 2>err.txt || { cat out.txt err.txt >&2; exit 1; }
grep -E "^(navis|guess|seen)" out.txt
