"""The loop of a spanning forest whose trees hold one cell each."""

from __future__ import annotations

from typing import Any

from chunkflow_liver.kernels.compiled import compiled


@compiled
def grow(
    pairs: Any, strength: Any, root: Any, following: Any, last: Any, owner: Any, reached: Any, refused: Any
) -> None:
    """Make links one after the other, unless their ends belong to two cells.

    Parameters
    ----------
    pairs, strength : ndarray of shape (L, 2), int64, and (L,), float64
        Links in the order in which they are made.
    root, following, last : ndarray of shape (N,), int64
        A node of the same tree that is not larger, the next node of the tree or -1, and of a root the last.
    owner, reached : ndarray of shape (N,)
        Of a root the cell of its tree; of a node the weakest link on its way to the cell.
    refused : ndarray of shape (L,), bool
        Links that were not made.
    """
    for i in range(len(pairs)):
        a, b = pairs[i, 0], pairs[i, 1]
        while root[a] != a:
            root[a] = root[root[a]]
            a = root[a]
        while root[b] != b:
            root[b] = root[root[b]]
            b = root[b]
        if a == b:
            continue
        if owner[a] != 0 and owner[b] != 0 and owner[a] != owner[b]:
            refused[i] = True
            continue
        if owner[a] != 0 or owner[b] != 0:
            node = -1
            if owner[a] == 0:
                node = a
            if owner[b] == 0:
                node = b
            while node >= 0:
                reached[node] = strength[i]
                node = following[node]
        low, high = min(a, b), max(a, b)
        if owner[low] == 0:
            owner[low] = owner[high]
        root[high] = low
        following[last[low]] = high
        last[low] = last[high]
