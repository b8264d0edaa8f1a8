"""Labels out of numbers that need not be: whole ones in floats, and signed ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box, Nm, Zyx
from chunkflow_liver.store.sources.axes_and_values import AS_STORED, Meant
from chunkflow_liver.store.sources.source import Source, fingerprint

_EXACT = {"float16": 2**11, "float32": 2**24, "float64": 2**53}
_HOLDS = {"float16": "uint16", "float32": "uint32", "float64": "uint64"}
_TOLERANCE, _MOST_SLACK = 1e-6, 0.01
"""How far a scaled number may lie from a whole one, as a share of it, and at most: scales are float32."""


@dataclass(frozen=True)
class WholeNumbers:
    """A volume of floats read as labels; any number that is not whole, or not exact, is an error.

    Attributes
    ----------
    source : Source
    dtype : str
        Type of the labels.
    most : int
        Largest label that can be.
    offset : float or None
        What was added to scaled integers, which need not be exactly whole; None for numbers that must be.
    """

    source: Source
    dtype: str
    most: int
    offset: float | None = None

    @property
    def shape(self) -> Zyx:
        return self.source.shape

    @property
    def voxel_nm(self) -> Nm | None:
        return self.source.voxel_nm

    @property
    def origin(self) -> Nm:
        return self.source.origin

    @property
    def frame(self) -> str | None:
        return self.source.frame

    @property
    def turned(self) -> bool:
        return self.source.turned

    @property
    def chunks(self) -> Zyx:
        return self.source.chunks

    def read(self, box: Box) -> np.ndarray[Any, Any]:
        """Labels in `box`.

        Raises
        ------
        InputError
            If a voxel has a number that is no label.
        """
        found = self.source.read(box)
        near = np.rint(found)
        with np.errstate(invalid="ignore"):
            slack: Any = 0.0
            if self.offset is not None:
                slack = np.minimum(_TOLERANCE * (np.abs(found) + abs(self.offset)), _MOST_SLACK)
            wrong = ~((np.abs(found - near) <= slack) & (near >= 0) & (near <= self.most))
        if wrong.any():
            raise InputError(self._advice(found, np.argwhere(wrong)[0], box))
        return np.asarray(near, self.dtype)

    def _advice(self, found: np.ndarray[Any, Any], at: np.ndarray[Any, Any], box: Box) -> str:
        """What is wrong with the number at a place of `found`, and what to do."""
        number, place = found[tuple(at)], tuple(int(i) + s for i, s in zip(at, box.start, strict=True))
        if number < 0 and number == np.rint(number):
            way = "labels count from 1 and 0 is background; store it anew with 0 where nothing is labelled"
        else:
            way = (
                f"whole numbers from 0 to {self.most} are ({self.source.dtype} holds larger ones no longer "
                "exactly); convert it as an image, or set a threshold or round it first"
            )
        if isinstance(self.source, Meant) and self.source.values != AS_STORED:
            way += (
                "; if the scale, offset or sign that the file states is not meant, take the numbers as "
                "stored with stored_values=True (--stored-values)"
            )
        return f"{number} at (z, y, x) = {place} is no label: {way}"

    def identity(self) -> str:
        return fingerprint("whole", self.source.identity())


def whole_numbers(source: Source) -> Source:
    """`source` as labels: integers as they are, whole numbers of a float type as the integers that they are.

    Raises
    ------
    InputError
        When a voxel is read whose number is not whole.
    """
    if np.dtype(source.dtype).kind in "biu":
        return source
    if isinstance(source, Meant) and np.dtype(source.values.bits or source.stored.dtype).kind in "biu":
        _, high = source.values.range(source.stored.dtype)
        return WholeNumbers(source, np.min_scalar_type(max(1, high)).name, max(high, 0), source.values.offset)
    return WholeNumbers(source, _HOLDS[source.dtype], _EXACT[source.dtype])
