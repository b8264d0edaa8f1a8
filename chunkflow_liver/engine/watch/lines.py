"""Lines of a journal: each carries its own checksum, by which a flipped bit can be put right."""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from chunkflow_liver.errors import JournalError

log = logging.getLogger(__name__)

MOST_MENDED = 1 << 15
"""Bytes of lines that are looked at bit by bit: 10 kB take 0.4 s, this some 4 s."""


def line_of(entry: Mapping[str, Any]) -> bytes:
    """A line that says `entry`."""
    text = json.dumps(entry, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def parsed(line: bytes) -> dict[str, Any] | None:
    """What a line says; None if it is torn or damaged."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or b"%08x" % zlib.crc32(text) != checksum:
        return None
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        # Other text that happens to have this checksum.
        return None
    return found


def entries_of(file: BinaryIO, total: int, path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """What the lines of a journal say, each with the byte at which it ends; bits that flipped are put right.

    Parameters
    ----------
    file : binary file
        Written to only where a bit flipped, and if it is open for that.
    total : int
        Bytes to read: what is appended while this reads may come in pieces.
    path : Path
        Of the file, for messages.

    Raises
    ------
    JournalError
        If a line before the last is damaged beyond that: what it said may make others untrue.
    """
    at = 0
    while line := file.readline():
        begin = at
        entry = parsed(line)
        if entry is None and line.endswith(b"\n"):
            # A bit may also have made one line of two, or two of one.
            mended = _mended(line) or _mended(line + file.readline())
            if mended:
                log.warning("%s: a bit near byte %d had flipped; by its checksum it is put right", path, at)
                if file.writable():
                    file.seek(at)
                    file.write(mended)
                for part in mended.splitlines(keepends=True):
                    at += len(part)
                    yield json.loads(part[9:]), at
                file.seek(at)
                continue
        if entry is None:
            if begin + len(line) < total:
                raise JournalError(damaged(path, begin))
            return
        at += len(line)
        if at > total:
            return
        yield entry, at


def _mended(text: bytes) -> bytes:
    """Lines of which one bit flipped, as they were; empty if it is not that.

    Two texts that differ in one bit or two never have one CRC-32, so what fits is what was written.
    """
    if len(text) > MOST_MENDED:
        return b""
    found = bytearray(text)
    for place in range(len(found)):
        for bit in range(8):
            found[place] ^= 1 << bit
            if all(map(parsed, (lines := bytes(found).splitlines(keepends=True)))) and lines:
                return bytes(found)
            found[place] ^= 1 << bit
    return b""


def read_entries(work: Path) -> Iterator[dict[str, Any]]:
    """Lines of the journal of `work`, read without taking the lock; one being written is left out.

    Raises
    ------
    JournalError
        If a line before the last is damaged: what it said may make others untrue.
    """
    path = Path(work) / "journal.jsonl"
    if not path.exists():
        return
    with path.open("rb") as file:
        for entry, _ in entries_of(file, os.fstat(file.fileno()).st_size, path):
            yield entry


def damaged(path: Path, at: int) -> str:
    """What is wrong with a journal, and what to do."""
    return f"{path} is damaged at byte {at}; delete this file to do all again, or run in a new work folder"
