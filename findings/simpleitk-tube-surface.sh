#!/usr/bin/env bash
# SimpleITK 2.5.7; scikit-image 0.26.0 compares
#
# Behaviour: LabelShapeStatisticsImageFilter estimates the surface of an object by counting how often lines along the
#   grid cross it, in 13 directions. Lengths take the voxel size into account; the shares of the directions seem to be
#   those of cubes. With voxels of 6 x 6 x 40 nm 9 of the 13 lie within 12 degrees of z, and none near 45.
# Guess:  spacing is taken into account, so the surface of an object in flat voxels is that in cubes, to 3 %.
# Seen:   with 6 x 6 x 40 nm a ball is right to 1 %, and tubes in the plane of the sections or at 45 degrees are to 3 %;
#   but of a tube across the sections 39 % of the surface are missing, and its roundness is 1.16, where a ball, the
#   roundest thing, has 1. A sheet in the plane has 14 % too much. In cubes tubes and sheet lack 4 to 8 %. A mesh
#   (marching cubes at 0.5) errs elsewhere: ball 24 %, oblique tube 25 % too much; tube across and sheet are right.
# Why it matters: surface, and what is divided by it (roundness, contact per area), follows the direction of neurites
#   and sheets, so that objects are sorted by how the block was cut. Balls, on which one tests, are right.
# Source: documentation of ITK's LabelShapeStatistics: perimeter by the Crofton formula.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python SimpleITK==2.5.7 scikit-image==0.26.0 scipy==1.17.1 numpy==2.4.6
cat > surface.py <<'PY'
import sys
from importlib.metadata import version

import numpy as np
import SimpleITK
from skimage.measure import marching_cubes, mesh_surface_area

RADIUS, LENGTH, BALL = 150.0, 1200.0, 300.0  # nm
SHEET = (900.0, 900.0, 120.0)
TUBE_AREA = 2 * np.pi * RADIUS * (LENGTH + RADIUS)
OBJECTS = {"ball": None, "sheet": None, "tube x": (1, 0, 0), "tube x and z": (1, 0, 1), "tube z": (0, 0, 1)}


def drawn(name, voxel):
    """An object in the middle of a volume (x, y, z), and its surface in nm2."""
    shape = np.ceil(1600 / voxel).astype(int)
    places = [(np.arange(n) - n // 2) * size for n, size in zip(shape, voxel, strict=True)]
    x, y, z = np.meshgrid(*places, indexing="ij", sparse=True)
    if name == "ball":
        return x**2 + y**2 + z**2 < BALL**2, 4 * np.pi * BALL**2
    if name == "sheet":
        a, b, c = SHEET
        mask = np.broadcast_arrays((x >= -a / 2) & (x < a / 2), (y >= -b / 2) & (y < b / 2), (z >= 0) & (z < c))
        return np.logical_and.reduce(mask), 2 * (a * b + b * c + c * a)
    axis = np.array(OBJECTS[name]) / np.linalg.norm(OBJECTS[name])
    along = x * axis[0] + y * axis[1] + z * axis[2]
    return (x**2 + y**2 + z**2 - along**2 < RADIUS**2) & (abs(along) < LENGTH / 2), TUBE_AREA


def measured(name, voxel):
    """Surface by SimpleITK and by a mesh, in true surfaces, and SimpleITK's roundness."""
    mask, area = drawn(name, voxel)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(mask.T).astype(np.uint8))
    image.SetSpacing(voxel.tolist())
    shape = SimpleITK.LabelShapeStatisticsImageFilter()
    shape.Execute(image)
    vertices, faces, _, _ = marching_cubes(np.pad(mask, 1).astype(np.float32), 0.5, spacing=voxel.tolist())
    found = shape.GetPerimeter(1) / area, mesh_surface_area(vertices, faces) / area, shape.GetRoundness(1)
    return [round(float(f), 2) for f in found]


if __name__ == "__main__":
    print("SimpleITK", version("SimpleITK"), "scikit-image", version("scikit-image"))
    print("guess: SimpleITK the same with both voxel sizes, to 3 %")
    recorded = {  # by object: SimpleITK, mesh, roundness
        (10.0, 10.0, 10.0): [
            [1.0, 1.08, 1.0], [0.92, 0.99, 0.54], [0.95, 1.03, 0.76], [0.96, 1.03, 0.76], [0.95, 1.03, 0.76]
        ],
        (6.0, 6.0, 40.0): [
            [1.0, 1.24, 1.0], [1.14, 0.99, 0.44], [1.01, 1.13, 0.72], [0.98, 1.25, 0.75], [0.61, 1.0, 1.16]
        ],
    }
    for voxel, values in recorded.items():
        seen = {name: measured(name, np.array(voxel)) for name in OBJECTS}
        print(f"seen:  {voxel} nm, SimpleITK, mesh, roundness:", seen)
        if not np.allclose(list(seen.values()), values, atol=0.02, rtol=0):
            sys.exit(f"this differs from what is recorded: {values}, to 0.02")
PY
OMP_NUM_THREADS=1 env/bin/python surface.py
