"""Where nnU-Net's windows lie on a whole volume, and how much each counts; no voxel data here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
from scipy.ndimage import gaussian_filter

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.geometry import Box, Zyx

SIGMAS_PER_WINDOW = 8
NNUNET_PEAK = 10


def window_starts(length: int, window: int, step: float) -> tuple[int, ...]:
    """First voxel of every window along one axis, the last one ending where the axis ends.

    Parameters
    ----------
    length, window : int
        Voxels of the axis and of the window; `length` >= `window`.
    step : float
        Largest distance of two windows, as a share of the window, above 0 and at most 1.

    Notes
    -----
    The smallest number of windows that keeps to `step`, spread evenly and rounded half to even, as
    nnU-Net does [1]_.

    References
    ----------
    .. [1] nnunetv2/inference/sliding_window_prediction.py, compute_steps_for_sliding_window
    """
    count = math.ceil((length - window) / (window * step)) + 1
    apart = (length - window) / (count - 1) if count > 1 else 0.0
    return tuple(round(apart * i) for i in range(count))


@dataclass(frozen=True)
class Placement:
    """Where the network's axes lie in a stored volume.

    Attributes
    ----------
    crop : Box
        What of the stored volume the network sees, in stored axes.
    order : Zyx
        Stored axis that is network axis i.
    """

    crop: Box
    order: Zyx

    @property
    def shape(self) -> Zyx:
        """Of the crop, along the network's axes."""
        return cast(Zyx, tuple(self.crop.shape[axis] for axis in self.order))

    @property
    def back(self) -> Zyx:
        """Network axis that is stored axis i."""
        return cast(Zyx, tuple(self.order.index(axis) for axis in range(3)))

    def from_stored(self, box: Box) -> Box:
        """A box of the stored volume along the network's axes, from the first voxel of the crop."""
        ends = [
            tuple(end[axis] - self.crop.start[axis] for axis in self.order) for end in (box.start, box.stop)
        ]
        return Box(cast(Zyx, ends[0]), cast(Zyx, ends[1]))

    def to_stored(self, box: Box) -> Box:
        """A box along the network's axes as one of the stored volume."""
        ends = [
            tuple(end[i] + self.crop.start[axis] for axis, i in enumerate(self.back))
            for end in (box.start, box.stop)
        ]
        return Box(cast(Zyx, ends[0]), cast(Zyx, ends[1]))


@dataclass(frozen=True)
class Frame:
    """The voxels that the network is given, padded where they are too few, and cut in windows.

    Attributes
    ----------
    window : Zyx
        What the network sees at once; 1 along the axis a 2D network does not see.
    content : Box
        What is not padding; half of what a too thin axis lacks, rounded down, lies before it.
    starts : tuple of tuple of int
        First voxels of the windows along every network axis.
    is_2d : bool
        Whether every plane along network axis 0 is segmented by itself.
    """

    window: Zyx
    content: Box
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    is_2d: bool

    @classmethod
    def of(cls, shape: Zyx, window: tuple[int, ...], step: float) -> Frame:
        """The frame of a volume of `shape` voxels along the network's axes."""
        if not 0 < step <= 1:
            raise SegmenterError(f"a window step is a share above 0 and at most 1 of the window, got {step}")
        is_2d = len(window) == 2
        seen = cast(Zyx, (1, *window) if is_2d else window)
        padded = [max(n, w) for n, w in zip(shape, seen, strict=True)]
        starts = [window_starts(n, w, step) for n, w in zip(padded, seen, strict=True)]
        if is_2d:
            starts[0] = tuple(range(padded[0]))
        pad = cast(Zyx, tuple((n - c) // 2 for n, c in zip(padded, shape, strict=True)))
        return cls(seen, Box.of(shape).shift(pad), cast(Any, tuple(starts)), is_2d)

    @property
    def windows(self) -> int:
        """Number of windows of the whole volume."""
        return math.prod(map(len, self.starts))

    def meeting(self, axis: int, start: int, stop: int) -> list[tuple[int, int]]:
        """Number and first voxel of the windows along `axis` that reach into [start, stop)."""
        reach = self.window[axis]
        return [(i, s) for i, s in enumerate(self.starts[axis]) if s < stop and s + reach > start]


@lru_cache(maxsize=8)
def separable_weights(starts: tuple[int, ...], window: int) -> np.ndarray[Any, Any]:
    """Weights of all windows along one axis, summing to 1 in every voxel.

    Returns
    -------
    ndarray of shape (len(starts), window), float32
        Read-only. A Gaussian of sigma window / 8 round voxel window // 2, divided by the sum over all
        windows that cover the voxel.

    Notes
    -----
    nnU-Net's weight is a product over the axes and its windows are a product of three lists, so the
    sum of weights that it divides by is a product too. No count volume and no division are needed.
    """
    sigma = window / SIGMAS_PER_WINDOW
    bell = np.exp(-0.5 * ((np.arange(window) - window // 2) / sigma) ** 2)
    total = np.zeros(starts[-1] + window)
    for start in starts:
        total[start : start + window] += bell
    weights = np.stack([bell / total[s : s + window] for s in starts]).astype(np.float32)
    weights.setflags(write=False)
    return weights


@lru_cache(maxsize=2)
def nnunet_weights(window: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """nnU-Net's weight of every voxel of a window, to the bit.

    Parameters
    ----------
    window : tuple of int
        Two or three axes.

    Returns
    -------
    ndarray of shape `window`, float16
        Read-only. A Gaussian of sigma window / 8 and peak 10; what underflows is the smallest that does not.
    """
    impulse = np.zeros(window)
    impulse[tuple(n // 2 for n in window)] = 1
    bell = gaussian_filter(impulse, [n / SIGMAS_PER_WINDOW for n in window], order=0, mode="constant", cval=0)
    # Through float32, as torch rounds; straight from float64 a few voxels differ by one step.
    weights: np.ndarray[Any, Any] = (bell / (bell.max() / NNUNET_PEAK)).astype(np.float32).astype(np.float16)
    weights[weights == 0] = weights[weights > 0].min()
    weights.setflags(write=False)
    return weights
