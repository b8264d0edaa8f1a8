"""Which windows a training sees, and in which order: it depends on the seed and on what is painted only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box, Zyx, zyx
from chunkflow_liver.training.losses import IGNORE
from chunkflow_liver.training.recipe import Recipe
from chunkflow_liver.training.regions import class_counts, of_class

Values = np.ndarray[Any, Any]
TRIES = 16
"""How often another voxel is drawn where a window shows too little."""


class Source(Protocol):
    """An image with painted labels, from which boxes can be read; neither need fit in memory."""

    @property
    def shape(self) -> Zyx:
        """Voxels at the size that the network sees."""
        ...

    def image(self, box: Box) -> Values:
        """Normalised intensities (channels, *box.shape), float32; the box lies within the image."""
        ...

    def labels(self, box: Box) -> Values:
        """Class numbers (*box.shape), int16; `IGNORE` where nobody painted, or what is not to be seen."""
        ...


Row = tuple[Zyx, Zyx, list[int]]


def painted_rows(labels: Values, start: Zyx, heads: int, regions: bool = False) -> list[Row]:
    """Corners and counts of the tight boxes around what is painted, one per run of painted planes.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), int16
        Of one part of an image.
    start : Zyx
        Its first voxel.
    heads : int
        Classes with the background.
    regions : bool
        Whether classes may overlap.
    """
    known = labels != IGNORE
    planes = np.flatnonzero(known.any((1, 2)))
    rows: list[Row] = []
    for run in np.split(planes, np.flatnonzero(np.diff(planes) > 1) + 1) if len(planes) else []:
        part = known[run[0] : run[-1] + 1]
        spans = [(int(run[0]), int(run[-1]) + 1)]
        for axis in (1, 2):
            where = np.flatnonzero(part.any(tuple(a for a in range(3) if a != axis)))
            spans.append((int(where[0]), int(where[-1]) + 1))
        inside = labels[run[0] : run[-1] + 1]
        counts = class_counts(inside[part], heads, regions)
        first = zyx([a + s for (a, _), s in zip(spans, start, strict=True)])
        rows.append((first, zyx([b + s for (_, b), s in zip(spans, start, strict=True)]), counts))
    return rows


@dataclass(frozen=True)
class Painted:
    """Boxes in which something is painted, and how much of each class.

    Attributes
    ----------
    source : ndarray of shape (N,), int
        Number of the source that a box lies in.
    start, stop : ndarray of shape (N, 3), int
        Corners of the boxes; they do not overlap.
    counts : ndarray of shape (N, heads), int
        Painted voxels of background and classes.
    """

    source: Values
    start: Values
    stop: Values
    counts: Values

    @classmethod
    def of(cls, rows: Sequence[tuple[int, Row]], heads: int) -> Painted:
        """From the number of the source and a row of `painted_rows` each."""
        columns = [
            np.array([row[i] for _, row in rows], np.int64).reshape(len(rows), width)
            for i, width in enumerate((3, 3, heads))
        ]
        return cls(np.array([n for n, _ in rows], np.int64), *columns)

    def __len__(self) -> int:
        return len(self.source)

    @property
    def total(self) -> list[int]:
        """Painted voxels of background and classes."""
        return [int(n) for n in self.counts.sum(0)]

    def box(self, i: int) -> Box:
        return Box(zyx(self.start[i].tolist()), zyx(self.stop[i].tolist()))


class Drawing:
    """Windows of a training, drawn by their number alone: no window depends on those before it.

    Parameters
    ----------
    sources : sequence of Source
    painted : Painted
        What of them may be trained on.
    recipe : Recipe
    """

    def __init__(self, sources: Sequence[Source], painted: Painted, recipe: Recipe) -> None:
        self.sources, self.painted, self.recipe = sources, painted, recipe
        counts = painted.counts.astype(np.float64)
        self.any = _cumulated(counts.sum(1))
        self.of_class = {c: _cumulated(counts[:, c]) for c in range(1, counts.shape[1]) if counts[:, c].any()}
        if not len(painted):
            raise InputError("nothing is painted that could be trained on")

    def window(self, number: int) -> tuple[int, Box]:
        """Source and box of a window; the box may reach beyond the image where that is smaller."""
        rng = self.rng(number, 0)
        wanted = None
        if self.of_class and rng.random() < self.recipe.foreground:
            classes = sorted(self.of_class)
            wanted = classes[int(rng.integers(len(classes)))]
        shares = self.any if wanted is None else self.of_class[wanted]
        chunk = int(np.searchsorted(shares, rng.random() * shares[-1], side="right"))
        source, box = int(self.painted.source[chunk]), self.painted.box(chunk)
        voxel = self._voxel(source, box, wanted, rng)
        return source, self._around(source, voxel, rng)

    def rng(self, number: int, purpose: int) -> np.random.Generator:
        """Random numbers of one window for one purpose."""
        return np.random.default_rng([self.recipe.seed, purpose, number])

    def read(self, number: int) -> tuple[Values, Values]:
        """Image (channels, *window) and labels (*window) of a window."""
        source, box = self.window(number)
        return read_window(self.sources[source], box)

    def _voxel(self, source: int, box: Box, wanted: int | None, rng: np.random.Generator) -> Zyx:
        """A painted voxel of the wanted class in a box."""
        labels = self.sources[source].labels(box)
        regions = bool(self.recipe.regions)
        at = np.flatnonzero(labels != IGNORE if wanted is None else of_class(labels, wanted, regions))
        if not len(at):
            raise InputError(
                f"the labels in {box} of source {source} are no longer those that were painted when the "
                "training was planned; make the plan again"
            )
        place = np.unravel_index(int(at[rng.integers(len(at))]), labels.shape)
        return zyx([int(a) + b for a, b in zip(place, box.start, strict=True)])

    def _around(self, source: int, voxel: Zyx, rng: np.random.Generator) -> Box:
        """A window that holds a voxel anywhere in its middle half, inside the image where it fits."""
        window, shape = self.recipe.window_zyx, self.sources[source].shape
        start = []
        for at, side, size in zip(voxel, window, shape, strict=True):
            # A few planes are all middle: a single painted one is to be seen at every depth.
            margin = side // 4 if side > 16 else 0
            first = at - int(rng.integers(margin, side - margin))
            start.append(min(max(first, 0), size - side) if size >= side else -((side - size) // 2))
        return Box(zyx(start), zyx([a + n for a, n in zip(start, window, strict=True)]))


def read_window(source: Source, box: Box) -> tuple[Values, Values]:
    """Image and labels of a box that may reach beyond the image: 0 (the mean) and `IGNORE` there."""
    inside = box.clip(Box.of(source.shape))
    image, labels = source.image(inside), source.labels(inside)
    if inside != box:
        low = [a - b for a, b in zip(inside.start, box.start, strict=True)]
        high = [b - a for a, b in zip(inside.stop, box.stop, strict=True)]
        pads = list(zip(low, high, strict=True))
        image = np.pad(image, [(0, 0), *pads])
        labels = np.pad(labels, pads, constant_values=IGNORE)
    return image, labels


def validation_windows(
    sources: Sequence[Source], painted: Painted, window: Zyx, most: int
) -> list[tuple[int, Box]]:
    """Windows over what is held out, spread evenly if there are more than `most`; they do not overlap.

    Parameters
    ----------
    sources : sequence of Source
    painted : Painted
        What is held out.
    window : Zyx
    most : int
    """
    found: dict[tuple[int, Zyx], int] = {}
    for i in range(len(painted)):
        source, box = int(painted.source[i]), painted.box(i)
        shape = sources[source].shape
        # A grid of the whole image, so that painted boxes that touch share windows.
        spans = [
            range(a // side, -(-b // side)) for a, b, side in zip(box.start, box.stop, window, strict=True)
        ]
        for z in spans[0]:
            for y in spans[1]:
                for x in spans[2]:
                    start = zyx(
                        [
                            min(k * side, size - side) if size >= side else -((side - size) // 2)
                            for k, side, size in zip((z, y, x), window, shape, strict=True)
                        ]
                    )
                    key = (source, start)
                    found[key] = found.get(key, 0) + int(painted.counts[i].sum())
    keys = sorted(found)
    if len(keys) > most:
        keys = [keys[math.floor((i + 0.5) * len(keys) / most)] for i in range(most)]
    return [(s, Box(a, zyx([p + n for p, n in zip(a, window, strict=True)]))) for s, a in keys]


def _cumulated(weights: Values) -> Values:
    return np.cumsum(weights)
