"""Contact sites: sums over the parts of one block, and over the sites that parts of all blocks make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.components import merge_pairs
from chunkflow_liver.kernels.tallies import Rows
from chunkflow_liver.xp import Array

SUMS = ("voxels", "area", "sum_z", "sum_y", "sum_x")


def site_rows(at: Array, part: Array, n: int, rows: Rows, *, counted: Array, volume: Box) -> Rows:
    """One row for each part.

    Parameters
    ----------
    at : ndarray of shape (3, K), int64
        Voxels of all parts, in the volume; the planes that the next blocks own included.
    part : ndarray of shape (K,), integer
        Part of each voxel, 1..n.
    n : int
        Number of parts.
    rows : dict of ndarray of shape (K,)
        `own, other` (uint64, equal in a part), `square` and `area` of each voxel (int64).
    counted : ndarray of shape (K,), bool
        The voxels that this block counts.
    volume : Box
        The whole volume.

    Returns
    -------
    dict of ndarray of shape (n,)
        `own, other`, `first` (smallest index of a voxel in the volume), `square` (smallest), and of
        the counted voxels `voxels, area, sum_z, sum_y, sum_x`.
    """
    order = np.argsort(part, kind="stable")
    begin = np.searchsorted(part[order], np.arange(1, n + 1))
    index = np.ravel_multi_index(tuple(at - np.array(volume.start)[:, None]), volume.shape)
    weights = dict(zip(SUMS, (counted, rows["area"], *at), strict=True))
    found: Rows = {name: rows[name][order][begin] for name in ("own", "other")}
    found["first"] = np.minimum.reduceat(index[order], begin)
    found["square"] = np.minimum.reduceat(rows["square"][order], begin)
    for name, weight in weights.items():
        found[name] = np.add.reduceat((weight * counted)[order], begin, dtype=np.int64)
    return found


def merge_sites(parts: Sequence[Rows], pairs: Sequence[Array]) -> Rows:
    """Site of every part, and the sums of every site.

    Parameters
    ----------
    parts : sequence of dict
        What `site_rows` gave, block by block.
    pairs : sequence of ndarray of shape (K, 2), int64
        Parts that are one, as places 0, 1, .. in all parts.

    Returns
    -------
    dict of ndarray
        `site` (uint32) of each part, 1.. in the order of the sites' first voxels; and of each site the
        other columns of `site_rows` except `first`.
    """
    empty = {name: np.zeros(0, np.uint64 if name in ("own", "other") else np.int64) for name in _COLUMNS}
    rows = {name: np.concatenate([empty[name], *(p[name] for p in parts)]) for name in empty}
    roots = np.arange(len(rows["own"]))
    nodes, smallest = merge_pairs(np.concatenate([np.zeros((0, 2), np.int64), *pairs]))
    roots[nodes] = smallest
    order = np.argsort(roots, kind="stable")
    sites, begin = np.unique(roots[order], return_index=True)
    if not len(sites):
        return {"site": np.zeros(0, np.uint32)} | {k: v for k, v in rows.items() if k != "first"}
    found = {name: rows[name][order][begin] for name in ("own", "other")}
    found |= {name: np.minimum.reduceat(rows[name][order], begin) for name in ("first", "square")}
    found |= {name: np.add.reduceat(rows[name][order], begin) for name in SUMS}
    # The first voxel of a site is its own: no two sites have the same.
    rank = np.argsort(found.pop("first"))
    number = np.zeros(len(sites), np.uint32)
    number[rank] = np.arange(1, len(sites) + 1, dtype=np.uint32)
    return {"site": number[np.searchsorted(sites, roots)]} | {k: v[rank] for k, v in found.items()}


_COLUMNS = ("own", "other", "first", "square", *SUMS)
