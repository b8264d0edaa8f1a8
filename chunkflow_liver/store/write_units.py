"""Write units: how an array is cut into chunks and shards, and which boxes are whole units."""

from __future__ import annotations

import math
from typing import cast

from chunkflow_liver.errors import GridError
from chunkflow_liver.geometry import Box, Nm, Zyx
from chunkflow_liver.store.ngff.versions import SPACE, ZarrFormat

SHARD_SIDE, CHUNK_SIDE = 256, 64


def is_whole(box: Box, unit: Zyx, volume: Box) -> bool:
    """Whether `box` is a union of whole units of a grid that begins at 0, up to the volume's end."""
    return all(
        a % u == 0 and (b % u == 0 or b == end)
        for a, b, u, end in zip(box.start, box.stop, unit, volume.stop, strict=True)
    )


def units(
    shape: Zyx, voxel_nm: Nm, block: Zyx | None, zarr_format: ZarrFormat, *, exact: bool = True
) -> tuple[Zyx, Zyx | None]:
    """Chunk and shard of a new array: near-cubic in nm, and dividing `block` where one is given.

    Without `exact` a side that no useful chunk divides stands for the next multiple of 16.

    Raises
    ------
    GridError
        If no chunk of a useful size divides the block.
    """
    if block is not None and (len(block) != 3 or min(block) < 1):
        raise GridError(f"a block is three numbers of voxels (z, y, x), at least 1, got {block}")
    finest = min(voxel_nm)
    chunk, shard = [], []
    for axis, (n, v) in enumerate(zip(shape, voxel_nm, strict=True)):
        # Coarse axes get shorter chunks (a power of 2), so that a chunk is near-cubic in nm.
        side = max(16, CHUNK_SIDE >> max(0, round(math.log2(v / finest))))
        length = SHARD_SIDE * side // CHUNK_SIDE
        if block is not None and block[axis] < n:
            wanted, most = block[axis], side
            side = _divisor(wanted, most)
            if side < min(8, wanted):
                if exact:
                    raise GridError(
                        f"a block of {block} has no chunk size that divides it along {SPACE[axis]}; "
                        "use a multiple of 16 on every axis"
                    )
                wanted = -(-wanted // 16) * 16
                side = _divisor(wanted, most)
            length = side * _divisor(wanted // side, length // side)
        chunk.append(min(side, n))
        shard.append(min(length, -(-n // chunk[-1]) * chunk[-1]))
    if zarr_format == 2 or chunk == shard:
        return cast(Zyx, tuple(chunk)), None
    return cast(Zyx, tuple(chunk)), cast(Zyx, tuple(shard))


def _divisor(length: int, most: int) -> int:
    return next(d for d in range(min(length, most), 0, -1) if length % d == 0)
