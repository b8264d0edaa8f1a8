"""What a description of any torch network says, as the streaming engine asks for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chunkflow_liver.segmenters.any_torch.entry_point import EntryPoint
from chunkflow_liver.segmenters.resampling import Spline


@dataclass(frozen=True)
class TorchModel:
    """What a description says; axes are (z, y, x), or (y, x) if the network sees single planes.

    Attributes
    ----------
    folder : Path
        The description itself.
    name : str
    classes : dict of str to int
        Number written for every class, background 0.
    heads : int
        Channels that the network puts out.
    region_order : tuple of int, optional
        With sigmoid heads: the number written where head i is above 0.5, later ones over earlier ones.
    channels : tuple of str
    window : tuple of int
    spacing : tuple of float, optional
        Voxel size in nm that the network was trained on; None if it takes any.
    schemes : tuple of str
        Per channel, of `plans.SCHEMES`.
    intensities : tuple of dict
    mirror_axes : tuple of int
        Axes of `window` along which mirroring is allowed.
    weights : tuple of Path
    entry : EntryPoint, optional
        Python code that makes the network; `weights` are then its state dicts.
    architecture : tuple of str and dict, optional
        A network of `architecture`'s list and its options, whose state dicts `weights` are.
    allow_code : bool
        Whether files of weights may be programs.
    width : int
        Channels of the widest layer at full resolution, for the memory estimate.
    """

    folder: Path
    name: str
    classes: dict[str, int]
    heads: int
    region_order: tuple[int, ...] | None
    channels: tuple[str, ...]
    window: tuple[int, ...]
    spacing: tuple[float, ...] | None
    schemes: tuple[str, ...]
    intensities: tuple[dict[str, float], ...]
    mirror_axes: tuple[int, ...]
    weights: tuple[Path, ...]
    entry: EntryPoint | None
    width: int
    architecture: tuple[str, dict[str, Any]] | None = None
    allow_code: bool = False
    transpose_forward: tuple[int, ...] = (0, 1, 2)
    raw_spline: Spline = field(default=Spline(3))
    score_spline: Spline = field(default=Spline(1))

    @property
    def units(self) -> str | None:
        """ "nm", or "voxel" if the voxel size is not to be looked at."""
        return "voxel" if self.spacing is None else "nm"

    @property
    def is_2d(self) -> bool:
        """Whether the network sees one plane at a time."""
        return len(self.window) == 2

    @property
    def dtype(self) -> str:
        """Smallest of uint8 and uint16 that holds every class number."""
        return "uint8" if max(self.classes.values()) < 256 else "uint16"

    @property
    def spacing_zyx(self) -> tuple[float | None, ...]:
        """Voxel size along (z, y, x); None along an axis where it does not matter."""
        known = self.spacing or (None,) * len(self.window)
        return (*[None] * (3 - len(known)), *known)

    @property
    def window_zyx(self) -> tuple[int, ...]:
        """`window` along (z, y, x); 1 along the axis a 2D network does not see."""
        return (*[1] * (3 - len(self.window)), *self.window)
