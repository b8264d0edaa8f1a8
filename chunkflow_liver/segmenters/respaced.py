"""A volume as a network of another spacing sees it, box by box, and its scores brought back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.geometry import Box, Zyx
from chunkflow_liver.kernels.statistics import Statistics
from chunkflow_liver.segmenters.model_folder import NnunetModel
from chunkflow_liver.segmenters.planes import Read, normalise
from chunkflow_liver.segmenters.resampling import Resampling
from chunkflow_liver.segmenters.spacing import Fit, resamplings

Extremes = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Respaced:
    """The cropped, normalised and resampled volume, as if it were stored: what `read` gives of it.

    Its coordinates are those of the network: axes in the network's order, voxels of the network's size,
    and the first voxel of the crop at 0.

    Attributes
    ----------
    trained : NnunetModel
    stored : Statistics
        Of the stored volume.
    raw, scores : Resampling
        To the network's spacing, and back.
    low, high : ndarray of shape (C, 1) or (C, planes)
        Range of the normalised voxels: of the crop, or of each of its planes across the separate axis.
    """

    trained: NnunetModel
    stored: Statistics
    raw: Resampling
    scores: Resampling
    low: np.ndarray[Any, Any]
    high: np.ndarray[Any, Any]

    @classmethod
    def of(
        cls, fit: Fit, model: NnunetModel, statistics: Statistics, planes: Extremes | None = None
    ) -> Respaced:
        """The respaced volume.

        Parameters
        ----------
        fit : Fit
        model : NnunetModel
        statistics : Statistics
            Of the whole stored volume.
        planes : tuple of two ndarray of shape (C, n), optional
            Smallest and largest raw value of every plane of the crop across `spacing.plane_axis`, where
            there is such an axis; see `kernels.extremes`.
        """
        crop = cast(Zyx, tuple(statistics.crop.shape[axis] for axis in model.transpose_forward))
        raw, scores = resamplings(fit, crop, model)
        if raw.separate is None:
            planes = (np.array(statistics.minimum)[:, None], np.array(statistics.maximum)[:, None])
        elif planes is None:
            raise SegmenterError(
                f"{model.folder} resamples plane by plane across axis {raw.separate} of the network: the "
                "extremes of these planes are needed"
            )
        low, high = (
            np.stack([normalise(part[c], c, model, statistics) for c in range(len(part))]) for part in planes
        )
        return cls(model, statistics, raw, scores, low, high)

    @property
    def shape(self) -> Zyx:
        """Voxels along the network's axes."""
        return self.raw.target_shape

    @property
    def model(self) -> NnunetModel:
        """The model for a stream over this volume: nothing is left to transpose or to normalise."""
        return replace(
            self.trained,
            schemes=("NoNormalization",) * len(self.trained.schemes),
            transpose_forward=(0, 1, 2),
            transpose_backward=(0, 1, 2),
        )

    @property
    def statistics(self) -> Statistics:
        """Statistics for a stream over this volume: nothing is left to crop."""
        return replace(self.stored, crop=Box.of(self.shape))

    def reading(self, read: Read) -> Read:
        """From a function that reads the stored volume, one that reads this volume as float32."""

        def seen(box: Box) -> np.ndarray[Any, Any]:
            need = self.raw.need(box)
            found = np.asarray(read(self._to_stored(need)))
            voxels = found.transpose(0, *(axis + 1 for axis in self.trained.transpose_forward))
            normal = np.stack(
                [normalise(part, c, self.trained, self.stored) for c, part in enumerate(voxels)]
            )
            planes: tuple[Any, ...] = ()
            if self.raw.separate is not None:
                planes = (slice(None), slice(need.start[self.raw.separate], need.stop[self.raw.separate]))
            return self.raw.apply(normal, need, box, low=self.low[planes], high=self.high[planes])

        return seen

    def block(self, block: Box) -> Box:
        """The voxels of this volume whose scores a stored block is made of; empty outside the crop."""
        inside = self._from_stored(block)
        return self.scores.need(inside) if inside.size else Box((0, 0, 0), (0, 0, 0))

    def back(
        self, pieces: Iterable[tuple[Box, np.ndarray[Any, Any]]], block: Box
    ) -> Iterator[tuple[Box, np.ndarray[Any, Any]]]:
        """Scores of the stored voxels of a block, from those of this volume.

        Parameters
        ----------
        pieces : iterable of (Box, ndarray of shape (heads, *box.shape))
            Scores over `self.block(block)`, run of planes after run of planes.
        block : Box
            Stored voxels.

        Yields
        ------
        Box, ndarray of shape (heads, *box.shape), float32
            Along the stored axes, run after run along the network's first axis; they tile the part of the
            block that is inside the crop.

        Notes
        -----
        Interpolated as nnU-Net does before it takes the largest. Of the earlier pieces, only planes that
        the next voxels need are held: one, for linear interpolation.
        """
        target = self._from_stored(block)
        if target.size == 0:
            return
        done, (_, *low), (last, *high) = target.start[0], target.start, target.stop
        held: list[np.ndarray[Any, Any]] = []
        first = self.block(block).start[0]
        for box, values in pieces:
            held = [np.concatenate([*held, np.asarray(values, np.float32)], axis=1)]
            ready = done
            while ready < last and self._needs(target, ready)[1] <= box.stop[0]:
                ready += 1
            if ready == done:
                continue
            run = Box((done, *low), (ready, *high))  # type: ignore[arg-type]
            source = Box((first, *box.start[1:]), (box.stop[0], *box.stop[1:]))
            made = self.scores.apply(held[0], source, run)
            yield self._to_stored(run), made.transpose(0, *(1 + a for a in self.trained.transpose_backward))
            done = ready
            if done < last:
                keep = min(self._needs(target, done)[0], box.stop[0])
                held, first = [held[0][:, keep - first :]], keep
        if done < last:
            raise SegmenterError(f"scores of planes {done} to {last} of {target} never came")

    def _needs(self, target: Box, plane: int) -> tuple[int, int]:
        """First and one-past-last plane of this volume that a plane of `target` is made of."""
        need = self.scores.need(Box((plane, *target.start[1:]), (plane + 1, *target.stop[1:])))
        return need.start[0], need.stop[0]

    def _from_stored(self, block: Box) -> Box:
        """What of a stored block lies in the crop, along the network's axes, in stored voxels."""
        inside = block.clip(self.stored.crop).relative_to(self.stored.crop)
        order = self.trained.transpose_forward
        return Box(
            cast(Zyx, tuple(inside.start[a] for a in order)), cast(Zyx, tuple(inside.stop[a] for a in order))
        )

    def _to_stored(self, box: Box) -> Box:
        back = self.trained.transpose_backward
        return Box(
            cast(Zyx, tuple(box.start[a] for a in back)), cast(Zyx, tuple(box.stop[a] for a in back))
        ).shift(self.stored.crop.start)
