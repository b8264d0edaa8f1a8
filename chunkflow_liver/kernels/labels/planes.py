"""Planes of labels as runs, and which labels two blocks saw on the same pixels of one plane."""

from __future__ import annotations

from chunkflow_liver.xp import Array, namespace

PlaneRuns = tuple[Array, Array]
"""Start (uint32) and value of every run of a flattened label plane, zeros included."""


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
