"""Files that hold one volume as one array, voxel by voxel, behind a header."""

from chunkflow_liver.store.sources.flat.array import FlatFile
from chunkflow_liver.store.sources.flat.mrc import is_packed_mrc, open_mrc
from chunkflow_liver.store.sources.flat.nifti import open_nifti
from chunkflow_liver.store.sources.flat.texts import open_metaimage, open_npy, open_nrrd

__all__ = ["FlatFile", "is_packed_mrc", "open_metaimage", "open_mrc", "open_nifti", "open_npy", "open_nrrd"]
