"""Components labelled block by block and joined are the components of the whole volume."""

from __future__ import annotations

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from chunkflow_liver.errors import ConfigError, GridError, InputError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.instances import components, union
from chunkflow_liver.kernels.instances.components import component_table, label_block, merge_pairs
from chunkflow_liver.kernels.instances.union import flatten, unite
from chunkflow_liver.kernels.labels.planes import plane_pairs, plane_runs

shapes = st.tuples(*[st.integers(1, 9)] * 3)
connectivities = st.sampled_from([6, 18, 26])


def semantic_volume(shape, seed, classes=3):
    rng = np.random.default_rng(seed)
    filled = rng.random(shape) < rng.choice([0.2, 0.5, 0.8])
    return (filled * rng.integers(1, classes + 1, shape)).astype(np.uint8)


def in_raster_order(labels):
    """Labels renumbered by their first voxel, so that equal partitions are equal arrays."""
    values, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    first = np.where(values == 0, -1, first)
    rank = np.empty(len(values), np.int64)
    rank[np.argsort(first)] = np.arange(len(values)) + (0 if (values == 0).any() else 1)
    return rank[inverse].reshape(labels.shape)


def whole(semantic, connectivity):
    """Components of each class with SciPy."""
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    labels = np.zeros(semantic.shape, np.int64)
    for value in np.unique(semantic[semantic > 0]):
        part, _ = ndimage.label(semantic == value, structure)
        labels[part > 0] = part[part > 0] + labels.max()
    return in_raster_order(labels)


def joined(n_nodes, pairs):
    """Root of every node."""
    parents = np.arange(n_nodes)
    unite(parents, pairs)
    flatten(parents)
    return parents


def labelled_in_blocks(semantic, block, connectivity):
    grid = BlockGrid(Box.of(semantic.shape), block, high=(1, 1, 1))
    local, offsets, n_nodes = {}, {}, 0
    for b in grid:
        labels, n = label_block(semantic[b.read.slices], classes=None, connectivity=connectivity)
        local[b.index], offsets[b.index] = labels, n_nodes
        n_nodes += n
    pairs = []
    for axis in range(3):
        for low, high in grid.neighbours(axis):
            extension = plane_runs(local[low].take(-1, axis))
            own = plane_runs(local[high].take(0, axis))
            shift = (offsets[low] - 1, offsets[high] - 1)
            pairs.append(plane_pairs(extension, own) + shift)
    roots = joined(n_nodes, np.concatenate([np.zeros((0, 2), np.int64), *pairs]))
    out = np.zeros(semantic.shape, np.int64)
    for b in grid:
        labels = local[b.index][b.trim]
        out[b.write.slices][labels > 0] = (
            roots[labels[labels > 0].astype(np.int64) + (offsets[b.index] - 1)] + 1
        )
    return in_raster_order(out)


@settings(max_examples=150, deadline=None)
@given(
    shape=shapes,
    seed=st.integers(0, 2**32 - 1),
    block=st.tuples(*[st.integers(1, 5)] * 3),
    connectivity=connectivities,
)
def test_components_do_not_depend_on_the_grid(shape, seed, block, connectivity):
    semantic = semantic_volume(shape, seed)
    expected = whole(semantic, connectivity)
    np.testing.assert_array_equal(labelled_in_blocks(semantic, block, connectivity), expected)


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_a_larger_volume_agrees_with_cc3d(connectivity):
    semantic = semantic_volume((23, 40, 31), 7, classes=4)
    expected = in_raster_order(cc3d.connected_components(semantic, connectivity=connectivity))
    got = labelled_in_blocks(semantic, (8, 16, 11), connectivity)
    np.testing.assert_array_equal(got, expected)


@settings(max_examples=100, deadline=None)
@given(
    shape=shapes,
    seed=st.integers(0, 2**32 - 1),
    connectivity=connectivities,
    dtype=st.sampled_from(["bool", "uint8", "int16", "uint32", "int64", "uint64"]),
)
def test_ids_of_a_block_ascend_in_raster_order(shape, seed, connectivity, dtype):
    semantic = semantic_volume(shape, seed).astype(dtype)
    labels, n = label_block(semantic, classes=None, connectivity=connectivity)
    assert labels.dtype == np.uint32
    np.testing.assert_array_equal(labels, whole(semantic, connectivity))
    own = tuple(max(1, side - 1) for side in shape)
    table = component_table(labels, n, own)
    ids, expected = np.unique(labels, return_index=True)
    np.testing.assert_array_equal(table["first"], expected[ids > 0])
    inside = labels[tuple(slice(side) for side in own)]
    np.testing.assert_array_equal(table["voxels"], np.bincount(inside.ravel(), minlength=n + 1)[1:])


def test_only_the_classes_asked_for_are_labelled():
    semantic = np.array([[[1, 1, 2, 0, 3, 300]]], np.uint16)
    assert label_block(semantic, classes=[2], connectivity=6)[0].tolist() == [[[0, 0, 1, 0, 0, 0]]]
    labels, n = label_block(semantic, classes=(1, 2, 300), connectivity=6)
    assert labels.tolist() == [[[1, 1, 2, 0, 0, 3]]]
    assert n == 3
    labels, n = label_block(semantic, classes=[9], connectivity=26)
    assert (labels.any(), labels.dtype, n) == (False, np.uint32, 0)


def test_an_empty_block_has_no_components():
    labels, n = label_block(np.zeros((0, 4, 4), np.uint8), classes=None, connectivity=26)
    assert (labels.shape, n) == ((0, 4, 4), 0)
    assert component_table(labels, n, (0, 4, 4))["first"].shape == (0,)


@settings(max_examples=50, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 12)] * 2), seed=st.integers(0, 2**32 - 1))
def test_pairs_of_planes_are_the_pairs_of_their_pixels(shape, seed):
    rng = np.random.default_rng(seed)
    a, b = np.kron(rng.integers(0, 4, (2, *shape)), np.ones((1, 1, 3), int)).astype(np.uint32)
    both = (a > 0) & (b > 0)
    expected = np.unique(np.stack([a[both], b[both]], axis=1), axis=0)
    starts, values = plane_runs(a)
    assert starts.dtype == np.uint32
    lengths = np.diff(np.append(starts.astype(np.int64), a.size))
    np.testing.assert_array_equal(np.repeat(values, lengths), a.ravel())
    np.testing.assert_array_equal(plane_pairs((starts, values), plane_runs(b)), expected)


def test_the_root_is_the_smallest_node_of_a_chain():
    pairs = np.array([[5, 3], [8, 5], [2, 7]])
    assert joined(10, pairs).tolist() == [0, 1, 2, 3, 4, 3, 6, 2, 3, 9]
    nodes, roots = merge_pairs(pairs + 10**12)
    assert (nodes - 10**12).tolist() == [2, 3, 5, 7, 8]
    assert (roots - 10**12).tolist() == [2, 3, 3, 2, 3]


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 60), k=st.integers(0, 80), seed=st.integers(0, 2**32 - 1), batch=st.integers(1, 9))
def test_pairs_in_batches_join_the_same_nodes(n, k, seed, batch):
    pairs = np.random.default_rng(seed).integers(0, n, (k, 2))
    graph = coo_array((np.ones(k), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    group = connected_components(graph, directed=False)[1]
    smallest = np.array([np.flatnonzero(group == g)[0] for g in group])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(union, "BATCH", batch)
        np.testing.assert_array_equal(joined(n, pairs), smallest)


def test_a_pair_seen_many_times_still_joins():
    assert joined(2, np.tile([[0, 1]], (512, 1))).tolist() == [0, 0]


def test_no_pairs_join_nothing():
    assert joined(3, np.zeros((0, 2), np.int64)).tolist() == [0, 1, 2]


def test_an_unknown_connectivity_is_refused():
    with pytest.raises(ConfigError, match="connectivity 8 does not exist in 3D"):
        label_block(np.ones((2, 2, 2), np.uint8), classes=None, connectivity=8)


def test_background_as_a_class_is_refused():
    with pytest.raises(ConfigError, match="hold 0, which is background"):
        label_block(np.ones((2, 2, 2), np.uint8), classes=[0, 1], connectivity=6)


def test_ids_out_of_order_are_refused():
    with pytest.raises(InputError, match="do not ascend in raster order"):
        component_table(np.array([[[2, 1]]], np.uint32), 2, (1, 1, 2))


def test_a_pair_with_an_unknown_node_is_refused():
    with pytest.raises(InputError, match=r"there are only 0\.\.3"):
        joined(4, np.array([[0, 4]]))


def test_more_nodes_than_scipy_can_number_are_refused(monkeypatch):
    monkeypatch.setattr(components, "_MAX_NODES", 3)
    with pytest.raises(GridError, match="use larger blocks"):
        joined(10, np.array([[0, 4], [5, 6]]))
