"""A network as scikit-image and skan see it on the whole array: uv run scripts/skan_network.py IMAGE Z Y X.

Thinning by scikit-image, branches by skan, and from their graph the same is taken off as `network` takes
off: spurs, what only touches, nodes in one ball, loops in one node. Lengths are those of the voxels' chain,
which goes in steps, and of a smoothing spline of SciPy's through it. Prints both and the branch points.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.interpolate import splev, splprep

Nm = tuple[float, ...]
NOISE = 1 / 6
"""Variance of a voxel's centre about a line through it, across: a twelfth along each of two axes."""


@dataclass
class Branches:
    """Branches of a peer: nodes at their ends (m, 2), lengths, and points and radii of each, in nm."""

    ends: np.ndarray
    length: np.ndarray
    paths: list[np.ndarray]
    radii: list[np.ndarray]

    @property
    def wide(self) -> np.ndarray:
        """Radii at the ends of each, (m, 2)."""
        return np.array([[r[0], r[-1]] for r in self.radii]).reshape(-1, 2)

    @property
    def points(self) -> int:
        """How many nodes branch."""
        return int((np.unique(self.ends, return_counts=True)[1] > 2).sum())

    def places(self) -> dict[int, np.ndarray]:
        """Of each node the mean of the ends of its branches."""
        found: dict[int, list[np.ndarray]] = {}
        for (one, two), path in zip(self.ends.tolist(), self.paths, strict=True):
            found.setdefault(one, []).append(path[0])
            found.setdefault(two, []).append(path[-1])
        return {node: np.mean(ends, axis=0) for node, ends in found.items()}

    def smooth(self, voxel_nm: Nm) -> np.ndarray:
        """Length of each as of a spline from node to node."""
        places = self.places()
        return np.array(
            [
                smooth_length(np.concatenate([places[a][None], path[1:-1], places[b][None]]), voxel_nm)
                for (a, b), path in zip(self.ends.tolist(), self.paths, strict=True)
            ]
        )


def smooth_length(path: np.ndarray, voxel_nm: Nm) -> float:
    """Length of the smoothing spline that is as far from voxels as a line through them is, in nm."""
    own = path[np.concatenate([[True], np.linalg.norm(np.diff(path, axis=0), axis=1) > 0])]
    if len(own) > 3:
        # The ends are places of nodes, and stay.
        weight = np.ones(len(own))
        weight[[0, -1]] = 100
        fit, _ = splprep((own / voxel_nm).T, w=weight, s=NOISE * len(own))
        own = np.stack(splev(np.linspace(0, 1, 20 * len(own)), fit), 1) * voxel_nm
    return float(np.linalg.norm(np.diff(own, axis=0), axis=1).sum())


def network(mask: np.ndarray, voxel_nm: Nm) -> tuple[Branches, tuple[float, float]]:
    """The branches that are left, and seconds (wall, CPU) without the pruning."""
    import skan
    from skimage.morphology import skeletonize

    start, begun = time.perf_counter(), time.process_time()
    thin = skeletonize(mask, method="lee") > 0
    depth = ndimage.distance_transform_edt(mask, sampling=voxel_nm)
    skeleton = skan.Skeleton(thin, spacing=voxel_nm)
    rows = skan.summarize(skeleton, separator="-")
    took = time.perf_counter() - start, time.process_time() - begun
    paths = [skeleton.path_coordinates(i) for i in range(skeleton.n_paths)]
    found = Branches(
        rows[["node-id-src", "node-id-dst"]].to_numpy().copy(),
        rows["branch-distance"].to_numpy().copy(),
        [(path + 0.5) * voxel_nm for path in paths],
        [depth[tuple(path.astype(int).T)] for path in paths],
    )
    first = np.array([skeleton.path(i)[0] for i in range(skeleton.n_paths)])
    if (first != found.ends[:, 0]).any():
        raise AssertionError("a path of skan begins at another node than its row says")
    return tidied(found, max(voxel_nm)), took


def tidied(found: Branches, side: float) -> Branches:
    """The branches that are left of a graph after the pruning of `network`; `found` is written over."""
    ends, length, wide = found.ends, found.length, found.wide
    keep, rows = np.ones(len(ends), bool), np.arange(len(ends))
    while True:
        ids, counts = np.unique(ends[keep], return_counts=True)
        many = dict(zip(ids.tolist(), counts.tolist(), strict=True))
        spurs, short = [], []
        for row in rows[keep]:
            one, two = (many[n] for n in ends[row].tolist())
            largest, tip = wide[row].max(), wide[row][0 if one == 1 else 1]
            # Steps of voxels are longer than the way; one that turns back is no spur.
            straight = float(np.linalg.norm(found.paths[row][-1] - found.paths[row][0]))
            inside = straight <= largest + side or straight + tip <= 1.5 * largest + side
            inside &= length[row] <= 2 * (1.5 * largest + side)
            deepest = max(largest, found.radii[row].max())
            if min(one, two) == 1 and max(one, two) > 2 and inside:
                spurs.append(row)
            elif ends[row, 0] != ends[row, 1] and min(one, two) > 2 and length[row] <= deepest + side:
                short.append(row)
        if not spurs and _touching(found, wide, keep, side):
            continue
        if not spurs and not short:
            left = rows[keep].tolist()
            return Branches(
                ends[keep], length[keep], [found.paths[r] for r in left], [found.radii[r] for r in left]
            )
        keep[spurs] = False
        for row in () if spurs else short:
            a, b = sorted(ends[row].tolist())
            keep[row] = False
            largest = max(wide[ends == a].max(), wide[ends == b].max())
            ends[ends == b] = a
            wide[ends == a] = largest
        # Loops that lie inside one node.
        keep &= ~((ends[:, 0] == ends[:, 1]) & (length <= wide.max(1)))
        _through(found, wide, keep)


def _touching(found: Branches, wide: np.ndarray, keep: np.ndarray, side: float) -> bool:
    """Take off branches where two tubes only touch, as `Tidy.touch` says; whether there were any."""
    ends, parted = found.ends, False
    for row in np.flatnonzero(keep).tolist():
        if not keep[row] or len(found.radii[row]) < 3 or found.radii[row][1:-1].min() >= 1.5 * side:
            continue
        one, two = ends[row].tolist()
        at = [np.flatnonzero(keep & (ends == node).any(1)) for node in (one, two)]
        widest = sum(wide[rows][ends[rows] == node].max() for rows, node in zip(at, (one, two), strict=True))
        if min(len(rows) for rows in at) < 3 or found.length[row] > 1.5 * widest:
            continue
        near = {one}
        others = keep & (np.arange(len(ends)) != row)
        for _ in range(4):
            near |= set(ends[others & np.isin(ends, list(near)).any(1)].ravel().tolist())
        if two in near:
            keep[row], parted = False, True
            _through(found, wide, keep)
    return parted


def _through(found: Branches, wide: np.ndarray, keep: np.ndarray) -> None:
    """Where two branches are left at a node, they are one."""
    ends = found.ends
    ids, counts = np.unique(ends[keep], return_counts=True)
    for node in ids[counts == 2].tolist():
        two = np.flatnonzero(keep & (ends == node).any(1))
        if len(two) == 2:
            far = [0 if ends[row, 1] == node else 1 for row in two]
            first, second = two
            for values in (found.paths, found.radii):
                begin = values[first][:: 1 if far[0] == 0 else -1]
                values[first] = np.concatenate([begin, values[second][:: 1 if far[1] == 1 else -1]])
            ends[first], wide[first] = ends[two, far], wide[two, far]
            found.length[first] += found.length[second]
            keep[second] = False


if __name__ == "__main__":
    import zarr

    image = zarr.open_array(sys.argv[1] + "/0", mode="r")[:] > 0
    nm = tuple(map(float, sys.argv[2:5]))
    peer, (seconds, cpu) = network(image, nm)
    told = {"length": peer.length.sum(), "smooth": peer.smooth(nm).sum(), "points": peer.points}
    print(json.dumps(told | {"seconds": seconds, "work_cpu": cpu}))
