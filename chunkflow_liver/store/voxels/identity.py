"""What tells one stored array from another, without reading all of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box, zyx
from chunkflow_liver.store.location import check_inside, file_mark, is_local, join, read_key

if TYPE_CHECKING:
    from chunkflow_liver.store.volume import Volume

MOST_MARKS = 100_000
"""How many units of an input are looked at, at most, to tell whether it changed: about 2 s."""


def identity_of(volume: Volume) -> str:
    """Fingerprint of metadata, of 16 stored units, and of all others if they are small files.

    Never of path or time. Of local files above `WHOLE_MARK` bytes size and nine places are looked at; of more
    than `MOST_MARKS` units, and of an object store, a sample.

    Raises
    ------
    InputError
        If the array does not exist.
    """
    if not volume.exists():
        raise InputError(f"{join(volume.url, volume.path)} does not exist (yet): run its plan first")
    digest = xxhash.xxh3_128(repr(volume.at).encode())
    for key in ("zarr.json", ".zarray"):
        digest.update(read_key(volume.url, join(volume.path, key)) or b"")
    counts = [-(-n // u) for n, u in zip(volume.shape, volume.write_unit, strict=True)]
    total = math.prod(counts)
    whole = set(range(0, total, -(-total // 16)))
    marked = range(0, total, -(-total // MOST_MARKS)) if is_local(volume.url) else ()
    for i in sorted(whole.union(marked)):
        at = np.unravel_index(i, counts)
        start = zyx([int(a) * u for a, u in zip(at, volume.write_unit, strict=True)])
        for key in volume.keys(Box(start, zyx([s + 1 for s in start]))):
            name = join(volume.path, key)
            if i in whole:
                found = read_key(volume.url, name)
            else:
                check_inside(volume.url, join(volume.url, name))
                found = file_mark(join(volume.url, name))
            digest.update(found or b"")
    return digest.hexdigest()
