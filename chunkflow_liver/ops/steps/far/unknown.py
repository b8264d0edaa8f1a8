"""How far the nearest voxel is that a mask leaves out: what distances of any length are flagged by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Stage
from chunkflow_liver.geometry import Box, Zyx
from chunkflow_liver.ops.steps.far.lines import line_stages, longest_lines
from chunkflow_liver.ops.steps.place import PathLike, artefact_url
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.voxels.region import Known


@dataclass(frozen=True)
class Unknown:
    """Where a mask leaves voxels out, to be read like labels: 1 there, 0 elsewhere.

    Attributes
    ----------
    volume : Volume
        The mask as it is stored.
    known : Known
        All voxels, and the mask at their size.
    shape : Zyx
    """

    volume: Volume
    known: Known
    shape: Zyx

    @property
    def itemsize(self) -> int:
        """Bytes per voxel: what is read of the mask, and what comes of it."""
        return 3

    def identity(self) -> str:
        return f"{self.volume.identity()} at {self.shape} voxels of {self.known.voxel_nm} nm"

    def read(self, box: Box) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = (~self.known(box)).view(np.uint8)
        return found


def unknown_of(known: Known, shape: Zyx) -> tuple[Unknown, ...]:
    """What each mask leaves out of `shape` voxels."""
    every = known.by_mask().items()
    return tuple(Unknown(m, Known(Box.of(shape), known.voxel_nm, how), shape) for m, how in every)


def away_stages(
    known: Known, like: Volume, name: str, work: PathLike, block: Zyx
) -> tuple[tuple[Stage, ...], tuple[Volume, ...]]:
    """Stages that make the distance of every voxel to the nearest one that a mask leaves out.

    Parameters
    ----------
    known : Known
        Of which the masks are asked; the ends of its box are not.
    like : Volume
        Whose voxels these are.
    name : str
        Of the operation.
    work, block
        As for `line_stages`.

    Returns
    -------
    tuple of stages
        None without a mask.
    tuple of Volume
        An image in nm for each mask, for `exact_nm`; infinite where there is no such voxel.
    """
    stages: list[Stage] = []
    found: list[Volume] = []
    for i, source in enumerate(unknown_of(known, like.shape)):
        what = f"away-{i}" if i else "away"
        output = like.like(
            artefact_url(work, name, what),
            dtype="float32",
            kind="image",
            block=longest_lines(like.shape, block),
            levels=1,
        )
        found.append(replace(output, source=None))
        stages += line_stages(source, (found[-1],), None, name=f"{name}/{what}-", work=work, block=block)
    return tuple(stages), tuple(found)
