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
