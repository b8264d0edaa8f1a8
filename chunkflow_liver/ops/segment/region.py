"""Where work is wanted: a box in nm, or a mask of any level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Box, Nm, zyx
from chunkflow_liver.segmenters.settings import is_number
from chunkflow_liver.segmenters.streaming.windows import Frame
from chunkflow_liver.store.images import inspect
from chunkflow_liver.store.volume import Volume

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
        found = np.zeros(box.shape, bool)
        part = box.clip(self.box)
        if part.size == 0:
            return found
        wanted: Any = True
        if self.mask is not None:
            at = [self._in_mask(axis, part.start[axis], part.stop[axis]) for axis in range(3)]
            low = zyx([int(a[0]) for a in at])
            high = zyx([int(a[-1]) + 1 for a in at])
            values = self.mask.read(Box(low, high)) != 0
            wanted = values[np.ix_(*(a - n for a, n in zip(at, low, strict=True)))]
        found[part.relative_to(box).slices] = wanted
        return found

    def _in_mask(self, axis: int, start: int, stop: int) -> np.ndarray[Any, Any]:
        """The mask's voxel that holds the centre of each voxel of [start, stop)."""
        if self.mask is None:
            raise ConfigError("a region without a mask has no voxels of one")
        scale = self.voxel_nm[axis] / self.mask.voxel_nm[axis]
        at = np.floor((np.arange(start, stop) + 0.5) * scale + 1e-9).astype(np.int64)
        found: np.ndarray[Any, Any] = np.clip(at, 0, self.mask.shape[axis] - 1)
        return found

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


def region_of(output: Volume, roi_nm: tuple[Nm, Nm] | None, mask: Volume | None) -> Region | None:
    """The region of a volume, None if it is all of it.

    Parameters
    ----------
    output : Volume
        What is written.
    roi_nm : pair of Nm, optional
        First corner and opposite corner (z, y, x), in nm from the volume's first corner; voxels whose
        centre lies between them are wanted.
    mask : Volume, optional
        A label image over the same extent, at any level.
    """
    if roi_nm is None and mask is None:
        return None
    box = output.box
    if roi_nm is not None:
        if not (
            isinstance(roi_nm, tuple | list)
            and [len(c) if isinstance(c, tuple | list) else 0 for c in roi_nm] == [3, 3]
            and all(is_number(v) for corner in roi_nm for v in corner)
        ):
            raise ConfigError(
                f"what is wanted is a mask (a Volume) or two corners (z, y, x) in nm, got {roi_nm!r}"
            )
        low, high = roi_nm
        if not all(math.isfinite(v) for v in (*low, *high)) or any(
            a >= b for a, b in zip(low, high, strict=True)
        ):
            raise ConfigError(
                f"roi_nm is two corners (z, y, x) in nm, the second beyond the first; got {roi_nm}"
            )
        ends = [
            zyx([math.ceil(round(v / size - 0.5, 9)) for v, size in zip(end, output.voxel_nm, strict=True)])
            for end in (low, high)
        ]
        box = Box(ends[0], ends[1]).clip(output.box)
        if box.size == 0:
            extent = tuple(n * v for n, v in zip(output.shape, output.voxel_nm, strict=True))
            raise ConfigError(f"roi_nm {roi_nm} holds no voxel of {output.url}, which is {extent} nm large")
    if mask is not None:
        for axis, name in enumerate("zyx"):
            here = output.shape[axis] * output.voxel_nm[axis]
            there = mask.shape[axis] * mask.voxel_nm[axis]
            if abs(here - there) >= max(mask.voxel_nm[axis], output.voxel_nm[axis]):
                raise InputError(
                    f"the mask {mask.url} is {there:.6g} nm long along {name}, the volume {here:.6g} nm: a "
                    "mask covers the same extent, at any voxel size"
                )
        if np.dtype(mask.dtype).kind not in "bui":
            raise InputError(f"the mask {mask.url} holds {mask.dtype} voxels; it must hold integers")
    return Region(box, output.voxel_nm, mask)
