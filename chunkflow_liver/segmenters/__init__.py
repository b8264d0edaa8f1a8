"""From raw voxels to class numbers: a Segmenter is called once per block and yields finished pieces."""

from __future__ import annotations

from chunkflow_liver.segmenters.registry import Segmenter, registry, segmenter

__all__ = ["Segmenter", "registry", "segmenter"]
