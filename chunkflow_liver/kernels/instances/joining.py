"""Which objects of different blocks become one, where some must never be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chunkflow_liver.xp import Array


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of nodes that grow pair by pair; all arrays may be memory-mapped, and change in place.

    Attributes
    ----------
    head, following, size : ndarray of shape (N,), int64
        Group of every node, the next node of its group, and the number of nodes of every group; for a node
        that was entered itself, itself, and 1.
    """

    head: Array
    following: Array
    size: Array

    def enter(self, nodes: Array) -> None:
        """Make a group of each of `nodes`."""
        self.head[nodes] = nodes
        self.following[nodes] = nodes
        self.size[nodes] = 1

    def join_blocks(self, pairs: Array, block: Array, slots: Array) -> Array:
        """Join pairs of nodes in their order unless two nodes of one block would be in one group.

        Parameters
        ----------
        pairs : ndarray of shape (K, 2), int64
        block : ndarray of shape (N,), int64
            Block of every node.
        slots : ndarray of shape (M,), int64
            Where nodes are found by group and block (see `enter_blocks`).

        Returns
        -------
        ndarray of shape (K,), bool
            Pairs that were refused.
        """
        from chunkflow_liver.kernels.instances.veto_loops import join_blocks

        arrays = (self.head, self.following, self.size, block, slots)
        return join_blocks(pairs, *map(np.asarray, arrays)).astype(bool)

    def join_apart(self, pairs: Array, apart: Array, begin: Array, further: Array) -> Array:
        """Join pairs of nodes in their order unless two that must stay apart would be in one group.

        Parameters
        ----------
        pairs : ndarray of shape (K, 2), int64
        apart : ndarray of shape (V, 2), int64
            Nodes that must stay apart.
        begin, further : ndarray of shape (N,) and (2 V,), int64
            The rows of `apart` by node (see `enter_apart`).

        Returns
        -------
        ndarray of shape (K,), bool
            Pairs that were refused.
        """
        from chunkflow_liver.kernels.instances.veto_loops import join_apart

        arrays = (self.head, self.following, self.size, apart, begin, further)
        return join_apart(pairs, *map(np.asarray, arrays)).astype(bool)


def enter_blocks(nodes: Array, groups: Groups, block: Array, slots: Array) -> None:
    """Put nodes, each a group of its own, where they are found by group and block.

    Parameters
    ----------
    nodes : ndarray of shape (K,), int64
    groups : Groups
    block : ndarray of shape (N,), int64
        Block of every node.
    slots : ndarray of shape (M,), int64
        Zeros at first; M is a power of two, and at least twice the nodes of all calls.
    """
    from chunkflow_liver.kernels.instances.veto_loops import enter

    enter(nodes, *map(np.asarray, (groups.head, block, slots)))


def enter_apart(apart: Array, begin: Array, further: Array) -> None:
    """Chain the rows of `apart` (V, 2) that each node is in; `begin` (N,) and `further` (2 V,) are zeros."""
    from chunkflow_liver.kernels.instances.veto_loops import thread

    thread(*map(np.asarray, (apart, begin, further)))


def met_in_a_block(roots: Array, block: Array) -> Array:
    """Roots of the groups that have two nodes of one block.

    Parameters
    ----------
    roots, block : ndarray of shape (N,), int64
        Group and block of every node of some whole blocks.
    """
    order = np.lexsort((block, roots))
    same = (roots[order][1:] == roots[order][:-1]) & (block[order][1:] == block[order][:-1])
    return np.unique(roots[order][1:][same])
