"""Voxels of one box of a resampled volume, the same as if the whole volume had been resampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from scipy.sparse import csr_array

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.geometry import Box, Zyx
from chunkflow_liver.xp import Array

SEPARATE_ABOVE = 3.0
REACH = 16
POLE = math.sqrt(3.0) - 2.0
COLUMNS = 8192
ORDERS = (0, 1, 3)
NNUNET_FUNCTION = "resample_data_or_seg_to_shape"


@dataclass(frozen=True)
class Spline:
    """What plans.json says of resampling raw voxels or scores.

    Attributes
    ----------
    order : int
        Of the spline.
    order_z : int
        Along a coarse axis, where that is resampled by itself.
    force_separate_z : bool, optional
        Whether it is; decided by the voxel sizes if not given.
    function : str
        Name of nnU-Net's function; its default is the one that is known here.
    """

    order: int
    order_z: int = 0
    force_separate_z: bool | None = None
    function: str = NNUNET_FUNCTION


def resampled_shape(shape: Sequence[int], spacing: Sequence[float], wanted: Sequence[float]) -> Zyx:
    """Voxels along every axis once voxels of `spacing` have become voxels of `wanted`, as nnU-Net counts."""
    return cast(Zyx, tuple(round(s / w * n) for n, s, w in zip(shape, spacing, wanted, strict=True)))


@dataclass(frozen=True)
class Resampling:
    """How a volume of one shape becomes one of another shape over the same extent.

    Attributes
    ----------
    source_shape, target_shape : Zyx
        Of the whole volumes, along the network's axes.
    orders : tuple of int
        Of the spline along every axis: 0 nearest voxel, 1 linear, 3 cubic.
    separate : int, optional
        Axis that is resampled last, after plane by plane the others; its spline is not clipped.

    Notes
    -----
    Equal to nnU-Net's resampling of the whole volume [1]_, which is `skimage.transform.resize` with edge
    mode, without anti-aliasing: target voxel i lies at (i + 1/2) source / target - 1/2, and a volume goes
    on beyond its faces with its outermost voxels. A cubic spline through the voxels depends on all of them;
    their weights fall by 0.268 per voxel, and are cut after 16 on each side (7e-10 of the range of values).
    A voxel's weights and the order of its sum depend on its place in the volume only, so any cut of the
    volume in boxes gives the same bits.

    References
    ----------
    .. [1] nnunetv2/preprocessing/resampling/default_resampling.py, resample_data_or_seg_to_shape
    .. [2] Unser, Splines: a perfect fit for signal and image processing, IEEE Signal Processing Magazine
       16(6), 1999, doi:10.1109/79.799930
    """

    source_shape: Zyx
    target_shape: Zyx
    orders: tuple[int, int, int]
    separate: int | None = None

    def __post_init__(self) -> None:
        if min(*self.source_shape, *self.target_shape) < 1:
            raise SegmenterError(
                f"a volume of {self.source_shape} voxels cannot be resampled to {self.target_shape}: every "
                "axis needs a voxel; the model's spacing does not fit this volume"
            )
        if any(order not in ORDERS for order in self.orders):
            raise SegmenterError(f"no spline of order {self.orders}; there are {ORDERS}")

    @classmethod
    def between(
        cls,
        source_shape: Zyx,
        target_shape: Zyx,
        spacing: Sequence[float],
        wanted: Sequence[float],
        spline: Spline,
    ) -> Resampling:
        """What nnU-Net does from voxels of `spacing` to voxels of `wanted`.

        Parameters
        ----------
        source_shape, target_shape : Zyx
            Of the whole volumes, along the network's axes.
        spacing, wanted : sequence of float
            Voxel size of source and target along the network's axes, in one unit.
        spline : Spline
            Of order 3 for raw voxels and 1 for scores, unless plans.json says otherwise. An axis is coarse
            if the voxels of source or (failing that) target are more than three times longer along it
            than along their shortest.
        """
        axis = coarse_axis(spacing, wanted, spline.force_separate_z)
        orders = tuple(spline.order_z if a == axis else spline.order for a in range(3))
        return cls(source_shape, target_shape, cast(Zyx, orders), axis)

    @property
    def changes(self) -> bool:
        """Whether there is anything to resample."""
        return self.source_shape != self.target_shape

    def need(self, target: Box) -> Box:
        """The voxels of the source that the voxels in `target` are made of."""
        ends = []
        for axis, (start, stop) in enumerate(zip(target.start, target.stop, strict=True)):
            if self.source_shape[axis] == self.target_shape[axis]:
                ends.append((start, stop))
                continue
            index, _ = self.taps(axis, start, stop)
            ends.append((int(index.min()), int(index.max()) + 1))
        return Box(cast(Zyx, tuple(a for a, _ in ends)), cast(Zyx, tuple(b for _, b in ends)))

    def apply(
        self, array: Array, source: Box, target: Box, *, low: Array | None = None, high: Array | None = None
    ) -> np.ndarray[Any, Any]:
        """The voxels in `target`.

        Parameters
        ----------
        array : ndarray of shape (C, *source.shape)
            Voxels of the source, or scores.
        source : Box
            Where they lie; holds `need(target)`.
        target : Box
        low, high : ndarray of shape (C,), (C, 1) or (C, n), optional
            Smallest and largest value of every channel over the whole source volume, which a cubic spline
            overshoots and nnU-Net clips to. If an axis is separate, nnU-Net clips plane by plane: then of
            the n whole planes across that axis that `source` meets. Not needed below order 3.

        Returns
        -------
        ndarray of shape (C, *target.shape), float32

        Notes
        -----
        Channel by channel in float64: 16 bytes per voxel of `source` and of the largest step to `target`.
        """
        if not source.contains(self.need(target)):
            raise SegmenterError(f"voxels {target} need {self.need(target)} of the source, got {source}")
        clipped = any(o == 3 for axis, o in enumerate(self.orders) if axis != self.separate)
        if self.changes and clipped and (low is None or high is None):
            raise SegmenterError(
                "a cubic spline is clipped to the range of the whole volume: give low and high"
            )
        found = np.empty((len(array), *target.shape), np.float32)
        # Shrinking axes first: fewer voxels are left for the others.
        growth = [t / s for s, t in zip(self.source_shape, self.target_shape, strict=True)]
        across = [a for a in sorted(range(3), key=growth.__getitem__) if a != self.separate]
        for c, channel in enumerate(array):
            values = np.asarray(channel, np.float64)
            for axis in across:
                values = self._along(values, axis, source, target)
            if self.changes and clipped:
                values = np.clip(values, self._limit(low, c, source), self._limit(high, c, source))
            if self.separate is not None:
                values = self._along(values, self.separate, source, target)
            found[c] = values
        return found

    def _limit(self, values: Any, channel: int, source: Box) -> Any:
        """A limit of one channel, as an array that lies along the separate axis if there is one."""
        limit = np.asarray(values, np.float64)[channel]
        if self.separate is None or limit.ndim == 0:
            return limit
        if len(limit) != source.shape[self.separate]:
            raise SegmenterError(
                f"{len(limit)} limits for {source.shape[self.separate]} planes across axis {self.separate}"
            )
        return limit.reshape([-1 if axis == self.separate else 1 for axis in range(3)])

    def _along(
        self, values: np.ndarray[Any, Any], axis: int, source: Box, target: Box
    ) -> np.ndarray[Any, Any]:
        """Resample one axis from `source` to `target`."""
        start, stop = target.start[axis], target.stop[axis]
        front = np.moveaxis(values, axis, 0)
        if self.source_shape[axis] == self.target_shape[axis]:
            return values[_along_axis(axis, start - source.start[axis], stop - source.start[axis])]
        index, weight = self.taps(axis, start, stop)
        rows, taps = index.shape
        # Row by row in the order of the taps: unlike BLAS, the same bits for every number of columns.
        matrix = csr_array(
            (weight.ravel(), index.ravel() - source.start[axis], np.arange(rows + 1) * taps),
            shape=(rows, len(front)),
        )
        flat = front.reshape(len(front), -1)
        made = np.empty((rows, flat.shape[1]))
        for a in range(0, flat.shape[1], COLUMNS):
            made[:, a : a + COLUMNS] = matrix @ flat[:, a : a + COLUMNS]
        return np.moveaxis(made.reshape(rows, *front.shape[1:]), 0, axis)

    def taps(self, axis: int, start: int, stop: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Source voxels and weights of target voxels [start, stop), both of shape (voxels, taps)."""
        n, order = self.source_shape[axis], self.orders[axis]
        at = n / self.target_shape[axis] * (np.arange(start, stop) + 0.5) - 0.5
        if order == 0:
            first, weight = np.floor(at + 0.5), np.ones((len(at), 1))
        else:
            first = np.floor(at)
            weight = _linear(at - first) if order == 1 else _cubic(at - first)
            first -= REACH + 1 if order == 3 else 0
        index = first.astype(np.int64)[:, None] + np.arange(weight.shape[1])
        return np.clip(index, 0, n - 1), weight


def _linear(t: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.stack([1 - t, t], axis=1)


def _cubic(t: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Weights of the voxels from REACH + 1 before to REACH + 2 after a place `t` beyond voxel 0.

    The cubic B-spline at four voxels, times the coefficients that make a spline pass through the voxels:
    sqrt(3) POLE**|k| for the voxel k away.
    """
    s = 1 - t
    bell = (
        s * s * s / 6,
        (4 - 3 * t * t * (2 - t)) / 6,
        (4 - 3 * s * s * (2 - s)) / 6,
        t * t * t / 6,
    )
    inverse = POLE ** np.abs(np.arange(-REACH, REACH + 1))
    inverse /= inverse.sum()
    weight = np.zeros((len(t), 2 * REACH + 4))
    for k, values in enumerate(bell):
        weight[:, k : k + len(inverse)] += values[:, None] * inverse
    return weight


def _along_axis(axis: int, start: int, stop: int) -> tuple[slice, ...]:
    return tuple(slice(start, stop) if a == axis else slice(None) for a in range(3))


def coarse_axis(spacing: Sequence[float], wanted: Sequence[float], forced: bool | None) -> int | None:
    """The one axis that is resampled by itself, if there is one; see `Resampling.between`."""
    if forced is False:
        return None
    for sizes in (spacing, wanted):
        if forced or max(sizes) / min(sizes) > SEPARATE_ABOVE:
            coarse = [axis for axis in range(3) if sizes[axis] == max(sizes)]
            return coarse[0] if len(coarse) == 1 else None
    return None
