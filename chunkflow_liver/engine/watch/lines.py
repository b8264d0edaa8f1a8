"""Lines of a journal: each carries its own checksum."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from chunkflow_liver.errors import JournalError


def line_of(entry: Mapping[str, Any]) -> bytes:
    """A line that says `entry`."""
    text = json.dumps(entry, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def parsed(line: bytes) -> dict[str, Any] | None:
    """What a line says; None if it is torn or damaged."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or b"%08x" % zlib.crc32(text) != checksum:
        return None
    found: dict[str, Any] = json.loads(text)
    return found


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
    at = 0
    with path.open("rb") as file:
        # What is appended while this reads may come in pieces.
        total = os.fstat(file.fileno()).st_size
        for line in file:
            entry = parsed(line)
            if entry is None and at + len(line) < total:
                raise JournalError(damaged(path, at))
            at += len(line)
            if entry is None or at > total:
                return
            yield entry


def damaged(path: Path, at: int) -> str:
    """What is wrong with a journal, and what to do."""
    return f"{path} is damaged at byte {at}; delete this file to do all again, or run in a new work folder"
