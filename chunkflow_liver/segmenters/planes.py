"""Raw voxels for the windows of one row after the other, normalised as nnU-Net does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.geometry import Box, Zyx
from chunkflow_liver.kernels.statistics import Statistics
from chunkflow_liver.segmenters.model_folder import NnunetModel
from chunkflow_liver.segmenters.windows import Frame
from chunkflow_liver.xp import Array

Read = Callable[[Box], Array]
Columns = list[tuple[tuple[int, int], tuple[int, int]]]

SMALLEST_SD = 1e-8
LIMITS_8_BIT = (0, 255)


@dataclass(frozen=True)
class Planes:
    """Raw voxels of the planes that the current row of windows sees; every plane is read once.

    `held` is one array of the planes from `top[0]` on, over the area `area` of the crop.
    """

    read: Read
    frame: Frame
    area: Box
    ahead: int
    held: list[np.ndarray[Any, Any]]
    top: list[int]

    @classmethod
    def over(cls, read: Read, frame: Frame, columns: Columns, stop: int, ahead: int) -> Planes:
        (_, y0), (_, x0) = columns[0]
        (_, y1), (_, x1) = columns[-1]
        reach = Box((0, y0, x0), (stop, y1 + frame.window[1], x1 + frame.window[2]))
        area = reach.clip(frame.content)
        return cls(read, frame, area, ahead, [], [area.start[0]])

    def advance(self, start: int) -> None:
        """Forget planes before `start`, and read those that a window starting there sees."""
        have = self.top[0] + (self.held[0].shape[1] if self.held else 0)
        keep = max(start, self.area.start[0])
        need = min(start + self.frame.window[0], self.area.stop[0])
        kept = [held[:, max(0, keep - self.top[0]) :] for held in self.held]
        if have < need:
            begin = max(have, keep)
            end = min(max(need, begin + self.ahead), self.area.stop[0])
            box = Box((begin, *self.area.start[1:]), (end, *self.area.stop[1:]))
            stored = np.asarray(self.read(self.frame.to_stored(box)))
            kept.append(stored.transpose(0, *(axis + 1 for axis in self.frame.order)))
        self.held[:] = [np.concatenate(kept, axis=1)]
        self.top[0] = keep

    def window(self, start: Zyx, model: NnunetModel, statistics: Statistics) -> np.ndarray[Any, Any]:
        """One normalised window, float32 of shape (C, *window), 0 where the volume was padded."""
        box = Box(start, cast(Zyx, tuple(a + n for a, n in zip(start, self.frame.window, strict=True))))
        content = box.clip(self.area)
        origin = (self.top[0], *self.area.start[1:])
        raw = self.held[0][(slice(None), *content.shift(cast(Zyx, tuple(-o for o in origin))).slices)]
        if len(raw) != len(model.channels):
            raise SegmenterError(
                f"the volume has {len(raw)} channels, the model wants {len(model.channels)}: {model.channels}"
            )
        normal = np.stack([normalise(raw[c], c, model, statistics) for c in range(len(raw))])
        if content == box:
            return normal
        padded = np.zeros((len(raw), *self.frame.window), np.float32)
        padded[(slice(None), *content.relative_to(box).slices)] = normal
        return padded


def normalise(raw: Array, c: int, model: NnunetModel, statistics: Statistics) -> np.ndarray[Any, Any]:
    """Channel `c` as float32, in the steps and roundings of nnU-Net, with the statistics of the volume."""
    image: np.ndarray[Any, Any] = raw.astype(np.float32)
    scheme = model.schemes[c]
    if scheme == "ZScoreNormalization":
        image -= np.float32(statistics.mean[c])
        image /= np.float32(max(statistics.sd[c], SMALLEST_SD))
    elif scheme == "CTNormalization":
        known = model.intensities[c]
        np.clip(image, known["percentile_00_5"], known["percentile_99_5"], out=image)
        image -= known["mean"]
        image /= max(known["std"], SMALLEST_SD)
    elif scheme == "RescaleTo01Normalization":
        least = np.float32(statistics.minimum[c])
        image -= least
        image /= max(np.float32(statistics.maximum[c]) - least, np.float32(SMALLEST_SD))
    elif scheme == "RGBTo01Normalization":
        if statistics.minimum[c] < LIMITS_8_BIT[0] or statistics.maximum[c] > LIMITS_8_BIT[1]:
            raise SegmenterError(
                f"channel {c} ranges from {statistics.minimum[c]} to {statistics.maximum[c]}, but the model "
                f"was trained on 8-bit images ({scheme}); rescale the volume to 0..255"
            )
        image /= 255.0
    return image
