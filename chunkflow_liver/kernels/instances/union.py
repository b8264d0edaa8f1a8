"""Which nodes are one object, for more nodes and pairs than memory holds: union-find in a table on disk."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.kernels.instances.components import merge_pairs
from chunkflow_liver.xp import Array

BATCH = 1 << 20
"""Rows taken into memory at once: about 100 MiB with all temporary arrays."""


def unite(parents: Array, pairs: Array) -> None:
    """Join the nodes of every pair, in place.

    Parameters
    ----------
    parents : ndarray of shape (N,), int64
        For every node a node of the same object that is not larger; a fresh table is 0..N-1. May be
        memory-mapped.
    pairs : ndarray of shape (K, 2), integer
        Nodes that are one object.

    Raises
    ------
    InputError
        If a pair names a node that does not exist.

    Notes
    -----
    Pairs are taken in batches: the roots of a batch are found by following `parents`, joined among
    themselves, and the larger ones are hung below the smallest [1]_. Memory follows the batch. The smallest
    node of an object is its root whatever the order of the pairs.

    References
    ----------
    .. [1] Galler, Fischer, An improved equivalence algorithm, 1964, doi:10.1145/364099.364331
    """
    pairs = np.asarray(pairs, np.int64).reshape(-1, 2)
    if pairs.size and (pairs.min() < 0 or pairs.max() >= len(parents)):
        raise InputError(
            f"pairs join nodes {pairs.min()} to {pairs.max()}, but there are only 0..{len(parents) - 1}; "
            "the seams and the block records are not from one run"
        )
    for start in range(0, len(pairs), BATCH):
        ends = pairs[start : start + BATCH].ravel()
        roots = _roots(parents, ends)
        nodes, smallest = merge_pairs(roots)
        parents[nodes] = smallest
        # Later pairs of the same nodes have a short way to go.
        parents[ends] = parents[roots]


def flatten(parents: Array) -> None:
    """Replace the parent of every node by its root, the smallest node of its object, in place."""
    for start in range(0, len(parents), BATCH):
        # Parents are never larger, so all before this part are roots already.
        parents[start : start + BATCH] = _roots(parents, np.array(parents[start : start + BATCH]))


def _roots(parents: Array, nodes: Array) -> Array:
    """Root of each of `nodes`."""
    while True:
        above = np.asarray(parents[nodes])
        if np.array_equal(above, nodes):
            return nodes
        nodes = above
