"""What is written at once: chunks and shards that every block is a union of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_liver.errors import GridError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.store.write_units import is_whole, units

side = st.integers(1, 70)


@settings(max_examples=80, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 5000)] * 3),
    voxel=st.tuples(*[st.sampled_from([4.0, 5.9, 8.0, 16.0, 40.0])] * 3),
    block=st.none() | st.tuples(*[st.integers(1, 40).map(lambda n: 16 * n)] * 3),
    form=st.sampled_from([2, 3]),
)
def test_write_units_divide_every_block_that_is_a_multiple_of_16(shape, voxel, block, form):
    chunks, shards = units(shape, voxel, block, form)
    unit = shards or chunks
    assert all(s % c == 0 for s, c in zip(unit, chunks, strict=True))
    assert all(1 <= c <= n for c, n in zip(chunks, shape, strict=True))
    assert np.prod(chunks) <= 64**3
    assert shards is None or form == 3
    volume = Box.of(shape)
    grid = BlockGrid(volume, block or unit)
    for i in (0, len(grid) // 2, len(grid) - 1):
        assert is_whole(grid[i].write, unit, volume)


def test_chunks_are_near_cubic_in_nm():
    assert units((2000, 2000, 2000), (40, 5, 5), None, 3) == ((16, 64, 64), (64, 256, 256))
    assert units((2000, 2000, 2000), (8, 8, 8), None, 3) == ((64, 64, 64), (256, 256, 256))
    assert units((2000, 2000, 2000), (8, 8, 8), (96, 128, 512), 2) == ((48, 64, 64), None)


def test_a_block_without_a_useful_divisor_is_refused():
    with pytest.raises(
        GridError, match=r"a block of \(257, 64, 64\) has no chunk size that divides it along z"
    ):
        units((2000, 2000, 2000), (8, 8, 8), (257, 64, 64), 3)


@settings(max_examples=50, deadline=None)
@given(shape=st.tuples(side, side, side), unit=st.tuples(side, side, side), data=st.data())
def test_a_whole_box_cuts_no_unit(shape, unit, data):
    stop = tuple(data.draw(st.integers(1, n)) for n in shape)
    start = tuple(data.draw(st.integers(0, b - 1)) for b in stop)
    inside = np.zeros(shape, bool)
    inside[Box(start, stop).slices] = True  # type: ignore[arg-type]
    if np.prod([-(-n // u) for n, u in zip(shape, unit, strict=True)]) > 3000:
        return
    cut_ = any(0 < inside[b.write.slices].sum() < b.write.size for b in BlockGrid(Box.of(shape), unit))
    assert is_whole(Box(start, stop), unit, Box.of(shape)) == (not cut_)  # type: ignore[arg-type]
