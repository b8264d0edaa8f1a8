"""Maps of probabilities, and labels, read as yes or no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array


@dataclass(frozen=True)
class Inside:
    """Where a map says yes: classes of labels, or values from one on.

    Attributes
    ----------
    classes : tuple of int
        Of a label image; all but 0 if empty.
    least : float, optional
        Of an image of probabilities; None for labels.
    """

    classes: tuple[int, ...] = ()
    least: float | None = None

    @classmethod
    def of(cls, volume: Volume, threshold: float, classes: Sequence[str | int] = ()) -> Inside:
        """How a volume is read.

        Raises
        ------
        InputError
            If it has no such class, or values whose range is unknown.
        """
        if volume.kind == "label" or volume.dtype == "bool":
            return cls(tuple(sorted({volume.class_number(c) for c in classes})))
        if classes:
            raise ConfigError(f"{volume.url} holds no labels, so it has no classes {list(classes)}")
        ranges = {"uint8": 255.0, "float16": 1.0, "float32": 1.0, "float64": 1.0}
        if volume.dtype not in ranges:
            raise InputError(
                f"{volume.url} holds {volume.dtype} voxels; interior and boundary are labels, probabilities "
                "of 0 to 1, or uint8 of 0 to 255"
            )
        return cls(least=threshold * ranges[volume.dtype])

    def __call__(self, values: Array) -> np.ndarray[Any, Any]:
        if self.least is not None:
            return np.asarray(values >= self.least)
        return np.isin(values, self.classes) if self.classes else np.asarray(values != 0)
