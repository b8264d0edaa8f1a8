"""Volumes in foreign formats, for `convert`: what `open_source` can read, and how it tells."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from chunkflow_liver.errors import InputError
from chunkflow_liver.store.sources import library
from chunkflow_liver.store.sources.axes_and_values import Meant
from chunkflow_liver.store.sources.flat import (
    is_packed_mrc,
    open_metaimage,
    open_mrc,
    open_nifti,
    open_npy,
    open_nrrd,
)
from chunkflow_liver.store.sources.hdf5 import open_hdf5
from chunkflow_liver.store.sources.masks import Masks, combined
from chunkflow_liver.store.sources.named import known
from chunkflow_liver.store.sources.slices import open_image, open_slices
from chunkflow_liver.store.sources.source import Asked, Source
from chunkflow_liver.store.sources.statements import linked_data, spim_data
from chunkflow_liver.store.sources.tensors import driver_of, open_chunked
from chunkflow_liver.store.sources.tiff import open_tiff
from chunkflow_liver.store.sources.whole import whole_numbers

__all__ = ["READABLE", "Asked", "Masks", "Source", "combined", "open_source", "whole_numbers"]

READABLE = (
    "a folder of TIFF, PNG, JPEG, JPEG 2000 or BMP slices, a TIFF, MRC, NIfTI, HDF5, NRRD, MetaImage, "
    "DM3/DM4, EMD or "
    "NumPy file, or an N5, precomputed or zarr folder"
)

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_HDF5_OFFSETS = (0, 512, 1024, 2048)
"""Where an HDF5 file may begin: behind a block of the user's, as in MATLAB 7.3 files."""
_IMAGE_MAGIC = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"BM",
    b"P5",
    b"P2",
    b"\0\0\0\x0cjP",
    b"\xff\x4f\xff\x51",
    b"RIFF",
)
_MRC_SUFFIXES = frozenset({".mrc", ".rec", ".st", ".map", ".ali", ".mrcs"})
_NIFTI_MAGIC = {344: b"n+1\0", 4: b"n+2\0"}
_DETACHED = (b"ni1\0", b"ni2\0")
_META_START = (b"ObjectType", b"NDims")


def open_source(path: str | os.PathLike[str], asked: Asked | None = None, **what: object) -> Source:
    """A volume in a foreign format; its voxels are read later, box by box.

    Parameters
    ----------
    path : path-like
        A local file or folder; its first bytes, not its name, tell the format where they can.
    asked : Asked
        Which volume of a container, and what the user says of axes and numbers; also by single keywords.

    Returns
    -------
    Source
        Values along (z, y, x), as the file means them; voxel size in nm where it states one.

    Raises
    ------
    InputError
        If there is nothing readable at `path`, or more than one volume and no `dataset`.
    """
    asked = replace(asked or Asked(), **what)  # type: ignore[arg-type]
    text = os.fspath(path)
    if "://" in text:
        raise InputError(f"{text!r} is an address; only local files are converted: download it")
    where = os.path.abspath(text)
    if not os.path.exists(where):
        raise InputError(f"nothing is at {where}; give the path of {READABLE}")
    if os.path.isdir(where):
        return _open_folder(where, asked)
    return _open_file(where, asked)


def _open_folder(where: str, asked: Asked) -> Meant:
    if driver_of(Path(where)) is not None:
        return open_chunked(where, asked)
    _no_dataset(asked, where, "a folder of slices")
    return open_slices(where, asked)


def _open_file(where: str, asked: Asked) -> Meant:
    try:
        with open(where, "rb") as file:
            head = file.read(2048 + 8)
    except OSError as err:
        raise InputError(f"{where} cannot be read: {err}") from err
    name = Path(where).name.lower()
    if head[:4] in _TIFF_MAGIC:
        return open_tiff(where, asked)
    if any(head[at:].startswith(_HDF5_MAGIC) for at in _HDF5_OFFSETS):
        return open_hdf5(where, asked)
    if name.endswith(".xml") and spim_data(Path(where)) is not None:
        linked = linked_data(where)
        return _open_folder(linked, asked) if os.path.isdir(linked) else open_hdf5(linked, asked)
    if library.is_digital_micrograph(head, name):
        return library.open_digital_micrograph(where, asked)
    _no_dataset(asked, where, "a file with one volume")
    if head.startswith(b"NRRD0"):
        return open_nrrd(where, asked)
    if head.lstrip().startswith(_META_START):
        return open_metaimage(where, asked)
    if head.startswith(b"\x93NUMPY"):
        return open_npy(where, asked)
    if head.startswith(_IMAGE_MAGIC):
        return open_image(where, asked)
    nifti = any(head[at : at + 4] == magic for at, magic in _NIFTI_MAGIC.items())
    if nifti or name.endswith((".nii", ".nii.gz")):
        return open_nifti(where, asked)
    if head[208:211] == b"MAP" or Path(name).suffix in _MRC_SUFFIXES or is_packed_mrc(head):
        return open_mrc(where, asked)
    if head[344:348] in _DETACHED:
        raise InputError(
            f"{where} is the header of a NIfTI pair, which is not read; save it as one file, "
            "e.g. nibabel.save(nibabel.load('a.hdr'), 'a.nii')"
        )
    what = known(where, head)
    raise InputError(
        f"{where} is in no format that can be converted (it has {os.path.getsize(where)} "
        f"bytes and starts with {head[:8]!r}); {what or f'give {READABLE}'}"
    )


def _no_dataset(asked: Asked, where: str, what: str) -> None:
    if asked.dataset is not None:
        raise InputError(f"{where} is {what}, so it has no dataset {asked.dataset!r}; leave it out")
