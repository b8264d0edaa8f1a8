"""Weighted sums of overlapping scores over the planes that are not finished."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.geometry import Box
from chunkflow_liver.segmenters.streaming.view import View
from chunkflow_liver.segmenters.streaming.windows import Frame, nnunet_weights, separable_weights

At = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Number and first voxel of a window along each of the network's axes."""


@dataclass
class Sums:
    """Weighted sums of scores over the planes that are not finished.

    `total` has shape (folds, heads, planes, y, x), float32 (one "fold": their mean) or float16;
    `count`, of shape (planes, y, x), float16, the sum of weights where they do not add up to 1.
    `done` is the first plane that is not finished; `partial` says that windows are left out.
    """

    frame: Frame
    inside: Box
    total: Any
    count: Any
    weights: tuple[Any, ...]
    done: int
    partial: bool

    @classmethod
    def zeros(cls, view: View, inside: Box, folds: int, *, exact: bool, device: str, partial: bool) -> Sums:
        """For the voxels `inside` of the network's frame."""
        import torch

        frame = view.frame
        shape = (min(frame.window[0], inside.shape[0]), *inside.shape[1:])
        kind = torch.float32 if exact else torch.float16
        # The heads of a plane lie together: they are finished plane by plane.
        sides = (1 if exact else folds, shape[0], view.model.heads, *shape[1:])
        total = torch.zeros(sides, dtype=kind, device=device).transpose(1, 2)
        if exact:
            along = (
                separable_weights(starts, n) for starts, n in zip(frame.starts, frame.window, strict=True)
            )
            weights = tuple(torch.tensor(found, device=device) for found in along)
            return cls(frame, inside, total, None, weights, inside.start[0], partial)
        bell = torch.tensor(nnunet_weights(view.model.window), device=device).reshape(frame.window)
        count = torch.zeros(shape, dtype=kind, device=device)
        return cls(frame, inside, total, count, (bell,), inside.start[0], partial)

    def add(self, scores: list[Any], at: At) -> None:
        """Add the scores, per fold of shape (heads, *window), of the window at `at`."""
        import torch

        cuts, places = [], []
        origin = (self.done, *self.inside.start[1:])
        for (_, start), reach, zero, size in zip(
            at, self.frame.window, origin, self.total.shape[2:], strict=True
        ):
            low, high = max(start, zero), min(start + reach, zero + size)
            cuts.append(slice(low - start, high - start))
            places.append(slice(low - zero, high - zero))
        with torch.inference_mode():
            if self.count is None:
                along = [w[i][cut] for w, (i, _), cut in zip(self.weights, at, cuts, strict=True)]
                if self.total.device.type == "cpu":
                    self._add_weighted(scores[0], places, cuts, along)
                    return
                z, y, x = along
                weight = z[:, None, None] * y[None, :, None] * x
            else:
                weight = self.weights[0][tuple(cuts)]
                self.count[tuple(places)] += weight
            for total, score in zip(self.total, scores, strict=True):
                total[(slice(None), *places)] += score[(slice(None), *cuts)] * weight

    def _add_weighted(self, scores: Any, places: Sequence[slice], cuts: Sequence[slice], along: Any) -> None:
        """The same in one pass, to the bit, from where the engine left the scores."""
        from chunkflow_liver.segmenters.streaming.score_loops import add_weighted

        to, of = (tuple(cut.start for cut in each) for each in (places, cuts))
        planes = self.total[0].transpose(0, 1).numpy()
        given = scores.float().contiguous().numpy()
        add_weighted(planes, given, to, of, tuple(weight.numpy() for weight in along))

    def finish(self, stop: int) -> Iterator[tuple[int, Any]]:
        """Every plane before `stop` with its scores (heads, y, x), which are lost with the next one."""
        stop = min(stop, self.inside.stop[0])
        while self.done < stop:
            planes = min(stop - self.done, self.total.shape[2])
            for z in range(planes):
                yield self.done + z, self._scores(z)
            self._shift(planes)
            self.done += planes

    def _shift(self, planes: int) -> None:
        import torch

        height = self.total.shape[2]
        with torch.inference_mode():
            # Plane by plane, from the first on: no second copy of the sums.
            for z in range(height):
                if z + planes < height:
                    self.total[:, :, z] = self.total[:, :, z + planes]
                else:
                    self.total[:, :, z] = 0
                if self.count is not None:
                    self.count[z] = self.count[z + planes] if z + planes < height else 0

    def _scores(self, z: int) -> Any:
        """Final scores (heads, y, x) of one plane."""
        import torch

        with torch.inference_mode():
            if self.count is None:
                scores = self.total[0, :, z]
            else:
                folds = torch.div(self.total[:, :, z], self.count[z])
                if self.partial:
                    # No window came near: a voxel that nobody asked for.
                    folds = torch.where(self.count[z] > 0, folds, torch.zeros_like(folds))
                scores = folds[0]
                for fold in folds[1:]:
                    scores += fold
                if len(folds) > 1:
                    scores /= len(folds)
            if not _is_finite(scores):
                raise SegmenterError(
                    "the network gave scores that are not finite: a voxel of the input is NaN or infinite, "
                    "or float16 overflows; look at the volume's statistics, or use numerics='exact'"
                )
            return scores


def _is_finite(scores: Any) -> bool:
    """Whether no score is NaN or infinite."""
    import torch

    if scores.device.type != "cpu" or scores.dtype != torch.float32:
        return bool(torch.isfinite(scores).all())
    from chunkflow_liver.segmenters.streaming.score_loops import all_finite

    return all_finite(scores.numpy())
