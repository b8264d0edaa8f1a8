"""What the streaming engine needs to know of a trained network, whatever made it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from chunkflow_liver.segmenters.resampling import Spline


class Model(Protocol):
    """A trained network, described; see `nnunet.model.NnunetModel` for what is not said here."""

    @property
    def folder(self) -> Path: ...

    @property
    def name(self) -> str:
        """What a person calls it: for nnU-Net, its configuration."""
        ...

    @property
    def classes(self) -> Mapping[str, int]: ...

    @property
    def heads(self) -> int: ...

    @property
    def region_order(self) -> tuple[int, ...] | None: ...

    @property
    def channels(self) -> tuple[str, ...]: ...

    @property
    def window(self) -> tuple[int, ...]: ...

    @property
    def units(self) -> str | None: ...

    @property
    def transpose_forward(self) -> tuple[int, ...]: ...

    @property
    def schemes(self) -> tuple[str, ...]: ...

    @property
    def intensities(self) -> tuple[dict[str, float], ...]: ...

    @property
    def mirror_axes(self) -> tuple[int, ...]: ...

    @property
    def raw_spline(self) -> Spline: ...

    @property
    def score_spline(self) -> Spline: ...

    @property
    def weights(self) -> tuple[Path, ...]:
        """Files of weights, one network each, whose scores are averaged."""
        ...

    @property
    def width(self) -> int:
        """Channels of the network's widest layer at full resolution, for the memory estimate."""
        ...

    @property
    def is_2d(self) -> bool: ...

    @property
    def dtype(self) -> str: ...

    @property
    def spacing_zyx(self) -> tuple[float | None, ...]: ...

    @property
    def window_zyx(self) -> tuple[int, ...]: ...
