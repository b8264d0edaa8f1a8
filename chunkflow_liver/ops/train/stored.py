"""An image with painted labels in storage, read window by window at the voxel size that is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import BlockGrid, Box, Nm, Zyx, zyx
from chunkflow_liver.kernels.images.statistics import Statistics
from chunkflow_liver.ops.train.kept import Kept, Planes, planes_of
from chunkflow_liver.ops.train.masks import Masks
from chunkflow_liver.segmenters.resampling import Resampling
from chunkflow_liver.store.foreign import Image
from chunkflow_liver.training.losses import IGNORE
from chunkflow_liver.training.windows.drawing import Row, painted_rows

Values = np.ndarray[Any, Any]
INDEX_SIDE = (32, 128, 128)
"""Largest boxes of the index: a window that is drawn reads the labels of one of them first."""
MOST_STRANGE = 8
FEW, MOST_LOOKED_UP = 4, 1 << 16
"""So many numbers are compared one by one; more are looked up, if they are below that."""


@dataclass(frozen=True)
class Stored:
    """An image and its labels as windows are read from them; plain data, which pickles.

    Attributes
    ----------
    raws : tuple of Image
        Channels, at the level that is read.
    truth : Image or Masks
        At the level that is read.
    shape : Zyx
        Voxels at the size that is trained on.
    voxel_nm : Nm
        Of these.
    there, labels_there : Resampling
        From the levels to them; mostly nothing to do.
    numbers : tuple of (int, int)
        Number in the labels, and target. Other numbers are background.
    instances : int
        Target of every number above 0, where the labels are ids of objects; 0 where they are not.
    ignore : int, optional
        Number of voxels that nobody painted.
    painted : tuple of Box
        What was painted, in voxels of `shape`.
    seen : tuple of Box, optional
        Only labels in here are seen.
    hidden : tuple of Box
        Labels in here are not.
    regions : bool
        Whether classes may overlap, so that targets have a bit per class.
    mean, sd, low, high : tuple of float
        Of every whole channel, the empty margins of all left out.
    kept : Kept, optional
        Where decoded chunks are kept.
    planes : sequence of (int, int)
        Runs of planes of which they are.
    """

    raws: tuple[Image, ...]
    truth: Image | Masks
    shape: Zyx
    voxel_nm: Nm
    there: Resampling
    labels_there: Resampling
    numbers: tuple[tuple[int, int], ...]
    instances: int
    ignore: int | None
    painted: tuple[Box, ...]
    seen: tuple[Box, ...] | None = None
    hidden: tuple[Box, ...] = ()
    regions: bool = False
    mean: tuple[float, ...] = ()
    sd: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    kept: Kept | None = field(default=None, compare=False, repr=False)
    planes: Planes = field(default=(), compare=False, repr=False)

    def keeping(self, kept: Kept, depth: int) -> Stored:
        """The same, with decoded chunks kept for windows of so many planes."""
        return replace(self, kept=kept, planes=planes_of(self.painted, depth, self.shape[0]))

    def _read(self, image: Image | Masks, there: Resampling, need: Box) -> Values:
        # Resampling reads beyond the window, and costs more than decoding.
        if self.kept is None or there.changes:
            return image.read(need)
        return self.kept.read(image, need, self.planes)

    def normalised_by(self, found: Statistics) -> Stored:
        """The same, with the statistics of the image.

        Raises
        ------
        InputError
            If it holds values that are no numbers, or one value only.
        """
        if found.nonfinite:
            several = ", ".join(raw.url for raw in self.raws)
            raise InputError(
                f"{several} holds {found.nonfinite} voxels that are NaN or infinite, the first at "
                f"{found.nonfinite_at} (z, y, x); replace them"
            )
        for raw, mean, sd in zip(self.raws, found.mean, found.sd, strict=True):
            if not sd > 0:
                raise InputError(f"{raw.url} has the one value {mean:g} everywhere: no image")
        return replace(self, mean=found.mean, sd=found.sd, low=found.minimum, high=found.maximum)

    def image(self, box: Box) -> Values:
        """Normalised values of a box, (channels, *box.shape), float32."""
        need = self.there.need(box)
        read = np.stack([self._read(raw, self.there, need) for raw in self.raws])
        if self.there.changes:
            found = self.there.apply(read, need, box, low=np.array(self.low), high=np.array(self.high))
        else:
            found = read.astype(np.float32)
        found -= np.array(self.mean, np.float32)[:, None, None, None]
        found /= np.array(self.sd, np.float32)[:, None, None, None]
        return found

    def labels(self, box: Box) -> Values:
        """Targets of a box, int16; `IGNORE` where nobody painted or nothing is to be seen."""
        out = np.full(box.shape, IGNORE, np.int16)
        inside = [part for part in (box.clip(other) for other in self.painted) if part.size]
        if not inside:
            return out
        # Of a deep window around one painted slice, that slice is all there is to read.
        hull = Box(
            zyx([min(part.start[a] for part in inside) for a in range(3)]),
            zyx([max(part.stop[a] for part in inside) for a in range(3)]),
        )
        need = self.labels_there.need(hull)
        read = self._read(self.truth, self.labels_there, need)
        if self.labels_there.changes:
            read = self._nearest(read, need, hull)
        found = self.numbered(read)
        if hull not in inside or self.seen is not None or self.hidden:
            known = _inside(hull, self.painted)
            if self.seen is not None:
                known &= _inside(hull, self.seen)
            if self.hidden:
                known &= ~_inside(hull, self.hidden)
            found[~known] = IGNORE
        out[hull.relative_to(box).slices] = found
        return out

    def numbered(self, read: Values) -> Values:
        """Targets of what is stored."""
        if self.instances:
            found = (read > 0).astype(np.int16) * np.int16(self.instances)
        elif len(self.numbers) > FEW and max(self.numbers)[0] < MOST_LOOKED_UP:
            table = np.zeros(max(max(self.numbers)[0] + 1, 256 * (read.dtype == np.uint8)), np.int16)
            for number, known in self.numbers:
                table[number] = known
            found = np.take(table, read if read.dtype == np.uint8 else np.where(read < len(table), read, 0))
        else:
            found = np.zeros(read.shape, np.int16)
            for number, known in self.numbers:
                found += (read == number) * np.int16(known)
        if self.ignore is not None:
            found[read == self.ignore] = IGNORE
        return found

    def _nearest(self, read: Values, need: Box, box: Box) -> Values:
        """Stored voxels nearest to those of a box; numbers are never computed with."""
        for axis in range(3):
            index, _ = self.labels_there.taps(axis, box.start[axis], box.stop[axis])
            if self.labels_there.source_shape[axis] == self.labels_there.target_shape[axis]:
                index = np.arange(box.start[axis], box.stop[axis])[:, None]
            read = np.take(read, index[:, 0] - need.start[axis], axis)
        return read

    def index_blocks(self) -> Iterator[tuple[Box, BlockGrid]]:
        """Boxes that are well read at once, and tiles of each, none larger than `INDEX_SIDE`."""
        sides = zyx([max(8, min(a, b)) for a, b in zip(INDEX_SIDE, self.truth.chunks, strict=True)])
        whole = zyx([-(-max(a, b) // a) * a for a, b in zip(sides, self.truth.chunks, strict=True)])
        for block in BlockGrid(Box.of(self.shape), whole):
            if any(block.write.clip(box).size for box in self.painted):
                yield block.write, BlockGrid(block.write, sides)

    def index(self, heads: int) -> list[Row]:
        """Tight boxes of all that is painted and seen, with counts; one pass over it.

        Raises
        ------
        InputError
            If a painted voxel has a number that is no class.
        """
        found: list[tuple[Zyx, list[Row]]] = []
        strange: set[int] = set()
        known = {0, self.ignore, *(n for n, _ in self.numbers), *(n for _, n in self.truth.classes)}
        for box, tiles in self.index_blocks():
            labels = self.labels(box)
            for tile in tiles:
                part = labels[tile.write.relative_to(box).slices]
                start = tile.write.start
                found.append((start, painted_rows(part, start, heads, self.regions)))
            if not self.instances and not self.labels_there.changes:
                there = np.unique(self.truth.read(box)[labels != IGNORE])
                strange |= {int(n) for n in there[: 10 * MOST_STRANGE]} - known
            if len(strange) > MOST_STRANGE:
                break
        if strange:
            several = ", ".join(map(str, sorted(strange)[:MOST_STRANGE]))
            raise InputError(
                f"{self.truth.url} holds the numbers {several}"
                f"{', ...' if len(strange) > MOST_STRANGE else ''} where it is painted, which are no "
                "classes; "
                "name them in 'classes', or, if they are ids of objects, say 'instances_of: <class>' for "
                "this "
                "source, or 'ignore: <number>' if nobody painted there"
            )
        # In the order of the tiles, however they were read: windows are drawn by their place in it.
        return [row for _, rows in sorted(found, key=lambda entry: entry[0]) for row in rows]


def _inside(box: Box, of: Sequence[Box]) -> Values:
    """Which voxels of a box lie in one of some boxes."""
    found = np.zeros(box.shape, bool)
    for other in of:
        part = box.clip(other)
        if part.size:
            found[part.relative_to(box).slices] = True
    return found
