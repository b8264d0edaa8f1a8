"""Tracks into voxels: where several objects claim one, the one with the larger logit has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Records, Result
from chunkflow_liver.geometry import Block
from chunkflow_liver.kernels.images.windows import sampled
from chunkflow_liver.kernels.labels.relabel import relabel
from chunkflow_liver.ops.propagate.files import Crop, Folder, read_crops
from chunkflow_liver.ops.propagate.placing import low
from chunkflow_liver.ops.steps.numbering import Numbering
from chunkflow_liver.store.table import Columns
from chunkflow_liver.xp import Array

ROWS = ("object", "z", "claimed", "voxels", "sum_y", "sum_x", "score")
PIECES = ("voxels", "first", "value")


@dataclass(frozen=True)
class Tracked:
    """Where the files of all groups lie, and how many slices one of them covers."""

    folder: str
    chunk: int

    def group(self, number: int) -> Folder:
        return Folder(Path(self.folder) / f"{number:05d}")

    def crops(self, files: Any, block: Block) -> Iterator[Crop]:
        """What was found on the slices of a block and in its plane, by slice and object."""
        z = range(block.write.start[0], block.write.stop[0])
        group, sweep, chunk = (np.asarray(files[name]) for name in ("group", "sweep", "chunk"))
        for part in range(z.start // self.chunk, -(-z.stop // self.chunk)):
            planes = range(max(z.start, part * self.chunk), min(z.stop, (part + 1) * self.chunk))
            held = [
                crop
                for g, s in sorted(
                    zip(group[chunk == part].tolist(), sweep[chunk == part].tolist(), strict=True)
                )
                for crop in read_crops(self.group(g).rows(s, part), planes)
                if _meets(crop, block)
            ]
            yield from sorted(held, key=lambda c: (c.z, c.object, c.track))


def _meets(crop: Crop, block: Block) -> bool:
    window = low(crop.window)
    for axis, first, at, count in (
        (1, window.y, crop.top, crop.logits.shape[0]),
        (2, window.x, crop.left, crop.logits.shape[1]),
    ):
        begin = first + at * window.factor
        if begin >= block.write.stop[axis] or begin + count * window.factor <= block.write.start[axis]:
            return False
    return True


def drawn(block: Block, tracked: Tracked, files: Any) -> tuple[Array, dict[str, list[Any]]]:
    """Objects of a block (uint32), and a row per object and slice: what it claimed, and what it got."""
    z0, y0, x0 = block.write.start
    out = np.zeros(block.write.shape, np.uint32)
    rows: dict[str, list[Any]] = {name: [] for name in ROWS}
    span_y, span_x = ((block.write.start[a], block.write.stop[a]) for a in (1, 2))
    for z, on_slice in groupby(tracked.crops(files, block), lambda c: c.z):
        plane = out[z - z0]
        best = np.zeros(plane.shape, np.float32)
        claims: list[tuple[int, int, float]] = []
        for number, crops in groupby(on_slice, lambda c: c.object):
            own: Array | None = None
            score = -np.inf
            for crop in crops:
                y, x, logits = sampled(crop.logits, crop.at, low(crop.window), span_y, span_x)
                score = max(score, crop.score)
                part = (slice(y[0] - y0, y[1] - y0), slice(x[0] - x0, x[1] - x0))
                if own is None:
                    own = np.zeros(plane.shape, np.float32)
                np.maximum(own[part], logits, out=own[part])
            assert own is not None
            claims.append((number, int(np.count_nonzero(own > 0)), score))
            better = own > best
            plane[better] = number
            best[better] = own[better]
        if claims:
            _count(plane, z, (y0, x0), claims, rows)
    return out, rows


def _count(
    plane: Array,
    z: int,
    origin: tuple[int, int],
    claims: list[tuple[int, int, float]],
    rows: dict[str, list[Any]],
) -> None:
    """Rows of one slice."""
    y, x = np.nonzero(plane)
    labels = plane[y, x].astype(np.int64)
    most = max(number for number, _, _ in claims) + 1
    voxels = np.bincount(labels, minlength=most)
    sums = [np.bincount(labels, at + first, most) for at, first in zip((y, x), origin, strict=True)]
    for number, claimed, score in claims:
        values = (number, z, claimed, voxels[number], sums[0][number], sums[1][number], score)
        for name, value in zip(ROWS, values, strict=True):
            rows[name].append(value)


def draw(block: Block, *, tracked: Tracked, kinds: tuple[int, ...], files: Any) -> Result:
    """What a block holds of every object."""
    out, rows = drawn(block, tracked, files)
    flat = out.ravel()
    found, first, voxels = np.unique(flat[flat > 0], return_index=True, return_counts=True)
    places = np.unravel_index(np.flatnonzero(flat)[first], out.shape)
    z, y, x = (p + o for p, o in zip(places, block.write.start, strict=True))
    _, ny, nx = block.volume.shape
    record: dict[str, Any] = {name: np.array(values, np.float64) for name, values in rows.items()}
    record["piece"] = found.astype(np.int64)
    record["piece_voxels"] = voxels.astype(np.int64)
    record["piece_first"] = (z.astype(np.int64) * ny + y) * nx + x
    record["piece_value"] = np.array([kinds[n - 1] for n in found.tolist()], np.int64)
    return Result(record=record)


def number(
    records: Records, *, objects: int, extent: int, dtype: str, names: list[str], scratch: Path
) -> Columns:
    """Ids 1..n of the objects that have voxels, in the raster order of their first ones."""
    numbering = Numbering(scratch, extent)
    first: dict[int, int] = {}
    pieces: list[int] = []
    for _, record in records:
        begin = numbering.add(*(record[f"piece_{name}"] for name in PIECES))
        pairs = []
        for i, of in enumerate(record["piece"].tolist(), begin):
            pairs.append((first.setdefault(of, i), i))
            pieces.append(of)
        numbering.join(np.array(pairs, np.int64).reshape(-1, 2))
    found = numbering.finish(min_voxels=1, dtype=dtype)
    ids = np.zeros(objects + 1, dtype)
    ids[np.array(pieces, np.int64)] = found["final"]
    return {
        **{k: found[k] for k in ("final", "voxels", "value")},
        "object_id": ids,
        "class_name": np.array(names, str),
        "class_number": np.arange(1, len(names) + 1),
    }


def apply(block: Block, *, tracked: Tracked, files: Any, numbers: Any) -> Result:
    """The final ids of a block."""
    out, _ = drawn(block, tracked, files)
    ids = np.asarray(numbers["object_id"])
    return Result((relabel(out, np.arange(1, len(ids), dtype=np.uint32), ids[1:]),))
