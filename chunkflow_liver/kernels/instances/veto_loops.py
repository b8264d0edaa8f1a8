"""Groups that grow pair by pair, where some nodes must never be in one group; compiled loops.

A group is a ring: `following` leads from each node of it to the next, `head` from each to the one that the
group is named for, and `size` holds the number of nodes at that one. Of two groups the smaller one is walked
and renamed, so that a node is renamed at most log2(N) times. Numbers of nodes are below 2**62, so sums of
them do not wrap; only the hash does, as it should.
"""

from __future__ import annotations

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def _home(head: int, block: int, mask: int) -> int:
    """Where an entry belongs in the table of (group, block)."""
    mixed = head * 0x1E3779B97F4A7C15 + block * 0x32B2AE3D27D4EB4F
    return (mixed ^ (mixed >> 31)) & mask


@compiled
def _insert(node: int, head: Array, block: Array, slots: Array) -> None:
    mask = slots.size - 1
    at = _home(head[node], block[node], mask)
    while slots[at] != 0:
        at = (at + 1) & mask
    slots[at] = node + 1


@compiled
def _remove(node: int, head: Array, block: Array, slots: Array) -> None:
    mask = slots.size - 1
    hole = _home(head[node], block[node], mask)
    while slots[hole] != node + 1:
        hole = (hole + 1) & mask
    at = hole
    while True:
        at = (at + 1) & mask
        if slots[at] == 0:
            break
        other = slots[at] - 1
        home = _home(head[other], block[other], mask)
        # What belongs at the hole or before it moves up, so that no search ends too early.
        if ((at - home) & mask) >= ((at - hole) & mask):
            slots[hole] = slots[at]
            hole = at
    slots[hole] = 0


@compiled
def _splice(small: int, large: int, following: Array, size: Array) -> None:
    after = following[small]
    following[small] = following[large]
    following[large] = after
    size[large] += size[small]


@compiled
def enter(nodes: Array, head: Array, block: Array, slots: Array) -> None:
    """Enter nodes, each a group of its own, in the table `slots` of (group, block)."""
    for i in range(nodes.size):
        _insert(nodes[i], head, block, slots)


@compiled
def join_blocks(
    pairs: Array, head: Array, following: Array, size: Array, block: Array, slots: Array
) -> Array:
    """Join pairs (K, 2) one after the other unless two nodes of one block would meet.

    Returns a value for each that is 1 where it was refused. `slots` finds the node of a block in a group.
    """
    refused = pairs[:, 0] * 0
    mask = slots.size - 1
    for i in range(pairs.shape[0]):
        small, large = head[pairs[i, 0]], head[pairs[i, 1]]
        if small == large:
            continue
        if size[small] > size[large]:
            small, large = large, small
        node = small
        while True:
            at = _home(large, block[node], mask)
            while slots[at] != 0:
                other = slots[at] - 1
                if head[other] == large and block[other] == block[node]:
                    refused[i] = 1
                    break
                at = (at + 1) & mask
            node = following[node]
            if refused[i] == 1 or node == small:
                break
        if refused[i] == 1:
            continue
        while True:
            _remove(node, head, block, slots)
            head[node] = large
            _insert(node, head, block, slots)
            node = following[node]
            if node == small:
                break
        _splice(small, large, following, size)
    return refused


@compiled
def thread(apart: Array, begin: Array, further: Array) -> None:
    """Chain the ends of every node in `apart` (V, 2): `begin` has the first one + 1, `further` the next."""
    for end in range(apart.size):
        node = apart[end >> 1, end & 1]
        further[end] = begin[node]
        begin[node] = end + 1


@compiled
def join_apart(
    pairs: Array, head: Array, following: Array, size: Array, apart: Array, begin: Array, further: Array
) -> Array:
    """Join pairs (K, 2) one after the other unless the two nodes of a row of `apart` would meet.

    Returns a value for each that is 1 where it was refused.
    """
    refused = pairs[:, 0] * 0
    for i in range(pairs.shape[0]):
        small, large = head[pairs[i, 0]], head[pairs[i, 1]]
        if small == large:
            continue
        if size[small] > size[large]:
            small, large = large, small
        node = small
        while True:
            end = begin[node]
            while end != 0:
                other = apart[(end - 1) >> 1, 1 - ((end - 1) & 1)]
                if head[other] == large:
                    refused[i] = 1
                    break
                end = further[end - 1]
            node = following[node]
            if refused[i] == 1 or node == small:
                break
        if refused[i] == 1:
            continue
        while True:
            head[node] = large
            node = following[node]
            if node == small:
                break
        _splice(small, large, following, size)
    return refused
