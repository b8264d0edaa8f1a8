"""Stored bytes over HTTP: keys of images of the run and no others, whole or in part."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from zarr.abc.store import RangeByteRequest, Store
from zarr.core.buffer import default_buffer_prototype

from chunkflow_liver.errors import InputError
from chunkflow_liver.store.archive import archive_of
from chunkflow_liver.store.location import is_local, open_store

PART = 1 << 20
"""Bytes that are read and sent at once: a shard may have gigabytes."""
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Outside(Exception):
    """A key that leads out of the image that it is asked of."""


class Unsatisfiable(Exception):
    """A range of bytes that the file does not have; `size` is what it has."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


@dataclass(frozen=True)
class Answer:
    """Part of a stored file: its bytes from `start` to `stop` of `size`, and whether these were asked for."""

    store: Store
    key: str
    start: int
    stop: int
    size: int
    partial: bool

    async def parts(self) -> AsyncIterator[bytes]:
        """The bytes, some at a time."""
        for begin in range(self.start, self.stop, PART):
            wanted = RangeByteRequest(begin, min(begin + PART, self.stop))
            found = await self.store.get(self.key, default_buffer_prototype(), wanted)
            if found is None:
                raise InputError(f"{self.key} went while it was sent")
            yield found.to_bytes()


async def stored(url: str, key: str, asked: str | None) -> Answer | None:
    """What the image at `url` stores under `key`; None where there is nothing.

    Parameters
    ----------
    url : str
        Image group.
    key : str
        Below it, from a stranger.
    asked : str, optional
        The header 'Range'; several ranges at once are answered with the whole file.

    Raises
    ------
    Outside
        If the key leads out of the image, also by a symbolic link.
    Unsatisfiable
        If the file has no such bytes.
    """
    segments = key.split("/")
    if any(s in (".", "..") or "\\" in s or "\0" in s for s in segments) or key.startswith("/"):
        raise Outside(key)
    if not all(segments):
        return None
    if is_local(url) and archive_of(url) is None:
        root = Path(url).resolve()
        file = (root / key).resolve()
        if not file.is_relative_to(root):
            raise Outside(key)
        if not file.is_file():
            return None
    store = open_store(url)
    try:
        size = await store.getsize(key)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    span = _span(asked, size)
    start, stop = span or (0, size)
    return Answer(store, key, start, stop, size, span is not None)


def _span(asked: str | None, size: int) -> tuple[int, int] | None:
    """First byte, and that after the last, of a range; None for the whole file."""
    found = RANGE.fullmatch(asked.strip()) if asked else None
    if found is None or found[0] == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(int(last) + 1 if last else size, size)
    if start >= size or start >= stop:
        raise Unsatisfiable(size)
    return start, stop
