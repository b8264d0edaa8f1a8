"""Voxels for the windows of one row after the other; the next planes are read while the network works."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.geometry import Box, Zyx
from chunkflow_liver.segmenters.streaming.view import View
from chunkflow_liver.xp import Array

Read = Callable[[Box], Array]
Columns = list[tuple[tuple[int, int], tuple[int, int]]]

AS_THEY_ARE = ("uint8", "int8", "int16", "int32", "float32")
"""Kinds of voxels that torch holds; others become float32 at once, as they do in nnU-Net."""


@dataclass
class Planes:
    """Voxels of the planes that the current row of windows sees.

    Raw voxels on the device of the network, or, where they are resampled, normalised ones. Every plane is
    read once, if it is not resampled; a resampled one needs its neighbours too.

    Attributes
    ----------
    read : callable
        Gives the stored voxels of a box as an ndarray of shape (C, z, y, x).
    view : View
    area : Box
        What of the network's voxels is wanted.
    ahead : int
        Planes to read at once at least.
    device : str
    top : int
        First plane held.
    held : Tensor of shape (C, planes, y, x)
    coming : future and planes, optional
        What is being read.
    """

    read: Read
    view: View
    area: Box
    ahead: int
    device: str
    top: int
    held: Any = None
    coming: tuple[Future[Any], tuple[int, int]] | None = None
    reader: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    @classmethod
    def over(
        cls, read: Read, view: View, columns: Columns, rows: tuple[int, int], ahead: int, device: str
    ) -> Planes:
        """For windows in `columns`, of which the first and the last start at `rows`."""
        (_, y0), (_, x0) = columns[0]
        (_, y1), (_, x1) = columns[-1]
        depth, height, width = view.frame.window
        reach = Box((rows[0], y0, x0), (rows[1] + depth, y1 + height, x1 + width))
        area = reach.clip(view.frame.content)
        return cls(read, view, area, ahead, device, area.start[0])

    def close(self) -> None:
        """End the reading thread; what it was reading is dropped."""
        self.reader.shutdown(wait=True, cancel_futures=True)

    def advance(self, start: int) -> None:
        """Forget planes before `start`, and have those that a window starting there sees."""
        import torch

        keep = max(start, self.area.start[0])
        need = min(start + self.view.frame.window[0], self.area.stop[0])
        parts, have = [], keep
        if self.held is not None:
            have = max(keep, self.top + self.held.shape[1])
            parts.append(self.held[:, keep - self.top :])
            self.held = None
        if have < need and self.coming is not None:
            future, (first, stop) = self.coming
            self.coming = None
            planes = future.result()
            if first <= have < stop:
                parts.append(planes[:, have - first :])
                have = stop
        if have < need:
            stop = min(max(need, have + self.ahead), self.area.stop[0])
            parts.append(self._fetch(have, stop))
            have = stop
        self.held, self.top = (parts[0] if len(parts) == 1 else torch.cat(parts, 1)), keep
        if have < self.area.stop[0] and self.coming is None:
            stop = min(have + self.ahead, self.area.stop[0])
            self.coming = (self.reader.submit(self._fetch, have, stop), (have, stop))

    def window(self, start: Zyx) -> tuple[Any, tuple[float, ...] | None]:
        """One normalised window, and its values if it is all one value per channel and not padded.

        Returns
        -------
        Tensor of shape (C, *window), float32
            0 where the volume was padded.
        tuple of float, optional
        """
        import torch

        view = self.view
        box = Box(start, cast(Zyx, tuple(a + n for a, n in zip(start, view.frame.window, strict=True))))
        content = box.clip(self.area)
        held = Box((self.top, *self.area.start[1:]), self.area.stop)
        raw = self.held[(slice(None), *content.relative_to(held).slices)]
        whole = content == box
        constant = tuple(_one_value(channel) for channel in raw) if whole else (None,)
        if view.there.changes:
            normal = raw
        else:
            each = [view.normalised(channel, c) for c, channel in enumerate(raw)]
            normal = each[0][None] if len(each) == 1 else torch.stack(each)
        known = None if None in constant else cast(tuple[float, ...], constant)
        if whole:
            return normal, known
        padded = torch.zeros((len(raw), *view.frame.window), dtype=torch.float32, device=self.device)
        padded[(slice(None), *content.relative_to(box).slices)] = normal
        return padded, None

    def _fetch(self, first: int, stop: int) -> Any:
        """Planes [first, stop) of the area, on the device."""
        import torch

        view = self.view
        wanted = Box((first, *self.area.start[1:]), (stop, *self.area.stop[1:]))
        wanted = wanted.relative_to(view.frame.content)
        source = view.there.need(wanted)
        box = view.source.to_stored(source)
        stored = np.asarray(self.read(box))
        if len(stored) != len(view.model.channels):
            raise SegmenterError(
                f"the volume has {len(stored)} channels, the model wants {len(view.model.channels)}: "
                f"{view.model.channels}"
            )
        _check_finite(stored, box)
        planes = stored.transpose(0, *(axis + 1 for axis in view.source.order))
        if view.there.changes:
            low, high = view.ranges(source)
            channels = [view.normalised(_held(p), c).numpy() for c, p in enumerate(planes)]
            planes = view.there.apply(np.stack(channels), source, wanted, low=low, high=high)
        found = torch.from_numpy(_held(planes))
        return found.pin_memory().to(self.device, non_blocking=True) if "cuda" in self.device else found


def _check_finite(stored: np.ndarray[Any, Any], box: Box) -> None:
    """Refuse voxels that are no numbers: not every engine hands them on to the scores, where they are seen.

    OpenVINO 2026.4.1 gives 0 behind a ReLU for NaN (`findings/openvino-nan-block.sh`).
    """
    if stored.dtype.kind != "f" or (finite := np.isfinite(stored)).all():
        return
    channel, *at = np.argwhere(~finite)[0].tolist()
    place = tuple(a + b for a, b in zip(box.start, at, strict=True))
    raise SegmenterError(
        f"voxel {place} (z, y, x) of channel {channel} is {stored[(channel, *at)]}: a network needs numbers; "
        "put a value there, or leave it out by a mask or a box"
    )


def _held(voxels: Array) -> np.ndarray[Any, Any]:
    kind = voxels.dtype.name if voxels.dtype.isnative else ""
    kept: np.ndarray[Any, Any] = voxels if kind in AS_THEY_ARE else voxels.astype(np.float32)
    return np.ascontiguousarray(kept)


def _one_value(voxels: Any) -> float | None:
    """The value of all voxels, None if they differ; the first few tell nearly always."""
    first = voxels[0, 0, 0]
    if bool((voxels[0, 0] != first).any()) or bool((voxels != first).any()):
        return None
    return float(first)
