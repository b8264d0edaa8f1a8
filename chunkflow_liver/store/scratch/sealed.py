"""Zip archives of arrays with a checksum over all of their bytes, in the last eight.

Zip files hold a checksum of each member and none of their directory: where one bit of it differs (the length
of a comment, say) Python's zipfile (3.11) leaves out all members after it without a word.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

BROKEN = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)
"""What reading an archive raises that was cut off or changed."""
_MARK = b"crc:"
_PART = 1 << 20


class Summed(io.RawIOBase):
    """A file that is written from its beginning to its end, and a checksum of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.crc = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.crc = zlib.crc32(data, self.crc)
        return self._file.write(data)


@contextlib.contextmanager
def sealing(path: Path) -> Iterator[Summed]:
    """A new file for a zip archive, which gets its checksum at the end; it cannot be sought in."""
    with path.open("wb") as file:
        summed = Summed(file)
        yield summed
        file.write(_MARK + struct.pack("<I", summed.crc))


@contextlib.contextmanager
def unsealed(path: Path, wanted: int | None = None) -> Iterator[IO[bytes]]:
    """The same file to read from, after its checksum was compared, with the one that is `wanted` too.

    Raises
    ------
    ValueError
        If the bytes are not those that were written.
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        length = file.seek(0, 2) - len(_MARK) - 4
        file.seek(0)
        crc, left = 0, length
        while left > 0 and (part := file.read(min(_PART, left))):
            crc = zlib.crc32(part, crc)
            left -= len(part)
        if length <= 0 or file.read() != _MARK + struct.pack("<I", crc):
            raise ValueError("its bytes are not those that were written")
        if wanted not in (None, crc):
            raise ValueError("it is another file than the one that was written there")
        file.seek(0)
        yield file
