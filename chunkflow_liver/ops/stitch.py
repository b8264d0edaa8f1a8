"""Instances of blocks, of any function or found elsewhere, over a volume that fits no memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Zyx, voxels, zyx
from chunkflow_liver.ops.steps.blockwise import Instances, stitched
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import PathLike, checked_labels, same_voxels
from chunkflow_liver.ops.steps.seams.links import Rules
from chunkflow_liver.ops.steps.stored_blocks import as_stored, stored_blocks
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

WORKING = 64.0


@operation
def stitch(
    source: Volume | Sequence[Volume] | Mapping[Zyx, Volume],
    function: Callable[..., Array] | None = None,
    *,
    halo_nm: float | None = None,
    name: str,
    work: PathLike,
    params: Mapping[str, Any] | None = None,
    block: Zyx | None = None,
    into: PathLike | None = None,
    **joining: Any,
) -> Plan:
    """Plan the instances of blocks as instances of the volume, joined over the seams.

    Parameters
    ----------
    source : Volume, sequence of Volume, or mapping of Zyx to Volume
        What the function gets, on the same voxels. Without a function: labels that were found block by
        block, with ids that need not differ between blocks. Either one volume of all blocks, or an image
        per block that has all voxels which the block saw, under the place (z, y, x) of its first voxel:
        blocks with a halo of the same number of voxels to all sides where the volume goes on.
    function : callable, optional
        `function(*arrays, voxel_nm=(z, y, x), **params) -> labels`: objects of one block with its halo as
        integers of any dtype, 0 is background; the same array must give the same labels. A function of an
        importable module: a worker finds it by its name.
    halo_nm : float
        How far beyond its block the function sees, in nm. Two blocks are compared in the inner half; the
        outer half is context, because a function errs where an object is cut. Not without a function.
    name : str
        Name of the label image.
    {work}
    params : mapping, optional
        Plain values for the function. A run that was begun with others, or with other code of the function
        or of what it uses from its own folder or package, is not resumed.
    block : Zyx, optional
        Voxels per block; the write unit of the output by default. Without a function: the blocks, counted
        from voxel 0, that were labelled each by itself.
    {into}
    **joining
        `link`: 'overlap' with a function or images of blocks, the objects of two blocks are compared in the
        voxels that both saw; 'touch' in one volume of labels, they are compared in the two planes of voxels
        on either side of a face, laid on one another. (Components of classes that touch are `label`'s.)
        `iou` (0.1), `iomin` (0.3), `branches` (False), `min_volume_um3` (0), `working` (bytes per voxel
        that the function needs, 64), `dtype` of the ids ('uint32' unless more objects than it counts could
        lie in the volume, or 'uint64').
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
        If function, halo or limits cannot be used, sources do not lie on the same voxels, or labels are none.

    Notes
    -----
    Blocks that share no voxels say less: two cells whose wall happens to lie in the face between their
    blocks look like one, and an object that is thin and oblique may touch nothing of itself. Label blocks
    with a halo where that can be had.
    """
    stored = isinstance(source, Mapping)
    given = list(source.values()) if isinstance(source, Mapping) else source
    sources = (given,) if isinstance(given, Volume) else tuple(given)
    if not sources:
        raise ConfigError("nothing to stitch: give one volume or more")
    working = float(joining.pop("working", WORKING))
    if not working >= 0:
        raise ConfigError(f"working is bytes per voxel, 0 or more, got {working:g}")
    _check_link(joining.pop("link", None), "touch" if function is None and not stored else "overlap")
    for other in sources[1:]:
        if not stored:
            same_voxels(sources[0], other, "a function needs all on the same voxels")
    unknown = sorted(set(joining) - set(Rules.__dataclass_fields__))
    if unknown:
        raise ConfigError(
            f"no options {unknown}; there are {sorted(Rules.__dataclass_fields__)} and link, working"
        )
    classes = ((name, 1),)
    rules = Rules(**joining)
    at: dict[str, Any] = {"name": name, "work": work, "into": into}
    if function is None:
        _check_given(1 if stored else len(sources), sources[0], halo_nm, params, block)
    if isinstance(source, Mapping):
        if function is not None or block is None:
            raise ConfigError("images of blocks hold what a function would find; leave the function out")
        blocks, like = stored_blocks(source, block)
        reach = zyx([-(-n // 2) for n in blocks.halo])
        found = Instances(as_stored, {}, classes, blocks.halo, reach, 0.0)
        return stitched((blocks,), found, rules, like=like, block=block, **at)
    if function is None:
        sources = (checked_labels(sources[0], "labels of blocks"),)
        found = Instances(None, {}, classes, (0, 0, 0), None, 0.0)
    else:
        _check_function(function, halo_nm)
        halo = voxels(halo_nm or 0.0, sources[0].voxel_nm)
        reach = zyx([-(-n // 2) for n in halo])
        found = Instances(function, dict(params or {}), classes, halo, reach, working)
    return stitched(sources, found, rules, like=sources[0], block=block, **at)


def _check_link(link: str | None, wanted: str) -> None:
    if link in (None, wanted):
        return
    if wanted == "touch":
        raise ConfigError(
            f"link {link!r} needs voxels that two blocks saw, and one volume of labels has none: leave it "
            "out to join blocks where their faces touch, or give the function that labels a block, or "
            "an image per block"
        )
    raise ConfigError(
        f"link {link!r} does not exist here: independent objects of blocks are joined by 'overlap'; "
        "connected components that touch are joined by label()"
    )


def _check_function(function: Callable[..., Array], halo_nm: float | None) -> None:
    module, place = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not callable(function) or module is None or "<" in place or not place:
        raise ConfigError(
            f"{function!r} has no name that a worker could import: give a function of a module, and what it "
            "needs as params"
        )
    if halo_nm is None or not (math.isfinite(halo_nm) and halo_nm > 0):
        raise ConfigError(f"halo_nm must be above 0, or blocks have nothing in common, got {halo_nm!r}")


def _check_given(
    count: int, source: Volume, halo_nm: float | None, params: Mapping[str, Any] | None, block: Zyx | None
) -> None:
    if count > 1:
        raise ConfigError(
            f"{count} volumes and no function: labels of blocks are one volume; give it alone, or the "
            "function that labels a block, or images of blocks under their places"
        )
    given = {"halo_nm": halo_nm, "params": params}
    unused = sorted(k for k, v in given.items() if v is not None)
    if unused:
        raise ConfigError(f"{unused} are for a function, and there is none: give it, or leave them out")
    if block is None:
        raise ConfigError(
            f"which blocks of {source.url} were labelled each by itself? Give their size as block"
        )
