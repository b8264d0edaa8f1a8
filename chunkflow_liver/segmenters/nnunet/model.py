"""What a trained nnU-Net v2 folder says, as the streaming engine asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chunkflow_liver.segmenters.resampling import Spline


@dataclass(frozen=True)
class NnunetModel:
    """What a trained folder says; axes are in the network's order unless said otherwise.

    Attributes
    ----------
    folder : Path
        Where plans.json, dataset.json and the folds lie.
    configuration, checkpoint : str
        Name in plans.json, and name of the weights file in every fold.
    folds : tuple of str
        Folds to average, without "fold_".
    classes : dict of str to int
        Number written for every class (of a region: the number its voxels get), background 0.
    heads : int
        Channels that the network puts out.
    region_order : tuple of int, optional
        With regions: the number written where head i is above 0.5, later ones over earlier ones.
    channels : tuple of str
        Names of the input channels.
    window : tuple of int
        What the network sees at once, in voxels; two entries for a 2D network.
    spacing : tuple of float
        Voxel size that the network was trained on, in `units`; two entries for a 2D network.
    units : str, optional
        "nm" or "voxel", if the folder was imported; a folder from nnU-Net does not say.
    transpose_forward, transpose_backward : tuple of int
        Stored axis that is network axis i, and its inverse.
    schemes : tuple of str
        Intensity normalisation per channel.
    intensities : tuple of dict
        Per channel, mean, std, percentile_00_5 and percentile_99_5 of the training foreground, or {}.
    network, options
        Class and keyword arguments, checked.
    mirror_axes : tuple of int
        Axes along which mirroring is allowed.
    raw_spline, score_spline : Spline
        How raw voxels come to `spacing`, and scores back.
    """

    folder: Path
    configuration: str
    checkpoint: str
    folds: tuple[str, ...]
    classes: dict[str, int]
    heads: int
    region_order: tuple[int, ...] | None
    channels: tuple[str, ...]
    window: tuple[int, ...]
    spacing: tuple[float, ...]
    units: str | None
    transpose_forward: tuple[int, ...]
    transpose_backward: tuple[int, ...]
    schemes: tuple[str, ...]
    intensities: tuple[dict[str, float], ...]
    network: str
    options: dict[str, Any]
    mirror_axes: tuple[int, ...]
    raw_spline: Spline
    score_spline: Spline

    @property
    def name(self) -> str:
        """Its configuration."""
        return self.configuration

    @property
    def width(self) -> int:
        """Channels of the widest layer at full resolution."""
        widths = self.options.get("features_per_stage", 32)
        return int(widths[0] if isinstance(widths, list | tuple) else widths)

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
        """`spacing` along the stored axes (z, y, x); None along the axis a 2D network does not see."""
        free = [None] * (3 - len(self.spacing))
        along_network = [*free, *self.spacing]
        return tuple(along_network[axis] for axis in self.transpose_backward)

    @property
    def window_zyx(self) -> tuple[int, ...]:
        """`window` along the stored axes (z, y, x); 1 along the axis a 2D network does not see."""
        along_network = [*[1] * (3 - len(self.window)), *self.window]
        return tuple(along_network[axis] for axis in self.transpose_backward)

    @property
    def weights(self) -> tuple[Path, ...]:
        """Checkpoint file of every fold."""
        return tuple(self.folder / f"fold_{fold}" / self.checkpoint for fold in self.folds)
