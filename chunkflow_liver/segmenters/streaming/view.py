"""How one model sees one volume: axes, crop, voxel size, windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.geometry import Box, Zyx, zyx
from chunkflow_liver.kernels.images.statistics import Statistics
from chunkflow_liver.segmenters.model import Model
from chunkflow_liver.segmenters.resampling import Resampling
from chunkflow_liver.segmenters.streaming.spacing import Fit, resamplings
from chunkflow_liver.segmenters.streaming.windows import Frame, Placement

LIMITS_8_BIT = (0, 255)
SMALLEST_SD = 1e-8


@dataclass(frozen=True, eq=False)
class View:
    """One model on one volume.

    Attributes
    ----------
    model : Model
    statistics : Statistics
        Of the voxels that are read.
    source, output : Placement
        Of the network's axes in the volume that is read and in the one that is written.
    there, back : Resampling
        From the crop that is read to the network's voxels, and from them to the crop that is written.
    frame : Frame
        Windows over the network's voxels.
    limits : pair of ndarray, optional
        Smallest and largest value of each channel and plane of the crop, where planes are resampled one
        by one, as they are stored.
    """

    model: Model
    statistics: Statistics
    source: Placement
    output: Placement
    there: Resampling
    back: Resampling
    frame: Frame
    limits: tuple[Any, Any] | None

    @classmethod
    def of(
        cls,
        model: Model,
        statistics: Statistics,
        fit: Fit,
        step: float,
        factor: Zyx = (1, 1, 1),
        limits: tuple[Any, Any] | None = None,
    ) -> View:
        """The view of a model on a volume; `factor` is how much finer the voxels are that are written."""
        for c, scheme in enumerate(model.schemes):
            low, high = statistics.minimum[c], statistics.maximum[c]
            if scheme == "RGBTo01Normalization" and (low < LIMITS_8_BIT[0] or high > LIMITS_8_BIT[1]):
                raise SegmenterError(
                    f"channel {c} ranges from {low} to {high}, but the model "
                    f"was trained on 8-bit images ({scheme}); rescale the volume to 0..255"
                )
        order = zyx(list(model.transpose_forward))
        source = Placement(statistics.crop, order)
        ends = (zyx([n * f for n, f in zip(end, factor, strict=True)]) for end in _ends(statistics.crop))
        output = Placement(Box(*ends), order)
        there, back = resamplings(fit, source.shape, model, zyx([factor[axis] for axis in order]))
        frame = Frame.of(there.target_shape, model.window, step)
        return cls(model, statistics, source, output, there, back, frame, limits)

    @property
    def coarse_axis(self) -> int | None:
        """Stored axis whose planes are resampled one by one."""
        axis = self.there.separate
        return self.source.order[axis] if self.there.changes and axis is not None else None

    @property
    def _by_planes(self) -> bool:
        return self.coarse_axis is not None

    def ranges(self, planes: Box) -> tuple[Any, Any]:
        """Smallest and largest normalised value per channel, and per plane across the coarse axis."""
        if self._by_planes and self.limits is not None:
            axis = self.there.separate or 0
            cut = slice(planes.start[axis], planes.stop[axis])
            stored = tuple(np.asarray(limit)[:, cut, None, None] for limit in self.limits)
        else:
            found = (self.statistics.minimum, self.statistics.maximum)
            stored = tuple(np.array(values)[:, None, None, None] for values in found)
        low, high = (
            np.stack([self.normalised(channel, c).numpy() for c, channel in enumerate(limit)])
            for limit in stored
        )
        return (low[:, :, 0, 0], high[:, :, 0, 0]) if self._by_planes else (low.ravel(), high.ravel())

    def normalised(self, raw: Any, c: int) -> Any:
        """Channel `c` as a float32 tensor, in the steps and roundings of nnU-Net.

        `raw` is a tensor or an ndarray of stored voxels; the statistics are those of the volume.
        """
        import torch

        raw = raw if isinstance(raw, torch.Tensor) else torch.from_numpy(raw)
        image = raw.to(torch.float32, copy=True)

        def number(value: float) -> Any:
            # A tensor, because CUDA would replace the division by a Python number with a product.
            return torch.tensor(value, dtype=torch.float32, device=image.device)

        scheme, found = self.model.schemes[c], self.statistics
        if scheme == "ZScoreNormalization":
            return image.sub_(number(found.mean[c])).div_(number(max(found.sd[c], SMALLEST_SD)))
        if scheme == "CTNormalization":
            known = self.model.intensities[c]
            image.clamp_(number(known["percentile_00_5"]), number(known["percentile_99_5"]))
            return image.sub_(number(known["mean"])).div_(number(max(known["std"], SMALLEST_SD)))
        if scheme == "RescaleTo01Normalization":
            least = np.float32(found.minimum[c])
            reach = max(np.float32(found.maximum[c]) - least, np.float32(SMALLEST_SD))
            return image.sub_(number(float(least))).div_(number(float(reach)))
        return image.div_(number(255.0)) if scheme == "RGBTo01Normalization" else image


def _ends(box: Box) -> tuple[Zyx, Zyx]:
    return box.start, box.stop
