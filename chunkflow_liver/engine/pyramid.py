"""Stages that fill the coarser levels of an image, each from the level below."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Map, Result
from chunkflow_liver.geometry import Block, BlockGrid, Box, Zyx, zyx
from chunkflow_liver.kernels.images.downsample import mean, mode
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array


@dataclass(frozen=True)
class Finer:
    """A level, read in the coordinates of a coarser one: a box gives all voxels under it."""

    volume: Volume
    factor: Zyx
    shape: Zyx

    @property
    def itemsize(self) -> int:
        z, y, x = self.factor
        return self.volume.itemsize * z * y * x

    def under(self, box: Box) -> Box:
        """Voxels of the level that are read for `box`."""
        scaled = Box(
            zyx([n * f for n, f in zip(box.start, self.factor, strict=True)]),
            zyx([n * f for n, f in zip(box.stop, self.factor, strict=True)]),
        )
        return scaled.clip(self.volume.box)

    def read(self, box: Box) -> np.ndarray[Any, Any]:
        return self.volume.read(self.under(box))

    def identity(self) -> str:
        return self.volume.identity()


def pyramid(volume: Volume, name: str, *, made: int = 0) -> tuple[Map, ...]:
    """Maps that make levels 1, 2, ... of the image whose level 0 is `volume`.

    Images are averaged, labels take the majority; each level is made from the one below it. The first
    `made` levels are left out: the map that makes level 0 writes them too (see `along`).
    """
    stages = []
    levels = volume.pyramid()[made:]
    for below, level in itertools.pairwise(levels):
        stages.append(
            Map(
                f"{name}/level-{level.level}",
                _reduce,
                BlockGrid(level.box, level.write_unit),
                (Finer(below, _factor(below, level), level.shape),),
                (level,),
                params={
                    "factor": _factor(below, level),
                    "kind": "label" if level.dtype == "bool" else level.kind,
                },
                working=8.0 * below.itemsize,
            )
        )
    return tuple(stages)


def is_pyramid(stage: Map) -> bool:
    """Whether a map makes a level from the one below it, and nothing else."""
    return stage.function is _reduce


def along(volume: Volume, grid: BlockGrid) -> tuple[tuple[Volume, ...], Zyx | None]:
    """Level 1 of `volume` and its factor, if blocks of `grid` cover whole write units of it; else none.

    A map with both as outputs writes them block by block, and level 0 need not be read again.
    """
    levels = volume.pyramid()[:2]
    if len(levels) == 2:
        factor = _factor(*levels)
        if Map.covers(grid, factor, levels[1]):
            return levels[1:], factor
    return (), None


def _factor(below: Volume, level: Volume) -> Zyx:
    return zyx([b // a for a, b in zip(below.reduction, level.reduction, strict=True)])


def _reduce(block: Block, finer: Array, *, factor: Zyx, kind: str) -> Result:
    return Result((mode(finer, factor) if kind == "label" else mean(finer, factor),))
