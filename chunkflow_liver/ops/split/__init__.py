"""Touching objects of a class become instances: a watershed per block, joined where blocks overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.errors import ConfigError, GridError, InputError
from chunkflow_liver.geometry import Box, Zyx, voxels, zyx
from chunkflow_liver.kernels.instances.slice_links import Rule
from chunkflow_liver.kernels.instances.touching.watershed import Necks, split_block, split_seeded
from chunkflow_liver.ops.steps.blockwise import Instances, stitched
from chunkflow_liver.ops.steps.levels import Repeated, coarser_level, factor_between
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import PathLike, checked_labels, class_list, same_voxels
from chunkflow_liver.ops.steps.seams.links import Rules
from chunkflow_liver.store.volume import Volume

WORKING = 110.0
LINKS = Rule(iou=0.1, share=0.9, distance_nm=0.0, gap=0)
"""How the objects of slices are linked; over no gap, because a block would have to see it."""
OTHERS = ("halo_nm", "block", "into", "seeds_from")
JOINING = ("iou", "iomin", "branches", "min_volume_um3", "dtype")


@operation
def split(
    semantic: Volume,
    *,
    classes: str | int | Sequence[str | int],
    depth_nm: float,
    cap_nm: float,
    boundary: Volume | str | int | None = None,
    mode: Literal["volume", "slices"] = "volume",
    name: str,
    work: PathLike,
    **options: Any,
) -> Plan:
    """Plan the objects of classes, cut at necks: thin against both sides, and widening at once on both.

    Parameters
    ----------
    semantic : Volume
        Class of every voxel, 0 is background.
    classes : str, int, or sequence of these
        Classes to take apart, each on its own.
    depth_nm : float
        How much thinner a neck must be, in nm: half the width of either body less half the width of the
        neck. Noise of the outline, a voxel or two, must be below it.
    cap_nm : float
        Half the width of the widest neck that is cut, in nm.
    boundary : Volume, str or int, optional
        A volume that is high on the walls between objects (a membrane probability): distances end at its
        walls, and objects meet on their ridges. Or a class of `semantic`: distances are measured to it
        alone, so that other classes inside an object make no neck.
    mode : {'volume', 'slices'}
        'slices' takes every slice (along z) apart by itself and links the objects of slices as `link`
        does: for stacks of slices much thicker than pixels are wide.
    name : str
        Name of the label image.
    {work}
    **options
        `steepness` (0.6): how fast an object must widen from a neck, on both sides, in nm per nm of way;
        less cuts more, 0 cuts by `depth_nm` alone. `contact` (0): 0.5 for small objects a few voxels wide,
        which are then cut where they touch over less than this share of their section. `connectivity` (6):
        26 joins across edges and corners. `wall` (0.5): where a boundary volume is a wall, as a share of
        what its type holds.
        `distance_smooth_nm` (0), `mask_smooth_nm` (0), `opening_nm` (0), `fill_nm` (0): smoothing of
        distances and mask, opening, largest hole that is filled (see `kernels.watershed.Necks`). `halo_nm`:
        how far beyond its block a task sees; by default what distances need and `cap_nm` on top, twice;
        give the length of the largest object to get to the last voxel what one block for everything
        would give. `iou` (0.1), `iomin` (0.3), `branches` (True), `min_volume_um3` (0), `dtype`: as for
        `stitch`. `block`, `into`: as for `label`.

    Returns
    -------
    Plan
        Its `output` is the label volume, ids 1..n in the raster order of first voxels. Every voxel
        of the classes is in an object. The table `<name>-seams` says how well blocks agreed.

    Raises
    ------
    ConfigError, InputError
        If classes, lengths, levels or volumes cannot be used.
    GridError
        If a block cuts through voxels of the level of `seeds_from`.
    """
    classes = class_list(classes)
    semantic = checked_labels(semantic, "classes")
    numbers = sorted({semantic.class_number(c) for c in classes})
    if not (numbers and numbers[0] > 0):
        raise ConfigError(f"classes {list(classes)} are no objects: name one or more, and not 0, background")
    if mode not in ("volume", "slices"):
        raise ConfigError(f"mode must be 'volume' or 'slices', got {mode!r}")
    halo_nm, block, into, level = (options.pop(k, None) for k in OTHERS)
    coarse = None if level is None else _coarse(semantic, level, mode)
    rules = Rules(**{"branches": True} | {k: options.pop(k) for k in JOINING if k in options})
    unknown = sorted(set(options) - set(Necks.__dataclass_fields__))
    if unknown:
        known = sorted({*Necks.__dataclass_fields__, *JOINING, *OTHERS})
        raise ConfigError(f"no options {unknown}; there are {known}")
    necks = Necks(depth_nm=depth_nm, cap_nm=cap_nm, **options)
    _check(necks)
    reach_nm = necks.reach_nm if semantic.mask is None else necks.reach_in_mask_nm
    halo = voxels(2 * (reach_nm + cap_nm) if halo_nm is None else halo_nm, semantic.voxel_nm)
    if any(a < b for a, b in zip(halo, voxels(reach_nm, semantic.voxel_nm), strict=True)):
        raise ConfigError(
            f"halo_nm {halo_nm!r} is less than the {reach_nm:g} nm that distances, smoothing, "
            "opening and holes reach; give more, or smaller lengths"
        )
    if coarse is not None:
        halo = zyx([-(-n // f) * f for n, f in zip(halo, coarse.factor, strict=True)])
    looked_at = semantic.known
    if coarse is not None:
        # Whole coarse voxels.
        part = looked_at.coarser(coarse.factor)
        looked_at = Box(
            *(
                zyx([n * f for n, f in zip(end, coarse.factor, strict=True)])
                for end in (part.start, part.stop)
            )
        )
    names = {n: c for c, n in semantic.classes}
    how: dict[str, Any] = {
        "classes": numbers,
        "necks": necks,
        "walls": _walls(semantic, boundary, numbers),
        "slices": LINKS if mode == "slices" else None,
    }
    found = Instances(
        split_block if coarse is None else split_seeded,
        how if coarse is None else how | {"factor": coarse.factor},
        tuple((names.get(n, str(n)), n) for n in numbers),
        halo,
        zyx([-(-n // 2) for n in halo]),
        WORKING,
        replace(semantic.seen, box=looked_at.clip(semantic.box)),
        sees_hidden=True,
    )
    if isinstance(boundary, Volume):
        same_voxels(semantic, boundary, "split needs the boundary on the same voxels")
    sources = (semantic, coarse, boundary if isinstance(boundary, Volume) else None)
    there = [source for source in sources if source is not None]
    plan = stitched(there, found, rules, like=semantic, name=name, work=work, block=block, into=into)
    if coarse is not None:
        _check_blocks(plan.maps[0].grid.block, coarse)
    return plan


def _check(necks: Necks) -> None:
    for option, value in vars(necks).items():
        above = option in ("depth_nm", "cap_nm", "wall")
        if not (math.isfinite(value) and value >= 0 and not (above and value == 0)):
            raise ConfigError(f"{option} must be {'above 0' if above else '0 or more'}, got {value!r}")
    if necks.connectivity not in (6, 26):
        raise ConfigError(f"connectivity must be 6 or 26, got {necks.connectivity!r}")
    if necks.wall >= 1:
        raise ConfigError(f"wall is a share of what the boundary's type holds, below 1, got {necks.wall!r}")


def _coarse(semantic: Volume, given: Volume | int, mode: str) -> Repeated:
    """The level that seeds are found on, read at the voxels of `semantic`."""
    level = given if isinstance(given, Volume) else coarser_level(semantic, given)
    level = checked_labels(level, "classes")
    factor = factor_between(level, semantic)
    if factor is None or max(factor) == 1:
        raise InputError(
            f"seeds cannot be taken from {level.url} (level {level.level}), {level.shape} voxels of "
            f"{level.voxel_nm} nm: they must be whole multiples of the {semantic.voxel_nm} nm of "
            f"{semantic.url}, over the same {semantic.shape} voxels"
        )
    if mode == "slices" and factor[0] > 1:
        raise ConfigError(
            f"mode 'slices' takes single slices apart, and level {level.level} of {level.url} joins "
            f"{factor[0]} of them; choose a level of the same slices"
        )
    return Repeated(level, factor, semantic.shape)


def _check_blocks(block: Zyx, coarse: Repeated) -> None:
    """Refuse blocks that would each see another part of a coarse voxel."""
    if any(b % f and b < n for b, f, n in zip(block, coarse.factor, coarse.shape, strict=True)):
        raise GridError(
            f"blocks of {block} cut through voxels of the level that seeds are found on, which are "
            f"{coarse.factor} voxels large; use a multiple of that on every axis"
        )


def _walls(semantic: Volume, boundary: Volume | str | int | None, numbers: list[int]) -> int | None:
    """Number of the class that distances are measured to, if it is one."""
    if boundary is None or isinstance(boundary, Volume):
        return None
    number = semantic.class_number(boundary)
    if number in numbers:
        raise ConfigError(f"the boundary {boundary!r} is one of the classes that are taken apart")
    return number
