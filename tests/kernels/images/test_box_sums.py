"""Sums over boxes from blocks are those of the whole array."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import blocks, seeds

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.images.box_sums import Lattice, cell_sums, extents, merge_extents, over_boxes

shapes = st.tuples(*[st.integers(3, 9)] * 3)
sides = st.tuples(*[st.integers(1, 6)] * 3)


def known_in(shape, seed):
    """A box of at least 3 voxels a side."""
    rng = np.random.default_rng(seed)
    start = [int(rng.integers(0, n - 2)) for n in shape]
    stop = [int(rng.integers(a + 3, n + 1)) for a, n in zip(start, shape, strict=True)]
    return Box(tuple(start), tuple(stop))


@given(shape=shapes, side=sides, block=blocks, seed=seeds)
def test_sums_and_extents_of_blocks_are_those_of_the_whole_array(shape, side, block, seed):
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    known = known_in(shape, seed)
    lattice = Lattice.of(known, tuple(min(n, m) for n, m in zip(side, known.shape, strict=True)))
    cells, parts = np.zeros(lattice.cells, np.int64), []
    for one in BlockGrid(Box.of(shape), block):
        part = values[one.write.slices]
        cells[lattice.met(one.write).slices] += cell_sums(part, one.write, lattice)
        parts.append(extents(part > 220, one.write, lattice))
    found, largest = over_boxes(cells, lattice), over_boxes(cells, lattice, np.maximum)
    assert found.shape == lattice.counts
    for at in np.ndindex(*lattice.counts):
        box = lattice.box(at)
        assert known.contains(box)
        assert found[at] == values[box.slices].sum(dtype=np.int64)
        inner = cells[tuple(slice(i, i + s) for i, s in zip(at, lattice.steps, strict=True))]
        assert largest[at] == inner.max()
    low, high = merge_extents(parts)
    seen = np.zeros(shape, bool)
    for a, b in zip(low, high, strict=True):
        tight = values[tuple(slice(p, q) for p, q in zip(a, b, strict=True))] > 220
        assert all(tight.take(i, axis).any() for axis in range(3) for i in (0, -1))
        seen[tuple(slice(p, q) for p, q in zip(a, b, strict=True))] = True
    covered = Box(known.start, lattice.start(lattice.cells))
    assert seen[covered.slices][values[covered.slices] > 220].all()


def test_a_box_is_a_multiple_of_two_or_thin_or_all_there_is():
    lattice = Lattice.of(Box.of((7, 12, 10)), (7, 5, 1))
    assert (lattice.side, lattice.cell, lattice.steps) == ((7, 6, 1), (7, 3, 1), (1, 2, 1))
    assert lattice.counts == (1, 3, 10)


def test_boxes_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"boxes of \(4, 4, 13\) voxels .* do not fit into \(7, 12, 10\)"):
        Lattice.of(Box.of((7, 12, 10)), (4, 4, 13))
