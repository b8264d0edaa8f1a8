"""Whole shards of local zarr v3 arrays, read and written without zarr's task per chunk.

zarr starts asyncio tasks and a thread for every chunk: 0.1 to 0.2 ms each, several times what a chunk of
labels takes to decode. The arrays that this package writes all have one form (shards of chunks of
little-endian numbers in zstd, the index at the end with CRC-32C [1]_); these are handled here. What has
another form, or is not as it should be, is left to zarr, which also says what is wrong with it.

References
----------
.. [1] Zarr sharding codec, https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numcodecs.zstd import Zstd

from chunkflow_liver.errors import ChunkSizeError
from chunkflow_liver.geometry import Box, Zyx, zyx
from chunkflow_liver.store.location import check_inside, join
from chunkflow_liver.store.voxels.promised import HEAD, promised_bytes
from chunkflow_liver.xp import Array

ABSENT = 2**64 - 1
INDEX = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]


@dataclass(frozen=True)
class Shards:
    """An array of the form that is handled here.

    Attributes
    ----------
    root, folder : str
        Of the image, and of the array in it.
    shape, chunk, shard : Zyx
        Voxels of the array, of a chunk and of a shard.
    dtype : numpy.dtype
    fill : int or float
        Fills chunks up beyond the end of the array.
    level : int
        Of zstd; a checksum is written.
    """

    root: str
    folder: str
    shape: Zyx
    chunk: Zyx
    shard: Zyx
    dtype: np.dtype[Any]
    fill: Any
    level: int

    def read(self, box: Box) -> np.ndarray[Any, Any] | None:
        """Voxels of `box`, or None where a chunk is absent or damaged."""
        out: np.ndarray[Any, Any] = np.empty(box.shape, self.dtype)
        codec, size = Zstd(), math.prod(self.chunk) * self.dtype.itemsize
        try:
            for path, inside in self._units(box):
                check_inside(self.root, path)
                file = os.open(path, os.O_RDONLY)
                try:
                    index = self._index(file)
                    for at, part, place in inside:
                        offset, count = (int(n) for n in index[at])
                        if offset == ABSENT:
                            return None
                        packed = os.pread(file, count, offset)
                        if (promised_bytes(packed[:HEAD], packed[-4:]) or 0) > size:
                            raise ChunkSizeError(
                                f"chunk {at} of {path} would become more than its {size} bytes: it is "
                                "damaged, or made to fill the memory; restore the file"
                            )
                        data = codec.decode(packed)
                        if len(data) != size:
                            return None
                        values = np.frombuffer(data, self.dtype).reshape(self.chunk)
                        cut = part.relative_to(place).slices
                        out[part.relative_to(box).slices] = values[cut]
                finally:
                    os.close(file)
        except ChunkSizeError:
            raise
        except (OSError, ValueError, RuntimeError):
            return None
        return out

    def write(self, box: Box, values: Array) -> None:
        """Store the voxels of `box`, a union of whole shards; each is there as a whole or not at all."""
        codec = Zstd(level=self.level, checksum=True)
        counts = self._counts()
        for path, inside in self._units(box):
            index = np.full((math.prod(counts), 2), ABSENT, "<u8")
            parts: list[bytes] = []
            uniform: dict[int, bytes] = {}
            end = 0
            for at, part, place in inside:
                chunk = values[part.relative_to(box).slices]
                if part != place:
                    padded = np.full(self.chunk, self.fill, self.dtype)
                    padded[part.relative_to(place).slices] = chunk
                    chunk = padded
                chunk = np.ascontiguousarray(chunk, self.dtype)
                # Most chunks of labels hold one value, and many the same.
                bits = chunk.view(f"u{chunk.itemsize}")
                first = int(bits[0, 0, 0])
                alike = first == bits[-1, -1, -1] and bool((bits == bits[0, 0, 0]).all())
                data = uniform.get(first) if alike else None
                if data is None:
                    data = codec.encode(chunk)
                if alike:
                    uniform[first] = data
                index[at] = end, len(data)
                parts.append(data)
                end += len(data)
            tail = index.tobytes()
            tail += google_crc32c.value(tail).to_bytes(4, "little")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            partial = f"{path}.{uuid.uuid4().hex}.partial"
            try:
                with open(partial, "wb") as file:
                    file.writelines([*parts, tail])
                os.replace(partial, path)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(partial)
                raise

    def _counts(self) -> Zyx:
        return zyx([s // c for s, c in zip(self.shard, self.chunk, strict=True)])

    def _index(self, file: int) -> np.ndarray[Any, Any]:
        """Offset and size of every chunk; ValueError if the index is damaged."""
        size = 16 * math.prod(self._counts())
        tail = os.pread(file, size + 4, os.fstat(file).st_size - size - 4)
        if len(tail) != size + 4 or google_crc32c.value(tail[:-4]) != int.from_bytes(tail[-4:], "little"):
            raise ValueError("damaged index")
        return np.frombuffer(tail[:-4], "<u8").reshape(-1, 2)

    def _units(self, box: Box) -> Iterator[tuple[str, list[tuple[int, Box, Box]]]]:
        """Shards that meet `box`: file, and (place in the index, wanted part, box) of their chunks."""
        counts = self._counts()
        for shard, whole in _tiles(box, self.shard):
            part = whole.clip(box)
            inside = []
            for chunk, place in _tiles(part, self.chunk):
                local = [c - s * n for c, s, n in zip(chunk, shard, counts, strict=True)]
                inside.append((int(np.ravel_multi_index(local, counts)), place.clip(part), place))
            yield os.path.join(self.folder, "c", *map(str, shard)), inside


def _tiles(box: Box, side: Zyx) -> Iterator[tuple[Zyx, Box]]:
    """Number and box of every tile of `side` voxels that meets `box`."""
    spans = [range(a // n, -(-b // n)) for a, b, n in zip(box.start, box.stop, side, strict=True)]
    for at in itertools.product(*spans):
        start = [i * n for i, n in zip(at, side, strict=True)]
        yield zyx(list(at)), Box(zyx(start), zyx([a + n for a, n in zip(start, side, strict=True)]))


def shards_of(stored: zarr.Array[Any], root: str, path: str) -> Shards | None:
    """The shards of the array `path` of a local image; None if it has another form, or is in a zip file."""
    if stored.store.read_only:
        return None
    found: Any = stored.metadata.to_dict()
    if found["zarr_format"] != 3 or len(stored.shape) != 3 or len(found["codecs"]) != 1:
        return None
    codec = found["codecs"][0]
    keys = found["chunk_key_encoding"]
    if codec["name"] != "sharding_indexed" or keys != {
        "name": "default",
        "configuration": {"separator": "/"},
    }:
        return None
    inner = codec["configuration"]
    codecs = inner["codecs"]
    if [c["name"] for c in codecs] != ["bytes", "zstd"] or inner["index_location"] != "end":
        return None
    endian = codecs[0].get("configuration", {}).get("endian", "little")
    if list(inner["index_codecs"]) != INDEX or endian != "little" or np.dtype("<u2") != np.dtype("u2"):
        return None
    zstd = codecs[1]["configuration"]
    if not zstd["checksum"]:
        return None
    return Shards(
        root,
        join(root, path),
        zyx(list(stored.shape)),
        zyx(list(inner["chunk_shape"])),
        zyx(list(stored.shards or ())),
        np.dtype(stored.dtype),
        stored.fill_value,
        zstd["level"],
    )
