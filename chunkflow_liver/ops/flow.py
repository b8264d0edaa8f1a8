"""How the image moves from each slice to its neighbour, as two images of displacements in nm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.stage import Fold, Map, Piece, Records, Result
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Block, Box, Zyx
from chunkflow_liver.kernels.rows import joined
from chunkflow_liver.kernels.tissue.flow import Motion, displacement, greys, is_blank, opencv, part_of, pulled
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import SLICES, PathLike, image_url, refuse_part, table_at, work_folder
from chunkflow_liver.store.planes.whole import Planes, plane_bytes, plane_grid, plane_units
from chunkflow_liver.store.table import Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

PIXEL_BYTES = 132
"""Memory for a pixel of a slice while its displacement is found; seen: 60-126."""


@operation
def flow(
    raw: Volume,
    *,
    to: Literal["next", "previous"] = "next",
    name: str,
    work: PathLike,
    block: Zyx | None = None,
    **how: Any,
) -> Plan:
    """Plan the displacement of every voxel from its slice to the next one, or the one before (along z).

    Parameters
    ----------
    raw : Volume
        Image, at the level whose voxels get a displacement; coarser ones cost less.
    to : {'next', 'previous'}
        Which neighbour.
    name : str
        Name of the two images, with '-y' and '-x', and of the table, with '-slices'.
    {work}
    {slices}
    **how
        Fields of `kernels.tissue.flow.Motion`: `method` ('farneback' or 'dis'), `limits` (the two grey values
        that become black and white; needed unless the image is uint8), `window` (21 pixels).

    Returns
    -------
    Plan
        Its `output` is `<name>-y`, float32, nm: what is at a voxel in its slice lies that much farther along
        y in the neighbour; `<name>-x` has the same along x. Where a slice shows nothing (black, or missing
        and read as one value) motion is bridged: from the last slice before it to the first one after it,
        straight and even. `<name>-slices` has a row per slice: whether it is blank, the step's median
        displacement, and how much the two slices differ before and after it. The last slice (the first one
        with 'previous') has displacements 0.

    Raises
    ------
    ConfigError, InputError
        If options cannot be used, OpenCV is not installed, or the image holds labels.

    Notes
    -----
    Memory grows with one slice, not with their number.
    """
    refuse_part("flow", SLICES, raw)
    motion = _motion(raw, how)
    if to not in ("next", "previous"):
        raise ConfigError(f"to is 'next' or 'previous', got {to!r}")
    outputs = tuple(
        plane_units(
            raw.like(image_url(work, f"{name}-{axis}"), dtype="float32", kind="image", levels=1), block
        )
        for axis in "yx"
    )
    plane = raw.shape[1] * raw.shape[2]
    found = Map(
        f"{name}/flow",
        _flow,
        plane_grid(outputs[0]),
        (raw,),
        outputs,
        params={"motion": motion, "way": 1 if to == "next" else -1, "pixel_nm": raw.voxel_nm[1:]},
        resident=plane_bytes(raw) + plane * (PIXEL_BYTES + 8 * outputs[0].write_unit[0]),
        streams=True,
    )
    table = table_at(work, f"{name}-slices")
    told = {"operation": "flow", "to": to, "method": motion.method}
    stages = (found, Fold(f"{name}/slices", _table, found.name, table, provenance=told))
    products = (
        *(
            Product("flow", f"{name}-{axis}", o, (("axis", axis), ("to", to)))
            for axis, o in zip("yx", outputs, strict=True)
        ),
        Product("flow slices", f"{name}-slices", table, (("to", to),)),
    )
    return Plan(stages, work_folder(work), outputs[0], products)


def _motion(raw: Volume, how: dict[str, Any]) -> Motion:
    unknown = sorted(how.keys() - {"method", "limits", "window"})
    if unknown:
        raise ConfigError(f"no options {unknown}; there are ['limits', 'method', 'window']")
    if raw.kind == "label":
        raise InputError(f"{raw.url} holds labels; flow is found on grey values")
    motion = Motion(**how)
    if motion.limits is None and raw.dtype != "uint8":
        raise ConfigError(
            f"{raw.url} holds {raw.dtype} voxels, and flow sees 256 grey values: give limits, the two values "
            "that become black and white"
        )
    opencv()
    return motion


def _flow(
    block: Block, raw: Volume, *, motion: Motion, way: int, pixel_nm: tuple[float, float]
) -> Iterator[Piece | Result]:
    """Displacements of the slices of a block; a run of blank slices is looked through to its ends."""
    planes = Planes(raw)
    total, height, width = raw.shape
    blank: dict[int, bool] = {}
    rows: list[tuple[Any, ...]] = []

    def shows(z: int) -> bool:
        if z not in blank:
            blank[z] = is_blank(planes(z))
        return not blank[z]

    def nearest(z: int, step: int) -> int | None:
        while 0 <= z < total and not shows(z):
            z += step
        return z if 0 <= z < total else None

    held: dict[int, Array] = {}

    def grey(z: int) -> Array:
        if z not in held:
            # Slices that a step further on needs are the last two.
            while len(held) > 1:
                del held[next(iter(held))]
            held[z] = greys(planes(z), motion)
        return held[z]

    last: tuple[int, int, Array] | None = None
    for z in range(block.write.start[0], block.write.stop[0]):
        begin, end = nearest(z, -way), nearest(z + way, way)
        field = np.zeros((2, height, width), np.float32)
        before = after = np.nan
        if begin is not None and end is not None:
            if last is None or last[:2] != (begin, end):
                last = (begin, end, displacement(grey(begin), grey(end), motion))
            share = 1 / abs(end - begin)
            field = last[2] if share == 1 else part_of(last[2], share, abs(z - begin) * share)
            if z == begin:
                here, there = (grey(at).astype(np.float32) for at in (begin, end))
                before = float(np.abs(here - there).mean())
                after = float(np.abs(here - pulled(there[None], last[2])[0]).mean())
        scale = np.array(pixel_nm, np.float32)[:, None, None]
        field = field * scale
        middle = [float(np.median(f)) for f in field]
        rows.append((z, not shows(z), -1 if end is None else end, *middle, before, after))
        box = Box((z, 0, 0), (z + 1, height, width))
        yield Piece(box, (field[:1], field[1:]))
    names = ("slice", "blank", "to", "median_y_nm", "median_x_nm", "grey_before", "grey_after")
    yield Result(record={n: np.array(c) for n, c in zip(names, zip(*rows, strict=True), strict=True)})


def _table(records: Records) -> Columns:
    return joined([record for _, record in records])
