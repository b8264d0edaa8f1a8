"""Graphs of lines that boxes found: one graph for all cuts; spurs, united nodes, smoothing, chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import cKDTree

from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.distance.squares import squares_to, whole_unit
from chunkflow_liver.kernels.network.chains import HALO, keys_of, parts_of, places_of
from chunkflow_liver.kernels.network.comparing import beside_chance
from chunkflow_liver.kernels.network.joining import joined
from chunkflow_liver.kernels.network.measuring import branches, places_of_nodes, smoothed
from chunkflow_liver.kernels.network.shifting import deeper, shifts, unpacked
from chunkflow_liver.kernels.network.tidying import Tidy, tidied

ISO = (8.0, 8.0, 8.0)


def graph(state, block, depth=None, voxel_nm=ISO):
    store = {}

    def kept(name, values):
        store.setdefault(name, []).append(values)
        return np.concatenate(store[name])

    grid = BlockGrid(Box.of(state.shape), block, HALO, HALO)
    depth = state if depth is None else depth
    records = (parts_of(state[b.read.slices], depth[b.read.slices], b, voxel_nm) for b in grid)
    return joined(records, state.shape, kept)


def same(one, two):
    for name, value in vars(one).items():
        other = getattr(two, name)
        parts = zip(value, other, strict=True) if isinstance(value, tuple) else [(value, other)]
        for a, b in parts:
            np.testing.assert_array_equal(a, b, err_msg=name)


@given(
    seed=st.integers(0, 2**20),
    share=st.sampled_from([0.01, 0.04, 0.1, 0.4]),
    block=st.tuples(*[st.integers(3, 9)] * 3),
)
@settings(max_examples=10, deadline=None)
def test_any_voxels_give_one_graph_in_any_boxes(seed, share, block):
    """Also voxels that no thinning would leave: crowded, alone, in rings of three."""
    rng = np.random.default_rng(seed)
    state = ((rng.random((9, 10, 11)) < share) * rng.integers(1, 50, (9, 10, 11))).astype(np.uint16)
    whole = graph(state, state.shape)
    same(whole, graph(state, block))
    # Every voxel is of one node or one line.
    assert whole.voxels.sum() + len(whole.voxels_of[0]) == np.count_nonzero(state)


def test_a_ring_has_a_node_at_its_first_voxel():
    state = np.zeros((3, 9, 9), np.uint16)
    y, x = np.ogrid[:9, :9]
    state[1] = np.abs(y - 4) + np.abs(x - 4) == 4
    found = graph(state, (3, 4, 5))
    first = int(np.flatnonzero(state.ravel())[0])
    assert found.key.tolist() == [first]
    assert (found.start.tolist(), found.stop.tolist()) == ([0], [0])
    assert len(found.voxels_of[0]) == np.count_nonzero(state) - 1


def drawn(*ways, shape=(7, 60, 60)):
    """Straight lines of voxels in a plane, y and x."""
    state = np.zeros(shape, np.uint16)
    for (y0, x0), (y1, x1) in ways:
        n = max(abs(y1 - y0), abs(x1 - x0)) + 1
        state[3, np.rint(np.linspace(y0, y1, n)).astype(int), np.rint(np.linspace(x0, x1, n)).astype(int)] = 9
    return state


@pytest.mark.parametrize(("long", "kept"), [(3, 1), (4, 1), (5, 3), (12, 3)])
def test_a_spur_within_its_ball_is_taken_off(long, kept):
    """Radius 3 voxels: an end in the ball and a voxel, or whose surface is within 4.5 + 1, is no branch."""
    state = drawn(((30, 5), (30, 55)), ((30, 30), (30 + long, 30)))
    found = tidied(graph(state, state.shape), ISO, Tidy())
    assert len(found.branches) == kept
    assert len(tidied(graph(state, state.shape), ISO, Tidy(spur=0)).branches) == 3


@pytest.mark.parametrize(("apart", "degrees"), [(2, [4]), (3, [4]), (6, [3, 3])])
def test_nodes_in_one_ball_are_one(apart, degrees):
    state = drawn(((30, 5), (30, 55)), ((30, 25), (55, 25)), ((30, 25 + apart), (5, 25 + apart)))
    found = tidied(graph(state, state.shape), ISO, Tidy())
    assert sorted(len(found.at[n]) for n in found.nodes() if len(found.at[n]) > 2) == degrees


def test_smoothing_takes_steps_and_leaves_bends():
    turn = np.linspace(0, np.pi, 400)
    circle = np.stack([np.zeros(400), 30 * np.sin(turn), 30 * np.cos(turn)], 1)
    voxels = np.rint(circle)
    voxels = voxels[np.concatenate([[True], (np.diff(voxels, axis=0) != 0).any(1)])]
    steps = np.linalg.norm(np.diff(voxels, axis=0), axis=1).sum()
    found = np.linalg.norm(np.diff(smoothed(voxels, 5), axis=0), axis=1).sum()
    assert steps > 1.05 * 30 * math.pi
    assert found == pytest.approx(30 * math.pi, rel=0.01)
    assert smoothed(voxels[:2], 5).tolist() == voxels[:2].tolist()


def test_a_slanting_tube_is_as_long_as_it_is():
    state = drawn(((10, 5), (27, 55)))
    net = tidied(graph(state, (7, 16, 16)), ISO, Tidy())
    (branch,) = branches(net, places_of_nodes(net))
    assert branch.length_nm == pytest.approx(8 * math.hypot(17, 50), abs=8)
    assert branch.length_nm == pytest.approx(branch.distance_nm, rel=2e-3)


@given(st.lists(st.integers(0, 7 * 11 * 13 - 1), max_size=20))
def test_numbers_of_voxels_are_their_places(keys):
    keys = np.array(keys, np.int64)
    assert keys_of(places_of(keys, (7, 11, 13)), (7, 11, 13)).tolist() == keys.tolist()


def test_shifts_point_to_the_axis():
    """A tube along x whose axis is 0.3 voxels above and 0.4 beside the row of voxels."""
    y, z = np.ogrid[:15, :15]
    far = 5 - np.hypot(y - 7.3, z - 6.6)
    mask = np.broadcast_to((far > 0)[:, :, None], (15, 15, 9))
    padded = np.pad(mask, ((0, 0), (0, 0), (6, 6)), mode="edge")
    depth = np.rint(ndimage.distance_transform_edt(padded) ** 2).astype(np.uint16)[:, :, 6:-6]
    state = np.zeros_like(depth)
    state[7, 7] = depth[7, 7]
    found = graph(state, state.shape, depth)
    shift = unpacked(found.voxels_of[2], ISO) / 8
    np.testing.assert_allclose(shift[2:-2].mean(0), [0.3, -0.4, 0], atol=0.25)


def test_a_lattice_beside_chance():
    """27 points of a lattice, joined along its edges: the tree is as long per edge, and is of the network."""
    points = np.stack(np.meshgrid(*[np.arange(3.0)] * 3, indexing="ij"), -1).reshape(-1, 3) * 100
    points += np.random.default_rng(0).normal(0, 0.1, points.shape)
    apart = np.linalg.norm(points[:, None] - points, axis=2)
    ends = np.argwhere(np.triu((apart > 0) & (apart < 110)))
    (own, all_near, tree), shares = beside_chance(points, np.concatenate([ends, ends[:3, ::-1]]))
    assert own[1:3] == (27, 54)
    assert own[3] == pytest.approx(100, abs=1)
    assert own[4] == 4
    assert tree[2] == 26
    assert tree[3] == pytest.approx(100, abs=1)
    assert all_near[3] > 110
    assert shares == (1.0, 1.0)


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.eye(3), np.outer(np.arange(8.0), [1, 1, 0])])
def test_too_few_points_and_points_in_a_line_have_no_other_graph(points):
    ends = np.array([[0, 1]]) if len(points) else np.zeros((0, 2), np.int64)
    rows, shares = beside_chance(points, ends)
    assert (len(rows), shares) == (1, None)


def tube_along_x(z_axis, y_axis, radius):
    """Squared distances inside of 15 x 15 x 30 voxels, in voxels; the tube goes on beyond both ends."""
    z, y = np.ogrid[:15, :15]
    inside = np.hypot(z - z_axis, y - y_axis) <= radius
    return np.repeat(np.rint(ndimage.distance_transform_edt(inside) ** 2).astype(np.uint16)[..., None], 30, 2)


@pytest.mark.parametrize("z", [7, 8])
def test_a_radius_is_the_distance_at_the_line_and_not_what_its_voxel_lies_beside_it_too(z):
    """Two voxels wide to each side, the axis in the middle of two planes and 1/6 of a voxel beside a row.

    The nearest voxel outside is 1/2 and 13/6 voxels off; that straight above the voxel of the line, of which
    the distance is 2, lies half a voxel farther from the axis.
    """
    depth = tube_along_x(7.5, 7 + 1 / 6, 2.0)
    state = np.zeros_like(depth)
    state[z, 7] = depth[z, 7]
    assert state[z, 7, 0] == 4
    for block in ((15, 15, 30), (8, 8, 11)):
        net = tidied(graph(state, block, depth), ISO, Tidy())
        (branch,) = branches(net, places_of_nodes(net))
        radius = branch.radius_nm[branch.inner] / 8
        np.testing.assert_allclose(radius, math.hypot(1 / 2, 13 / 6), atol=0.1)


@pytest.mark.parametrize("voxel_nm", [ISO, (12.0, 8.0, 8.0)])
def test_the_ball_beside_a_voxel_is_told_by_the_voxels_around(voxel_nm):
    rng = np.random.default_rng(4)
    field = ndimage.gaussian_filter(rng.standard_normal((24, 24, 24)), 3)
    inside = np.pad(field > np.quantile(field, 0.6), 1)
    unit = whole_unit(voxel_nm)
    depth = squares_to(~inside, unit, unit.squares(1000), (slice(None),) * 3) * inside
    box = Box.of(depth.shape)
    block = BlockGrid(box, depth.shape)[0]
    index = np.argwhere(inside[4:-4, 4:-4, 4:-4])[::5] + 4
    packed = shifts(index, depth, block, voxel_nm, box)
    place = (index * np.array(voxel_nm)) + unpacked(packed, voxel_nm)
    nearest = cKDTree(np.argwhere(~inside) * np.array(voxel_nm)).query(place)[0]
    more = unit.length_nm(depth[tuple(index.T)]) + deeper(packed, voxel_nm) - nearest
    assert len(more) > 300
    assert more.min() > -0.02 * 8
    assert np.quantile(more, 0.95) < 0.1 * 8
