"""Thin pieces of cells, which slices show apart from their cell, followed through slices to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.pyramid import pyramid
from chunkflow_liver.engine.stage import Fold, Map, Stage
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import NM_PER_UM, Zyx
from chunkflow_liver.kernels.tissue.flow import opencv
from chunkflow_liver.ops.protrusions.pieces import Sizes, apply, look
from chunkflow_liver.ops.protrusions.tables import attachments, conflicts, decide
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    SLICES,
    PathLike,
    arrays_at,
    checked_labels,
    label_url,
    label_version,
    refuse_part,
    same_voxels,
    table_at,
    work_folder,
)
from chunkflow_liver.store.planes.inside import Inside
from chunkflow_liver.store.planes.whole import plane_bytes, plane_grid, plane_units
from chunkflow_liver.store.volume import Volume

PIXEL_BYTES = 130
"""Memory for a pixel of a slice while its pieces are followed; seen: 50-110."""
TABLES = (("attachments", attachments), ("conflicts", conflicts))


@operation
def protrusions(  # noqa: PLR0913
    cells: Volume,
    interior: Volume,
    *,
    classes: str | int | Sequence[str | int] = (),
    threshold: float = 0.5,
    min_area_um2: float = 0.0,
    max_area_um2: float = 1.0,
    window_nm: float = 0.0,
    gap: int = 1,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
    into: PathLike | None = None,
) -> Plan:
    """Plan cells with their protrusions: pieces of the interior that no cell has, each joined to its cell.

    Parameters
    ----------
    cells : Volume
        Label image of cells, as `cells` makes it.
    interior : Volume
        The interior that they were made of, on the same voxels: probabilities, or labels with `classes`.
    classes : str, int, or sequence of these
        Classes of an interior of labels; all but 0 by default.
    threshold : float
        Share of the range of probabilities from which on a voxel is inside.
    min_area_um2, max_area_um2 : float
        Pieces of a slice between these areas are looked at; smaller ones are noise, larger ones are no
        protrusions. Larger ones are listed.
    window_nm : float
        A piece that overlaps nothing in the slices on one side is linked to the nearest piece or cell there
        if it lies within this distance in the plane (per slice, over missing ones); 0 for never.
    gap : int
        Most slices that may be missing between two parts of a protrusion.
    name : str
        Name of the label image and, with '-attachments' and '-conflicts', of tables.
    {work}
    {slices}
    {into}

    Returns
    -------
    Plan
        Its `output` is the label volume: `cells`, and every attached piece with the id of its cell.
        `<name>-attachments` has a row per piece: its cell (0: none), the chain it belongs to, its area,
        the weakest overlap on the way to the cell, and the reason. `<name>-conflicts` has a row per overlap,
        or link to the nearest, of pieces that two cells claim: both are kept apart there, and the stronger
        chain decides.

    Raises
    ------
    ConfigError, InputError
        If options cannot be used, the volumes do not lie on the same voxels, or OpenCV is not installed.

    Notes
    -----
    Two parts overlap as strongly as the smaller one is covered by both. Overlaps to the next slice come
    first, then those over missing slices, then nearness. Memory grows with one slice, and by some 200 bytes
    per piece of a slice where the plan runs.
    """
    opencv()
    cells = checked_labels(cells, "cells")
    refuse_part("protrusions", SLICES, cells, interior)
    same_voxels(cells, interior, "protrusions are pieces of the interior beside the cells")
    least, most = _pixels(cells, min_area_um2), _pixels(cells, max_area_um2)
    if not 0 < max_area_um2 < math.inf or min_area_um2 > max_area_um2:
        raise ConfigError(
            f"pieces have areas from 0 or more up to more, got {min_area_um2:g} to {max_area_um2:g} um2"
        )
    if not (math.isfinite(window_nm) and window_nm >= 0):
        raise ConfigError(f"window_nm must be 0 or more, got {window_nm!r}")
    if gap < 0:
        raise ConfigError(f"gap is a number of slices, 0 or more, got {gap!r}")
    if not 0 < threshold <= 1:
        raise ConfigError(f"threshold is a share above 0 and up to 1, got {threshold!r}")
    inside = Inside.of(interior, threshold, [classes] if isinstance(classes, str | int) else classes)
    output = plane_units(
        cells.like(
            label_url(work, name, into), dtype=_wide(cells), kind="label", ome_version=label_version(into)
        ),
        block,
    )
    sizes = Sizes(least, most, math.floor(window_nm / cells.voxel_nm[1]), gap)
    decided = arrays_at(work, name, "decided")
    resident = plane_bytes(cells, interior) + math.prod(cells.shape[1:]) * (PIXEL_BYTES + 24 * gap)
    shared: dict[str, Any] = {"inside": inside, "sizes": sizes}
    told = {
        "operation": "protrusions",
        "min_area_um2": min_area_um2,
        "max_area_um2": max_area_um2,
        "window_nm": window_nm,
        "gap": gap,
    }
    looked = Map(
        f"{name}/pieces",
        look,
        plane_grid(output),
        (cells, interior),
        params=shared,
        resident=resident,
        streams=True,
    )
    scale = {"area_um2": cells.voxel_nm[1] * cells.voxel_nm[2] / NM_PER_UM**2, "voxel_nm": cells.voxel_nm}
    stages: tuple[Stage, ...] = (
        looked,
        Fold(f"{name}/decided", decide, looked.name, decided),
        *(
            Fold(
                f"{name}/{what}",
                function,
                looked.name,
                table_at(work, f"{name}-{what}"),
                params=scale,
                artefacts={"decided": decided},
                provenance=told,
            )
            for what, function in TABLES
        ),
        Map(
            f"{name}/apply",
            apply,
            plane_grid(output),
            (cells, interior),
            (output,),
            params=shared,
            artefacts={"decided": decided},
            resident=resident + math.prod(output.write_unit) * output.itemsize,
            streams=True,
        ),
        *pyramid(output, name),
    )
    about = (("cells", cells.name), ("gap", gap))
    products = (
        Product("instances", name, output, about),
        *(
            Product(
                "cells table",
                f"{name}-{what}",
                table_at(work, f"{name}-{what}"),
                (("instances", name), ("rows", what), ("cells", cells.name)),
            )
            for what, _ in TABLES
        ),
    )
    return Plan(stages, work_folder(work), output, products)


def _pixels(volume: Volume, area_um2: float) -> int:
    if not (math.isfinite(area_um2) and area_um2 >= 0):
        raise ConfigError(f"an area must be 0 or more, got {area_um2!r} um2")
    _, high, wide = volume.voxel_nm
    if abs(high - wide) > 0.01 * wide:
        raise InputError(
            f"{volume.url} has pixels of {high} x {wide} nm; protrusions need square ones: resample it"
        )
    return math.ceil(round(area_um2 * NM_PER_UM**2 / (high * wide), 9))


def _wide(cells: Volume) -> str:
    return "uint64" if cells.itemsize == 8 else "uint32"
