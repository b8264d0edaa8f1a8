"""Compiled: what is done with the scores of every window and voxel, in one pass over them."""

from __future__ import annotations

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def add_weighted(
    planes: Array,
    scores: Array,
    to: tuple[int, int, int],
    of: tuple[int, int, int],
    along: tuple[Array, Array, Array],
) -> None:
    """Add a box of `scores`, times a weight for each voxel, to a box of `planes`.

    Parameters
    ----------
    planes : ndarray of shape (Z, heads, Y, X), float32
        Changed in place.
    scores : ndarray of shape (heads, z, y, x), float32
    to, of : tuple of int
        First voxel of the box in `planes` and in `scores`.
    along : tuple of ndarray, float32
        Weights along the box's axes; a voxel's is their product, z with y first.

    Notes
    -----
    Rounded as arrays multiplied and added one by one are: nothing is fused. Both arrays are contiguous, or
    the loop would take three times as long.
    """
    z, y, x = along
    for k in range(len(z)):
        for head in range(len(scores)):
            for j in range(len(y)):
                across = z[k] * y[j]
                sums = planes[to[0] + k, head, to[1] + j, to[2] : to[2] + len(x)]
                found = scores[head, of[0] + k, of[1] + j, of[2] : of[2] + len(x)]
                for i in range(len(x)):
                    sums[i] += found[i] * (across * x[i])


@compiled
def largest_head(values: Array, found: Array) -> None:
    """Write the index of the largest of `values` (heads, Y, X) to `found` (Y, X), the first of equal ones."""
    for j in range(found.shape[0]):
        best, index = values[0, j].copy(), found[j]
        index[:] = 0
        for head in range(1, len(values)):
            row = values[head, j]
            for i in range(len(row)):
                better = row[i] > best[i]
                index[i] = head if better else index[i]
                best[i] = row[i] if better else best[i]


@compiled
def all_finite(values: Array) -> bool:
    """Whether no value of (heads, Y, X), float32, is NaN or infinite."""
    for head in range(values.shape[0]):
        for j in range(values.shape[1]):
            row = values[head, j]
            odd = 0
            for i in range(len(row)):
                # The difference of what is no number, or of infinities, is NaN.
                odd += row[i] - row[i] != 0
            if odd:
                return False
    return True
