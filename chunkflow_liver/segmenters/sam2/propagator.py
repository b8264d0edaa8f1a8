"""What propagation needs of a model: planes encoded once, and tracks that start, step, and hand over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from chunkflow_liver.xp import Array

STRIDE = 4
"""Pixels of the window in one logit, along y and x."""


@dataclass(frozen=True)
class Hint:
    """What is known of one object on one slice, in pixels of the window; a mask stands alone.

    Attributes
    ----------
    box : tuple of float, optional
        First and last corner, y, x, y, x.
    points : tuple of (y, x, bool)
        Places inside (True) and outside the object.
    mask : ndarray of shape (S, S), bool, optional
    """

    box: tuple[float, float, float, float] | None = None
    points: tuple[tuple[float, float, bool], ...] = ()
    mask: Array | None = None


@dataclass(frozen=True)
class Found:
    """One object on one slice.

    Attributes
    ----------
    logits : ndarray of shape (S / 4, S / 4), float32
        Above 0 inside the object.
    score : float
        Logit of the object being there at all.
    """

    logits: np.ndarray[Any, Any]
    score: float


class Track(Protocol):
    """One object in one window; what it knows does not grow with the slices that it has seen."""

    def start(self, z: int, seen: Any, hint: Hint) -> Found:
        """Begin on slice `z`, which was encoded as `seen`; all starts come before the first step."""
        ...

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """All that later steps depend on; a track that is made of it goes on to the same bits."""
        ...


class Propagator(Protocol):
    """A loaded model."""

    @property
    def size(self) -> int:
        """Side of the window in pixels."""
        ...

    @property
    def places(self) -> int:
        """How many tracks it is best to step at once."""
        ...

    def encode(self, plane: Array) -> Any:
        """What the tracks of one window share of a slice.

        Parameters
        ----------
        plane : ndarray of shape (S, S), uint8
            Grey values.
        """
        ...

    def track(self, slices: int, state: Mapping[str, np.ndarray[Any, Any]] | None = None) -> Track:
        """A track in a stack of `slices` slices in all, new or as another one left it."""
        ...

    def step(
        self, tracks: Sequence[Any], seen: Sequence[Any], z: int, *, reverse: bool = False
    ) -> list[Found]:
        """Carry objects to slice `z`, the neighbour of the one before, each encoded in its own window.

        Which objects step together changes no bit of any.
        """
        ...
