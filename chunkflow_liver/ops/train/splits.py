"""What is held out from a training: whole volumes, boxes or slabs, with a gap around them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Box, Nm, voxels, zyx
from chunkflow_liver.ops.train.stored import Stored
from chunkflow_liver.training.windows.drawing import Painted, Row, painted_rows

KINDS = ("slab", "box", "volume", "none")


@dataclass(frozen=True)
class Split:
    """How painted voxels are divided in those that are trained on and those that are held out.

    Attributes
    ----------
    by : {'slab', 'box', 'volume', 'none'}
        'slab': along `axis` the painted part of every source is cut in `folds` slabs, and fold k holds out
        slab k of each. 'box': the painted boxes or slices are dealt to the folds. 'volume': the sources are.
        'none': nothing is held out, and all is trained on.
    folds : int
        Parts.
    train : sequence of int or 'all', optional
        Folds to train, each a network of its own; the last one if not given.
    axis : {'z', 'y', 'x'}
    gap_nm : float, optional
        Labels this near to what is held out are not trained on; one voxel if not given, and never less.
    """

    by: Literal["slab", "box", "volume", "none"] = "slab"
    folds: int = 5
    train: Sequence[int] | Literal["all"] | None = None
    axis: Literal["z", "y", "x"] = "z"
    gap_nm: float | None = None

    def __post_init__(self) -> None:
        if self.by not in KINDS:
            raise ConfigError(f"a split is by one of {list(KINDS)}, got {self.by!r}")
        if not isinstance(self.folds, int) or self.folds < 2:
            raise ConfigError(
                f"a split has at least 2 folds, got {self.folds!r}; 'by: none' holds nothing out"
            )
        if self.axis not in ("z", "y", "x"):
            raise ConfigError(f"the axis of a split is z, y or x, got {self.axis!r}")
        if self.train == "all":
            object.__setattr__(self, "train", tuple(range(self.folds)))
        elif isinstance(self.train, str):
            raise ConfigError(f"the folds to train are numbers, or 'all'; got {self.train!r}")
        odd = [k for k in self.train or () if not isinstance(k, int) or not 0 <= k < self.folds]
        if odd or (self.train is not None and len(set(self.train)) != len(self.train)) or self.train == ():
            raise ConfigError(
                f"the folds to train are different numbers from 0 to {self.folds - 1}, because there are "
                f"{self.folds} and the first is 0; got {list(self.train or ())}"
            )
        if self.gap_nm is not None and not (math.isfinite(self.gap_nm) and self.gap_nm > 0):
            raise ConfigError(
                f"gap_nm is a length above 0, got {self.gap_nm}: neighbouring slices must not be on both "
                "sides"
            )

    @classmethod
    def of(cls, entry: Split | Mapping[str, Any] | None) -> Split:
        """From a mapping with the same keys."""
        if isinstance(entry, Split):
            return entry
        known = [f.name for f in fields(cls)]
        unknown = sorted((entry or {}).keys() - set(known))
        if unknown:
            raise ConfigError(f"a split has no {unknown}; there are {known}")
        given = dict(entry or {})
        if given.get("train") not in (None, "all"):
            given["train"] = tuple(given["train"])
        return cls(**given)

    @property
    def trained(self) -> tuple[int, ...]:
        """Folds that are trained."""
        if self.by == "none":
            return (0,)
        return tuple(map(int, self.train)) if self.train is not None else (self.folds - 1,)

    def name(self, fold: int) -> str:
        """As nnU-Net calls it."""
        return "all" if self.by == "none" else str(fold)


@dataclass(frozen=True)
class Side:
    """One side of a fold: sources that see their labels only, and where those are."""

    sources: tuple[Stored, ...]
    painted: Painted


@dataclass(frozen=True)
class Part:
    """What a network is trained on, what is held out of it, and the boxes of that by source."""

    name: str
    train: Side
    held: Side
    boxes: tuple[tuple[Box, ...], ...]


def divided(sources: Sequence[Stored], rows: Sequence[Sequence[Row]], split: Split, heads: int) -> list[Part]:
    """What every network of a training sees and does not see, fold by fold.

    Parameters
    ----------
    sources : sequence of Stored
    rows : sequence of sequence of Row
        What of each is painted.
    split : Split
    heads : int
        Classes with the background.

    Raises
    ------
    ConfigError
        If there is less to deal than there are folds.
    InputError
        If a side is left without anything painted.
    """
    found = []
    for fold in split.trained:
        held = [()] * len(sources) if split.by == "none" else _held(sources, rows, split, fold)
        train, kept = [], []
        for source, boxes in zip(sources, held, strict=True):
            size = source.voxel_nm
            hidden = tuple(_grown(box, split, size).clip(Box.of(source.shape)) for box in boxes)
            train.append(replace(source, hidden=hidden))
            kept.append(replace(source, seen=tuple(boxes)))
        sides = (_side(train, rows, heads), _side(kept, rows, heads))
        name = split.name(fold)
        for side, what in zip(sides, ("trained on", "held out"), strict=True):
            if not len(side.painted) and (split.by != "none" or what == "trained on"):
                raise InputError(
                    f"fold {name}: nothing is left that could be {what}; take fewer folds, a smaller "
                    "gap_nm, or "
                    "another 'by'"
                )
        found.append(Part(name, *sides, tuple(held)))
    return found


def _held(
    sources: Sequence[Stored], rows: Sequence[Sequence[Row]], split: Split, fold: int
) -> list[tuple[Box, ...]]:
    """Boxes that a fold holds out, by source."""
    if split.by == "volume":
        if len(sources) < split.folds:
            raise ConfigError(
                f"a split by volume in {split.folds} folds needs as many sources, got {len(sources)}; "
                f"{_fewer(len(sources))}, or 'by: slab'"
            )
        mine = set(np.array_split(np.arange(len(sources)), split.folds)[fold].tolist())
        return [(Box.of(s.shape),) if i in mine else () for i, s in enumerate(sources)]
    if split.by == "box":
        units = [(i, box) for i, s in enumerate(sources) for box in s.painted]
        if len(units) < split.folds:
            raise ConfigError(
                f"a split by box in {split.folds} folds needs as many painted boxes or slices, got "
                f"{len(units)}; {_fewer(len(units))}, or 'by: slab'"
            )
        # Neighbours stay together.
        dealt = [units[n] for n in np.array_split(np.arange(len(units)), split.folds)[fold]]
        return [tuple(box for j, box in dealt if j == i) for i in range(len(sources))]
    axis = "zyx".index(split.axis)
    found: list[tuple[Box, ...]] = []
    painted = []
    for source, mine_rows in zip(sources, rows, strict=True):
        places = np.zeros(source.shape[axis], bool)
        for start, stop, _ in mine_rows:
            places[start[axis] : stop[axis]] = True
        painted.append(np.flatnonzero(places))
    fewest = min(map(len, painted))
    if fewest < split.folds:
        raise ConfigError(
            f"source {[len(p) for p in painted].index(fewest)} has {fewest} painted planes along "
            f"{split.axis}, too few for slabs of {split.folds} folds; {_fewer(fewest)}, take another axis, "
            "or 'by: none'"
        )
    for source, planes in zip(sources, painted, strict=True):
        part = np.array_split(planes, split.folds)[fold]
        low, high = [0, 0, 0], list(source.shape)
        low[axis], high[axis] = int(part[0]), int(part[-1]) + 1
        found.append((Box(zyx(low), zyx(high)),))
    return found


def _fewer(parts: int) -> str:
    """What to write where there are too many folds: fold and folds at once, because one needs the other."""
    return f"say folds: {parts} and train: [{parts - 1}]" if parts > 1 else "paint more"


def _grown(box: Box, split: Split, size: Nm) -> Box:
    """What is held out with the gap around it: along the axis of slabs, else on all sides."""
    steps = (1, 1, 1) if split.gap_nm is None else voxels(split.gap_nm, size)
    if split.by == "slab":
        steps = zyx([n if "zyx"[a] == split.axis else 0 for a, n in enumerate(steps)])
    return box.grow(steps)


def _side(sources: Sequence[Stored], rows: Sequence[Sequence[Row]], heads: int) -> Side:
    """What of the painted boxes is seen; those that are cut are counted anew."""
    found: list[tuple[int, Row]] = []
    for i, (source, mine) in enumerate(zip(sources, rows, strict=True)):
        for start, stop, counts in mine:
            box = Box(start, stop)
            if any(hidden.contains(box) for hidden in source.hidden):
                continue
            seen = source.seen is None or any(other.contains(box) for other in source.seen)
            cut = any(box.clip(hidden).size for hidden in source.hidden)
            if seen and not cut:
                found.append((i, (start, stop, counts)))
            elif source.seen is None or any(box.clip(other).size for other in source.seen):
                part = source.labels(box)
                found += [(i, row) for row in painted_rows(part, start, heads, source.regions)]
    return Side(tuple(sources), Painted.of(found, heads))
