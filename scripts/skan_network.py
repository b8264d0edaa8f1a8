"""A network as scikit-image and skan see it on the whole array: uv run scripts/skan_network.py IMAGE Z Y X.

Thinning by scikit-image, branches by skan, and from their graph the same is taken off as `network` takes
off: spurs, nodes in one ball, loops in one node. Prints the length of all branches and the branch points.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from scipy import ndimage

Tidied = tuple[np.ndarray, np.ndarray]


def network(mask: np.ndarray, voxel_nm: tuple[float, ...]) -> tuple[float, int, tuple[float, float]]:
    """Length of all branches in nm, branch points, and seconds (wall, CPU) without the pruning."""
    import skan
    from skimage.morphology import skeletonize

    start, begun = time.perf_counter(), time.process_time()
    thin = skeletonize(mask, method="lee") > 0
    depth = ndimage.distance_transform_edt(mask, sampling=voxel_nm)
    rows = skan.summarize(skan.Skeleton(thin, spacing=voxel_nm), separator="-")
    took = time.perf_counter() - start, time.process_time() - begun
    wide = []
    for which in ("src", "dst"):
        place = rows[[f"coord-{which}-{i}" for i in range(3)]].to_numpy() / voxel_nm
        wide.append(depth[tuple(np.rint(place).astype(int).T)])
    ends, length = rows[["node-id-src", "node-id-dst"]].to_numpy(), rows["branch-distance"].to_numpy()
    length, ends = tidied(ends.copy(), length.copy(), np.stack(wide, 1), max(voxel_nm))
    _, degree = np.unique(ends, return_counts=True)
    return float(length.sum()), int((degree > 2).sum()), took


def tidied(ends: np.ndarray, length: np.ndarray, wide: np.ndarray, side: float) -> Tidied:
    """Lengths and nodes of the branches that are left, from nodes and balls (m, 2) at the ends of each."""
    keep, rows = np.ones(len(ends), bool), np.arange(len(ends))
    while True:
        ids, counts = np.unique(ends[keep], return_counts=True)
        many = dict(zip(ids.tolist(), counts.tolist(), strict=True))
        spurs, short = [], []
        for row in rows[keep]:
            one, two = (many[n] for n in ends[row].tolist())
            largest, tip = wide[row].max(), wide[row][0 if one == 1 else 1]
            inside = length[row] <= largest + side or length[row] + tip <= 1.5 * largest + side
            if min(one, two) == 1 and max(one, two) > 2 and inside:
                spurs.append(row)
            elif ends[row, 0] != ends[row, 1] and min(one, two) > 2 and length[row] <= largest:
                short.append(row)
        if not spurs and not short:
            return length[keep], ends[keep]
        keep[spurs] = False
        for row in () if spurs else short:
            a, b = sorted(ends[row].tolist())
            keep[row] = False
            largest = max(wide[ends == a].max(), wide[ends == b].max())
            ends[ends == b] = a
            wide[ends == a] = largest
        # Loops that lie inside one node.
        keep &= ~((ends[:, 0] == ends[:, 1]) & (length <= wide.max(1)))
        _through(ends, length, wide, keep)


def _through(ends: np.ndarray, length: np.ndarray, wide: np.ndarray, keep: np.ndarray) -> None:
    """Where two branches are left at a node, they are one."""
    ids, counts = np.unique(ends[keep], return_counts=True)
    for node in ids[counts == 2].tolist():
        two = np.flatnonzero(keep & (ends == node).any(1))
        if len(two) == 2:
            far = [0 if ends[row, 1] == node else 1 for row in two]
            first, second = two
            ends[first], wide[first] = ends[two, far], wide[two, far]
            length[first] += length[second]
            keep[second] = False


if __name__ == "__main__":
    import zarr

    image = zarr.open_array(sys.argv[1] + "/0", mode="r")[:] > 0
    total, points, (seconds, cpu) = network(image, tuple(map(float, sys.argv[2:5])))
    print(json.dumps({"length": total, "points": points, "seconds": seconds, "work_cpu": cpu}))
