"""Contact sites: sums over the parts of one block, and over the sites that parts of all blocks make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.instances.component_runs import Components, joined_runs
from chunkflow_liver.kernels.instances.components import merge_pairs
from chunkflow_liver.kernels.rows import Rows, grouped, packed
from chunkflow_liver.xp import Array

SUMS = ("voxels", "area", "sum_z", "sum_y", "sum_x")


def find_sites(at: Array, rows: Rows, *, counted: Array, box: Box, volume: Box) -> tuple[Components, Rows]:
    """Connected parts (26 neighbours) of voxels of one pair, and one row for each.

    Parameters
    ----------
    at : ndarray of shape (3, K), int64
        Some voxels, each once, in voxels of the box.
    rows : dict of ndarray of shape (K,)
        `own, other` (uint64), `square` and `area` of each voxel (int64).
    counted : ndarray of shape (K,), bool
        The voxels that this block counts; the others lie in the planes that the next blocks own.
    box, volume : Box
        What is looked at, and the whole volume.

    Returns
    -------
    parts : Components
        Of the box, 1..n in raster order.
    rows : dict of ndarray of shape (n,)
        `own, other`, `first` (smallest index of a voxel in the volume), `square` (smallest), and of
        the counted voxels `voxels, area, sum_z, sum_y, sum_x` (in voxels of the volume).
    """
    from chunkflow_liver.kernels.contacts.site_loops import part_sums, voxel_runs

    _, height, _ = box.shape
    lines = np.zeros(box.shape[0] * height + 1, np.int64)
    value = packed([rows["own"], rows["other"]])
    order, start, stop, first = voxel_runs(np.stack([at[0] * height + at[1], at[2]]), value, lines)
    parts = joined_runs(box.shape, lines, start, stop, value[order[first[:-1]]], 26)
    sums = np.zeros((parts.n, 6 + 1), np.int64)
    part_sums(order, first, parts.label, rows["square"], np.stack([rows["area"], *at]), counted, sums)
    voxel, square, *weights = np.ascontiguousarray(sums.T)
    found: Rows = {name: rows[name][voxel] for name in ("own", "other")}
    place = at[:, voxel] + np.array([a - b for a, b in zip(box.start, volume.start, strict=True)])[:, None]
    found["first"] = np.ravel_multi_index(tuple(place), volume.shape)
    found |= {"square": square, **dict(zip(SUMS, weights, strict=True))}
    for name, offset in zip(SUMS[2:], box.start, strict=True):
        found[name] = found[name] + offset * found["voxels"]
    return parts, found


def merge_sites(parts: Sequence[Rows], pairs: Sequence[Array]) -> Rows:
    """Site of every part, and the sums of every site.

    Parameters
    ----------
    parts : sequence of dict
        What `find_sites` gave, block by block.
    pairs : sequence of ndarray of shape (K, 2), int64
        Parts that are one, as places 0, 1, .. in all parts.

    Returns
    -------
    dict of ndarray
        `site` (uint32) of each part, 1.. in the order of the sites' first voxels; and of each site the
        other columns of `find_sites` except `first`.
    """
    empty = {name: np.zeros(0, np.uint64 if name in ("own", "other") else np.int64) for name in _COLUMNS}
    rows = {name: np.concatenate([empty[name], *(p[name] for p in parts)]) for name in empty}
    roots = np.arange(len(rows["own"]))
    nodes, smallest = merge_pairs(np.concatenate([np.zeros((0, 2), np.int64), *pairs]))
    roots[nodes] = smallest
    ways = dict.fromkeys(("first", "square"), np.minimum)
    found = grouped({"root": roots} | rows, ("root", "own", "other"), ways)
    sites = found.pop("root")
    # The first voxel of a site is its own: no two sites have the same.
    rank = np.argsort(found.pop("first"))
    number = np.zeros(len(sites), np.uint32)
    number[rank] = np.arange(1, len(sites) + 1, dtype=np.uint32)
    return {"site": number[np.searchsorted(sites, roots)]} | {k: v[rank] for k, v in found.items()}


_COLUMNS = ("own", "other", "first", "square", *SUMS)
