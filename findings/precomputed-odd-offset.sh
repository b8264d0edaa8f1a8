#!/usr/bin/env bash
# igneous-pipeline 4.37.0 (September 2026) and cloud-volume 12.15.2 write; tensorstore 0.1.86 compares
#
# Behaviour: a neuroglancer precomputed volume may begin at any voxel_offset. When igneous adds coarser levels it
#   halves the offset and rounds down, but averages pairs counted from the first voxel that is stored. If the offset
#   is odd, the pairs do not lie where the new offset says. Each further level adds to it.
# Guess:  a coarser level shows the same tissue at the same place, to the nanometre.
# Seen:   with offset 3 and voxels of 6 nm, level 1 lies 6 nm too low and level 2 lies 18 nm too low, in the axes that
#   were downsampled; with offset 2, level 1 is right and level 2 is 12 nm off; with offset 0 all is right.
#   TensorStore's own downsampling of the same volume pairs voxels by absolute position, so it has one voxel more
#   and other values.
# Why it matters: ids, seeds or masks found on a coarse level and carried to the full one are shifted by whole voxels,
#   more the coarser the level, and only for cut-outs that begin at odd places.
# Source: none; the format says that positions are (voxel_offset + index) * resolution for every scale.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python igneous-pipeline==4.37.0 cloud-volume==12.15.2 tensorstore==0.1.86 \
    numpy==2.4.6
cat > levels.py <<'PY'
import json
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

warnings.simplefilter("ignore")
import igneous.task_creation as tasks  # noqa: E402
import numpy as np  # noqa: E402
import tensorstore  # noqa: E402
from cloudvolume import CloudVolume  # noqa: E402
from taskqueue import LocalTaskQueue  # noqa: E402

NM = 6


def shifts(offset):
    """How far (nm) each level lies from where its values were; 8 * i is the value of voxel i along x."""
    folder = f"offset{offset}"
    path = f"file://{Path(folder).absolute()}"
    voxels = np.broadcast_to(np.arange(16, dtype=np.uint8)[:, None, None, None] * 8, (16, 16, 16, 1)).copy()
    info = CloudVolume.create_new_info(
        num_channels=1, layer_type="image", data_type="uint8", encoding="raw", resolution=[NM, NM, 40],
        voxel_offset=[offset] * 3, chunk_size=[4, 4, 16], volume_size=[16, 16, 16],
    )  # fmt: skip
    volume = CloudVolume(path, info=info, compress=False, progress=False)
    volume.commit_info()
    volume[:, :, :] = voxels
    queue = LocalTaskQueue(parallel=1, progress=False)
    queue.insert(
        tasks.create_downsampling_tasks(
            path, mip=0, num_mips=2, factor=(2, 2, 1), compress=None, preserve_chunk_size=True
        )
    )
    queue.execute()
    found = []
    for mip, scale in enumerate(json.loads(Path(folder, "info").read_text())["scales"]):
        line = np.asarray(CloudVolume(path, mip=mip, progress=False)[:, :, :])[:, 0, 0, 0].astype(float)
        stated = (scale["voxel_offset"][0] + np.arange(len(line)) + 0.5) * scale["resolution"][0]
        true = (offset + line / 8 + 0.5) * NM
        assert np.ptp(stated - true) == 0
        found.append(float((stated - true)[0]))
    return found, line_by_tensorstore(folder)


def line_by_tensorstore(folder):
    spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": folder}}
    store = tensorstore.open(spec, open=True, read=True).result()
    return tensorstore.downsample(store, [2, 2, 1, 1], "mean").read().result()[:, 0, 0, 0].tolist()


if __name__ == "__main__":
    print("igneous", version("igneous-pipeline"), "cloud-volume", version("cloud-volume"))
    both = {offset: shifts(offset) for offset in (0, 2, 3)}
    seen = {offset: found for offset, (found, _) in both.items()}
    print("guess: {0: [0, 0, 0], 2: [0, 0, 0], 3: [0, 0, 0]}, nm by level")
    print("seen: ", seen)
    print("seen:  level 1 by tensorstore.downsample, offset 3:", both[3][1])
    if seen != {0: [0.0, 0.0, 0.0], 2: [0.0, 0.0, -12.0], 3: [0.0, -6.0, -18.0]}:
        sys.exit("this differs from what is recorded: 0, -12 and -6, -18 nm")
    if both[3][1] != [0, 12, 28, 44, 60, 76, 92, 108, 120]:
        sys.exit("this differs from what is recorded: tensorstore pairs voxels by absolute position")
PY
env/bin/python levels.py >out.txt 2>err.txt || { cat out.txt err.txt >&2; exit 1; }
grep -E "^(igneous|guess|seen)" out.txt
