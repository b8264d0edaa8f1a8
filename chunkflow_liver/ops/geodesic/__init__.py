"""Distances along the tissue: shortest paths that stay in a class, or each in its own instance.

One task goes through blocks in the order in which paths reach them, and again through those that a neighbour
made shorter, until no step anywhere shortens a path. Lengths so far lie on disk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.pyramid import pyramid
from chunkflow_liver.engine.stage import Map
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import BlockGrid, Zyx, voxels
from chunkflow_liver.kernels.distance.geodesic import steps_of
from chunkflow_liver.ops.geodesic.solving import Target, block_bytes, blocks_of, solved
from chunkflow_liver.ops.steps.far.unknown import away_stages
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    checked_labels,
    class_list,
    image_url,
    known_as,
    known_in_all,
    label_url,
    label_version,
    same_voxels,
    work_folder,
)
from chunkflow_liver.store.volume import Volume


@operation
def geodesic(
    labels: Volume,
    target: Volume | None = None,
    *,
    to: str | int,
    inside: str | int | Sequence[str | int] | None = None,
    gap_nm: float = 0.0,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
    into: PathLike | None = None,
) -> Plan:
    """Plan the length of the shortest path from every voxel to class `to` that does not leave its region.

    Parameters
    ----------
    labels : Volume
        Instances, of which each is a region by itself: paths stay in one cell, and begin where that cell
        meets the class; or classes, with `inside`.
    target : Volume, optional
        Classes on the same voxels, where `to` is; `labels` by default.
    to : str or int
        Class name or number that distances are measured to.
    inside : str, int or sequence of those, optional
        Classes of `labels` that together are the region.
    gap_nm : float
        Paths also begin straight across this, between centres, so that a membrane which is of neither does
        not part them.
    name : str
        Name of the image of lengths; `<name>-exact` is the label image of their flags.
    {work}
    {block}
    into : path or URL, optional
        Image group whose `labels` the flags join.

    Returns
    -------
    Plan
        Its `output` is a float32 volume: length in nm between voxel centres, 0 in the class, infinite outside
        all regions and where no path leads. The flags are 1 where nothing outside the volume, or
        unknown in it, could make the path shorter, else 0: where the path is no longer than the straight
        line to there.

    Raises
    ------
    ConfigError, InputError
        If a class does not exist, is both within and the goal, the gap is negative, or the volumes hold no
        labels or do not lie on the same voxels.

    Notes
    -----
    Paths are made of steps to 98 neighbours (`kernels.distance.geodesic`): with cubic voxels a free path is
    up to 4.9 % longer than straight, never shorter; the plan states it for the voxels of the image. Choose
    a level whose voxels are about as long as wide. The answer is the same bytes for any block.
    """
    if not (math.isfinite(gap_nm) and gap_nm >= 0):
        raise ConfigError(f"gap_nm must be 0 or more, got {gap_nm!r}")
    labels = checked_labels(labels, "classes and instances")
    goal = labels if target is None else checked_labels(target, "classes")
    same_voxels(labels, goal, "paths need both on the same voxels")
    number = goal.class_number(to)
    within = None if inside is None else tuple(labels.class_number(c) for c in class_list(inside))
    if target is None and within is None:
        raise ConfigError(
            "say in which classes paths stay ('inside'), or give instances and, as target, the classes"
        )
    if within is not None and (not within or 0 in within or (goal == labels and number in within)):
        raise ConfigError(
            f"inside must be classes above 0 other than the one that paths lead to, got {within} and {number}"
        )
    steps = steps_of(labels.voxel_nm)
    known = known_in_all(labels, goal)
    output = labels.like(image_url(work, name), dtype="float32", kind="image", block=block)
    output = known_as(replace(output, source=None), known)
    flags = output.like(
        label_url(work, f"{name}-exact", into),
        dtype="uint8",
        kind="label",
        block=block,
        classes=(("exact", 1),),
        ome_version=label_version(into),
    )
    cut = blocks_of(labels, block or output.write_unit)
    gap = voxels(gap_nm, labels.voxel_nm) if gap_nm else (0, 0, 0)
    params: dict[str, Any] = {
        "cut": cut.block,
        "target": Target(number, within, float(gap_nm)),
        "voxel_nm": labels.voxel_nm,
        "known": known,
    }
    beyond, away = away_stages(known, labels, name, work, block or output.write_unit)
    one = (labels.url, labels.path) == (goal.url, goal.path)
    percent = 100 * (steps.longest - 1)
    stage = Map(
        f"{name}/paths",
        solved,
        BlockGrid(labels.box, labels.shape),
        ((labels,) if one else (labels, goal)) + away,
        (output, flags),
        params=params | {"scratch": str(work_folder(work))},
        identity=params,
        resident=block_bytes(cut, gap, labels.itemsize + goal.itemsize + 4 * len(away)),
        streams=True,
        notes=(
            f"one task; up to {4 * labels.box.size / 2**30:.1f} GiB of lengths in the work folder "
            f"meanwhile; a free path is up to {percent:.1f} % longer than straight",
        ),
    )
    about = {"to": to, "inside": labels.name if inside is None else inside, "along": True}
    stages = (*beyond, stage, *pyramid(output, output.name), *pyramid(flags, flags.name))
    products = (
        Product("distance", name, output, tuple(about.items())),
        Product("exact", flags.name, flags, (("of", name),)),
    )
    return Plan(stages, work_folder(work), output, products)
