"""Volumes in foreign formats, for `convert`: what `open_source` can read, and how it tells."""

from __future__ import annotations

import os
from pathlib import Path

from chunkflow_liver.errors import InputError
from chunkflow_liver.store.sources.flat import open_mrc, open_nifti
from chunkflow_liver.store.sources.hdf5 import open_hdf5
from chunkflow_liver.store.sources.masks import combined
from chunkflow_liver.store.sources.slices import open_image, open_slices
from chunkflow_liver.store.sources.source import Source
from chunkflow_liver.store.sources.tensors import driver_of, open_chunked
from chunkflow_liver.store.sources.tiff import open_tiff

__all__ = ["READABLE", "Source", "combined", "open_source"]

READABLE = (
    "a folder of TIFF, PNG or JPEG slices, a TIFF, MRC, NIfTI or HDF5 file, or an N5, "
    "precomputed or zarr folder"
)

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_PNG_MAGIC, _JPEG_MAGIC, _GZIP_MAGIC = b"\x89PNG", b"\xff\xd8\xff", b"\x1f\x8b"
_MRC_SUFFIXES = frozenset({".mrc", ".rec", ".st", ".map", ".ali", ".mrcs"})
_NIFTI_MAGIC = {344: b"n+1\0", 4: b"n+2\0"}


def open_source(
    path: str | os.PathLike[str], *, dataset: str | None = None, allow_gaps: bool = False
) -> Source:
    """A volume in a foreign format; its voxels are read later, box by box.

    Parameters
    ----------
    path : path-like
        A local file or folder; its first bytes, not its name, tell the format where they can.
    dataset : str, optional
        What to take of a container: path of an HDF5, N5 or zarr array, scale number or key of a
        precomputed volume, series number of a TIFF. By default the only one there is.
    allow_gaps : bool
        Whether slices missing in the numbers of a folder, and absent chunks of an N5, precomputed
        or zarr volume, read as zeros or the fill value instead of an error.

    Returns
    -------
    Source
        Shape (Z, Y, X), native voxel type, voxel size in nm where the file states one.

    Raises
    ------
    InputError
        If there is nothing readable at `path`, or more than one volume and no `dataset`.
    """
    text = os.fspath(path)
    if "://" in text:
        raise InputError(f"{text!r} is an address; only local files are converted: download it")
    where = os.path.abspath(text)
    if not os.path.exists(where):
        raise InputError(f"nothing is at {where}; give the path of {READABLE}")
    if os.path.isdir(where):
        return _open_folder(where, dataset, allow_gaps)
    return _open_file(where, dataset)


def _open_folder(where: str, dataset: str | None, allow_gaps: bool) -> Source:
    if driver_of(Path(where)) is not None:
        return open_chunked(where, dataset, allow_gaps=allow_gaps)
    _no_dataset(dataset, where, "a folder of slices")
    return open_slices(where, allow_gaps=allow_gaps)


def _open_file(where: str, dataset: str | None) -> Source:
    try:
        with open(where, "rb") as file:
            head = file.read(512)
    except OSError as err:
        raise InputError(f"{where} cannot be read: {err}") from err
    name = Path(where).name.lower()
    if head[:4] in _TIFF_MAGIC:
        return open_tiff(where, dataset)
    if head.startswith(_HDF5_MAGIC):
        return open_hdf5(where, dataset)
    _no_dataset(dataset, where, "a file with one volume")
    if head.startswith(_PNG_MAGIC) or head.startswith(_JPEG_MAGIC):
        return open_image(where)
    nifti = any(head[at : at + 4] == magic for at, magic in _NIFTI_MAGIC.items())
    if nifti or name.endswith((".nii", ".nii.gz")):
        return open_nifti(where)
    if head[208:211] == b"MAP" or Path(name).suffix in _MRC_SUFFIXES:
        return open_mrc(where)
    packed = ": unpack it first" if head.startswith(_GZIP_MAGIC) else ""
    raise InputError(
        f"{where} is in no format that can be converted{packed} (it has {os.path.getsize(where)} "
        f"bytes and starts with {head[:8]!r}); give {READABLE}"
    )


def _no_dataset(dataset: str | None, where: str, what: str) -> None:
    if dataset is not None:
        raise InputError(f"{where} is {what}, so it has no dataset {dataset!r}; leave it out")
