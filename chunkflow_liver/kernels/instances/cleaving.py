"""An object in two along its pieces: faces between pieces, block by block, and who is nearer to which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.kernels.rows import grouped, merged
from chunkflow_liver.xp import Array

PAIR = ("a", "b")
FACES = ("faces_z", "faces_y", "faces_x")

Faces = Mapping[str, Array]


def shared_faces(pieces: Array, mask: Array, own: Zyx) -> dict[str, Array]:
    """Faces of voxels over which pieces of an object touch.

    Parameters
    ----------
    pieces : ndarray of shape (Z, Y, X), unsigned integer
        0 is no piece.
    mask : ndarray of shape (Z, Y, X), bool
        The object.
    own : Zyx
        Shape of the block at the first corner whose faces count: those of its voxels to the next ones, which
        may lie beyond it, so that adjacent blocks count each face once.

    Returns
    -------
    dict of ndarray of shape (P,)
        `a, b` (uint64, a < b) and `faces_z, faces_y, faces_x` (int64, how many across each axis), sorted.
    """
    found: list[dict[str, Array]] = []
    ours = np.where(mask, pieces, 0).astype(np.uint64, copy=False)
    for axis, name in enumerate(FACES):
        low = ours[tuple(slice(0, n) for n in own)]
        high = ours[tuple(slice(int(i == axis), n + int(i == axis)) for i, n in enumerate(own))]
        low = low[tuple(slice(0, n) for n in high.shape)]
        met = (low != high) & (low > 0) & (high > 0)
        a, b = low[met], high[met]
        counts = {other: np.full(len(a), int(other == name), np.int64) for other in FACES}
        found.append({"a": np.minimum(a, b), "b": np.maximum(a, b), **counts})
    return grouped({k: np.concatenate([part[k] for part in found]) for k in found[0]}, PAIR)


def merge_faces(parts: Iterable[Faces]) -> dict[str, Array]:
    """The faces of several blocks as one; exact in any order."""
    none = {k: np.zeros(0, np.uint64 if k in PAIR else np.int64) for k in (*PAIR, *FACES)}
    return merged(parts, PAIR, none)


def second_side(faces: Faces, first: int, second: int, voxel_nm: Nm) -> Array:
    """The pieces that are nearer to the second of two pieces.

    Parameters
    ----------
    faces : dict
        Of the whole object, as `merge_faces` gives them.
    first, second : int
        The pieces, which differ.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.

    Returns
    -------
    ndarray of shape (N,), uint64
        Ascending, with `second`. Of equally near pieces those belong to it if its id is smaller than that of
        `first`; pieces that touch neither, directly or over others, do not.

    Notes
    -----
    Shortest paths from one piece to a touching one, where a step is as long as the area over which they touch
    is small: 1 over the area in nm^2. So a path through a thin place is long, and the two sides meet there.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import dijkstra

    z, y, x = voxel_nm
    area = faces["faces_z"] * (y * x) + faces["faces_y"] * (z * x) + faces["faces_x"] * (z * y)
    ends = np.array([first, second], np.uint64)
    ids = np.unique(np.concatenate([faces["a"], faces["b"], ends]))
    a, b, begin = (np.searchsorted(ids, v) for v in (faces["a"], faces["b"], ends))
    graph = coo_array((1 / area, (a, b)), shape=(len(ids), len(ids))).tocsr()
    near, far = dijkstra(graph, directed=False, indices=begin)
    mine: Any = far < near if first < second else (far <= near) & np.isfinite(far)
    return ids[mine]
