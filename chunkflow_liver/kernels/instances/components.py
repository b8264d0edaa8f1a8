"""Connected components of one block, and the exact joining of the components of many blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chunkflow_liver.errors import GridError, InputError
from chunkflow_liver.geometry import Zyx
from chunkflow_liver.kernels.instances.component_runs import find_components
from chunkflow_liver.kernels.labels.runs import find_runs
from chunkflow_liver.xp import Array, namespace, on_host

PlaneRuns = tuple[Array, Array]
"""Start (uint32) and value of every run of a flattened label plane, zeros included."""

_MAX_NODES = 2**31 - 1


def label_block(semantic: Array, *, classes: Sequence[int] | None, connectivity: int) -> tuple[Array, int]:
    """Connected components of one block, and how many there are.

    Parameters
    ----------
    semantic : ndarray of shape (Z, Y, X), integer or bool
        Class of every voxel; 0 is background. Every class has components of its own.
    classes : sequence of int or None
        Classes to label; None labels every non-zero one.
    connectivity : {6, 18, 26}
        Voxels are joined across faces; faces and edges; faces, edges and corners.

    Returns
    -------
    labels : ndarray of shape (Z, Y, X), uint32
        0 in the background, 1..n in raster order of the first voxel of each component.
    n : int
        Number of components.

    Raises
    ------
    ConfigError
        If the connectivity is unknown or a class is background.

    Notes
    -----
    On the host (see `find_components`); a CuPy block is copied there and back.
    """
    found = find_components(semantic, classes=classes, connectivity=connectivity)
    return namespace(semantic).asarray(found.labels()), found.n


def component_table(labels: Array, n: int, own: Zyx) -> dict[str, Array]:
    """First voxel of every component, and its voxels in the part of the block that is its own.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer
        Components 1..n whose ids ascend in raster order, as `label_block` makes them.
    n : int
        Number of components.
    own : Zyx
        Shape of the part whose voxels count, from the block's first voxel.

    Returns
    -------
    dict of ndarray of shape (n,), int64
        `first`, an index into `labels.ravel()`, and `voxels`; entry i belongs to component i + 1. Host
        arrays.

    Raises
    ------
    InputError
        If the ids are not 1..n in raster order.

    Notes
    -----
    All is taken from runs along x: on labels of tissue four times faster than from voxels.
    """
    runs = find_runs(on_host(labels))
    highest = np.maximum.accumulate(runs.label)
    # The running maximum of the ids rises by one at the first run of each component.
    rises = np.flatnonzero(np.diff(highest.astype(np.int64), prepend=0))
    if len(rises) != n or (n and int(highest[-1]) != n):
        raise InputError(
            f"component ids do not ascend in raster order: expected 1..{n}, got {len(rises)} rises "
            f"up to {int(highest[-1]) if len(highest) else 0}; number the block with label_block first"
        )
    _, height, width = labels.shape
    first = (runs.z[rises] * height + runs.y[rises]) * width + runs.start[rises]
    inside = (runs.z < own[0]) & (runs.y < own[1]) & (runs.start < own[2])
    voxels: np.ndarray[Any, Any] = np.zeros(n, np.int64)
    np.add.at(voxels, runs.label[inside] - 1, np.minimum(runs.stop[inside], own[2]) - runs.start[inside])
    return {"first": first, "voxels": voxels}


def plane_runs(plane: Array) -> PlaneRuns:
    """Run-length form of a 2-D label plane, background runs included.

    Parameters
    ----------
    plane : ndarray of shape (M, N), integer
        One face of a labelled block; fewer than 2**32 voxels.

    Returns
    -------
    starts : ndarray of shape (R,), uint32
        Flat index of the first voxel of each run; a run ends where the next one starts.
    values : ndarray of shape (R,), dtype of `plane`
        Label of each run, 0 included.
    """
    xp = namespace(plane)
    flat = xp.ascontiguousarray(plane).reshape(-1)
    first = xp.ones(flat.shape, bool)
    xp.not_equal(flat[1:], flat[:-1], out=first[1:])
    starts = xp.flatnonzero(first)
    return starts.astype(xp.uint32), flat[starts]


def plane_pairs(a: PlaneRuns, b: PlaneRuns) -> Array:
    """Every two labels that lie on the same pixel of one plane seen by two blocks.

    Parameters
    ----------
    a, b : tuple of ndarray
        The plane as each block labelled it, as `plane_runs` gives it; equal shapes.

    Returns
    -------
    ndarray of shape (K, 2), int64
        Unique pairs (label in `a`, label in `b`), both non-zero, sorted.
    """
    xp = namespace(a[0])
    if not len(a[0]) or not len(b[0]):
        return xp.zeros((0, 2), xp.int64)
    starts = xp.union1d(a[0], b[0])
    pairs = xp.stack(
        [
            values[xp.searchsorted(begin, starts, side="right") - 1].astype(xp.int64)
            for begin, values in (a, b)
        ],
        axis=1,
    )
    pairs = pairs[(pairs != 0).all(axis=1)]
    return _unique_rows(pairs)


def _unique_rows(pairs: Array) -> Array:
    """Sorted unique rows of a (K, 2) array; much faster than np.unique with an axis."""
    xp = namespace(pairs)
    pairs = pairs[xp.lexsort(xp.stack([pairs[:, 1], pairs[:, 0]]))]
    fresh = xp.ones(len(pairs), bool)
    fresh[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    return pairs[fresh]


def merge_pairs(pairs: Array) -> tuple[Array, Array]:
    """Smallest node that every paired node is joined with.

    Parameters
    ----------
    pairs : ndarray of shape (K, 2), integer
        Nodes that are one object; any non-negative numbers.

    Returns
    -------
    nodes : ndarray of shape (M,), int64
        Nodes that appear in `pairs`, ascending.
    roots : ndarray of shape (M,), int64
        Smallest node of the group that each of `nodes` belongs to.

    Raises
    ------
    GridError
        If more than 2**31 - 1 nodes appear in `pairs`.

    Notes
    -----
    Host only. Memory grows with the pairs, not with the number of nodes there are.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = np.asarray(pairs, np.int64).reshape(-1, 2)
    nodes, index = np.unique(pairs, return_inverse=True)
    index = index.reshape(-1, 2)
    m = _checked_nodes(len(nodes))
    if not m:
        return nodes, nodes.copy()
    links = (np.ones(len(pairs), bool), (index[:, 0], index[:, 1]))
    _, group = connected_components(coo_array(links, shape=(m, m)).tocsr(), directed=False)
    _, first = np.unique(group, return_index=True)
    # `nodes` ascend, so the first node of a group is its smallest.
    return nodes, nodes[first][group]


def _checked_nodes(count: int) -> int:
    """`count`, or a GridError where SciPy's int32 node numbers would wrap."""
    if count >= _MAX_NODES:
        raise GridError(
            f"{count} components touch a seam, but at most {_MAX_NODES - 1} can be joined at once; "
            "use larger blocks, or drop noise from the semantic labels first"
        )
    return count
