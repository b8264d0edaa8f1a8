"""One look at every block: what its images say, added up over the cells of the boxes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from chunkflow_liver.engine.stage import Result
from chunkflow_liver.geometry import Block
from chunkflow_liver.kernels.images.box_sums import Lattice, cell_sums, extents
from chunkflow_liver.xp import Array

FULL = 255
"""What stands for 1 in uncertainty and scores."""
ENTROPY = np.zeros(FULL + 1, np.uint8)
"""Entropy of a score and its complement as a share of that of 1/2, in 255ths, by the stored score."""
_share = np.arange(1, FULL) / FULL
ENTROPY[1:-1] = np.rint(-FULL * (_share * np.log2(_share) + (1 - _share) * np.log2(1 - _share)))


def look(
    block: Block,
    *arrays: Array,
    lattice: Lattice,
    uncertain: int,
    scored: int,
    classes: Sequence[Sequence[tuple[int, int]]],
    ignore: Sequence[int],
    hidden: int,
) -> Result:
    """Sums of what the images of a block say over the cells of the boxes; the last say what is hidden."""
    own = [array[block.trim] for array in arrays]
    compared = arrays[uncertain + scored : uncertain + scored + len(classes)]
    sums: dict[str, Array] = {}
    for i, values in enumerate(own[: uncertain + scored]):
        found = cell_sums(values if i < uncertain else ENTROPY[values], block.write, lattice)
        sums["uncertainty"] = sums.get("uncertainty", 0) + found
    if compared:
        signs = [_sign(a, block, known) for a, known in zip(compared, classes, strict=True)]
        differ = np.zeros(block.write.shape, np.uint16)
        for a, b in itertools.combinations(signs, 2):
            differ += a != b
        sums["disagreement"] = cell_sums(differ, block.write, lattice)
    for unknown in own[len(own) - hidden :]:
        sums["hidden"] = sums.get("hidden", 0) + cell_sums(unknown, block.write, lattice)
    record = {**sums, "met": np.array(lattice.met(block.write).start)}
    for i, (labels, number) in enumerate(
        zip(own[uncertain + scored + len(classes) : len(own) - hidden], ignore, strict=True)
    ):
        parts = extents(labels != number, block.write, lattice)
        record |= {f"{key}_{i}": values for key, values in parts.items()}
    return Result(record=record)


def _sign(labels: Array, block: Block, classes: Sequence[tuple[int, int]]) -> Array:
    """What is compared of every voxel: its class; of instances, foreground and faces to other objects."""
    own = labels[block.trim]
    found = np.zeros(own.shape, np.uint16)
    if classes:
        for number, common in classes:
            found[own == number] = common
        return found
    found[own > 0] = 1
    for axis in range(3):
        low = [slice(0, n) for n in own.shape]
        low[axis] = slice(0, min(own.shape[axis], labels.shape[axis] - 1))
        high = list(low)
        high[axis] = slice(1, low[axis].stop + 1)
        a, b = labels[tuple(low)], labels[tuple(high)]
        found[tuple(low)] |= ((a != b) & (a > 0) & (b > 0)).astype(np.uint16) << (axis + 1)
    return found
