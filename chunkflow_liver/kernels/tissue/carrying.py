"""Labels of painted slices carried to slices between them, along the motion of the image."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.tissue.flow import opencv, pulled
from chunkflow_liver.xp import Array


def followed(step: Array, before: Array | None) -> Array:
    """Displacement from a slice to the painted one, from that to its neighbour and the neighbour's own.

    Parameters
    ----------
    step : ndarray of shape (2, Y, X), float32
        From the slice to its neighbour on the way to the painted one.
    before : ndarray of shape (2, Y, X), float32, optional
        From the neighbour to the painted slice; None if the neighbour is that.

    Returns
    -------
    ndarray of shape (2, Y, X), float32
    """
    return step if before is None else np.asarray(step + pulled(before, step), np.float32)


def carried(labels: Array, by: Array | None, reduce: int) -> Array:
    """Labels of a slice as they lie in another one.

    Parameters
    ----------
    labels : ndarray of shape (Y, X), integer
        Labels of the painted slice.
    by : ndarray of shape (2, ceil(Y / reduce), ceil(X / reduce)), float32, optional
        Displacement from the other slice to the painted one, in averaged pixels; None for no motion.
    reduce : int
        Pixels that were averaged.

    Returns
    -------
    ndarray of shape (Y, X), dtype of `labels`
        Every pixel has the label at the nearest pixel to where it comes from; beyond the border, that at it.
    """
    if by is None:
        return labels.copy()
    from chunkflow_liver.kernels.tissue.plane_loops import pull_labels

    out = np.empty_like(labels)
    pull_labels(np.ascontiguousarray(labels), np.ascontiguousarray(by), reduce, out)
    return out


def edges(labels: Array) -> Array:
    """Pixels (Y, X) beside one with another label, to the right or below, on both sides; bool."""
    out = np.zeros(labels.shape, bool)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    out[1:] |= down
    out[:-1] |= down
    out[:, 1:] |= right
    out[:, :-1] |= right
    return out


def depth(labels: Array) -> Array:
    """Distance in pixels to the edge of the label that a pixel has, 0 on the edge; float32.

    Parameters
    ----------
    labels : ndarray of shape (Y, X), integer
        The border of the slice is no edge: what lies beyond is unknown.
    """
    return distance_to(edges(labels))


def distance_to(mask: Array) -> Array:
    """Distance in pixels to the nearest pixel of a mask (Y, X), exact; large where there is none; float32."""
    if not mask.any():
        return np.full(mask.shape, np.float32(sum(mask.shape)))
    cv2 = opencv()
    return np.asarray(cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))


def blended(first: Array, second: Array, share: float) -> Array:
    """Labels between two slices, from those carried from both.

    Parameters
    ----------
    first, second : ndarray of shape (Y, X), integer
        Labels carried from the slice before and from the one after.
    share : float
        How far the slice lies from the first to the second, 0 to 1.

    Returns
    -------
    ndarray of shape (Y, X), integer
        Where both agree, that; where one is 0, the other: whether there is a cell at all, the interior knows
        better. Elsewhere the label in which the pixel lies deeper, depths weighted by nearness, which is
        interpolation of signed distances [1]_ for the wall between two cells.

    References
    ----------
    .. [1] Raya and Udupa, Shape-based interpolation of multidimensional objects, IEEE Trans. Med. Imaging
       9, 1990, doi:10.1109/42.52980
    """
    differ = first != second
    if not differ.any() or share <= 0:
        return first
    if share >= 1:
        return second
    # On the edge itself a pixel lies half a pixel deep.
    of_first = (depth(first)[differ] + np.float32(0.5)) * np.float32(1 - share)
    of_second = (depth(second)[differ] + np.float32(0.5)) * np.float32(share)
    a, b = first[differ], second[differ]
    out = first.copy()
    out[differ] = np.where((b == 0) | ((a != 0) & (of_first >= of_second)), a, b)
    return out
