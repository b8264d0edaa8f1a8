"""The levels of an image that does not exist yet."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.store.ngff.write import pyramid_factors
from chunkflow_liver.store.write_units import units

if TYPE_CHECKING:
    from chunkflow_liver.store.volume import Volume


def levels_below(volume: Volume) -> tuple[Volume, ...]:
    """Handles to every level of the image that `volume` is level 0 of."""
    found = []
    factors = pyramid_factors(volume.shape, volume.voxel_nm, volume.levels)
    # A coarse unit lies over about one unit of the level below, so that making it needs no more memory.
    halves = cast(Zyx, tuple(max(1, u // 2) for u in volume.write_unit))
    for level, factor in enumerate(factors):
        shape = cast(Zyx, tuple(-(-n // f) for n, f in zip(volume.shape, factor, strict=True)))
        voxel = cast(Nm, tuple(v * f for v, f in zip(volume.voxel_nm, factor, strict=True)))
        # The centre of a coarse voxel is the mean of the centres it covers.
        origin = tuple(
            o + (w - v) / 2 for o, w, v in zip(volume.origin_nm, voxel, volume.voxel_nm, strict=True)
        )
        # Nobody asked for these halves, so they are not to be refused.
        chunks, shards = units(shape, voxel, halves, volume.version.zarr_format, exact=False)
        found.append(
            replace(
                volume,
                path=str(level),
                shape=shape,
                voxel_nm=voxel,
                origin_nm=cast(Nm, origin),
                chunks=volume.chunks if level == 0 else chunks,
                shards=volume.shards if level == 0 else shards,
                level=level,
                reduction=factor,
                region=volume.region and volume.region.coarser(factor),
            )
        )
    return tuple(found)
