"""Whole slices that one task leaves for another, on disk."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from chunkflow_liver.errors import ChunkError
from chunkflow_liver.store.location import chunk_advice
from chunkflow_liver.xp import Array


@dataclass(frozen=True)
class PlaneFiles:
    """Slices of small whole numbers that one task leaves for another; a file each, with a checksum."""

    folder: Path

    def write(self, z: int, plane: Array) -> None:
        """Keep a slice under a temporary name, then rename it into place."""
        most = int(plane.max(initial=0))
        kind = "uint8" if most < 1 << 8 else "uint16" if most < 1 << 16 else "uint32"
        head = np.array([np.dtype(kind).itemsize, *plane.shape], np.int64).tobytes()
        body = zlib.compress(np.ascontiguousarray(plane, kind).tobytes(), 1)
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{z:08d}.{os.getpid()}.partial"
        partial.write_bytes(xxhash.xxh3_128(head + body).digest() + head + body)
        os.replace(partial, self._path(z))

    def read(self, z: int) -> np.ndarray[Any, Any]:
        """A slice that was kept, int32 of shape (Y, X).

        Raises
        ------
        ChunkError
            If it is not there, or damaged.
        """
        try:
            found = self._path(z).read_bytes()
        except OSError as err:
            raise self._lost(z, str(err)) from err
        if len(found) < 40 or xxhash.xxh3_128(found[16:]).digest() != found[:16]:
            raise self._lost(z, "its checksum is not that of its content")
        size, height, width = np.frombuffer(found[16:40], np.int64).tolist()
        flat = np.frombuffer(zlib.decompress(found[40:]), f"uint{8 * size}")
        return flat.reshape(height, width).astype(np.int32)

    def wrong(self, record: Mapping[str, Array]) -> Iterator[str]:
        """Of the slices that a record lists as `kept`, what is wrong with those that cannot be read."""
        for z in record.get("kept", ()):
            try:
                self.read(int(z))
            except ChunkError as err:
                yield str(err)

    def _path(self, z: int) -> Path:
        return self.folder / f"{z:08d}.plane"

    def _lost(self, z: int, why: str) -> ChunkError:
        return ChunkError(
            f"cannot read what was carried to slice {z} in {self._path(z)}: {why}; "
            f"{chunk_advice(str(self._path(z)), missing=False)}"
        )
