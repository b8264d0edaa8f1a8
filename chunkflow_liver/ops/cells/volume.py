"""Cells in 3D from the boundary alone: tile by tile, joined where tiles overlap."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Nm, Zyx, voxels, zyx
from chunkflow_liver.kernels.instances.touching.watershed import Necks
from chunkflow_liver.kernels.tissue.fragments import boundary_cells, library
from chunkflow_liver.kernels.tissue.planes import Cutting
from chunkflow_liver.ops.steps.blockwise import Instances, stitched
from chunkflow_liver.ops.steps.place import PathLike, same_voxels
from chunkflow_liver.ops.steps.seams.links import Rules
from chunkflow_liver.store.planes.inside import Inside
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

WORKING = 130.0
RULES = ("iou", "iomin", "branches", "min_volume_um3", "dtype")


@dataclass(frozen=True)
class Uniting:
    """How cells are found in 3D.

    Attributes
    ----------
    threshold : float
        Interior and boundary are where their maps reach this share of their range (1, or 255 of uint8).
    depth_nm, cap_nm : float
        Of seeds, as for `split`.
    merge : float
        Fragments are one where the mean score between them is below this.
    halo_nm : float, optional
        What a tile sees around itself; four times `cap_nm` by default.
    tile : tuple of int
        Voxels along (z, y, x) that are looked at in one piece, besides the halo. Memory is bounded by it, and
        cells at its faces depend on it, but not on `block`.
    """

    threshold: float = Cutting.threshold
    depth_nm: float = 40.0
    cap_nm: float = 400.0
    merge: float = 0.5
    halo_nm: float | None = None
    tile: Zyx = (128, 128, 128)

    def __post_init__(self) -> None:
        for what in ("threshold", "merge"):
            if not 0 < getattr(self, what) <= 1:
                raise ConfigError(f"{what} is a share above 0 and up to 1, got {getattr(self, what)!r}")
        depth, cap = self.depth_nm, self.cap_nm
        if not (0 < depth < np.inf and 0 < cap < np.inf):
            raise ConfigError(f"depth_nm and cap_nm must be above 0, got {depth:g} and {cap:g}")
        if not self.reach_nm >= cap:
            raise ConfigError(
                f"halo_nm {self.reach_nm:g} is less than cap_nm {cap:g}, which seeds see; give more"
            )
        if len(self.tile) != 3 or any(n < 1 or n % 16 for n in self.tile):
            raise ConfigError(f"tile is three multiples of 16 voxels (z, y, x), got {self.tile!r}")

    @property
    def reach_nm(self) -> float:
        """What a tile sees around itself."""
        return 4 * self.cap_nm if self.halo_nm is None else self.halo_nm


UNITING = tuple(f.name for f in fields(Uniting))
JOINING = ("classes", *UNITING, *RULES)


def volume_cells(
    interior: Volume,
    boundary: Volume | None,
    *,
    name: str,
    work: PathLike,
    block: Zyx | None,
    into: PathLike | None,
    options: dict[str, Any],
) -> Plan:
    """Plan cells in 3D; see `cells`."""
    if boundary is None or boundary.kind == "label":
        raise ConfigError("mode 'volume' needs the boundary, as an image of scores")
    if boundary.dtype == "bool":
        raise ConfigError(f"{boundary.url} holds bool voxels; mode 'volume' needs scores, which have ridges")
    # Of scores, the range of what the type holds: others are refused.
    scale = Inside.of(boundary, 1.0).least
    same_voxels(interior, boundary, "cells need interior and boundary on the same voxels")
    unknown = sorted(options.keys() - set(JOINING))
    if unknown:
        raise ConfigError(f"no options {unknown} in mode 'volume'; there are {list(JOINING)}")
    library()
    uniting = Uniting(**{k: options[k] for k in UNITING if k in options})
    halo = voxels(uniting.reach_nm, interior.voxel_nm)
    classes = options.get("classes", ())
    how = {
        "inside": Inside.of(
            interior, uniting.threshold, [classes] if isinstance(classes, str | int) else classes
        ),
        "scale": scale,
        "threshold": uniting.threshold,
        # Fragments are united by score: those of gentle necks have to be apart first.
        "seeds": Necks(depth_nm=uniting.depth_nm, cap_nm=uniting.cap_nm, steepness=0.0),
        "merge": uniting.merge,
    }
    found = Instances(_tile, how, ((name, 1),), halo, zyx([-(-n // 2) for n in halo]), WORKING)
    rules = Rules(**{k: options[k] for k in RULES if k in options})
    return stitched(
        (interior, boundary),
        found,
        rules,
        like=interior,
        name=name,
        work=work,
        block=block,
        into=into,
        tile=uniting.tile,
    )


def _tile(
    interior: Array,
    boundary: Array,
    *,
    voxel_nm: Nm,
    inside: Inside,
    scale: float,
    threshold: float,
    seeds: Necks,
    merge: float,
) -> Array:
    wall = np.asarray(boundary, np.float32) / np.float32(scale)
    return boundary_cells(
        inside(interior), wall, voxel_nm=voxel_nm, threshold=threshold, seeds=seeds, merge=merge
    )
