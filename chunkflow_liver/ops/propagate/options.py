"""How objects are carried through the slices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.ops.propagate.kinds import DIRECTIONS
from chunkflow_liver.ops.propagate.reading import Greys
from chunkflow_liver.xp import checked_device

ENGINES = ("torch", "openvino")


@dataclass(frozen=True)
class Carrying:
    """How objects are carried.

    Attributes
    ----------
    direction : {'both', 'forward', 'backward'}, optional
        From every prompted slice; by the kind of the object if not given.
    per_slice : bool
        Nothing is carried: every prompted slice is segmented by itself, every point inside as a prompt of
        its own, and the object is the union of all of them.
    patience : int
        An object has ended when it is not found on so many slices in a row.
    group : int
        Tracks that are carried together by one task; no bit depends on it.
    chunk : int
        Slices between two places that an interrupted run goes on from.
    limits : pair of float, optional
        Grey values that become black and white; those of 8-bit images are 0 and 255.
    guide : str or int, optional
        A class (name or number) of a label image to be followed instead of grey values.
    device : str
        For torch: 'cpu', 'cuda', 'cuda:1'.
    backend : str
        What carries the masks.
    engine : {'torch', 'openvino'}
        What encodes slices on a CPU, with backend 'transformers'; the rest is torch. Masks differ by rounding
        between the two, which is why it is asked for and not chosen.
    """

    direction: Literal["both", "forward", "backward"] | None = None
    per_slice: bool = False
    patience: int = 5
    group: int = 8
    chunk: int = 32
    limits: tuple[float, float] | None = None
    guide: str | int | None = None
    device: str = "cpu"
    backend: str = "transformers"
    engine: Literal["torch", "openvino"] = "torch"

    def __post_init__(self) -> None:
        if self.direction is not None and self.direction not in DIRECTIONS:
            raise ConfigError(f"direction is one of {list(DIRECTIONS)}, got {self.direction!r}")
        if self.per_slice and self.direction is not None:
            raise ConfigError(
                f"per_slice carries nothing from slice to slice, so it has no direction; leave out "
                f"{self.direction!r}"
            )
        for name in ("patience", "group", "chunk"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{name} is a whole number, 1 or more, got {value!r}")
        if self.limits is not None:
            fits = len(self.limits) == 2 and all(map(math.isfinite, self.limits))
            if not fits or not self.limits[0] < self.limits[1]:
                raise ConfigError(f"limits are two grey values, the smaller one first, got {self.limits!r}")
            if self.guide is not None:
                raise ConfigError(
                    "limits are of grey values and guide is a class of labels; give one of them"
                )
        checked_device(self.device)
        if self.engine not in ENGINES:
            raise ConfigError(f"engine is one of {list(ENGINES)}, got {self.engine!r}")
        if self.engine == "openvino" and (self.backend, self.device) != ("transformers", "cpu"):
            raise ConfigError(
                "engine 'openvino' encodes slices on the CPU, for backend 'transformers'; got backend "
                f"{self.backend!r} and device {self.device!r}; take engine: torch"
            )


@dataclass(frozen=True)
class Setup:
    """What all groups of a run share.

    Attributes
    ----------
    model : Sam2Model, or what another backend reads
    fingerprint : str
        Of the model when the plan was made.
    how : Carrying
    greys : Greys
    factors : tuple of int
        How many voxels of the image lie in one of each level that is read, along y and x.
    has_masks : bool
        Whether a label image of masks comes after the levels.
    depth : int
        Slices that are read at once.
    folder : str
        Where the files of all groups lie.
    """

    model: Any
    fingerprint: str
    how: Carrying
    greys: Greys
    factors: tuple[int, ...]
    has_masks: bool
    depth: int
    folder: str
