"""How large a chunk says it becomes: looked at before it is decoded, which would take that much memory."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from chunkflow_liver.errors import ChunkSizeError
from chunkflow_liver.geometry import Box, zyx
from chunkflow_liver.store.archive import archive_of
from chunkflow_liver.store.location import check_inside, chunk_advice, is_local, join

if TYPE_CHECKING:
    from chunkflow_liver.store.volume import Volume

MOST_TIMES, MOST_MORE = 8, 1 << 16
"""A chunk may become so many times its voxels, and so many bytes more: filters may store wider numbers."""
HEAD = 18
"""Bytes that say it: of zstd at most 18."""


def promised_bytes(head: bytes, tail: bytes) -> int | None:
    """Bytes that compressed bytes become by what they say of themselves; None if they do not.

    Parameters
    ----------
    head : bytes
        The first `HEAD` bytes.
    tail : bytes
        The last 4.

    Notes
    -----
    Frames of Zstandard (RFC 8878, 3.1.1.1), chunks of Blosc 1 (16 bytes of header, the size in the second
    four) and members of gzip (RFC 1952: the size modulo 2**32 at the end).
    """
    if head[:4] == b"\x28\xb5\x2f\xfd" and len(head) > 5:
        flags = head[4]
        single, width = flags >> 5 & 1, (0, 2, 4, 8)[flags >> 6]
        width = width or single
        at = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
        if not width:
            return None
        return int.from_bytes(head[at : at + width], "little") + (256 if width == 2 else 0)
    if head[:3] == b"\x1f\x8b\x08" and len(tail) == 4:
        return int.from_bytes(tail, "little")
    if len(head) >= 16 and head[0] == 2 and head[1] == 1:
        return int.from_bytes(head[4:8], "little")
    return None


def check_promises(volume: Volume, box: Box, chunk_bytes: int) -> None:
    """Refuse chunks in `box` that would become far more than their voxels; of local files only.

    Raises
    ------
    ChunkSizeError
    """
    if not is_local(volume.url) or archive_of(volume.url) is not None:
        return
    most = MOST_TIMES * chunk_bytes + MOST_MORE
    unit = volume.write_unit
    spans = [range(a // n * n, b, n) for a, b, n in zip(box.start, box.stop, unit, strict=True)]
    for start in itertools.product(*spans):
        part = Box(zyx(list(start)), zyx([a + n for a, n in zip(start, unit, strict=True)])).clip(box)
        key = next(volume.keys(part))
        name = join(volume.url, volume.path, key)
        check_inside(volume.url, name)
        try:
            with open(name, "rb") as file:
                head = file.read(HEAD)
                file.seek(-min(4, len(head)), os.SEEK_END)
                tail = file.read(4)
        except OSError:
            # What cannot be read is told by who reads it.
            continue
        promised = promised_bytes(head, tail)
        if promised is not None and promised > most:
            where = f"chunk {key!r} of {join(volume.url, volume.path)} (voxels {part})"
            raise ChunkSizeError(
                f"cannot read {where}: it would become {promised} bytes, and its voxels are {chunk_bytes}: "
                f"it is damaged, or made to fill the memory; {chunk_advice(volume.url, missing=False)}"
            )
