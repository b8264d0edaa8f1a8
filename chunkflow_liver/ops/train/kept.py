"""Decoded parts of images that are kept, because windows are drawn from the same places again and again."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, Protocol

import numpy as np

from chunkflow_liver.geometry import Box, Zyx, zyx

Values = np.ndarray[Any, Any]
Span = tuple[int, int]
Planes = tuple[Span, ...]
Key = tuple[int, ...]
Cell = tuple[Span, Span, Span]
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
        self._parts: OrderedDict[Key, Values] = OrderedDict()
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
        largest = max(math.prod(b - a for a, b in cell) for cell in cells.values())
        if largest * image.itemsize * LARGEST > self.most:
            return image.read(box)
        with self._lock:
            found = {key: self._parts[key] for key in cells if key in self._parts}
            for key in found:
                self._parts.move_to_end(key)
        lost = {key: cell for key, cell in cells.items() if key not in found}
        if lost:
            made = _read(image, lost)
            found |= made
            self._keep(made)
        out = np.empty(box.shape, next(iter(found.values())).dtype)
        wanted = list(zip(box.start, box.stop, strict=True))
        for key, voxels in found.items():
            here, there = [], []
            for (a, b), (c, d) in zip(wanted, cells[key], strict=True):
                first, last = max(a, c), min(b, d)
                here.append(slice(first - a, last - a))
                there.append(slice(first - c, last - c))
            out[tuple(here)] = voxels[tuple(there)]
        return out

    def _cells(self, image: Readable, box: Box, run: Span) -> dict[Key, Cell]:
        """Chunks that meet a box, cut to the run of planes."""
        ends = (run, (0, image.shape[1]), (0, image.shape[2]))
        spans = [
            [(i, (max(i * n, low), min((i + 1) * n, high))) for i in range(a // n, -(-b // n))]
            for a, b, n, (low, high) in zip(box.start, box.stop, image.chunks, ends, strict=True)
        ]
        return {(id(image), *run, i, j, k): (z, y, x) for (i, z), (j, y), (k, x) in itertools.product(*spans)}

    def _keep(self, made: dict[Key, Values]) -> None:
        with self._lock:
            for key, part in made.items():
                # Another thread may have read it, too.
                if key not in self._parts:
                    self._parts[key] = part
                    self.bytes += part.nbytes
            while self.bytes > self.most:
                self.bytes -= self._parts.popitem(last=False)[1].nbytes


def _read(image: Readable, cells: Mapping[Key, Cell]) -> dict[Key, Values]:
    """Cells of an image, all at once: few reads are faster than many."""
    low = [min(cell[a][0] for cell in cells.values()) for a in range(3)]
    high = [max(cell[a][1] for cell in cells.values()) for a in range(3)]
    voxels = image.read(Box(zyx(low), zyx(high)))
    return {
        key: voxels[tuple(slice(a - n, b - n) for (a, b), n in zip(cell, low, strict=True))].copy()
        for key, cell in cells.items()
    }


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
    found: list[Span] = []
    for start, stop in sorted({(box.start[0], box.stop[0]) for box in painted}):
        first, last = max(0, start - depth + 1), min(planes, stop + depth - 1)
        if found and first <= found[-1][1]:
            first, last = found[-1][0], max(found.pop()[1], last)
        found.append((first, last))
    return tuple(found)
