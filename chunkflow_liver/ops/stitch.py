"""Instances of any function that finds objects in an array, over a volume that fits no memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Zyx, voxels, zyx
from chunkflow_liver.ops.blockwise import Instances, Rules, stitched
from chunkflow_liver.ops.place import PathLike
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

WORKING = 64.0


def stitch(
    source: Volume | Sequence[Volume],
    function: Callable[..., Array],
    *,
    halo_nm: float,
    name: str,
    work: PathLike,
    params: Mapping[str, Any] | None = None,
    block: Zyx | None = None,
    into: PathLike | None = None,
    **joining: Any,
) -> Plan:
    """Plan the instances that `function` finds block by block, joined where blocks overlap.

    Parameters
    ----------
    source : Volume or sequence of Volume
        What the function gets, on the same voxels.
    function : callable
        `function(*arrays, voxel_nm=(z, y, x), **params) -> labels`: objects of one block with its halo as
        integers of any dtype, 0 is background; the same array must give the same labels. A function of an
        importable module: a worker finds it by its name.
    halo_nm : float
        How far beyond its block the function sees, in nm. Two blocks are compared in the inner half; the
        outer half is context, because a function errs where an object is cut.
    name : str
        Name of the label image.
    work : path
        Work folder.
    params : mapping, optional
        Plain values for the function. The run is done again if they change, not if the code of the
        function does.
    block : Zyx, optional
        Voxels per block; the write unit of the output by default.
    into : path or URL, optional
        Image group whose `labels` the result joins; the work folder's by default.
    **joining
        `link` ('overlap', the only one: components that touch are `label`'s), `iou` (0.1), `iomin` (0.3),
        `branches` (False), `min_volume_um3` (0), `working` (bytes per voxel that the function needs, 64),
        `dtype` of the ids ('uint32' unless more objects than it counts could lie in the volume, or 'uint64').
        Two objects that fit each other best are joined if shared voxels reach `iou` of their union and
        `iomin` of the smaller one. Two objects of one block are never joined; with `branches` only those
        that touch each other are kept apart, so that a branch follows its stem in the next block.

    Returns
    -------
    Plan
        Its `output` is the label volume, ids 1..n in the raster order of first voxels. The table
        `<name>-seams` has one row per two neighbouring blocks: how many objects were matched and not.

    Raises
    ------
    ConfigError, InputError
        If function, halo or limits cannot be used, or sources differ in shape.
    """
    sources = (source,) if isinstance(source, Volume) else tuple(source)
    if not sources:
        raise ConfigError("nothing to stitch: give one volume or more")
    link: Literal["overlap"] = joining.pop("link", "overlap")
    if link != "overlap":
        raise ConfigError(
            f"link {link!r} does not exist here: independent objects of blocks are joined by 'overlap'; "
            "connected components that touch are joined by label()"
        )
    module, place = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not callable(function) or module is None or "<" in place or not place:
        raise ConfigError(
            f"{function!r} has no name that a worker could import: give a function of a module, and what it "
            "needs as params"
        )
    if not (math.isfinite(halo_nm) and halo_nm > 0):
        raise ConfigError(f"halo_nm must be above 0, or blocks have nothing in common, got {halo_nm!r}")
    for other in sources[1:]:
        if other.shape != sources[0].shape:
            raise InputError(
                f"{sources[0].url} has {sources[0].shape} voxels and {other.url} {other.shape}: "
                "choose levels that match"
            )
    working = float(joining.pop("working", WORKING))
    if not working >= 0:
        raise ConfigError(f"working is bytes per voxel, 0 or more, got {working:g}")
    unknown = sorted(set(joining) - set(Rules.__dataclass_fields__))
    if unknown:
        raise ConfigError(
            f"no options {unknown}; there are {sorted(Rules.__dataclass_fields__)} and link, working"
        )
    like = sources[0]
    halo = voxels(halo_nm, like.voxel_nm)
    reach = zyx([-(-n // 2) for n in halo])
    found = Instances(function, dict(params or {}), ((name, 1),), halo, reach, working)
    rules = Rules(**joining)
    return stitched(sources, found, rules, like=like, name=name, work=work, block=block, into=into)
