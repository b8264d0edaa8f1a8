"""From raw voxels to class numbers: trained networks of any kind, streamed over blocks."""

from __future__ import annotations

from chunkflow_liver.segmenters.network import Network, Source
from chunkflow_liver.segmenters.registry import kind_of, registry

__all__ = ["Network", "Source", "kind_of", "registry"]
