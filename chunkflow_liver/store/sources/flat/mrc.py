"""MRC files: MRC2014, what IMOD writes, and MRCZ."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.store.sources.axes_and_values import AS_STORED, Meant, Values, meant
from chunkflow_liver.store.sources.flat.array import FlatFile, checked_length
from chunkflow_liver.store.sources.source import (
    Asked,
    Stored,
    file_marks,
    file_size,
    fingerprint,
    length_nm,
    optional,
)

_HEADER = 1024
_VOLUME_STACK = 400
_IMOD_STAMP = 1146047817
_IMOD_SIGNED_BYTES = 1
_IMOD_HALF_BYTES = 16
_KINDS = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_PACKED_MODES = 1000
"""MRCZ adds 1000 times the number of its compressor to the mode."""
_PACKERS = 9
_BLOSC_HEADER = 16
_BLOSC_VERSION = b"\x02"
"""Last one of frames of the first Blosc, in their first byte."""


def is_packed_mrc(head: bytes) -> bool:
    """Whether the first bytes of a file are those of an MRCZ file."""
    if len(head) < 224:
        return False
    *sides, mode = struct.unpack_from("<4i", head)
    packing, kind = divmod(mode, _PACKED_MODES)
    return min(sides) > 0 and 1 <= packing <= _PACKERS and kind in (*_KINDS, 3, 4)


def open_mrc(path: str, asked: Asked) -> Meant:
    """The volume of an MRC file.

    Notes
    -----
    Bytes are signed in MRC2014. IMOD marks its files; where it says that bytes are signed, it stores
    0..255 less 128. Bytes of a file that IMOD has not marked are unsigned if its header's range says so,
    which is how IMOD decides [1]_. Columns, rows and sections become x, y and z by the header's axis map.

    References
    ----------
    .. [1] IMOD, libiimod/mrcfiles.c, readBytesSigned
    """
    with open(path, "rb") as file:
        header = file.read(_HEADER)
    if len(header) < _HEADER:
        raise InputError(f"{path} is no MRC file: it ends within its header of {_HEADER} bytes")
    order: Literal["<", ">"] = "<"
    mode = -1
    for order in ("<", ">"):
        nx, ny, nz, mode = struct.unpack_from(f"{order}4i", header)
        # the machine stamp at byte 212 says so too, but old files have none
        if 0 <= mode < 1024 or (order == "<" and is_packed_mrc(header)):
            break
    samples = struct.unpack_from(f"{order}3i", header, 28)
    cell = struct.unpack_from(f"{order}3f", header, 40)
    axes = struct.unpack_from(f"{order}3i", header, 64)
    ends = struct.unpack_from(f"{order}2f", header, 76)
    group, extended = struct.unpack_from(f"{order}2i", header, 88)
    imod = struct.unpack_from(f"{order}2i", header, 152)
    packing, mode = divmod(mode, _PACKED_MODES) if is_packed_mrc(header) else (0, mode)
    kind, values = _numbers(path, mode, ends, imod)
    if packing and not mode and ends[0] < 0:
        raise InputError(
            f"{path} holds bytes of which MRCZ does not say whether they are signed (int8 and uint8 are "
            "written "
            "alike); read it with mrcz.readMRC in Python, and numpy.save the array in the type that you know"
        )
    if group >= _VOLUME_STACK:
        raise InputError(f"{path} is a stack of several MRC volumes; save one volume per file")
    if min(nx, ny, nz) < 1 or extended < 0:
        raise InputError(
            f"{path} is no readable MRC file: its header says {(nz, ny, nx)} voxels and "
            f"{extended} bytes of extended header"
        )
    axes = (1, 2, 3) if axes == (0, 0, 0) else axes
    if sorted(axes) != [1, 2, 3] and asked.axes is None:
        raise InputError(
            f"{path} is damaged: it maps columns, rows and sections to the axes {axes}, each of 1, 2 and 3 "
            "(x, y, z) is wanted once; say which is which with axes= (--axes), sections first, as in zyx"
        )
    names = ["xyz"[a - 1] for a in reversed(axes)] if sorted(axes) == [1, 2, 3] else ["z", "y", "x"]
    # six digits: the cell is float32; cell and samples are along x, y and z, not columns and rows
    lengths = [float(f"{c / n:.6g}") if n > 0 else 0.0 for c, n in zip(cell, samples, strict=True)]
    if group == 0 and samples[2] == 1 and nz > 1:
        # A stack of images (ISPG 0, MZ 1) has no cell along z: mrcfile's set_image_stack leaves there the
        # length of all sections together, and readers take it for one (findings/mrcfile-stack-thickness.sh).
        lengths[2] = 0.0
    # 1 angstrom is what writers put where they know no voxel size
    known = None if set(lengths) == {1.0} else dict(zip("xyz", lengths, strict=True))
    sizes = None if known is None else [length_nm(known[n], "angstrom") for n in names]
    stored: Stored
    if packing:
        stored = _packed(path, (nz, ny, nx), kind, _HEADER + extended)
    else:
        whole = kind if kind.startswith("|") else order + kind
        stored = checked_length(FlatFile(path, (nz, ny, nx), whole, _HEADER + extended))
    return meant(stored, asked, names=names, sizes=sizes, values=values)


def _numbers(path: str, mode: int, ends: tuple[float, ...], imod: tuple[int, ...]) -> tuple[str, Values]:
    marked = imod[0] == _IMOD_STAMP
    flags = imod[1] if marked else 0
    if mode == 101 or flags & _IMOD_HALF_BYTES:
        raise InputError(
            f"{path} holds two 4-bit voxels per byte; convert it to bytes: newstack -mode 0 (IMOD)"
        )
    if mode not in _KINDS:
        known = {3: "complex int16 voxels", 4: "complex64 voxels"}.get(mode, "an unknown type")
        raise InputError(
            f"{path} is no MRC file with plain numbers: its mode {mode} is {known}; supported are "
            f"0 (bytes), {', '.join(str(m) for m in _KINDS if m)}; convert it, e.g. with IMOD's newstack "
            "-mode"
        )
    if mode:
        return _KINDS[mode], AS_STORED
    if marked:
        return ("|i1", Values(offset=128.0)) if flags & _IMOD_SIGNED_BYTES else ("|u1", AS_STORED)
    low, high = ends
    return ("|u1" if low >= 0 and high >= 128 else "|i1"), AS_STORED


@dataclass(frozen=True)
class PackedPlanes:
    """The planes of an MRCZ file, each in a Blosc frame of its own.

    Attributes
    ----------
    path : str
    shape : tuple of int
        Voxels along (z, y, x).
    dtype : str
        Native NumPy name of the voxel type.
    offset : int
        First byte of the first frame.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    offset: int

    def __str__(self) -> str:
        return self.path

    @property
    def chunks(self) -> tuple[int, ...]:
        return 1, *self.shape[1:]

    @cached_property
    def frames(self) -> list[tuple[int, int]]:
        """First byte and length of the frame of every plane."""
        found, at, size = [], self.offset, file_size(self.path)
        with open(self.path, "rb") as file:
            for z in range(self.shape[0]):
                file.seek(at)
                head = file.read(_BLOSC_HEADER)
                length = struct.unpack_from("<I", head, 12)[0] if len(head) == _BLOSC_HEADER else 0
                if length < _BLOSC_HEADER or at + length > size:
                    raise InputError(
                        f"{self.path} is cut off or damaged: plane {z} of {self.shape[0]} should lie at byte "
                        f"{at}, but the file has {size}; fetch it again"
                    )
                found.append((at, length))
                at += length
        return found

    def read(self, where: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        imagecodecs = optional("imagecodecs", "MRCZ")
        planes = []
        with open(self.path, "rb") as file:
            for z in range(where[0].start, where[0].stop):
                at, length = self.frames[z]
                file.seek(at)
                try:
                    data = file.read(length)
                    newer = data[:1] > _BLOSC_VERSION
                    data = imagecodecs.blosc2_decode(data) if newer else imagecodecs.blosc_decode(data)
                    plane = np.frombuffer(data, self.dtype).reshape(self.shape[1:])
                except (RuntimeError, ValueError) as err:
                    raise ChunkError(
                        f"{self.path}: plane {z} cannot be decompressed ({err}); the file is damaged: fetch "
                        "it again"
                    ) from err
                planes.append(plane[where[1:]])
        return np.stack(planes)

    def identity(self) -> str:
        return fingerprint(self.shape, self.dtype, self.offset, *file_marks(self.path))


def _packed(path: str, shape: tuple[int, int, int], kind: str, offset: int) -> PackedPlanes:
    optional("imagecodecs", "MRCZ")
    found = PackedPlanes(path, shape, np.dtype(kind).name, offset)
    found.frames  # noqa: B018  a file that was cut off is refused here
    return found
