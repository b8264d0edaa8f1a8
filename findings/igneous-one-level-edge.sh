#!/usr/bin/env bash
# igneous-pipeline 4.37.0 (September 2026), tinybrain 1.7.0 (1.6.0 alike), cloud-volume 12.15.2
#
# Behaviour: igneous makes coarser levels of grey values by tinybrain's means of 2 x 2 x 1 voxels. For one level at a
#   time tinybrain has a path of its own, which saves memory. In an image of odd width that one writes the mean of the
#   last column, which has no partner, one place too far left, and nothing into the place it belongs to.
# Guess:  level 1 is the same whether one level is asked for or two; at an odd edge the mean is of the voxels there are.
# Seen:   of an image 65 voxels wide with grey value x, level 1 ends in 60, 62, 64 where two levels are asked for, and in
#   60, 64, 0 where one is; with 64 or 66 voxels there is no difference. From a width of 129, made one by one, levels 2
#   and 3 end in two black columns: at level 3 those are the last 9 voxels of the image.
# Why it matters: a black edge on the coarse levels is a membrane or the end of the tissue to a segmentation, a mask or a
#   histogram made there. One level a run is usual where a task's memory does not hold what several take.
# Source: none for the edge; tinybrain's code for several levels counts the odd column twice so that it does not darken.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python igneous-pipeline==4.37.0 tinybrain==1.7.0 cloud-volume==12.15.2 \
    numpy==2.4.6
cat > edge.py <<'PY'
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

warnings.simplefilter("ignore")
import igneous.task_creation as tasks  # noqa: E402
import numpy as np  # noqa: E402
import tinybrain  # noqa: E402
from cloudvolume import CloudVolume  # noqa: E402
from taskqueue import LocalTaskQueue  # noqa: E402

HEIGHT, DEPTH = 64, 8


def ramp(width):
    """An image whose grey value is x."""
    line = np.arange(width, dtype=np.uint8)[:, None, None]
    return np.asfortranarray(np.broadcast_to(line, (width, HEIGHT, DEPTH)))


def volume(width):
    path = Path(f"width{width}").absolute().as_uri()
    info = CloudVolume.create_new_info(
        num_channels=1, layer_type="image", data_type="uint8", encoding="raw", resolution=[6, 6, 40],
        voxel_offset=[0, 0, 0], chunk_size=[8, 8, 8], volume_size=[width, HEIGHT, DEPTH],
    )  # fmt: skip
    made = CloudVolume(path, info=info, compress=False, progress=False)
    made.commit_info()
    made[:, :, :] = ramp(width)
    return path


def downsampled(path, mip, levels):
    queue = LocalTaskQueue(parallel=1, progress=False)
    queue.insert(
        tasks.create_downsampling_tasks(
            path, mip=mip, num_mips=levels, factor=(2, 2, 1), compress=None, preserve_chunk_size=True
        )
    )
    queue.execute()


def end(level):
    """The last four values along x, which are the same in every row."""
    assert (level == level[:, :1, :1]).all()
    return level[-4:, 0, 0].tolist()


def by_igneous(width, calls):
    """The end of every level, made by one call for each (mip, levels)."""
    path = volume(width)
    for mip, levels in calls:
        downsampled(path, mip, levels)
    mips = range(1, sum(levels for _, levels in calls) + 1)
    return [end(np.asarray(CloudVolume(path, mip=mip, progress=False)[:, :, :])[..., 0]) for mip in mips]


def by_tinybrain(width, levels):
    return end(tinybrain.downsample_with_averaging(ramp(width), (2, 2, 1), num_mips=levels)[0])


if __name__ == "__main__":
    print("igneous", version("igneous-pipeline"), "tinybrain", version("tinybrain"))
    right = {64: [56, 58, 60, 62], 65: [58, 60, 62, 64], 66: [58, 60, 62, 64]}
    print("guess: level 1 ends in", right, "however many levels are asked for")
    seen = {n: {width: by_igneous(width, [(0, n)])[0] for width in right} for n in (2, 1)}
    for asked, found in seen.items():
        print(f"seen:  asked for {asked}: {found}")
    alone = {n: by_tinybrain(65, n) for n in (2, 1)}
    print("seen:  tinybrain alone, 65 wide, by levels asked for:", alone)
    together, single = by_igneous(129, [(0, 3)]), by_igneous(129, [(0, 1), (1, 1), (2, 1)])
    print("seen:  129 wide, levels 1 to 3, in one call:", together)
    print("seen:  129 wide, levels 1 to 3, one by one: ", single)
    wrong = [58, 60, 64, 0]
    recorded = {2: right, 1: right | {65: wrong}}
    if seen != recorded or alone != {2: right[65], 1: wrong}:
        sys.exit(f"this differs from what is recorded: {recorded}")
    recorded = [[122, 124, 128, 0], [117, 121, 0, 0], [107, 115, 0, 0]]
    if single != recorded or together != [[122, 124, 126, 128], [117, 121, 125, 128], [107, 115, 123, 128]]:
        sys.exit(f"this differs from what is recorded: {recorded}")
PY
env/bin/python edge.py >out.txt 2>err.txt || { cat out.txt err.txt >&2; exit 1; }
grep -E "^(igneous|guess|seen)" out.txt
