"""One array in one file, plain or in a gzip stream."""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.store.sources.source import file_marks, file_size, fingerprint

GZIP_LIMIT_BYTES = 2 * 1024**3
GZIP_SLAB_BYTES = 256 * 1024**2
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class FlatFile:
    """An array at a byte offset of a file.

    Attributes
    ----------
    path : str
        The file.
    shape : tuple of int
        Voxels along every axis, slowest first.
    stored : str
        NumPy type string of the voxels in the file, with their byte order.
    offset : int
        First byte of the array, after decompression.
    packing : {"none", "gzip", "zlib"}
        A compressed stream is unpacked from its start by every read, so read it in `chunks`.
    stream : int
        First byte of the compressed stream.
    header : str
        Another file that told all this; it is part of the fingerprint.
    order : {"C", "F"}
        Whether the last axis runs fastest, or the first.
    """

    path: str
    shape: tuple[int, ...]
    stored: str
    offset: int
    packing: Literal["none", "gzip", "zlib"] = "none"
    stream: int = 0
    header: str = ""
    order: Literal["C", "F"] = "C"

    def __str__(self) -> str:
        return self.header or self.path

    @property
    def dtype(self) -> str:
        return np.dtype(self.stored).newbyteorder("=").name

    @property
    def chunks(self) -> tuple[int, ...]:
        if self.packing != "none":
            return min(self.shape[0], max(1, GZIP_SLAB_BYTES // max(1, self.plane_bytes))), *self.shape[1:]
        return (1, *self.shape[1:]) if self.order == "C" else (*self.shape[:-1], 1)

    @property
    def plane_bytes(self) -> int:
        """Bytes of one step along the slowest axis."""
        return math.prod(self.shape[1:]) * np.dtype(self.stored).itemsize

    def read(self, where: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        """Voxels of a part; maps the file, so that only the pages of the part are read."""
        if self.packing != "none":
            return self._unpacked(where[0].start, where[0].stop)[(slice(None), *where[1:])]
        return self._mapped()[where]

    def identity(self) -> str:
        """Fingerprint of name, size, and the first and last 4 KiB of the file."""
        header = file_marks(self.header) if self.header else ()
        return fingerprint(self.shape, self.stored, self.offset, self.order, *header, *file_marks(self.path))

    def _mapped(self) -> np.ndarray[Any, Any]:
        try:
            return np.memmap(self.path, np.dtype(self.stored), "r", self.offset, self.shape, self.order)
        except (OSError, ValueError) as err:
            raise ChunkError(
                f"{self.path} changed since it was opened: {self.shape} voxels of {self.stored} "
                f"at byte {self.offset} are not there ({err}); restore the file"
            ) from err

    def _unpacked(self, first: int, stop: int) -> np.ndarray[Any, Any]:
        wanted = (stop - first) * self.plane_bytes
        try:
            with open(self.path, "rb") as raw:
                raw.seek(self.stream)
                if self.packing == "gzip":
                    with gzip.GzipFile(fileobj=raw) as file:
                        file.seek(self.offset + first * self.plane_bytes)
                        data = file.read(wanted)
                else:
                    data = _inflated(raw, self.offset + first * self.plane_bytes, wanted)
        except (OSError, EOFError, zlib.error) as err:
            raise ChunkError(
                f"{self.path} cannot be decompressed up to slices {first} to {stop - 1} "
                f"({err}); the file is damaged or cut off: fetch it again"
            ) from err
        if len(data) != wanted:
            raise ChunkError(
                f"{self.path} ends within slice {first + len(data) // self.plane_bytes}, but its "
                f"header promises {self.shape[0]} slices; fetch it again"
            )
        return np.frombuffer(data, np.dtype(self.stored)).reshape(stop - first, *self.shape[1:])


def _inflated(file: Any, skip: int, wanted: int) -> bytes:
    """Bytes [skip, skip + wanted) of the zlib stream that begins where `file` stands; fewer at its end."""
    stream, data = zlib.decompressobj(), bytearray()
    while len(data) < wanted:
        part = file.read(_READ_BYTES)
        if not part:
            break
        while part and len(data) < wanted:
            found = stream.decompress(part, _READ_BYTES)
            part = stream.unconsumed_tail
            drop = min(skip, len(found))
            skip -= drop
            data += found[drop:]
            if stream.eof:
                return bytes(data[:wanted])
    return bytes(data[:wanted])


def checked_length(source: FlatFile) -> FlatFile:
    """`source` if its file is long enough for the array that the header promises."""
    need = source.offset + source.shape[0] * source.plane_bytes
    if source.packing != "none":
        if need - source.offset > GZIP_LIMIT_BYTES:
            raise InputError(
                f"{source.path} holds {(need - source.offset) / 1024**3:.1f} GiB of voxels in one "
                f"{source.packing} "
                f"stream, which can only be read from its start; "
                + ("gunzip it" if source.path.endswith(".gz") else "save it without compression")
                + f" (limit {GZIP_LIMIT_BYTES / 1024**3:.0f} GiB)"
            )
        return source
    have = file_size(source.path)
    if have < need:
        last = max(0, have - source.offset) // max(1, source.plane_bytes)
        raise InputError(
            f"{source.path} is cut off in slice {last}: it has {have} bytes, but {source.shape} "
            f"voxels of {source.dtype} need {need}; fetch it again"
        )
    return source
