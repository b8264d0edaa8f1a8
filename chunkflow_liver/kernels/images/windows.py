"""Square windows on slices: voxels to a window's pixels, and logits of a window back to voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chunkflow_liver.xp import Array

Span = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """A square of `side` pixels, each `factor` voxels wide along y and x.

    Attributes
    ----------
    y, x : int
        First voxel.
    factor : int
    side : int
    """

    y: int
    x: int
    factor: int
    side: int

    @property
    def voxels(self) -> int:
        """Side in voxels."""
        return self.side * self.factor

    def pixel(self, y: float, x: float) -> tuple[float, float]:
        """Where a place, in voxels from their first edge, lies in pixels between 0 and `side`."""
        return (y - self.y) / self.factor, (x - self.x) / self.factor


def shrunk(voxels: Array, factor: int) -> Array:
    """Means of squares of `factor` x `factor` voxels.

    Parameters
    ----------
    voxels : ndarray of shape (Z, Y, X)
        Y and X are multiples of `factor`.
    factor : int

    Returns
    -------
    ndarray of shape (Z, Y / factor, X / factor), float32
    """
    found: Array = voxels
    if factor == 1:
        return found.astype(np.float32)
    z, y, x = voxels.shape
    squares = found.reshape(z, y // factor, factor, x // factor, factor)
    return squares.mean(axis=(2, 4), dtype=np.float64).astype(np.float32)


def cropped(logits: Array) -> tuple[int, int, Array] | None:
    """The part of a plane of logits that is above 0, with one more around it, and where it begins.

    Interpolated anywhere beyond that part, the plane is not above 0.
    """
    inside = logits > 0
    if not inside.any():
        return None
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    y, x = max(0, int(rows[0]) - 1), max(0, int(columns[0]) - 1)
    return y, x, logits[y : int(rows[-1]) + 2, x : int(columns[-1]) + 2]


def sampled(crop: Array, at: tuple[int, int], window: Window, y: Span, x: Span) -> tuple[Span, Span, Array]:
    """Logits of voxels, linear between those of a window.

    Parameters
    ----------
    crop : ndarray of shape (h, w)
        Part of a window's plane of logits.
    at : tuple of int
        Where in the plane it begins.
    window : Window
        `side` counts logits here, and `factor` voxels in one.
    y, x : tuple of int
        Voxels that are wanted, half-open.

    Returns
    -------
    y, x : tuple of int
        Those of them that the part reaches.
    ndarray, float32
        Their logits.
    """
    spans, places = [], []
    origins = (window.y + at[0] * window.factor, window.x + at[1] * window.factor)
    for count, low, wanted in zip(crop.shape, origins, (y, x), strict=True):
        begin = max(wanted[0], low)
        end = max(begin, min(wanted[1], low + count * window.factor))
        spans.append((begin, end))
        places.append((np.arange(begin, end) + 0.5 - low) / window.factor - 0.5)
    return spans[0], spans[1], _between(crop, places[0], places[1])


def carried(logits: Array, of: Window, to: Window) -> Array:
    """Logits of a window at the pixels of another one, below 0 where the first one does not reach.

    Parameters
    ----------
    logits : ndarray of shape (n, n)
        Of `of`, whose `side` is n here.
    of, to : Window

    Returns
    -------
    ndarray of shape (S, S), float32
    """
    pixels = (np.arange(to.side) + 0.5) * to.factor
    places = [(first + pixels - low) / of.factor - 0.5 for first, low in ((to.y, of.y), (to.x, of.x))]
    found = _between(logits, *places)
    reached = [(place >= -0.5) & (place <= of.side - 0.5) for place in places]
    return np.where(reached[0][:, None] & reached[1], found, np.float32(-1))


def _between(plane: Array, y: Array, x: Array) -> Array:
    """Values of a plane at rows `y` and columns `x`, linear, and at its edge the same beyond."""
    values = plane.astype(np.float32)
    left, right, share = _neighbours(x, values.shape[1])
    across = values[:, left] * (np.float32(1) - share) + values[:, right] * share
    top, down, share = _neighbours(y, values.shape[0])
    found: Array = across[top] * (np.float32(1) - share)[:, None] + across[down] * share[:, None]
    return found


def _neighbours(places: Array, count: int) -> tuple[Array, Array, Array]:
    before = np.floor(places)
    share = (places - before).astype(np.float32)
    one = np.clip(before.astype(np.int64), 0, count - 1)
    return one, np.clip(before.astype(np.int64) + 1, 0, count - 1), share
