"""Which objects of different blocks are one, where some must never be."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.components import merge_pairs
from chunkflow_liver.xp import Array


def join(
    n_nodes: int, pairs: Array, score: Array, *, block: Array, apart: Array | None = None
) -> tuple[Array, Array]:
    """Smallest node that each node is joined with, where a veto holds for whole groups.

    Parameters
    ----------
    n_nodes : int
        Objects of all blocks, 0..n_nodes - 1.
    pairs : ndarray of shape (K, 2), int64
        Objects that are to be one.
    score : ndarray of shape (K,), float64
        How sure that is; surer pairs are joined first, ties in the order of nodes.
    block : ndarray of shape (n_nodes,), integer
        Block of every object.
    apart : ndarray of shape (V, 2), int64, optional
        Objects that must not become one. Without it no two objects of one block may.

    Returns
    -------
    roots : ndarray of shape (n_nodes,), int64
        Smallest node of every node's group.
    refused : ndarray of shape (K,), bool
        Pairs that would have joined, in one group, what must stay apart.

    Notes
    -----
    Every pair is joined at once by arrays. Only the groups in which that breaks the veto are joined again
    pair by pair; the result is that of joining all pairs one by one, whatever the order they come in.
    """
    roots: Array = np.arange(n_nodes)
    _unite(roots, pairs)
    refused = np.zeros(len(pairs), bool)
    wrong = _broken(roots, block, apart)
    if not len(wrong) or not len(pairs):
        return roots, refused
    again = np.flatnonzero(np.isin(roots[pairs[:, 0]], wrong))
    order = again[np.lexsort((pairs[again, 1], pairs[again, 0], -score[again]))]
    keys, enemies = _veto(pairs[again], block, apart)
    parent = {int(n): int(n) for n in np.unique(pairs[again])}

    def find(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for i, first, second in zip(order.tolist(), *pairs[order].T.tolist(), strict=True):
        a, b = find(first), find(second)
        if a == b:
            continue
        if not keys[a].isdisjoint(enemies[b]):
            refused[i] = True
            continue
        keep, gone = (a, b) if len(keys[a]) >= len(keys[b]) else (b, a)
        parent[gone] = keep
        keys[keep] |= keys.pop(gone)
        if enemies is not keys:
            enemies[keep] |= enemies.pop(gone)
    undone = np.isin(roots, wrong)
    roots[undone] = np.flatnonzero(undone)
    _unite(roots, pairs[again[~refused[again]]])
    return roots, refused


def _unite(roots: Array, pairs: Array) -> None:
    """Give paired nodes, which are their own roots, the smallest node of their group."""
    nodes, smallest = merge_pairs(pairs)
    roots[nodes] = smallest


def _broken(roots: Array, block: Array, apart: Array | None) -> Array:
    """Roots of the groups that break the veto."""
    if apart is not None:
        return np.unique(roots[apart[:, 0]][roots[apart[:, 0]] == roots[apart[:, 1]]])
    order = np.lexsort((block, roots))
    same = (roots[order][1:] == roots[order][:-1]) & (block[order][1:] == block[order][:-1])
    return np.unique(roots[order][1:][same])


def _veto(pairs: Array, block: Array, apart: Array | None) -> tuple[dict[int, set[int]], dict[int, set[int]]]:
    """What every node of `pairs` stands for, and what may not be in a group with it."""
    nodes = np.unique(pairs).tolist()
    if apart is None:
        keys = {n: {int(block[n])} for n in nodes}
        return keys, keys
    keys = {n: {n} for n in nodes}
    enemies: dict[int, set[int]] = {n: set() for n in nodes}
    near = apart[np.isin(apart, nodes).all(axis=1)]
    for a, b in near.tolist():
        enemies[a].add(b)
        enemies[b].add(a)
    return keys, enemies
