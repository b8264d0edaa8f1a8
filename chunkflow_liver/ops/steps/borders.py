"""The outermost planes of blocks: what a block records of its components, and which ones touch over them.

Blocks are read without a halo: one plane of a neighbour costs the decoding of a whole layer of its chunks.
A plane of a block is held against the plane before it, with the voxels around it that belong to the blocks
beside that: faces, edges and corners are all found there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Record
from chunkflow_liver.geometry import Block, BlockGrid
from chunkflow_liver.kernels.instances.component_runs import Components
from chunkflow_liver.kernels.labels.planes import plane_runs
from chunkflow_liver.store.scratch.aside import Aside
from chunkflow_liver.xp import Array

AXES = "zyx"
STEPS = {6: 0, 18: 1, 26: 2}
"""How many steps inside a plane voxels can be apart that touch over it."""


def border_record(block: Block, found: Components) -> dict[str, Any]:
    """The components on those outermost planes of a block that another block touches."""
    record: dict[str, Any] = {}
    for axis, a in enumerate(AXES):
        if block.write.start[axis] > block.volume.start[axis]:
            record[f"low_{a}"], record[f"low_{a}_label"] = plane_runs(found.face(axis, last=False))
        if block.write.stop[axis] < block.volume.stop[axis]:
            record[f"high_{a}"], record[f"high_{a}_label"] = plane_runs(found.face(axis, last=True))
    return record


class Borders:
    """Meets the blocks of a grid in their order; last planes wait on disk for a layer of blocks.

    Parameters
    ----------
    grid : BlockGrid
    connectivity : {6, 18, 26}
    folder : Path
        Where they wait; made if it is not there.
    """

    def __init__(self, grid: BlockGrid, connectivity: int, folder: Path) -> None:
        self._grid = grid
        self._steps = STEPS[connectivity]
        self._waiting = Aside(folder)

    def meet(self, index: int, offset: int, record: Record) -> Iterator[Array]:
        """Pairs (K, 2) of components of earlier blocks and of block `index` that touch and have one value.

        Components 1.. of a block count from its offset, as 0, 1, .. over all blocks. `record` is a
        `border_record` with the `value` of every component, or empty.
        """
        block = self._grid[index]
        layer, shape = block.at[0], block.write.shape
        if "value" not in record:
            self._waiting.forget(layer - 1)
            return
        value = np.concatenate([[0], record["value"]])
        for axis, a in enumerate(AXES):
            if f"low_{a}" not in record:
                continue
            height, width = (n for i, n in enumerate(shape) if i != axis)
            canvas: Array = np.full((height + 2, width + 2), -1, np.int64)
            values = np.zeros(canvas.shape, np.int64)
            if self._lay(axis, block, canvas, values):
                plane = _plane(record[f"low_{a}"], record[f"low_{a}_label"], (height, width))
                yield _touching(plane, value, canvas, values, self._steps) + np.array([0, offset - 1])
        high = {k: v for k, v in record.items() if k.startswith("high_")}
        if high:
            self._waiting.put(layer, index, {"offset": np.array([offset]), "value": value, **high})
        self._waiting.forget(layer - 1)

    def _lay(self, axis: int, block: Block, canvas: Array, values: Array) -> bool:
        """Lay the last planes of the blocks before `block` on the canvas; whether there are any.

        Along the axes before `axis` there is nothing to lay beside the plane: the planes across those axes
        have met it there, or will when the later block comes.
        """
        across = [i for i in range(3) if i != axis]
        height, width = (block.write.shape[i] for i in across)
        found = False
        ranges = [(-1, 0, 1) if i > axis else (0,) for i in across]
        for dy, dx in itertools.product(*ranges):
            place = list(block.at)
            place[axis] -= 1
            place[across[0]] += dy
            place[across[1]] += dx
            if not all(0 <= p < n for p, n in zip(place, self._grid.counts, strict=True)):
                continue
            index = int(np.ravel_multi_index(place, self._grid.counts))
            names = (f"high_{AXES[axis]}", f"high_{AXES[axis]}_label", "value", "offset")
            start, label, value, offset = (self._waiting.get(place[0], index, name) for name in names)
            if start is None or label is None or value is None or offset is None:
                continue
            sides = self._grid[index].write.shape
            plane = _plane(start, label, (sides[across[0]], sides[across[1]]))
            to_y, from_y = _span(dy, height)
            to_x, from_x = _span(dx, width)
            part = plane[from_y, from_x]
            canvas[to_y, to_x] = np.where(part, part + (offset[0] - 1), -1)
            values[to_y, to_x] = value[part]
            found = True
        return found


def _span(step: int, side: int) -> tuple[slice, slice]:
    """Where a neighbour `step` blocks along lies on a canvas around `side` voxels, and its part of that."""
    if step < 0:
        return slice(0, 1), slice(-1, None)
    if step > 0:
        return slice(side + 1, side + 2), slice(0, 1)
    return slice(1, side + 1), slice(0, side)


def _plane(start: Array, label: Array, shape: tuple[int, int]) -> Array:
    """A plane from its runs, int64."""
    lengths: Array = np.diff(start.astype(np.int64), append=shape[0] * shape[1])
    return np.repeat(label.astype(np.int64), lengths).reshape(shape)


def _touching(plane: Array, value: Array, canvas: Array, values: Array, steps: int) -> Array:
    """Pairs (node of the canvas, component of the plane)."""
    from chunkflow_liver.kernels.instances.component_loops import meet

    pairs = np.empty((1 << 12, 2), np.int64)
    count = meet(plane, value, canvas, values, steps, pairs)
    if count > len(pairs):
        pairs = np.empty((count, 2), np.int64)
        meet(plane, value, canvas, values, steps, pairs)
    return pairs[:count]
