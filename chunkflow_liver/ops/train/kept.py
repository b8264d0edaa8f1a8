"""Decoded parts of images that are kept, because windows are drawn from the same places again and again."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any, Protocol

import numpy as np

from chunkflow_liver.geometry import Box, Zyx, zyx

Values = np.ndarray[Any, Any]
Planes = tuple[tuple[int, int], ...]
MOST_BYTES = 96 << 20
"""What is kept of all images of a training together."""
LARGEST = 8
"""A part that is larger than this share of what is kept is read anew each time."""


class Readable(Protocol):
    @property
    def shape(self) -> Zyx: ...
    @property
    def chunks(self) -> Zyx: ...
    @property
    def itemsize(self) -> int: ...
    def read(self, box: Box) -> Values: ...


class Kept:
    """Decoded chunks, of which those go that were not needed for longest.

    Parameters
    ----------
    most : int
        Bytes that are kept. What is read is the same with any number.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.most, self.bytes = most, 0
        self._parts: OrderedDict[tuple[int, ...], tuple[Box, Values]] = OrderedDict()
        # Windows are made ready by several threads.
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[Kept], tuple[int]]:
        """Another process begins with none."""
        return Kept, (self.most,)

    def read(self, image: Readable, box: Box, planes: Planes) -> Values:
        """Voxels of a box of an image, a new array.

        Parameters
        ----------
        image : Readable
            The same object for as long as this one is used.
        box : Box
        planes : sequence of (int, int)
            Runs of planes in which windows lie; of chunks, nothing else is kept.
        """
        run = next((r for r in planes if r[0] <= box.start[0] and box.stop[0] <= r[1]), None)
        if run is None or box.size == 0:
            return image.read(box)
        cells = self._cells(image, box, run)
        if any(cell.size * image.itemsize * LARGEST > self.most for _, cell in cells):
            return image.read(box)
        with self._lock:
            found = {key: self._parts[key] for key, _ in cells if key in self._parts}
            for key in found:
                self._parts.move_to_end(key)
        lost = [(key, cell) for key, cell in cells if key not in found]
        if lost:
            # At once, as few reads are faster than many.
            hull = Box(
                zyx([min(cell.start[a] for _, cell in lost) for a in range(3)]),
                zyx([max(cell.stop[a] for _, cell in lost) for a in range(3)]),
            )
            voxels = image.read(hull)
            made = {key: (cell, voxels[cell.relative_to(hull).slices].copy()) for key, cell in lost}
            found |= made
            self._keep(made)
        out = np.empty(box.shape, next(iter(found.values()))[1].dtype)
        for cell, voxels in found.values():
            part = box.clip(cell)
            out[part.relative_to(box).slices] = voxels[part.relative_to(cell).slices]
        return out

    def _cells(self, image: Readable, box: Box, run: tuple[int, int]) -> list[tuple[tuple[int, ...], Box]]:
        """Chunks that meet a box, cut to the run of planes, by their key."""
        whole = Box((run[0], 0, 0), (run[1], *image.shape[1:]))
        spans = [range(a // n, -(-b // n)) for a, b, n in zip(box.start, box.stop, image.chunks, strict=True)]
        found = []
        for index in itertools.product(*spans):
            start = zyx([i * n for i, n in zip(index, image.chunks, strict=True)])
            stop = zyx([(i + 1) * n for i, n in zip(index, image.chunks, strict=True)])
            found.append(((id(image), run[0], *index), Box(start, stop).clip(whole)))
        return found

    def _keep(self, made: dict[tuple[int, ...], tuple[Box, Values]]) -> None:
        with self._lock:
            for key, part in made.items():
                # Another thread may have read it, too.
                if key not in self._parts:
                    self._parts[key] = part
                    self.bytes += part[1].nbytes
            while self.bytes > self.most:
                self.bytes -= self._parts.popitem(last=False)[1][1].nbytes


def planes_of(painted: Sequence[Box], depth: int, planes: int) -> Planes:
    """Runs of planes in which windows of some depth lie that show something painted.

    Parameters
    ----------
    painted : sequence of Box
    depth : int
        Planes of a window.
    planes : int
        Of the image.
    """
    found: list[tuple[int, int]] = []
    for start, stop in sorted({(box.start[0], box.stop[0]) for box in painted}):
        first, last = max(0, start - depth + 1), min(planes, stop + depth - 1)
        if found and first <= found[-1][1]:
            first, last = found[-1][0], max(found.pop()[1], last)
        found.append((first, last))
    return tuple(found)
