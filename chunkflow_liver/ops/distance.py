"""The distance map: nm from every voxel to a class, exact up to a cap and flagged where it is not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.pyramid import pyramid
from chunkflow_liver.engine.stage import Map, Result
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Block, BlockGrid, Nm, Zyx, voxels
from chunkflow_liver.kernels.distance import distance_nm, exact_nm
from chunkflow_liver.ops.place import (
    PathLike,
    checked_labels,
    image_url,
    label_format,
    label_url,
    work_folder,
)
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array


def distance(
    labels: Volume,
    *,
    to: str | int,
    cap_nm: float,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
    into: PathLike | None = None,
) -> Plan:
    """Plan the distance of every voxel to class `to`, exact up to `cap_nm` nm.

    Parameters
    ----------
    labels : Volume
        Classes (or instance ids).
    to : str or int
        Class name or number that distances are measured to.
    cap_nm : float
        Largest distance wanted, in nm; it is also the halo of the blocks, so cost grows with it.
    name : str
        Name of the distance image; the flags are the label image `<name>-exact`.
    work : path
        Work folder.
    block : Zyx, optional
        Voxels per block; the write unit of the output by default.
    into : path or URL, optional
        Image group whose `labels` the flags join.

    Returns
    -------
    Plan
        Its `output` is a float32 volume: distance in nm between voxel centres, 0 inside the class,
        +inf beyond the cap. The flags are 1 where nothing outside the volume could make the distance
        smaller, else 0.

    Raises
    ------
    ConfigError, InputError
        If the cap is not above 0, the class does not exist or the volume holds no labels.
    """
    if not (math.isfinite(cap_nm) and cap_nm > 0):
        raise ConfigError(f"cap_nm must be above 0, got {cap_nm!r}")
    checked_labels(labels, "classes and instances")
    number = labels.class_number(to)
    output = labels.like(image_url(work, name), dtype="float32", kind="image", block=block)
    flags = labels.like(
        label_url(work, f"{name}-exact", into),
        dtype="uint8",
        kind="label",
        block=block,
        classes=(("exact", 1),),
        zarr_format=label_format(into),
    )
    output = replace(output, source=None)
    halo = voxels(cap_nm, labels.voxel_nm)
    grid = BlockGrid(output.box, block or output.write_unit, halo, halo)
    stages = (
        Map(
            f"{name}/distance",
            _block,
            grid,
            (labels,),
            (output, flags),
            params={"label": number, "voxel_nm": labels.voxel_nm, "cap_nm": float(cap_nm)},
            working=14.0,
        ),
        *pyramid(output, name),
        *pyramid(flags, f"{name}-exact"),
    )
    about = (("to", to), ("cap_nm", cap_nm))
    products = (
        Product("distance", name, output, about),
        Product("exact", f"{name}-exact", flags, (("of", name),)),
    )
    return Plan(stages, work_folder(work), output, products)


def _block(block: Block, labels: Array, *, label: int, voxel_nm: Nm, cap_nm: float) -> Result:
    distance = distance_nm(labels == label, voxel_nm, cap_nm)[block.trim]
    exact = exact_nm(distance, block.write, block.volume, voxel_nm, cap_nm)
    return Result((distance, exact.astype(np.uint8)))
