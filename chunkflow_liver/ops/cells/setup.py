"""What the stages of `cells` share: how maps are read, which slices are painted, how labels are numbered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.labels.relabel import relabel
from chunkflow_liver.kernels.tissue.flow import Motion
from chunkflow_liver.kernels.tissue.planes import Cutting
from chunkflow_liver.store.planes.files import PlaneFiles
from chunkflow_liver.store.planes.inside import Inside
from chunkflow_liver.store.planes.whole import Planes
from chunkflow_liver.store.table import Arrays
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array


@dataclass(frozen=True)
class Between:
    """How slices between painted ones get their cells.

    Attributes
    ----------
    both : bool
        Whether labels are carried from the painted slices on both sides and blended by distance, or from the
        nearest one only.
    min_iou : float
        What a cell that was not painted must share with one of the next slices to be the same.
    """

    both: bool = True
    min_iou: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.min_iou <= 1:
            raise ConfigError(f"min_iou is a share above 0 and up to 1, got {self.min_iou!r}")


@dataclass(frozen=True)
class Setup:
    """What a task of `cells` is told.

    Attributes
    ----------
    files : PlaneFiles
        Where slices that were carried lie.
    both : bool
        Whether labels are carried from the painted slices on both sides, or from the nearest one only.
    inside, wall : Inside
        How interior and boundary are read; no `wall` without a boundary.
    """

    files: PlaneFiles
    cutting: Cutting
    motion: Motion
    both: bool
    pixel_nm: float
    inside: Inside
    wall: Inside | None


class Stack:
    """The slices of all volumes of a task.

    Parameters
    ----------
    volumes : sequence of Volume
        Painted labels, interior, boundary if `setup` has a wall, and the image if cells move.
    ids : ndarray of shape (N,), uint64
        Painted ids; in the slices of a task they are numbered 1..N.
    """

    def __init__(self, volumes: Sequence[Volume], setup: Setup, ids: Array) -> None:
        self.setup, self.ids = setup, np.asarray(ids)
        self.shape = volumes[0].shape
        planes = [Planes(v) for v in volumes]
        self._painted, self._interior = planes[:2]
        self._boundary = None if setup.wall is None else planes[2]
        self.raw = planes[-1] if setup.cutting.moves else None

    def painted(self, z: int) -> Array:
        """Numbers of the painted ids of a slice, int32."""
        return relabel(self._painted(z), self.ids, 1 + np.arange(len(self.ids), dtype=np.int32))

    def inside(self, z: int) -> Array:
        return self.setup.inside(self._interior(z))

    def wall(self, z: int) -> Array | None:
        if self._boundary is None or self.setup.wall is None:
            return None
        return self.setup.wall(self._boundary(z))


def painted_slices(known: Arrays) -> list[int]:
    """The painted slices that labels are carried from, in order."""
    return [int(z) for z in known["used"]]
