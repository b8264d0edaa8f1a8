"""OME-Zarr metadata, by version: read with strict checks, and written."""

from chunkflow_liver.store.ngff.arrays import array_problems
from chunkflow_liver.store.ngff.documents import MAX_METADATA_BYTES, group_attributes, load_json
from chunkflow_liver.store.ngff.read import (
    LARGEST_VOXEL_NM,
    SMALLEST_VOXEL_NM,
    ImageMetadata,
    Level,
    read_image,
)
from chunkflow_liver.store.ngff.versions import SPACE, STATUS

__all__ = [
    "LARGEST_VOXEL_NM",
    "MAX_METADATA_BYTES",
    "SMALLEST_VOXEL_NM",
    "SPACE",
    "STATUS",
    "ImageMetadata",
    "Level",
    "array_problems",
    "group_attributes",
    "load_json",
    "read_image",
]
