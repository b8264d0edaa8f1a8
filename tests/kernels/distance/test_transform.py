"""Distances are those of the whole volume, and are flagged where its end makes them unsure."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from strategies import voxel_sizes

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import BlockGrid, Box, voxels
from chunkflow_liver.kernels.distance.transform import distance_nm, exact_nm

VOXEL_NM = (4.0, 8.0, 16.0)
shapes = st.tuples(*[st.integers(1, 12)] * 3)
seeds = st.integers(0, 2**32 - 1)


def whole(mask, voxel_nm, cap_nm):
    if not mask.any():
        return np.full(mask.shape, np.inf)
    distance = distance_transform_edt(~mask, sampling=voxel_nm)
    return np.where(distance <= cap_nm * (1 + 1e-7), distance, np.inf)


def sparse(shape, seed):
    rng = np.random.default_rng(seed)
    return rng.random(shape) < rng.choice([0.0, 0.01, 0.1, 0.9])


@settings(max_examples=50, deadline=None)
@given(shape=shapes, seed=seeds, voxel_nm=voxel_sizes, cap_nm=st.sampled_from([0.0, 33.0, 50.5, np.inf]))
def test_distances_are_those_of_scipy(shape, seed, voxel_nm, cap_nm):
    mask = sparse(shape, seed)
    got = distance_nm(mask, voxel_nm, cap_nm)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    np.testing.assert_allclose(got, whole(mask, voxel_nm, cap_nm), rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    shape=shapes,
    seed=seeds,
    voxel_nm=voxel_sizes,
    cap_nm=st.sampled_from([9.0, 33.0, 50.5]),
    block=st.tuples(*[st.integers(1, 6)] * 3),
    more=st.integers(0, 2),
)
def test_capped_distances_do_not_depend_on_the_grid(shape, seed, voxel_nm, cap_nm, block, more):
    mask = sparse(shape, seed)
    z, y, x = voxels(cap_nm, voxel_nm)
    got = np.empty(shape, np.float32)
    for b in BlockGrid(Box.of(shape), block, (z + more, y, x + more), (z, y + more, x)):
        got[b.write.slices] = distance_nm(mask[b.read.slices], voxel_nm, cap_nm)[b.trim]
    np.testing.assert_allclose(got, whole(mask, voxel_nm, cap_nm), rtol=1e-6)
    if voxel_nm == VOXEL_NM:
        np.testing.assert_array_equal(got, distance_nm(mask, voxel_nm, cap_nm))


def test_without_edt_scipy_gives_the_same_distances(monkeypatch):
    mask = np.random.default_rng(0).random((7, 9, 11)) > 0.97
    monkeypatch.setitem(sys.modules, "edt", None)
    np.testing.assert_allclose(distance_nm(mask, VOXEL_NM, np.inf), whole(mask, VOXEL_NM, np.inf), rtol=1e-6)


def test_one_voxel_is_measured_by_hand():
    mask = np.zeros((3, 3, 3), bool)
    mask[1, 1, 1] = True
    distance = distance_nm(mask, VOXEL_NM, 17.0)
    face, edge = [[np.inf, 80**0.5, np.inf]], 16.0
    expected = np.array([face[0], [edge, 4.0, edge], face[0]], np.float32)
    expected[1, [0, 2]] = np.float32((16**2 + 4**2) ** 0.5) if 272**0.5 <= 17 else np.inf
    np.testing.assert_array_equal(distance[0], expected)
    np.testing.assert_array_equal(distance[2], expected)
    np.testing.assert_array_equal(distance[1, 1], np.array([16, 0, 16], np.float32))
    np.testing.assert_array_equal(distance[1, :, 1], np.array([8, 0, 8], np.float32))


def test_distance_is_inf_beyond_the_cap_and_without_a_mask():
    far = distance_nm(np.zeros((4, 4, 4), bool), (8, 8, 8), 50.0)
    np.testing.assert_array_equal(far, np.full((4, 4, 4), np.inf, np.float32))
    assert not distance_nm(np.ones((4, 4, 4), bool), (8, 8, 8), 50.0).any()


@settings(max_examples=50, deadline=None)
@given(shape=shapes, seed=seeds, cap_nm=st.sampled_from([9.0, 33.0, 50.5]), block=shapes)
def test_a_distance_is_exact_if_no_voxel_outside_could_be_nearer(shape, seed, cap_nm, block):
    mask = sparse(shape, seed)
    distance = distance_nm(mask, VOXEL_NM, cap_nm)
    # An adversary: everything outside the volume belongs to the structure, but not beside a single plane.
    margin = [(int(n > 1),) * 2 for n in shape]
    around = np.pad(mask, margin, constant_values=True)
    inner = tuple(slice(m, m + n) for (m, _), n in zip(margin, shape, strict=True))
    worst = distance_transform_edt(~around, sampling=VOXEL_NM)[inner] if around.any() else np.inf
    expected = np.minimum(distance, cap_nm) <= worst * (1 + 1e-6)
    volume = Box((5, 6, 7), tuple(n + s for n, s in zip(shape, (5, 6, 7), strict=True)))
    for b in BlockGrid(volume, block):
        inside = b.write.relative_to(volume).slices
        got = exact_nm(distance[inside], b.write, volume, VOXEL_NM, cap_nm)
        assert got.dtype == bool
        np.testing.assert_array_equal(got, expected[inside])


def test_the_flag_of_one_row_is_worked_by_hand():
    row = np.array([[[32, 16, 0, 16, 32]]], np.float32)
    box = Box.of((1, 1, 5))
    tall = Box((-9, -9, 0), (9, 9, 5))
    assert exact_nm(row, box, tall, VOXEL_NM, 40.0).tolist() == [[[False, True, True, True, False]]]
    # At a cap of 16 nm nothing farther is asked for, and the voxel next to the end is just in reach.
    assert exact_nm(row, box, tall, VOXEL_NM, 16.0).all()


def test_sizes_and_caps_that_make_no_sense_are_refused():
    mask = np.ones((2, 2, 2), bool)
    with pytest.raises(ConfigError, match="positive voxel sizes and a cap of 0 nm or more"):
        distance_nm(mask, (4.0, 0.0, 16.0), 50.0)
    with pytest.raises(ConfigError, match="and nan nm"):
        distance_nm(mask, VOXEL_NM, float("nan"))


@pytest.mark.parametrize("steps", [3, 10, 27])
@pytest.mark.parametrize("size", [5.9, 0.7, 8.1])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_voxel_exactly_at_the_cap_keeps_its_distance(axis, size, steps):
    """In float32 the distance may lie one rounding step above the cap."""
    mask = np.zeros((steps + 2, 1, 1), bool).swapaxes(0, axis)
    mask[0, 0, 0] = True
    cap_nm = round(steps * size, 1)
    row = distance_nm(mask, (size,) * 3, cap_nm).ravel()
    np.testing.assert_allclose(row[:-1], np.arange(steps + 1) * size, rtol=1e-6)
    assert np.isinf(row[-1])
