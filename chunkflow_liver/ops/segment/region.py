"""Where work is wanted: a box in nm, or a mask of any level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.geometry import Box, Nm
from chunkflow_liver.segmenters.streaming.windows import Frame
from chunkflow_liver.store.images import inspect
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.voxels.region import Known

MOST_MASK_VOXELS = 1 << 24
"""The largest level of a mask that is looked at to tell what it saves."""


@dataclass(frozen=True)
class Region:
    """The voxels of a volume that are wanted.

    Attributes
    ----------
    box : Box
        In voxels of the volume.
    voxel_nm : Nm
        Of the volume.
    mask : Volume, optional
        Non-zero where voxels are wanted; its voxels may have another size.
    """

    box: Box
    voxel_nm: Nm
    mask: Volume | None = None

    def __call__(self, box: Box) -> np.ndarray[Any, Any]:
        """Which voxels of `box` are wanted: those whose centre lies in the box and in a voxel of the mask."""
        return Known(self.box, self.voxel_nm, () if self.mask is None else (self.mask,))(box)

    def share(self, frame: Frame, network_nm: Nm) -> float:
        """Share of a frame's windows that are computed, about: a mask is looked at on its coarsest level.

        `frame` has its axes stored in z, y, x order, and voxels of `network_nm` over the whole volume.
        """
        lows, highs = [], []
        for axis in range(3):
            scale = network_nm[axis] / self.voxel_nm[axis]
            starts = np.array(frame.starts[axis]) - frame.content.start[axis]
            lows.append(starts * scale)
            highs.append((starts + frame.window[axis]) * scale)
        if self.mask is None:
            meets = [
                np.count_nonzero((low < self.box.stop[axis]) & (high > self.box.start[axis])) / len(low)
                for axis, (low, high) in enumerate(zip(lows, highs, strict=True))
            ]
            return math.prod(meets)
        coarse = inspect(self.mask.url)[1][-1]
        if math.prod(coarse.shape) > MOST_MASK_VOXELS:
            return 1.0
        values = coarse.read() != 0
        total = np.zeros([n + 1 for n in values.shape], np.int64)
        total[1:, 1:, 1:] = values.cumsum(0, dtype=np.int64).cumsum(1).cumsum(2)
        ends = []
        for axis in range(3):
            scale = self.voxel_nm[axis] / coarse.voxel_nm[axis]
            low = np.floor(lows[axis] * scale).clip(0, coarse.shape[axis]).astype(np.int64)
            high = np.ceil(highs[axis] * scale).clip(0, coarse.shape[axis]).astype(np.int64)
            ends.append((low, high))
        count: Any = 0
        for corner in np.ndindex(2, 2, 2):
            sign = 1 if sum(corner) % 2 else -1
            count = count + sign * total[np.ix_(*(ends[a][c] for a, c in enumerate(corner)))]
        return float(np.count_nonzero(count) / count.size)


def region_of(output: Volume, within: tuple[Nm, Nm] | Volume | None) -> Region | None:
    """The region of a volume, None if it is all of it.

    Parameters
    ----------
    output : Volume
        What is written; restricted already where its source is.
    within : pair of Nm or Volume, optional
        See `Volume.within`.
    """
    if within is not None:
        output = output.within(within)
    if output.region is None and output.mask is None:
        return None
    return Region(output.known, output.voxel_nm, output.mask)
