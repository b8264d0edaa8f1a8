"""Cells of tissue: from an interior, its boundary and some painted slices, or from the boundary alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.pyramid import pyramid
from chunkflow_liver.engine.stage import Fold, Map, Stage, plain
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import NM_PER_UM, BlockGrid, Box, Zyx
from chunkflow_liver.kernels.tissue.flow import Motion, opencv
from chunkflow_liver.kernels.tissue.planes import Cutting
from chunkflow_liver.ops.cells.agreement import compare, scores
from chunkflow_liver.ops.cells.carry import blank_slices, blanks, carry, errors
from chunkflow_liver.ops.cells.identity import apply, cut, identify, meet, table
from chunkflow_liver.ops.cells.painted import choose, look
from chunkflow_liver.ops.cells.setup import Between, Setup
from chunkflow_liver.ops.cells.volume import JOINING, volume_cells
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    SLICES,
    PathLike,
    arrays_at,
    artefact_url,
    checked_labels,
    label_url,
    label_version,
    refuse_part,
    same_voxels,
    table_at,
    work_folder,
)
from chunkflow_liver.store.planes.files import PlaneFiles
from chunkflow_liver.store.planes.inside import Inside
from chunkflow_liver.store.planes.whole import plane_bytes, plane_grid, plane_units, slab_depth
from chunkflow_liver.store.table import Arrays
from chunkflow_liver.store.volume import Volume

PIXEL_BYTES = 160
"""Memory for a pixel of a slice while its cells are found; seen: 60-140."""
SQUARE = 0.01
"""By what share a pixel's sides may differ."""
ROWS = ("errors", "matches", "agreement", "blank")


@operation
def cells(  # noqa: PLR0913
    interior: Volume,
    painted: Volume | None = None,
    *,
    boundary: Volume | None = None,
    raw: Volume | None = None,
    mode: str = "selective",
    slices: Sequence[int] | None = None,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
    into: PathLike | None = None,
    **options: Any,
) -> Plan:
    """Plan the cells of tissue: of every voxel of the interior, which cell it is of.

    Parameters
    ----------
    interior : Volume
        High inside cells (0 to 1, or uint8 of 0 to 255), or a label image that is not 0 there.
    painted : Volume, optional
        Label image on the same voxels, in some slices of which (along z) cells are painted; others are 0.
        Needed for all modes but 'volume'.
    boundary : Volume, optional
        High, or not 0, on the walls between cells; not for 'mask'.
    raw : Volume, optional
        Image whose motion carries the painted cells; needed by 'contours', 'selective' and 'recursive'.
    mode : {'selective', 'contours', 'recursive', 'boundary', 'mask', 'volume'}
        What cells are parted by, slice by slice: see `kernels.tissue.planes.Cutting`. 'volume' works in 3D,
        with the boundary alone: fragments between ridges of the boundary are united where it is low.
    slices : sequence of int, optional
        Painted slices that are used; all by default. The others are held out, and compared with the result.
    name : str
        Name of the label image and, with '-errors', '-matches', '-agreement' ('-seams'), of tables.
    {work}
    {block}
    {into}
    **options
        Fields of `Cutting`, of `kernels.tissue.flow.Motion` and of `ops.cells.setup.Between`, where their
        defaults stand: `core`, `near_nm`, `min_marker_um2`, `small_um2`, `threshold`; `method`, `reduce`,
        `limits`, `window`; `both`, `min_iou`. `classes` of an interior of labels. In 'volume' those of
        `ops.cells.volume.Uniting`: `threshold`, `depth_nm`, `cap_nm`, `merge`, `halo_nm`, `tile`; and `iou`,
        `iomin`, `branches`, `min_volume_um3`, `dtype` as for `stitch`.

    Returns
    -------
    Plan
        Its `output` is the label volume. With painted slices these stay as they are, ids are the painted
        ones, and cells that no painted slice has get the next free ids. `<name>-errors` has a row per cell,
        painted slice, and next painted slice it was carried from: its Dice. `<name>-matches` has a row per
        object of a slice that was not carried there: which cell it is, and why. `<name>-agreement` has a row
        per held-out slice, `<name>-blank` one per slice that shows nothing and was passed over (in the modes
        that look at `raw`). Pieces of the interior that are in no cell are 0: `protrusions` looks at them.

    Raises
    ------
    ConfigError, InputError
        If options, volumes or their voxels do not fit, or an extra package is lacking.

    Notes
    -----
    Slices are whole: memory grows with one slice, not with their number. A task carries labels through one
    interval between painted slices; then all slices are cut in parallel. For slices too large for memory, use
    a coarser level.
    """
    if mode == "volume":
        if painted is not None or slices is not None or raw is not None:
            raise ConfigError("mode 'volume' has the boundary alone; leave out painted, slices and raw")
        return volume_cells(
            interior, boundary, name=name, work=work, block=block, into=into, options=dict(options)
        )
    if painted is None:
        raise ConfigError(f"mode {mode!r} starts from painted slices; give them, or use mode 'volume'")
    classes = options.pop("classes", ())
    of_cutting, of_motion, of_both = (
        {f.name for f in fields(kind)} - {"mode"} for kind in (Cutting, Motion, Between)
    )
    _check_options(options, of_cutting | of_motion | of_both | {"classes"})
    cutting = Cutting(mode=mode, **{k: v for k, v in options.items() if k in of_cutting})
    motion = Motion(**{k: v for k, v in options.items() if k in of_motion})
    between = Between(**{k: v for k, v in options.items() if k in of_both})
    painted = checked_labels(painted, "painted cells")
    refuse_part("cells", SLICES, interior, painted, boundary, raw)
    volumes = _checked(interior, painted, boundary, raw, cutting, motion)
    output = interior.like(
        label_url(work, name, into),
        dtype="uint64" if painted.itemsize == 8 else "uint32",
        kind="label",
        block=block,
        ome_version=label_version(into),
    )
    parts = plane_units(
        interior.like(artefact_url(work, name, "slices"), dtype="uint32", kind="label", levels=1), None
    )
    folder = arrays_at(work, name, "carried").path
    setup = Setup(
        PlaneFiles(work_folder(folder)),
        cutting,
        motion,
        between.both,
        interior.voxel_nm[1],
        Inside.of(interior, cutting.threshold, [classes] if isinstance(classes, str | int) else classes),
        None if boundary is None else Inside.of(boundary, cutting.threshold),
    )
    told = {
        "operation": "cells",
        "mode": mode,
        **plain(vars(cutting)),
        **plain(vars(motion)),
        "both": between.both,
    }
    at = _Places(work, name)
    stages = _stages(volumes, painted, parts, output, setup, at, told, slices, between.min_iou, block)
    about = (("mode", mode), ("boundary", boundary is not None), ("both", between.both))
    products = (
        *(() if raw is None else (Product("raw", raw.name, raw),)),
        Product("instances", name, output, about),
        *(
            Product(
                "cells table", f"{name}-{rows}", at.table(rows), (("instances", name), ("rows", rows), *about)
            )
            for rows in ROWS
        ),
    )
    return Plan((*stages, *pyramid(output, name)), work_folder(work), output, products)


class _Places:
    """Where artefacts and tables of one result lie."""

    def __init__(self, work: PathLike, name: str) -> None:
        self.work, self.name = work, name

    def arrays(self, what: str) -> Arrays:
        return arrays_at(self.work, self.name, what)

    def table(self, rows: str) -> Any:
        return table_at(self.work, f"{self.name}-{rows}")


def _stages(  # noqa: PLR0913
    volumes: tuple[Volume, ...],
    painted: Volume,
    parts: Volume,
    output: Volume,
    setup: Setup,
    at: _Places,
    told: dict[str, Any],
    slices: Sequence[int] | None,
    min_iou: float,
    block: Zyx | None,
) -> tuple[Stage, ...]:
    name, plane = at.name, math.prod(output.shape[1:])
    known, blank, identity = (at.arrays(what) for what in ("painted", "blank", "identity"))
    resident = plane_bytes(*volumes) + plane * PIXEL_BYTES
    area_um2 = output.voxel_nm[1] * output.voxel_nm[2] / NM_PER_UM**2
    # Where files lie is no part of what is in them.
    same = {"setup": {k: v for k, v in vars(setup).items() if k != "files"}}
    whole = BlockGrid(painted.box, (slab_depth(painted), *painted.shape[1:]))
    grid = BlockGrid(output.box, block or output.write_unit)
    chosen = None if slices is None else sorted({int(z) for z in slices})
    return (
        Map(
            f"{name}/painted",
            look,
            whole,
            (painted,),
            resident=plane_bytes(painted) + 16 * plane,
            streams=True,
        ),
        Fold(
            f"{name}/known",
            choose,
            f"{name}/painted",
            known,
            params={"url": painted.url, "slices": chosen},
        ),
        Map(
            f"{name}/carry",
            carry,
            BlockGrid(Box.of((painted.shape[0], 1, 1)), (1, 1, 1)),
            volumes,
            params={"setup": setup},
            identity=same,
            artefacts={"known": known},
            resident=resident,
            streams=True,
            notes=("one task of work per interval between painted slices",),
            beside=setup.files,
        ),
        Fold(f"{name}/blank", blanks, f"{name}/carry", blank),
        Fold(
            f"{name}/passed-over",
            blank_slices,
            f"{name}/carry",
            at.table("blank"),
            params={"step_nm": output.voxel_nm[0]},
            provenance=told,
        ),
        Fold(
            f"{name}/errors",
            errors,
            f"{name}/carry",
            at.table("errors"),
            params={"area_um2": area_um2},
            artefacts={"known": known},
            provenance=told,
        ),
        Map(
            f"{name}/slices",
            cut,
            plane_grid(parts),
            volumes,
            (parts,),
            params={"setup": setup},
            identity=same,
            artefacts={"known": known, "blanks": blank},
            resident=resident + 8 * plane * parts.write_unit[0],
            streams=True,
        ),
        Map(
            f"{name}/met",
            meet,
            plane_grid(parts),
            (parts,),
            artefacts={"known": known},
            resident=plane_bytes(parts) + 120 * plane,
            streams=True,
        ),
        Fold(
            f"{name}/identity",
            identify,
            f"{name}/met",
            identity,
            params={"min_iou": min_iou, "dtype": output.dtype},
            artefacts={"known": known},
        ),
        Fold(
            f"{name}/matches",
            table,
            f"{name}/met",
            at.table("matches"),
            params={"area_um2": area_um2},
            artefacts={"identity": identity},
            provenance=told,
        ),
        Map(
            f"{name}/apply",
            apply,
            grid,
            (parts,),
            (output,),
            artefacts={"known": known, "identity": identity},
            working=2.0 * output.itemsize,
        ),
        Map(
            f"{name}/compared",
            compare,
            grid,
            (output, painted),
            artefacts={"known": known},
            resident=math.prod(grid.block[1:]) * (output.itemsize + painted.itemsize + 40) * 2,
            streams=True,
        ),
        Fold(
            f"{name}/agreement",
            scores,
            f"{name}/compared",
            at.table("agreement"),
            params={"step_nm": output.voxel_nm[0]},
            artefacts={"known": known},
            provenance=told,
        ),
    )


def _check_options(options: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(options.keys() - known)
    if unknown:
        raise ConfigError(
            f"no options {unknown}; there are {sorted(known)}, and in mode 'volume' {list(JOINING)}"
        )


def _checked(
    interior: Volume,
    painted: Volume,
    boundary: Volume | None,
    raw: Volume | None,
    cutting: Cutting,
    motion: Motion,
) -> tuple[Volume, ...]:
    """The volumes that tasks are given, in the order in which they take them."""
    opencv()
    _, high, wide = interior.voxel_nm
    if abs(high - wide) > SQUARE * wide:
        raise InputError(
            f"{interior.url} has pixels of {high} x {wide} nm; cells of slices need square ones: resample it"
        )
    if cutting.mode in ("boundary", "selective") and boundary is None:
        raise ConfigError(f"mode {cutting.mode!r} needs the boundary; give it, or use 'contours' or 'mask'")
    for what, given, used in (("boundary", boundary, cutting.walls), ("raw", raw, cutting.moves)):
        if given is not None and not used:
            raise ConfigError(
                f"mode {cutting.mode!r} does not use {what}; leave it out, or choose another mode"
            )
    if cutting.moves and raw is None:
        raise ConfigError(f"mode {cutting.mode!r} carries cells along the motion of the image; give raw")
    found = [painted, interior, *([] if boundary is None else [boundary])]
    if raw is not None:
        if raw.kind == "label":
            raise InputError(f"{raw.url} holds labels; motion is found on grey values")
        if motion.limits is None and raw.dtype != "uint8":
            raise ConfigError(
                f"{raw.url} holds {raw.dtype} voxels, and motion is found on 256 grey values: give limits, "
                "the two values that become black and white"
            )
        found.append(raw)
    for other in found:
        same_voxels(interior, other, "cells need all on the same voxels")
    return tuple(found)
