"""Volumes that lie in one file as one C-ordered array: MRC, NIfTI and uncompressed TIFF."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.geometry import Box, Nm, Zyx
from chunkflow_liver.store.sources.source import (
    checked_box,
    checked_shape,
    file_marks,
    file_size,
    fingerprint,
    optional,
    size_nm,
    voxel_type,
)

GZIP_LIMIT_BYTES = 2 * 1024**3
GZIP_SLAB_BYTES = 256 * 1024**2

_MRC_HEADER = 1024
_MRC_VOLUME_STACK = 400
_IMOD_STAMP = 1146047817
_IMOD_SIGNED_BYTES = 1
_IMOD_HALF_BYTES = 16
_NIFTI_UNITS: dict[int, str] = {1: "m", 2: "mm", 3: "um"}


@dataclass(frozen=True)
class FlatFile:
    """A C-ordered (z, y, x) array at a byte offset of a file.

    Attributes
    ----------
    path : str
        The file.
    shape : Zyx
        Voxels along (z, y, x).
    stored : str
        NumPy type string of the voxels in the file, with their byte order.
    offset : int
        First byte of the array, after decompression.
    voxel_nm : Nm or None
        Voxel size along (z, y, x), in nm.
    packing : {"none", "gzip"}
        A gzip file is decompressed from its start by every read, so read it in `chunks`.
    """

    path: str
    shape: Zyx
    stored: str
    offset: int
    voxel_nm: Nm | None = None
    packing: Literal["none", "gzip"] = "none"

    @property
    def dtype(self) -> str:
        return np.dtype(self.stored).newbyteorder("=").name

    @property
    def chunks(self) -> Zyx:
        z, y, x = self.shape
        if self.packing == "gzip":
            return min(z, max(1, GZIP_SLAB_BYTES // self._plane_bytes)), y, x
        return 1, y, x

    @property
    def _plane_bytes(self) -> int:
        return self.shape[1] * self.shape[2] * np.dtype(self.stored).itemsize

    def read(self, box: Box) -> np.ndarray[Any, Any]:
        """Voxels of `box`; maps the file, so that only the pages of the box are read."""
        checked_box(box, self.shape, self.path)
        z, y, x = box.slices
        if self.packing == "gzip":
            slab, z = self._unpack(box), slice(None)
        else:
            slab = self._mapped()
        return np.array(slab[z, y, x], dtype=self.dtype, order="C")

    def identity(self) -> str:
        """Fingerprint of name, size, and the first and last 4 KiB of the file."""
        return fingerprint(self.shape, self.stored, self.offset, *file_marks(self.path))

    def _mapped(self) -> np.ndarray[Any, Any]:
        try:
            return np.memmap(self.path, np.dtype(self.stored), "r", self.offset, self.shape)
        except (OSError, ValueError) as err:
            raise ChunkError(
                f"{self.path} changed since it was opened: {self.shape} voxels of {self.stored} "
                f"at byte {self.offset} are not there ({err}); restore the file"
            ) from err

    def _unpack(self, box: Box) -> np.ndarray[Any, Any]:
        first, depth = box.start[0], box.shape[0]
        wanted = depth * self._plane_bytes
        try:
            with gzip.open(self.path, "rb") as file:
                file.seek(self.offset + first * self._plane_bytes)
                data = file.read(wanted)
        except (OSError, EOFError, zlib.error) as err:
            raise ChunkError(
                f"{self.path} cannot be decompressed up to slices {first} to {box.stop[0] - 1} "
                f"({err}); the file is damaged or cut off: fetch it again"
            ) from err
        if len(data) != wanted:
            raise ChunkError(
                f"{self.path} ends within slice {first + len(data) // self._plane_bytes}, but its "
                f"header promises {self.shape[0]} slices; fetch it again"
            )
        return np.frombuffer(data, np.dtype(self.stored)).reshape(depth, *self.shape[1:])


def checked_length(source: FlatFile) -> FlatFile:
    """`source` if its file is long enough for the array that the header promises."""
    have = file_size(source.path)
    need = source.offset + source.shape[0] * source._plane_bytes
    if source.packing == "none" and have < need:
        last = max(0, have - source.offset) // source._plane_bytes
        raise InputError(
            f"{source.path} is cut off in slice {last}: it has {have} bytes, but {source.shape} "
            f"voxels of {source.dtype} need {need}; fetch it again"
        )
    return source


def open_mrc(path: str) -> FlatFile:
    """The volume of an MRC file (MRC2014, and what IMOD writes)."""
    with open(path, "rb") as file:
        header = file.read(_MRC_HEADER)
    if len(header) < _MRC_HEADER:
        raise InputError(f"{path} is no MRC file: it ends within its header of {_MRC_HEADER} bytes")
    order: Literal["<", ">"] = "<"
    mode = -1
    for order in ("<", ">"):
        nx, ny, nz, mode = struct.unpack_from(f"{order}4i", header)
        # the machine stamp at byte 212 says so too, but old files have none
        if 0 <= mode < 1024:
            break
    samples = struct.unpack_from(f"{order}3i", header, 28)
    cell = struct.unpack_from(f"{order}3f", header, 40)
    axes = struct.unpack_from(f"{order}3i", header, 64)
    group, extended = struct.unpack_from(f"{order}2i", header, 88)
    stored = _mrc_type(path, mode, order, struct.unpack_from(f"{order}2i", header, 152))
    if group >= _MRC_VOLUME_STACK:
        raise InputError(f"{path} is a stack of several MRC volumes; save one volume per file")
    if min(nx, ny, nz) < 1 or extended < 0:
        raise InputError(
            f"{path} is no readable MRC file: its header says {(nz, ny, nx)} voxels and "
            f"{extended} bytes of extended header"
        )
    if axes not in {(1, 2, 3), (0, 0, 0)}:
        raise InputError(
            f"{path} stores its axes in the order {axes} (columns, rows, sections); only (1, 2, 3), "
            "which is x, y, z, is read: reorder it, e.g. with IMOD's 'clip rotx' or 'trimvol'"
        )
    # six digits: the cell is float32
    sizes = [float(f"{c / n:.6g}") if n > 0 else 0.0 for c, n in zip(cell, samples, strict=True)]
    # 1 angstrom is what writers put where they know no voxel size
    voxel_nm = None if set(sizes) == {1.0} else size_nm(reversed(sizes), "angstrom")
    return checked_length(FlatFile(path, (nz, ny, nx), stored, _MRC_HEADER + extended, voxel_nm))


def _mrc_type(path: str, mode: int, order: str, imod: tuple[int, int]) -> str:
    flags = imod[1] if imod[0] == _IMOD_STAMP else _IMOD_SIGNED_BYTES
    if mode == 101 or flags & _IMOD_HALF_BYTES:
        raise InputError(f"{path} holds two 4-bit voxels per byte; convert it to bytes (mode 0)")
    if mode == 0:
        # MRC2014 bytes are signed; IMOD marks its own, and older ones are not
        return "|i1" if flags & _IMOD_SIGNED_BYTES else "|u1"
    kinds = {1: "i2", 2: "f4", 6: "u2", 12: "f2"}
    if mode not in kinds:
        known = {3: "complex int16 voxels", 4: "complex64 voxels"}.get(mode, "an unknown type")
        raise InputError(
            f"{path} is no MRC file with plain numbers: its mode {mode} is {known}; supported are "
            f"0 (bytes), {', '.join(map(str, kinds))}; convert it, e.g. with IMOD's newstack -mode"
        )
    return order + kinds[mode]


def open_nifti(path: str) -> FlatFile:
    """The volume of a NIfTI-1 or NIfTI-2 file, .nii or .nii.gz.

    Notes
    -----
    Voxels come as stored (x fastest), so (z, y, x) is the reversed axis order of the file; flips
    and rotations in its affine are not applied. A .nii.gz above 2 GiB of voxels is refused, as
    every read would have to decompress it from the start.
    """
    nibabel = optional("nibabel", "NIfTI")
    unreadable = nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError
    damage = (OSError, EOFError, ValueError, KeyError, AttributeError, zlib.error, *unreadable)
    try:
        image = nibabel.load(path)
        header, stored = image.header, image.dataobj
        zyx = tuple(int(n) for n in reversed(stored.shape))
        kind, slope, intercept = stored.dtype, float(stored.slope), float(stored.inter)
        unit = _NIFTI_UNITS.get(int(header["xyzt_units"]) & 7, "unknown")
        sizes = [float(f"{n:.6g}") for n in header["pixdim"][3:0:-1]]  # float32
        offset = int(stored.offset)
    except damage as err:
        raise InputError(f"{path} is no readable NIfTI file: {err}") from err
    voxel_type(kind, path)
    if (slope, intercept) != (1.0, 0.0):
        raise InputError(
            f"{path} asks to scale its voxels (slope {slope}, intercept {intercept}); save it with "
            "the scaled values, as float32"
        )
    gz = path.lower().endswith(".gz")
    shape = checked_shape(zyx, path)
    total = math.prod(shape) * kind.itemsize
    if gz and total > GZIP_LIMIT_BYTES:
        raise InputError(
            f"{path} holds {total / 1024**3:.1f} GiB of voxels in one gzip stream, which can only "
            f"be read from its start; gunzip it (limit {GZIP_LIMIT_BYTES / 1024**3:.0f} GiB)"
        )
    voxel_nm = None if set(sizes) == {1.0} else size_nm(sizes, unit)
    packing: Literal["none", "gzip"] = "gzip" if gz else "none"
    return checked_length(FlatFile(path, shape, kind.str, offset, voxel_nm, packing))
