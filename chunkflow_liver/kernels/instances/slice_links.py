"""Objects of single slices joined to objects in 3D: by overlap, by nearness, and across missing slices.

Every object looks for its best partner in the next slice and in the one before; a link holds whichever of the
two chose it, so one object may be linked to several, and branches that split or merge are one object. Objects
that end are linked over a gap, or to the nearest one that begins. Whether two objects are linked depends on
the slices between them only, so slabs of slices with a halo of the longest step give the links of the whole
stack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.kernels.instances.union import flatten, unite
from chunkflow_liver.kernels.labels.relabel import relabel
from chunkflow_liver.kernels.labels.runs import find_runs
from chunkflow_liver.kernels.rows import grouped, joined
from chunkflow_liver.xp import Array

Columns = Mapping[str, Array]

SUMS = ("voxels", "sum_y", "sum_x")


@dataclass(frozen=True)
class Rule:
    """When objects of two slices are one.

    Attributes
    ----------
    iou : float
        One is the best partner of the other, and intersection over union reaches this.
    share : float
        Or one has no such partner in this direction, and this share of it lies on its best one: a thin
        branch beside a thick stem; infinite for never.
    distance_nm : float
        An object without such a partner and its nearest one, each the nearest of the other, are one if their
        centroids are not farther apart (nm, in the plane); 0 for never.
    gap : int
        Most slices that may lie between them; over a gap only objects are linked that end there.
    """

    iou: float
    share: float
    distance_nm: float
    gap: int


def slice_objects(labels: Array, origin: Zyx, shape: Zyx) -> dict[str, Array]:
    """Size, place and first voxel of every object of every slice.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer
        Objects of each slice; the same id in two slices says nothing.
    origin : Zyx
        Place of the block's first voxel in the volume.
    shape : Zyx
        Voxels of the volume.

    Returns
    -------
    dict of ndarray of shape (N,)
        `z` (int64), `label` (uint64), `voxels`, `sum_y`, `sum_x` (of voxel indices) and `first` (index of the
        first voxel in the volume), int64; sorted by z, then label.
    """
    runs = find_runs(labels)
    z, y = runs.z + origin[0], runs.y + origin[1]
    start, n = runs.start + origin[2], runs.voxels
    return merge_objects(
        [
            {
                "z": z,
                "label": runs.label.astype(np.uint64),
                "voxels": n,
                "sum_y": n * y,
                "sum_x": n * (2 * start + n - 1) // 2,
                "first": (z * shape[1] + y) * shape[2] + start,
            }
        ]
    )


def merge_objects(parts: list[dict[str, Array]]) -> dict[str, Array]:
    """The objects of several blocks, each once; exact in any order."""
    return grouped(joined(parts), ("z", "label"), {"first": np.minimum})


def slice_overlaps(labels: Array, z: int, *, gap: int) -> dict[str, Array]:
    """Voxels that objects of two slices share, seen along z.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer
        Objects of each slice.
    z : int
        Place of the first slice in the volume.
    gap : int
        Most slices between the two.

    Returns
    -------
    dict of ndarray of shape (K,)
        `z` (of the lower slice), `step` and `voxels` (int64), `a` and `b` (uint64): ids in slice z and in
        slice z + step; sorted by z, step, a, b.
    """
    parts = []
    for step in range(1, min(gap + 2, len(labels))):
        a, b = labels[:-step].reshape(-1), labels[step:].reshape(-1)
        plane = labels[0].size
        fresh = np.ones(a.shape, bool)
        fresh[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
        fresh[::plane] = True
        start = np.flatnonzero(fresh)
        voxels = np.diff(start, append=a.size)
        both = (a[start] != 0) & (b[start] != 0)
        start, voxels = start[both], voxels[both]
        parts.append(
            {
                "z": start // plane + z,
                "step": np.full(len(start), step),
                "a": a[start].astype(np.uint64),
                "b": b[start].astype(np.uint64),
                "voxels": voxels,
            }
        )
    return merge_overlaps(parts)


def merge_overlaps(parts: list[dict[str, Array]]) -> dict[str, Array]:
    """The overlaps of several blocks, each pair once; exact in any order."""
    whole: Any = {"z": np.int64, "step": np.int64, "a": np.uint64, "b": np.uint64, "voxels": np.int64}
    none = {name: np.zeros(0, kind) for name, kind in whole.items()}
    return grouped(joined([none, *parts]), ("z", "step", "a", "b"))


def choose_links(objects: Columns, overlaps: Columns, rule: Rule, voxel_nm: Nm) -> Array:
    """Which objects of a stack of slices are one.

    Parameters
    ----------
    objects : dict of ndarray
        As `slice_objects` gives them.
    overlaps : dict of ndarray
        As `slice_overlaps` gives them, for steps up to `rule.gap` + 1.
    rule : Rule
        When objects are linked.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.

    Returns
    -------
    ndarray of shape (L, 2), int64
        Rows of `objects` that are linked: the lower slice's and the upper slice's; sorted.

    Notes
    -----
    Of a slab of slices the links are those of the whole stack where the lower slice has `rule.gap` + 1
    slices above it in the slab.

    Shorter steps come first. At each step an object takes part if it has no link yet in that direction; so
    the rule is the same seen from above and from below.
    """
    size, both = objects["voxels"], overlaps["voxels"]
    row_a = _rows(objects, overlaps["z"], overlaps["a"])
    row_b = _rows(objects, overlaps["z"] + overlaps["step"], overlaps["b"])
    iou = both / (size[row_a] + size[row_b] - both)
    centre = np.stack([objects[f"sum_{a}"] / size for a in "yx"], axis=1) * np.asarray(voxel_nm[1:])
    up, down = np.zeros(len(size), bool), np.zeros(len(size), bool)
    links = [np.zeros((0, 2), np.int64)]
    for step in range(1, rule.gap + 2):
        pairs = np.flatnonzero((overlaps["step"] == step) & ~up[row_a] & ~down[row_b])
        a, b = row_a[pairs], row_b[pairs]
        best_a, best_b = _is_best(iou[pairs], a, len(size)), _is_best(iou[pairs], b, len(size))
        linked = (best_a | best_b) & (iou[pairs] >= rule.iou)
        has_up, has_down = up.copy(), down.copy()
        has_up[a[linked]] = True
        has_down[b[linked]] = True
        linked |= best_a & ~has_up[a] & (both[pairs] >= rule.share * size[a])
        linked |= best_b & ~has_down[b] & (both[pairs] >= rule.share * size[b])
        found = np.stack([a[linked], b[linked]], axis=1)
        if rule.distance_nm > 0:
            ended, begun = ~up, ~down
            ended[found[:, 0]] = False
            begun[found[:, 1]] = False
            found = np.concatenate([found, _nearest(objects["z"], centre, (ended, begun), step, rule)])
        up[found[:, 0]] = True
        down[found[:, 1]] = True
        links.append(found)
    every = np.concatenate(links)
    return every[np.lexsort((every[:, 1], every[:, 0]))]


def _is_best(score: Array, row: Array, rows: int) -> Array:
    """Whether each score is the highest of its row; of equal ones all are."""
    best = np.zeros(rows)
    np.maximum.at(best, row, score)
    return score == best[row]


def _nearest(z: Array, centre: Array, open_ends: tuple[Array, Array], step: int, rule: Rule) -> Array:
    """Pairs of an object that ended and one that begins `step` slices on, each the nearest of the other."""
    from scipy.spatial import cKDTree

    ended, begun = (np.flatnonzero(o) for o in open_ends)
    pairs = [np.zeros((0, 2), np.int64)]
    for plane in np.intersect1d(z[ended], z[begun] - step).tolist():
        a = ended[slice(*np.searchsorted(z[ended], [plane, plane + 1]))]
        b = begun[slice(*np.searchsorted(z[begun], [plane + step, plane + step + 1]))]
        gap, forth = map(np.asarray, cKDTree(centre[b]).query(centre[a]))
        back = np.asarray(cKDTree(centre[a]).query(centre[b])[1])
        mutual = (back[forth] == np.arange(len(a))) & (gap <= rule.distance_nm)
        pairs.append(np.stack([a[mutual], b[forth[mutual]]], axis=1))
    return np.concatenate(pairs)


def link_slices(labels: Array, rule: Rule, voxel_nm: Nm) -> Array:
    """Objects in 3D of a block whose slices were labelled one by one.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer
        Objects of each slice; 0 is background.
    rule : Rule
        When objects are linked.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.

    Returns
    -------
    ndarray of shape (Z, Y, X), uint32
        Ids 1..n in raster order of the first voxel of each object.
    """
    shape: Any = labels.shape
    objects = slice_objects(labels, (0, 0, 0), shape)
    overlaps = slice_overlaps(labels, 0, gap=rule.gap)
    parents: np.ndarray[Any, Any] = np.arange(len(objects["z"]))
    unite(parents, choose_links(objects, overlaps, rule, voxel_nm))
    flatten(parents)
    first = np.full(len(parents), np.iinfo(np.int64).max)
    np.minimum.at(first, parents, objects["first"])
    rank = np.argsort(np.argsort(first)) + 1
    ids = rank[parents].astype(np.uint32)
    out = np.zeros(shape, np.uint32)
    for z in range(len(labels)):
        here = slice(*np.searchsorted(objects["z"], [z, z + 1]))
        out[z] = relabel(labels[z], objects["label"][here], ids[here])
    return out


def _rows(objects: Columns, z: Array, label: Array) -> Array:
    """Row of `objects` for every (z, label), which must be there."""
    known = np.unique(objects["label"])

    def key(plane: Array, ids: Array) -> Array:
        return plane * len(known) + np.searchsorted(known, ids)

    return np.searchsorted(key(objects["z"], objects["label"]), key(z, label))
