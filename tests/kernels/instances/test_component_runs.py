"""Components found from runs are those of the voxels, in every form they are asked for."""

from __future__ import annotations

import itertools

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import components

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.instances.component_runs import find_components
from chunkflow_liver.ops.steps.borders import Borders, border_record

shapes = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 20))
connectivities = st.sampled_from([6, 18, 26])


def volume(shape, seed, dtype="uint8"):
    rng = np.random.default_rng(seed)
    filled = rng.random(shape) < rng.choice([0.1, 0.5, 0.9, 1.0])
    return (filled * rng.integers(1, rng.choice([2, 4]), shape)).astype(dtype)


@settings(max_examples=100, deadline=None)
@given(
    shape=shapes,
    seed=st.integers(0, 2**32 - 1),
    connectivity=connectivities,
    dtype=st.sampled_from(["bool", "int8", "uint16", "int32", "uint64"]),
)
def test_labels_sizes_and_faces_are_those_of_the_voxels(shape, seed, connectivity, dtype):
    array = volume(shape, seed, dtype)
    found = find_components(array, classes=None, connectivity=connectivity)
    wanted = components(array, connectivity)
    np.testing.assert_array_equal(found.labels(), wanted)
    ids, first, voxels = np.unique(wanted, return_index=True, return_counts=True)
    table = found.table()
    np.testing.assert_array_equal(table["first"], first[ids > 0])
    np.testing.assert_array_equal(table["voxels"], voxels[ids > 0])
    for axis in range(3):
        np.testing.assert_array_equal(found.face(axis, last=False), wanted.take(0, axis))
        np.testing.assert_array_equal(found.face(axis, last=True), wanted.take(-1, axis))
    final = np.arange(found.n + 1, dtype=np.uint64)[::-1] * 7
    final[0] = 0
    np.testing.assert_array_equal(found.painted(final), final[wanted])


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("classes", [1, 3])
def test_noise_equals_cc3d(connectivity, classes):
    array = np.random.default_rng(classes).integers(0, classes + 1, (40, 37, 66)).astype(np.uint8)
    found = find_components(array, classes=None, connectivity=connectivity)
    wanted, n = cc3d.connected_components(array, connectivity=connectivity, return_N=True)
    assert found.n == n
    pairs = np.unique(np.stack([found.labels().ravel(), wanted.ravel()]), axis=1)
    assert pairs.shape[1] == n + 1


def test_a_block_without_voxels_or_without_objects_has_no_components():
    for shape in [(0, 3, 3), (3, 0, 3), (3, 3, 0), (2, 3, 4)]:
        found = find_components(np.zeros(shape, np.uint8), classes=None, connectivity=26)
        assert found.n == 0
        np.testing.assert_array_equal(found.labels(), np.zeros(shape, np.uint32))
        assert found.table()["first"].shape == (0,)


def test_background_is_no_class():
    with pytest.raises(ConfigError, match=r"classes \(0, 2\) hold 0, which is background"):
        find_components(np.ones((2, 2, 2), np.uint8), classes=(0, 2), connectivity=6)


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize(
    "step", [(0, 0, 1), (0, 1, 1), (0, 1, -1), (1, 1, 1), (1, -1, 1), (1, 1, -1), (1, -1, -1)]
)
def test_two_voxels_meet_over_the_corner_of_eight_blocks(connectivity, step, tmp_path):
    array = np.zeros((4, 4, 4), np.uint8)
    a = np.array([1 if s > 0 else 2 if s < 0 else 1 for s in step])
    b = a + step
    array[tuple(a)] = array[tuple(b)] = 1
    grid = BlockGrid(Box.of(array.shape), (2, 2, 2))
    borders, offset, pairs = Borders(grid, connectivity, tmp_path), 0, []
    for block in grid:
        found = find_components(array[block.write.slices], classes=None, connectivity=connectivity)
        record = {"value": np.ones(found.n, np.int64)} | (border_record(block, found) if found.n else {})
        pairs += [p.tolist() for p in borders.meet(block.index, offset, record)]
        offset += found.n
    touch = np.abs(step).sum() <= {6: 1, 18: 2, 26: 3}[connectivity]
    assert sorted(itertools.chain.from_iterable(pairs)) == ([[0, 1]] if touch else [])


def test_planes_of_two_layers_of_blocks_wait_on_disk(tmp_path):
    grid = BlockGrid(Box.of((8, 4, 4)), (1, 2, 2))
    borders, pairs = Borders(grid, 26, tmp_path), set()
    for block in grid:
        found = find_components(np.ones((1, 2, 2), np.uint8), classes=None, connectivity=26)
        record = {"value": np.ones(1, np.int64)} | border_record(block, found)
        for some in borders.meet(block.index, block.index, record):
            pairs |= set(map(tuple, some.tolist()))
        assert len(list(tmp_path.iterdir())) <= 2
    # All blocks of two neighbouring layers, and all of one layer, touch.
    assert len(pairs) == 7 * 4 * 4 + 8 * 6
