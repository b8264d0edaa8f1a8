"""A network beside graphs that its branch points alone make: no parameter, and none of its own lengths."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.xp import Array

GRAPHS = ("network", "Delaunay graph", "minimum spanning tree")


Row = tuple[str, int, int, float, float]


def beside_chance(points_nm: Array, ends: Array) -> tuple[list[Row], tuple[float, float] | None]:
    """Edges of a network and of graphs of the same points, one row each.

    Parameters
    ----------
    points_nm : ndarray of shape (n, 3), float64
        Branch points, in nm.
    ends : ndarray of shape (m, 2), int64
        The two points of each branch between two different ones.

    Returns
    -------
    rows : list of (graph, points, edges, mean_length_nm, mean_degree)
        In the order of `GRAPHS`; lengths are straight, from point to point, in all three. Points that the
        Delaunay graph cannot take (fewer than five, or all in a plane) give the network alone.
    shares : tuple of 2 float, or None
        Which part of the network's edges the Delaunay graph has, and which part of the edges of the minimum
        spanning tree the network has.

    Notes
    -----
    The Delaunay graph joins all that are neighbours in space, the minimum spanning tree only what keeps all
    together, at the least length. Sinusoids are nearly a part of the one, and nearly hold the other [1]_.
    Several branches between the same two points are one edge.

    References
    ----------
    .. [1] Karschau et al., PLoS Computational Biology 16 (2020), doi:10.1371/journal.pcbi.1007965
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree
    from scipy.spatial import Delaunay, QhullError

    n = len(points_nm)

    def row(graph: str, edges: Array) -> tuple[str, int, int, float, float]:
        lengths = np.linalg.norm(points_nm[edges[:, 1]] - points_nm[edges[:, 0]], axis=1)
        mean = float(lengths.mean()) if len(edges) else np.nan
        return graph, n, len(edges), mean, 2 * len(edges) / n if n else np.nan

    own = np.unique(np.sort(ends.reshape(-1, 2), axis=1), axis=0)
    own = own[own[:, 0] != own[:, 1]]
    found = [row(GRAPHS[0], own)]
    if n < 5 or not len(own):
        return found, None
    try:
        simplices = Delaunay(points_nm).simplices
    except QhullError:
        return found, None
    sides = [simplices[:, [a, b]] for a in range(4) for b in range(a + 1, 4)]
    near = np.unique(np.sort(np.concatenate(sides), axis=1), axis=0).astype(np.int64)
    lengths = np.linalg.norm(points_nm[near[:, 1]] - points_nm[near[:, 0]], axis=1)
    # The shortest tree of all pairs lies within the Delaunay graph.
    tree = minimum_spanning_tree(coo_array((lengths, (near[:, 0], near[:, 1])), shape=(n, n))).tocoo()
    short = np.sort(np.stack([tree.row, tree.col], 1).astype(np.int64), axis=1)
    keys = [edges[:, 0] * n + edges[:, 1] for edges in (own, near, short)]
    shares = float(np.isin(keys[0], keys[1]).mean()), float(np.isin(keys[2], keys[0]).mean())
    return [*found, row(GRAPHS[1], near), row(GRAPHS[2], short)], shares
