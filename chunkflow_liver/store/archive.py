"""Zipped OME-Zarr (.ozx, RFC 9): a group inside one file, read only."""

from __future__ import annotations

import functools
import os
import re
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterable
from threading import Lock

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from chunkflow_liver.errors import ChunkError, InputError

ENDING = re.compile(r"\.(?:ozx|zip)(?=/|$)", re.IGNORECASE)
MOST_BYTES, MOST_RATIO = 2**31, 1000
"""Of the largest entry that is read, and how much larger than in the file one may be."""
_LOCK = Lock()


def archive_of(url: str) -> tuple[str, str] | None:
    """The zip file that a local path leads into, and the path inside it; None for all other places."""
    for found in ENDING.finditer(url) if "://" not in url else ():
        file = url[: found.end()]
        if os.path.isfile(file):
            return file, url[found.end() :].strip("/")
    return None


def entry_bytes(file: str, name: str) -> bytes | None:
    """The bytes of an entry of a zip file; None where there is no such entry.

    Raises
    ------
    InputError
        If the file is no zip file, or the entry is absurdly large.
    ChunkError
        If the entry is damaged: zip keeps a checksum of each.
    """
    opened = _opened(file, *_mark(file))
    try:
        info = opened.getinfo(name)
    except KeyError:
        return None
    if info.file_size > MOST_BYTES or info.file_size > MOST_RATIO * max(info.compress_size, 1024):
        raise InputError(
            f"{name!r} in {file} would be {info.file_size} bytes from {info.compress_size}; not read"
        )
    try:
        with _LOCK:
            return opened.read(info)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, zlib.error) as err:
        raise ChunkError(f"{name!r} in {file} is damaged: {err}; copy the file again") from err


def entry_names(file: str, prefix: str = "") -> list[str]:
    """Names of the entries of a zip file below `prefix`, without folders."""
    names = _opened(file, *_mark(file)).namelist()
    return [name for name in names if name.startswith(prefix) and not name.endswith("/")]


def entry_mark(file: str, name: str) -> bytes:
    """Size and checksum of an entry, which tell whether it changed; nothing if it is not there."""
    try:
        info = _opened(file, *_mark(file)).getinfo(name)
    except KeyError:
        return b""
    return f"{info.file_size} {info.CRC}".encode()


def _mark(file: str) -> tuple[int, int]:
    try:
        found = os.stat(file)
    except OSError as err:
        raise InputError(f"{file} cannot be read: {err}") from err
    return found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=16)
def _opened(file: str, _changed: int, _size: int) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as err:
        raise InputError(f"{file} is no readable zip file: {err}; copy it again") from err


class ArchiveStore(Store):
    """A zarr store that reads the entries of a zip file below a path."""

    def __init__(self, file: str, inside: str) -> None:
        super().__init__(read_only=True)
        self.file, self.inside = file, f"{inside}/" if inside else ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArchiveStore) and vars(self) == vars(other)

    def __str__(self) -> str:
        return f"{self.file}/{self.inside}"

    @property
    def supports_writes(self) -> bool:
        return False

    @property
    def supports_deletes(self) -> bool:
        return False

    @property
    def supports_listing(self) -> bool:
        return True

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        data = entry_bytes(self.file, self.inside + key)
        if data is None:
            return None
        match byte_range:
            case RangeByteRequest(start, end):
                data = data[start:end]
            case OffsetByteRequest(offset):
                data = data[offset:]
            case SuffixByteRequest(suffix):
                data = data[-suffix:]
        return prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def exists(self, key: str) -> bool:
        return entry_mark(self.file, self.inside + key) != b""

    async def set(self, key: str, value: Buffer) -> None:
        raise InputError(f"{self} is in a zip file, which is only read")

    async def delete(self, key: str) -> None:
        raise InputError(f"{self} is in a zip file, which is only read")

    async def list(self) -> AsyncIterator[str]:
        for name in entry_names(self.file, self.inside):
            yield name.removeprefix(self.inside)

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        async for name in self.list():
            if name.startswith(prefix):
                yield name

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        start = f"{prefix.rstrip('/')}/" if prefix else ""
        names = [name.removeprefix(start) async for name in self.list_prefix(start)]
        for name in dict.fromkeys(n.partition("/")[0] for n in names):
            yield name
