"""What depth and steepness of necks do to a box: how many objects there are at each, and what is cut."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.engine.stage import Map
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Box, Nm
from chunkflow_liver.kernels.instances.touching.depths import Found, count_objects, suggested_depth
from chunkflow_liver.kernels.instances.touching.watershed import Necks, domain_of, split_block
from chunkflow_liver.ops.steps.whole_box import check_fits
from chunkflow_liver.xp import Array

STEEPNESSES = (0.0, 0.3, 0.45, 0.6, 0.75)
MANY = 40
"""Depths that are tried, from a quarter of a voxel to the half-width where all is equally wide."""
WORKING = 160.0
"""Bytes per voxel of the box: what a block needs, and the labels at every steepness."""


@dataclass(frozen=True, eq=False)
class Depths:
    """What `split` would do to a box, by depth and by steepness.

    Attributes
    ----------
    box : Box
    voxel_nm : Nm
    necks : Necks
        As the plan has them.
    depth_nm, objects : ndarray of shape (D,)
        Number of objects at each depth, at the plan's steepness.
    steepness, objects_steep : ndarray of shape (S,)
        The same at each steepness, at the plan's depth; empty where necks are cut by area (`contact`).
    suggested_nm : tuple of float, or None
        The longest range of depths that changes nothing, if the last is twice the first or more.
    place_nm : ndarray of shape (n, 3), float64
        Of every neck that is cut at any of these: its place (z, y, x), from the box's first corner.
    half_nm, deepest_nm, steepest : ndarray of shape (n,), float64
        Half-width there; the largest depth, and steepness, of those tried at which it is cut, or -1.
    labels : dict of float to ndarray of shape (Z, Y, X), uint32
        The objects at each steepness, and at the plan's own.
    """

    box: Box
    voxel_nm: Nm
    necks: Necks
    depth_nm: Array
    objects: Array
    steepness: Array
    objects_steep: Array
    suggested_nm: tuple[float, float] | None
    place_nm: Array
    half_nm: Array
    deepest_nm: Array
    steepest: Array
    labels: dict[float, Array]

    @property
    def depth_suggested_nm(self) -> float | None:
        """The middle of the suggested range, on a logarithmic scale."""
        return None if self.suggested_nm is None else float(np.sqrt(np.prod(self.suggested_nm)))


def depths(plan: Plan, box: Box, *, name: str) -> Depths:
    """How many objects a box holds at each `depth_nm` and `steepness` of `split`, and which necks are cut.

    Parameters
    ----------
    plan : Plan
        A plan with `split` in mode 'volume'; it need not have run.
    box : Box
        Voxels that are looked at, as if there were no others; they must fit in memory.
    name : str
        Name of the instances.

    Returns
    -------
    Depths
        `reports.necks.necks_report` draws it.

    Raises
    ------
    ConfigError
        If the plan does not find such instances so, or the box cannot be used.
    MemoryBudgetError
        If the box does not fit in memory.
    """
    stage = next((s for s in plan.stages if s.name == f"{name}/blocks"), None)
    how = stage.params if isinstance(stage, Map) else {}
    if not isinstance(stage, Map) or how.get("function") is not split_block:
        raise ConfigError(
            f"the plan finds no instances {name!r} with split on one level: give the name of such an entry"
        )
    given: dict[str, Any] = dict(how["params"])
    necks: Necks = given["necks"]
    if given["slices"] is not None:
        raise ConfigError(f"{name!r} takes slices apart one by one; depths are looked at in mode 'volume'")
    whole = stage.grid.box
    if box.size <= 0 or not whole.contains(box):
        raise ConfigError(f"the box {box} is not inside the {whole.shape} voxels of {name!r}")
    check_fits(stage, box, WORKING)
    semantic, *boundary = (source.read(box) for source in stage.inputs)
    hidden = how["known"].hidden(box)
    size: Nm = given["voxel_nm"]
    tried = np.geomspace(min(size) / 4, necks.cap_nm, MANY)
    steep = sorted({*STEEPNESSES, necks.steepness}) if not necks.contact else [necks.steepness]
    found: list[Found] = []
    labels = {s: np.zeros(box.shape, np.uint32) for s in steep}
    for number in given["classes"]:
        mask, flooded, outside = domain_of(
            semantic, number, voxel_nm=size, necks=necks, walls=given["walls"], hidden=hidden
        )
        part = count_objects(
            flooded,
            voxel_nm=size,
            necks=necks,
            depths_nm=tried.tolist(),
            steepnesses=steep,
            outside=outside,
            boundary=boundary[0] if boundary else None,
            hidden=hidden,
        )
        found.append(part)
        for s, members in part.members.items():
            objects = np.where(mask, members[part.basins.label], 0)
            labels[s] = np.where(objects > 0, objects + labels[s].max(), labels[s])
        found[-1] = replace(part, members={})
    by_depth = np.sum([f.by_depth for f in found], axis=0)
    by_steepness = np.sum([f.by_steepness for f in found], axis=0)
    pitch = float(np.prod(size)) ** (1 / 3)
    return Depths(
        box,
        size,
        necks,
        tried,
        by_depth,
        np.array([] if necks.contact else steep),
        by_steepness[:0] if necks.contact else by_steepness,
        suggested_depth(tried, by_depth, pitch),
        np.concatenate([f.place_nm for f in found]),
        np.concatenate([f.half_nm for f in found]),
        np.concatenate([f.deepest_nm for f in found]),
        np.concatenate([f.steepest for f in found]),
        labels,
    )
