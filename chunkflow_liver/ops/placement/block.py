"""Random placements of the objects of one block, window by window."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Result
from chunkflow_liver.geometry import Block, Box, zyx
from chunkflow_liver.kernels.contacts.gaps import halo_voxels
from chunkflow_liver.kernels.contacts.placements import (
    Chance,
    Laid,
    Piece,
    cube_of,
    lay_objects,
    limits_of,
    reach_of,
)
from chunkflow_liver.kernels.distance.squares import squares_to
from chunkflow_liver.ops.steps.crops import centres, is_cut, owned
from chunkflow_liver.store.table import Arrays
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.voxels.region import Known
from chunkflow_liver.xp import Array

_WIDE = (1 << 32) - 2
_ROUNDING = 1e-9
SHARE = 1 << 32
"""Shares, and distances as shares of the cap, are added as whole multiples of 2**-32: sums are exact."""
Window = tuple[Box, list[tuple[int, Box]], tuple[int, ...]]
"""What is read, the objects laid in it, and the cube of all of these where they are laid together."""


def place_block(  # noqa: PLR0913
    block: Block,
    instances: Volume,
    other: Volume,
    *more: Volume,
    numbers: list[int | None],
    avoid: list[int],
    given: tuple[bool, bool],
    quantum_nm: float,
    chance: Chance,
    known: Known,
    objects: Arrays,
    cut: Arrays | None = None,
) -> Iterator[Result]:
    """What the objects of a block are near to, where they are and where chance lays them.

    Record
    ------
    `object/*`: a row per object; `observed, expected, low, high` of shape (n, p) are shares of its surface,
    `near_*` distances in nm, `extreme_*` how many placements are as much as it. `sum/share` (1 + k, p, g)
    `sum/near` (1 + k, p) and `sum/square` (p, g), of the shares where objects are: sums over the objects that
    were placed, in steps of `SHARE`. `cell/*`: of each cell its id, how many objects of it were placed, and
    the sum of their shares where they are (c, p, g).
    """
    voxel_nm = instances.voxel_nm
    gaps, limits, _ = limits_of(chance, voxel_nm)
    share = np.zeros((1 + chance.placements, len(numbers), len(gaps)), np.int64)
    near, square = np.zeros(share.shape[:2], np.int64), np.zeros(share.shape[1:], np.int64)
    rows: list[dict[str, Any]] = []
    cells: dict[int, list[Any]] = {}
    for window, inside, cube in _windows(block, objects, voxel_nm, chance, known.box):
        volumes = [v.read(window) for v in (instances, *more)]
        labels, regions = volumes[0], volumes[1] if given[0] else None
        distances = np.zeros((0, 0, 0), np.float32)
        if given[1]:
            distances = volumes[-1].astype(np.float32) * np.float32(quantum_nm)
        ground, fields = _ground(other, window, numbers, avoid, chance, known)
        homes, home_of = (np.zeros((0, 0, 0), np.int32), int) if regions is None else _ranks(regions)
        pieces: list[Piece] = []
        seen: list[dict[str, Any]] = []
        for label, box in inside:
            at = box.relative_to(window)
            mask = labels[at.slices] == label
            ends = np.array([[a <= c, b >= d] for a, b, c, d in _sides(box, known.box)])
            # Across a single plane nothing can be cut off.
            at_border = bool((ends & (np.array(known.box.shape) > 1)[:, None]).any())
            # What a mask cuts has no form that could be laid elsewhere.
            by_mask = bool(is_cut(np.array([label]), cut)[0])
            row = {
                "label": label,
                "cell": 0,
                "voxels": int(mask.sum()),
                "touches_border": at_border or by_mask,
                "placed": 0,
            }
            home = 0
            if regions is not None:
                values, counts = np.unique(regions[at.slices][mask], return_counts=True)
                row["cell"] = home = int(values[counts.argmax()])
            rows.append(row)
            if not by_mask and (not at_border or chance.border):
                pieces.append(Piece(label, mask, np.array(box.start), ends, home_of(home)))
                seen.append(row)
        found = lay_objects(
            pieces,
            np.array(window.start),
            (ground, homes, distances),
            fields,
            limits,
            voxel_nm=voxel_nm,
            chance=chance,
            turn=cube,
        )
        for row, laid in zip(seen, found, strict=True):
            row |= _described(laid, gaps, limits, chance, voxel_nm, (share, near, square))
            if "observed" in row:
                cell = cells.setdefault(row["cell"], [0, np.zeros(square.shape, np.int64)])
                cell[0] += 1
                cell[1] += _shares(laid)[0]
    for label in _too_large(block, objects, voxel_nm, chance, known.box):
        rows.append({"label": label, "too_large": True})
    if rows:
        record = _record(rows, len(numbers)) | {"sum/share": share, "sum/near": near, "sum/square": square}
        record |= {
            "cell/label": np.array(list(cells), np.uint64),
            "cell/objects": np.array([n for n, _ in cells.values()], np.int64),
            "cell/share": np.array([s for _, s in cells.values()], np.int64).reshape(-1, *square.shape),
        }
        yield Result(record=record)


def _sides(box: Box, known: Box) -> Any:
    return zip(box.start, box.stop, known.start, known.stop, strict=True)


def _reach(box: Box, voxel_nm: Any, chance: Chance, known: Box) -> Box:
    """All that the placements of an object touch."""
    low, high = reach_of(box.start, box.shape, voxel_nm, chance)
    return Box(zyx(low.tolist()), zyx(high.tolist())).clip(known).hull(box)


def _windows(block: Block, objects: Arrays, voxel_nm: Any, chance: Chance, known: Box) -> Iterator[Window]:
    """Objects that lie together, in windows that hold what each needs; sorted by label in each."""
    kept = [
        (label, box, _reach(box, voxel_nm, chance, known), cube)
        for label, box, cube in _own(block, objects, voxel_nm, chance)
    ]
    kept = [row for row in kept if row[2].size <= chance.crop_voxels]
    if chance.apart:
        cubes: dict[tuple[int, ...], list[Any]] = {}
        for row in kept:
            cubes.setdefault(row[3], []).append(row)
        for cube, rows in sorted(cubes.items()):
            # All of them hold the cube, and are as much larger to all sides as the object's ball.
            window = rows[0][2]
            for row in rows[1:]:
                window = window.hull(row[2])
            yield window, sorted(row[:2] for row in rows), cube
        return
    side = max(1, int((chance.crop_voxels / 4) ** (1 / 3)))
    middles = centres(
        *(np.array([getattr(row[1], e) for row in kept]).reshape(-1, 3) for e in ("start", "stop"))
    )
    order = sorted(range(len(kept)), key=lambda i: (*(middles[i] // side).tolist(), kept[i][0]))
    held: list[tuple[int, Box]] = []
    whole: Box | None = None
    for i in order:
        label, box, needed, _ = kept[i]
        both = needed if whole is None else whole.hull(needed)
        if whole is not None and both.size > chance.crop_voxels:
            yield whole, sorted(held, key=lambda row: row[0]), ()
            held, both = [], needed
        held.append((label, box))
        whole = both
    if whole is not None:
        yield whole, sorted(held, key=lambda row: row[0]), ()


def _own(
    block: Block, objects: Arrays, voxel_nm: Any, chance: Chance
) -> Iterator[tuple[int, Box, tuple[int, ...]]]:
    """The objects of a block; with `chance.apart` all those whose middle is in a cube that begins in it."""
    if not chance.apart:
        yield from ((label, box, ()) for label, box in owned(block, objects))
        return
    low, high = objects["low"], objects["high"]
    if not len(low):
        return
    cube = cube_of(low, high - low, voxel_nm, chance)
    first = np.ceil(cube * chance.region_nm / np.array(voxel_nm) - _ROUNDING).astype(np.int64)
    first = np.clip(first, block.volume.start, np.array(block.volume.stop) - 1)
    inside = ((first >= block.write.start) & (first < block.write.stop)).all(axis=1)
    for i in np.flatnonzero(inside).tolist():
        box = Box(zyx(low[i].tolist()), zyx(high[i].tolist()))
        yield int(objects["label"][i]), box, tuple(cube[i].tolist())


def _too_large(block: Block, objects: Arrays, voxel_nm: Any, chance: Chance, known: Box) -> list[int]:
    reaches = (
        (label, _reach(box, voxel_nm, chance, known))
        for label, box, _ in _own(block, objects, voxel_nm, chance)
    )
    return [label for label, needed in reaches if needed.size > chance.crop_voxels]


def _ground(
    other: Volume,
    window: Box,
    numbers: list[int | None],
    avoid: list[int],
    chance: Chance,
    known: Known,
) -> tuple[Array, Array]:
    """-1 where no object may lie, int32, and the squared gaps to each partner, in a window."""
    voxel_nm = other.voxel_nm
    _, limits, unit = limits_of(chance, voxel_nm)
    wide = window.grow(halo_voxels(chance.cap_nm, voxel_nm)).clip(known.box)
    read, hidden = other.read(wide), known.hidden(wide)
    if hidden is not None:
        read = np.where(hidden, read.dtype.type(0), read)
    trim = window.relative_to(wide).slices
    forbidden = np.isin(read[trim], avoid) if avoid else np.zeros(window.shape, bool)
    if hidden is not None:
        forbidden |= hidden[trim]
    limit = int(limits[-1])
    fields = np.empty((len(numbers), *window.shape), np.uint32 if limit < _WIDE else np.uint64)
    for field, number in zip(fields, numbers, strict=True):
        partner = read != 0 if number is None else read == number
        forbidden |= partner[trim]
        field[...] = squares_to(partner, unit, limit, trim, between=True)
    return forbidden * np.int32(-1), fields


def _ranks(labels: Array) -> tuple[Array, Callable[[int], int]]:
    """Labels as int32, themselves or their ranks from 1 on (0 stays), and what a label is there."""
    if not labels.size or int(labels.max()) < 1 << 31:
        return labels.astype(np.int32), int
    values = np.unique(labels[labels != 0])
    ranks = np.where(labels != 0, np.searchsorted(values, labels) + 1, 0).astype(np.int32)
    # A whole number of Python is signed to NumPy, which would compare both as float64.
    return ranks, lambda label: int(np.searchsorted(values, values.dtype.type(label))) + 1 if label else 0


def _described(
    laid: Laid,
    gaps: Array,
    limits: Array,
    chance: Chance,
    voxel_nm: Any,
    sums: tuple[Array, Array, Array],
) -> dict[str, Any]:
    """Columns of an object; adds what it has to the sums if it was placed."""
    row: dict[str, Any] = {"placed": laid.placed}
    if not laid.surface or laid.placed < chance.placements:
        return row
    unit = limits_of(chance, voxel_nm)[2]
    share = laid.areas / laid.surface
    near = np.where(laid.nearest > limits[-1], chance.cap_nm, unit.length_nm(laid.nearest))
    near = np.minimum(near, chance.cap_nm)
    sums[0][...] += _shares(laid)
    sums[1][...] += np.rint(near / chance.cap_nm * SHARE).astype(np.int64)
    sums[2][...] += np.rint(share[0] ** 2 * SHARE).astype(np.int64)
    at_gap = share[:, :, int(np.searchsorted(gaps, chance.gap_nm))]
    row["surface"] = laid.surface
    for prefix, values in (("", at_gap), ("near_", near)):
        row[f"{prefix}observed"] = values[0]
        row[f"{prefix}expected"] = values[1:].mean(0)
        row[f"{prefix}low"], row[f"{prefix}high"] = np.percentile(values[1:], [2.5, 97.5], axis=0)
        row[f"{prefix}extreme_more"] = (values[1:] >= values[0]).sum(0)
        row[f"{prefix}extreme_less"] = (values[1:] <= values[0]).sum(0)
    return row


def _shares(laid: Laid) -> Array:
    """Shares of the surface, (1 + k, p, g), in steps of `SHARE`."""
    return np.asarray(np.rint(laid.areas / laid.surface * SHARE).astype(np.int64))


WHOLE = {"label": np.uint64, "cell": np.uint64, "voxels": np.int64, "placed": np.int64, "surface": np.int64}
FLAGS = ("touches_border", "too_large")
VALUES = ("observed", "expected", "low", "high", "extreme_more", "extreme_less")


def _record(rows: list[dict[str, Any]], partners: int) -> dict[str, Array]:
    found: dict[str, Array] = {
        f"object/{name}": np.array([row.get(name, 0) for row in rows], kind) for name, kind in WHOLE.items()
    }
    found |= {f"object/{name}": np.array([row.get(name, False) for row in rows], bool) for name in FLAGS}
    none = np.full(partners, math.nan)
    for prefix in ("", "near_"):
        for name in VALUES:
            found[f"object/{prefix}{name}"] = np.array(
                [row.get(f"{prefix}{name}", none) for row in rows], float
            )
    return found
