#!/usr/bin/env bash
# ngff-zarr 0.50.0 (October 2026), ome-zarr 0.18.0, ngio 1.1.3 (October 2026), bioio-ome-zarr 3.8.1 (September 2026)
#
# Behaviour: OME-Zarr 0.4 and 0.5 have two places for transformations: one list per level, and one for the whole image
#   that applies after it ('coordinateTransformations' of the multiscales entry). Half of the readers never look at
#   the second.
# Guess:  libraries that read 0.5 agree on the size of a voxel, or refuse what they do not support.
# Seen:   for levels in units of 10 nm and an outer scale of 10, ngio and bioio say 40 x 5 x 5 nm, ngff-zarr and
#   ome-zarr 4 x 0.5 x 0.5 nm; the outer shift is lost as well. No warning. (napari-ome-zarr 0.11.0 is of the
#   second kind, iohub 0.3.11 of the first.)
# Why it matters: SpatialData writes the voxel size into the outer place only, so half of the tools see cubes of
#   1 there; a round trip through one of those tools loses it for all.
# Source: OME-Zarr 0.5, section on multiscales metadata; ome/napari-ome-zarr issue 73 and ome/ome-zarr-py issue 172,
#   both open since 2022.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python ngff-zarr==0.50.0 ome-zarr==0.18.0 ngio==1.1.3 \
    bioio-ome-zarr==3.8.1 zarr==3.1.6 numpy==2.4.6
cat > read.py <<'PY'
import sys
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")
import bioio_ome_zarr  # noqa: E402
import ngff_zarr  # noqa: E402
import ngio  # noqa: E402
import zarr  # noqa: E402
from ome_zarr.io import parse_url  # noqa: E402
from ome_zarr.reader import Reader  # noqa: E402

IMAGE = "image.ome.zarr"


def transforms(scale, translation):
    return [{"type": "scale", "scale": scale}, {"type": "translation", "translation": translation}]


def write():
    group = zarr.open_group(IMAGE, mode="w", zarr_format=3)
    levels = []
    for i, shape in enumerate([(8, 16, 16), (8, 8, 8)]):
        array = group.create_array(str(i), shape=shape, chunks=shape, dtype="u1", dimension_names=list("zyx"))
        array[:] = i + 1
        across = 0.5 * 2**i
        shift = [0.0, (across - 0.5) / 2, (across - 0.5) / 2]
        levels.append({"path": str(i), "coordinateTransformations": transforms([4.0, across, across], shift)})
    image = {
        "name": "em",
        "axes": [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"],
        "datasets": levels,
        "coordinateTransformations": transforms([10.0, 10.0, 10.0], [100.0, 200.0, 300.0]),
    }
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}


def by_ngff_zarr():
    scale = ngff_zarr.from_ngff_zarr(IMAGE).images[0].scale
    return [float(scale[name]) for name in "zyx"]


def by_ome_zarr():
    node = next(iter(Reader(parse_url(IMAGE))()))
    return [float(s) for s in node.metadata["coordinateTransformations"][0][0]["scale"]]


def by_ngio():
    size = ngio.open_ome_zarr_container(IMAGE).get_image(path="0").pixel_size
    return [float(size.z), float(size.y), float(size.x)]


def by_bioio():
    size = bioio_ome_zarr.Reader(IMAGE).physical_pixel_sizes
    return [float(size.Z), float(size.Y), float(size.X)]


if __name__ == "__main__":
    names = ("ngio", "bioio-ome-zarr", "ngff-zarr", "ome-zarr")
    print(*[f"{name} {version(name)}" for name in names])
    write()
    seen = dict(zip(names, (by_ngio(), by_bioio(), by_ngff_zarr(), by_ome_zarr()), strict=True))
    print("guess: [40, 5, 5] nm by all four")
    print("seen: ", seen)
    if list(seen.values()) != [[40.0, 5.0, 5.0], [40.0, 5.0, 5.0], [4.0, 0.5, 0.5], [4.0, 0.5, 0.5]]:
        sys.exit("this differs from what is recorded: the first two apply the outer scale, the other two do not")
PY
env/bin/python read.py 2>err.txt || { cat err.txt >&2; exit 1; }
