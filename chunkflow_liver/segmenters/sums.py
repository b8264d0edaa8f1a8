"""Weighted sums of overlapping scores over the planes that are not finished, and the labels they end in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.geometry import Box, Zyx
from chunkflow_liver.segmenters.model_folder import NnunetModel
from chunkflow_liver.segmenters.windows import Frame, nnunet_weights, separable_weights


@dataclass(frozen=True)
class Sums:
    """Weighted sums of scores over the planes that are not finished.

    `total` has shape (folds, heads, planes, y, x), float32 (one "fold": their mean) or float16;
    `count`, of shape (planes, y, x), float16, the sum of weights where they do not add up to 1.
    """

    frame: Frame
    total: Any
    count: Any
    weights: tuple[Any, ...]

    @classmethod
    def zeros(
        cls, frame: Frame, inside: Box, model: NnunetModel, folds: int, *, exact: bool, device: str
    ) -> Sums:
        import torch

        shape = (min(frame.window[0], inside.shape[0]), *inside.shape[1:])
        kind = torch.float32 if exact else torch.float16
        total = torch.zeros((1 if exact else folds, model.heads, *shape), dtype=kind, device=device)
        if exact:
            along = (
                separable_weights(starts, n) for starts, n in zip(frame.starts, frame.window, strict=True)
            )
            return cls(frame, total, None, tuple(torch.tensor(weights, device=device) for weights in along))
        bell = torch.tensor(nnunet_weights(model.window), device=device).reshape(frame.window)
        return cls(frame, total, torch.zeros(shape, dtype=kind, device=device), (bell,))

    def add(self, scores: list[Any], origin: Zyx, at: tuple[tuple[int, int], ...]) -> None:
        """Add the scores (heads, *window) of the window at `at`; the sums' first voxel is `origin`."""
        import torch

        cuts, places = [], []
        for (_, start), reach, zero, size in zip(
            at, self.frame.window, origin, self.total.shape[2:], strict=True
        ):
            low, high = max(start, zero), min(start + reach, zero + size)
            cuts.append(slice(low - start, high - start))
            places.append(slice(low - zero, high - zero))
        with torch.inference_mode():
            if self.count is None:
                z, y, x = (along[i][cut] for along, (i, _), cut in zip(self.weights, at, cuts, strict=True))
                weight = z[:, None, None] * y[None, :, None] * x
            else:
                weight = self.weights[0][tuple(cuts)]
                self.count[tuple(places)] += weight
            for total, score in zip(self.total, scores, strict=True):
                total[(slice(None), *places)] += score[(slice(None), *cuts)] * weight

    def take(self, planes: int, model: NnunetModel) -> np.ndarray[Any, Any]:
        """Labels of the first `planes` planes, which then make room for the next ones."""
        import torch

        height = self.total.shape[2]
        labels = np.empty((planes, *self.total.shape[3:]), model.dtype)
        with torch.inference_mode():
            for z in range(planes):
                labels[z] = _labels(self._scores(z), model)
            # Plane by plane, from the first on: no second copy of the sums.
            for z in range(height):
                if z + planes < height:
                    self.total[:, :, z] = self.total[:, :, z + planes]
                else:
                    self.total[:, :, z] = 0
                if self.count is not None:
                    self.count[z] = self.count[z + planes] if z + planes < height else 0
        return labels

    def _scores(self, z: int) -> Any:
        """Final scores (heads, y, x) of one plane."""
        import torch

        if self.count is None:
            scores = self.total[0, :, z]
        else:
            folds = torch.div(self.total[:, :, z], self.count[z])
            scores = folds[0]
            for fold in folds[1:]:
                scores += fold
            if len(folds) > 1:
                scores /= len(folds)
        if not bool(torch.isfinite(scores).all()):
            raise SegmenterError(
                "the network gave scores that are not finite: a voxel of the input is NaN or infinite, or "
                "float16 overflows; look at the volume's statistics, or use numerics='exact'"
            )
        return scores


def _labels(scores: Any, model: NnunetModel) -> np.ndarray[Any, Any]:
    """Class number of every voxel from scores of shape (heads, y, x)."""
    import torch

    if model.region_order is None:
        return cast("np.ndarray[Any, Any]", scores.argmax(0).cpu().numpy())
    above = (torch.sigmoid(scores.float()) > 0.5).cpu().numpy()
    labels = np.zeros(above.shape[1:], model.dtype)
    for head, number in zip(above, model.region_order, strict=True):
        labels[head] = number
    return labels
