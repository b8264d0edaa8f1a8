"""How the networks of a segmentation see its volume: what they read, and its statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.images.plane_extremes import plane_extremes
from chunkflow_liver.kernels.images.statistics import Statistics, summarise
from chunkflow_liver.segmenters import Network
from chunkflow_liver.segmenters.streaming.planes import Read
from chunkflow_liver.segmenters.streaming.spacing import plane_axis
from chunkflow_liver.store.table import Arrays

Found = tuple[Statistics, tuple[Any, Any] | None]
"""Statistics of what a model reads, and the limits of its planes where these are resampled one by one."""


def seeing(
    network: Network, seen: Sequence[tuple[Any, ...]], keys: Sequence[str], artefacts: Mapping[str, Arrays]
) -> tuple[list[Read], list[Found]]:
    """What every source of a network reads, and its statistics, which are kept under `keys`."""
    found: list[Found] = []
    for key, source in zip(keys, network.sources, strict=True):
        kept = {name: np.asarray(artefacts[key][name]) for name in artefacts[key].names()}
        planes = {name: kept.pop(name) for name in list(kept) if name.startswith("plane_")}
        summary = summarise(kept)
        axis = plane_axis(source.fit, source.model)
        found.append((summary, None if axis is None else plane_extremes(planes, axis, summary.crop)))
    return [_stacked(channels) for channels in seen], found


def _stacked(channels: Sequence[Any]) -> Read:
    """`read(box)` of all channels, (C, z, y, x)."""

    def read(box: Box) -> np.ndarray[Any, Any]:
        return np.stack([c.read(box) for c in channels])

    return read
