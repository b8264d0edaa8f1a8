"""Labels of painted slices carried to all slices between them, interval by interval."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Records, Result
from chunkflow_liver.geometry import Block
from chunkflow_liver.kernels.labels.overlap import overlap
from chunkflow_liver.kernels.rows import joined, totals
from chunkflow_liver.kernels.tissue.carrying import blended, carried, followed
from chunkflow_liver.kernels.tissue.flow import displacement, greys, is_blank
from chunkflow_liver.kernels.tissue.planes import plane_cells
from chunkflow_liver.ops.cells.setup import Setup, Stack, painted_slices
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

ROWS = {
    "from": np.int64,
    "slice": np.int64,
    "cell": np.int64,
    "pixels": np.int64,
    "shared": np.int64,
    "found": np.int64,
}


def carry(block: Block, *volumes: Volume, known: Arrays, setup: Setup) -> Iterator[Result]:
    """The interval that begins at the slice of this block, if that is painted; each slice becomes a file.

    What is carried to the next painted slice, and back to this one, is compared with what is painted there.
    """
    used, z = painted_slices(known), block.index
    if z not in used:
        yield Result()
        return
    stack = Stack(volumes, setup, known["ids"])
    rows: list[Columns] = []
    blank: list[int] = []
    kept: list[int] = []
    if z == used[0]:
        for at, labels, shows in _chain(stack, z, 0):
            setup.files.write(at, labels)
            kept.append(at)
            blank += [] if shows else [at]
    following = used[used.index(z) + 1] if z != used[-1] else None
    end = stack.shape[0] - 1 if following is None else following
    for at, labels, shows in _chain(stack, z, end):
        if at == following:
            rows.append(_compared(labels, stack.painted(at), z, at))
            continue
        setup.files.write(at, labels)
        kept.append(at)
        blank += [] if shows else [at]
    if following is not None:
        for at, labels, _ in _chain(stack, following, z):
            if at == z:
                rows.append(_compared(labels, stack.painted(at), following, at))
                continue
            share = (at - z) / (following - z)
            share = share if setup.both else float(share > 0.5)
            setup.files.write(at, blended(setup.files.read(at), labels, share))
    found = joined([{n: np.zeros(0, t) for n, t in ROWS.items()}, *rows])
    listed = {"blank": np.array(blank, np.int64), "kept": np.array(kept, np.int64)}
    yield Result(record={**found, **listed})


def _chain(stack: Stack, start: int, stop: int) -> Iterator[tuple[int, Array, bool]]:
    """Every slice from beside `start` to `stop`, what is carried there, and whether it shows anything.

    Over slices that show nothing, labels stay where they are, and motion is found from the last that does.
    """
    setup, way = stack.setup, 1 if stop >= start else -1
    source = labels = stack.painted(start)
    by: Array | None = None
    last: Array | None = None
    for z in range(start + way, stop + way, way):
        if stack.raw is None:
            yield z, labels, True
            continue
        if last is None:
            last = greys(stack.raw(start), setup.motion)
        plane = stack.raw(z)
        if is_blank(plane):
            yield z, labels, False
            continue
        here = greys(plane, setup.motion)
        step = displacement(here, last, setup.motion)
        last = here
        if setup.cutting.mode == "recursive":
            labels = _grown(stack, z, carried(labels, step, setup.motion.reduce))
        else:
            by = followed(step, by)
            labels = carried(source, by, setup.motion.reduce)
        yield z, labels, True


def _grown(stack: Stack, z: int, labels: Array) -> Array:
    """The cells of a slice that go on to the next one: those that came from the slice before."""
    fresh = len(stack.ids) + 1
    cells, _ = plane_cells(
        labels,
        stack.inside(z),
        stack.wall(z),
        stack.setup.cutting,
        pixel_nm=stack.setup.pixel_nm,
        fresh=fresh,
    )
    return np.where(cells < fresh, cells, 0).astype(np.int32)


def _compared(found: Array, true: Array, start: int, z: int) -> Columns:
    """Of every cell that is painted at `z`: its pixels, those that were carried there, and those of both."""
    met = overlap(found[None], true[None])
    here = met["b"] > 0
    cell, pixels = totals(met["b"][here], met["voxels"][here])
    known, size = totals(met["a"], met["voxels"])
    same = here & (met["a"] == met["b"])
    shared = np.zeros(len(cell), np.int64)
    shared[np.searchsorted(cell, met["b"][same])] = met["voxels"][same]
    place = np.minimum(np.searchsorted(known, cell), len(known) - 1)
    return {
        "from": np.full(len(cell), start),
        "slice": np.full(len(cell), z),
        "cell": cell.astype(np.int64),
        "pixels": pixels,
        "shared": shared,
        "found": np.where(known[place] == cell, size[place], 0),
    }


def blanks(records: Records) -> Columns:
    """Slices that show nothing; also what tells later stages that all slices were carried."""
    found = [record["blank"] for _, record in records if record]
    return {"blank": np.unique(np.concatenate(found))}


def blank_slices(records: Records, *, step_nm: float) -> Columns:
    """The table of them, with their middles."""
    at = blanks(records)["blank"]
    return {"slice": at, "z_nm": (at + 0.5) * step_nm}


def errors(records: Records, *, known: Arrays, area_um2: float) -> Columns:
    """How well painted cells were met by what was carried from the next painted slices, a row per cell."""
    found: dict[str, Any] = joined([{n: r[n] for n in ROWS} for _, r in records if r])
    order = np.lexsort((found["cell"], found["from"], found["slice"]))
    found = {n: v[order] for n, v in found.items()}
    ids = np.asarray(known["ids"])
    return {
        "slice": found["slice"],
        "from_slice": found["from"],
        "label": ids[found["cell"] - 1],
        "area_um2": found["pixels"] * area_um2,
        "dice": 2 * found["shared"] / (found["pixels"] + found["found"]),
    }
