#!/usr/bin/env bash
# webknossos 4.3.3 (October 2026), which writes each layer as OME-Zarr 0.5 too; read by tensorstore 0.1.86
#
# Behaviour: a layer in the format Zarr3 is an OME-Zarr 0.5 image, with axes, units and scales. Its arrays are
#   declared so large that the layer's bounding box ends on a shard border, and each level has shards of another
#   form. Where the data lie is said in a file of WEBKNOSSOS' own, one folder up; the OME metadata have no
#   translation, and the voxels lie at the offset inside the array.
# Guess:  a layer of 70 x 50 x 30 voxels (x, y, z) is an array of that shape, placed by a translation; the next
#   level has half as many voxels across.
# Seen:   shape 1024 x 1024 x 1024 for 105,000 voxels, and the level with half the resolution is 4096 x 4096 x 352:
#   more voxels than the full one, 8 times its extent in x and y, a third of it in z.
# Why it matters: a program that plans blocks, memory and disk from the shape plans 10,000 times too much work, over
#   zeros that look like data; one that derives voxel sizes from ratios of shapes gets 4 where 1/2 is meant.
# Source: none; the OME-Zarr 0.5 specification asks of levels only that they run from fine to coarse.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python webknossos==4.3.3 tensorstore==0.1.86 numpy==2.4.6
cat > layer.py <<'PY'
import json
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tensorstore

warnings.simplefilter("ignore")
import webknossos  # noqa: E402


def main() -> None:
    print("webknossos", version("webknossos"), "tensorstore", version("tensorstore"))
    dataset = webknossos.Dataset("dataset", voxel_size=(5.9, 5.9, 40.0))
    voxels = np.full((70, 50, 30), 9, np.uint8)
    layer = dataset.write_layer(
        "em", webknossos.COLOR_CATEGORY, data=voxels, absolute_offset=(100, 200, 300), data_format="zarr3",
        downsample=False,
    )  # fmt: skip
    layer.add_mag("2-2-1")
    folder = Path("dataset/em")
    image = json.loads((folder / "zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]
    axes = [axis["name"] for axis in image["axes"]]
    kinds = {t["type"] for level in image["datasets"] for t in level["coordinateTransformations"]}
    scales = [level["coordinateTransformations"][0]["scale"] for level in image["datasets"]]
    shapes = [json.loads((folder / level["path"] / "zarr.json").read_text())["shape"] for level in image["datasets"]]
    store = tensorstore.open(
        {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder / "1")}}, open=True
    ).result()
    box = store[0, 90:180, 190:260, 290:340].read().result()
    first = [int(p.min()) + low for p, low in zip(np.nonzero(box), (90, 190, 290), strict=True)]
    print("guess: shapes [1, 70, 50, 30] and [1, 35, 25, 30], kinds scale and translation")
    print(f"seen:  axes {axes}, shapes {shapes}, scales {scales}, kinds {sorted(kinds)}, first voxel at {first}")
    recorded = (
        axes == ["c", "x", "y", "z"]
        and shapes == [[1, 1024, 1024, 1024], [1, 4096, 4096, 352]]
        and scales == [[1.0, 5.9, 5.9, 40.0], [1.0, 11.8, 11.8, 40.0]]
        and kinds == {"scale"}
        and first == [100, 200, 300]
        and int((box == 9).sum()) == voxels.size
    )
    if not recorded:
        sys.exit("this differs from what is recorded: 1024^3 and 4096 x 4096 x 352, no translation, data at the offset")


if __name__ == "__main__":
    main()
PY
env/bin/python layer.py 2>warnings.txt || { cat warnings.txt >&2; exit 1; }
