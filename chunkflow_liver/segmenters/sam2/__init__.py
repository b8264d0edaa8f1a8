"""SAM2: masks carried from slice to slice by attention to what was seen before."""

from __future__ import annotations

from chunkflow_liver.segmenters.sam2.backends import Backend, backend_of
from chunkflow_liver.segmenters.sam2.folder import Sam2Model, import_sam2, read_sam2, sam2_fingerprint
from chunkflow_liver.segmenters.sam2.propagator import Found, Hint, Propagator, Track

__all__ = [
    "Backend",
    "Found",
    "Hint",
    "Propagator",
    "Sam2Model",
    "Track",
    "backend_of",
    "import_sam2",
    "read_sam2",
    "sam2_fingerprint",
]
