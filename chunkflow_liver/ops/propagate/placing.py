"""Where windows lie: large enough for an object, and anew when it comes near the margin."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from chunkflow_liver.kernels.images.windows import Window, carried
from chunkflow_liver.segmenters.sam2.propagator import STRIDE
from chunkflow_liver.xp import Array

Corners = tuple[float, float, float, float]
FILL = 0.5
"""Largest share of the window's side that an object takes where it is placed."""
MOST, LEAST = 0.7, 0.2
"""Shares of the side beyond which an object gets another window."""
MARGIN = 1 / 16
"""Share of the side that an object must not reach, unless the image ends there."""
STEPS = 8
"""Windows begin at multiples of their side divided by this, so that near objects share one."""


def _factors() -> Iterator[int]:
    """Voxels in a pixel: 1, 2, 3, 4, 6, 8, 12, ...

    With powers of two alone an object would take as little as a quarter of its window, and three times as
    many voxels lie in a pixel then as with the factor between.
    """
    for power in count():
        yield 1 << power
        if power:
            yield 3 << (power - 1)


@dataclass(frozen=True)
class Placing:
    """Windows on an image.

    Attributes
    ----------
    shape : tuple of int
        Voxels of a slice along y and x.
    side : int
        Pixels of a window.
    """

    shape: tuple[int, int]
    side: int

    def around(self, box: Corners) -> Window:
        """The window of an object within `box`, in voxels."""
        extent = max(box[2] - box[0], box[3] - box[1])
        return self.centred((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, extent / FILL)

    def centred(self, y: float, x: float, least: float) -> Window:
        """The window around a place that is at least `least` voxels wide."""
        # No window is wider than what holds the whole slice.
        factor = next(f for f in _factors() if self.side * f >= min(least, max(self.shape)))
        voxels = self.side * factor
        step = max(1, voxels // STEPS)
        return Window(self._first(y, voxels, step, 0), self._first(x, voxels, step, 1), factor, self.side)

    def _first(self, centre: float, voxels: int, step: int, axis: int) -> int:
        first = math.floor((centre - voxels / 2) / step + 0.5) * step
        return max(0, min(first, -(-(self.shape[axis] - voxels) // step) * step))

    @staticmethod
    def extent(window: Window, logits: Array) -> Corners:
        """The box of an object of which there is something, in voxels."""
        inside, scale = logits > 0, STRIDE * window.factor
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        return (
            float(window.y + rows[0] * scale),
            float(window.x + columns[0] * scale),
            float(window.y + (rows[-1] + 1) * scale),
            float(window.x + (columns[-1] + 1) * scale),
        )

    def moved(self, window: Window, logits: Array) -> Window | None:
        """Another window for an object that comes near the margin, or is too large or small for this one.

        Parameters
        ----------
        window : Window
        logits : ndarray of shape (S / 4, S / 4)
        """
        inside = logits > 0
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if not len(rows):
            return None
        logits_wide = self.side // STRIDE
        margin = max(1, round(logits_wide * MARGIN))
        lows, highs = (int(rows[0]), int(columns[0])), (int(rows[-1]) + 1, int(columns[-1]) + 1)
        origins = (window.y, window.x)
        near = any(
            (begin < margin and origin > 0) or (end > logits_wide - margin and origin + window.voxels < most)
            for begin, end, origin, most in zip(lows, highs, origins, self.shape, strict=True)
        )
        extent = max(end - begin for begin, end in zip(lows, highs, strict=True)) / logits_wide
        larger = extent > MOST and window.voxels < max(self.shape)
        if not (near or larger or (extent < LEAST and window.factor > 1)):
            return None
        found = self.around(self.extent(window, logits))
        return None if found == window else found


def mask_in(window: Window, of: Window, logits: Array) -> Array:
    """The pixels of a window in which an object lies whose logits in another window `of` are known."""
    return carried(logits, low(of), window) > 0


def low(window: Window) -> Window:
    """A window as its logits see it: fewer and wider pixels."""
    return Window(window.y, window.x, window.factor * STRIDE, window.side // STRIDE)
