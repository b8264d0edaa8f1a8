"""Contacts are those of all pairs of voxel boxes, for any block grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels import contacts
from chunkflow_liver.kernels.contacts import halo_voxels, merge_contacts, surface_contacts

VOXEL_NM = (4.0, 8.0, 16.0)
shapes = st.tuples(*[st.integers(1, 6)] * 3)
blocks = st.tuples(*[st.integers(2, 5)] * 3)
seeds = st.integers(0, 2**32 - 1)
sizes = st.sampled_from([VOXEL_NM, (40.0, 5.9, 5.9), (8.0, 8.0, 8.0)])
reaches = st.sampled_from([0.0, 4.0, 12.0, 17.7, 30.0])


def blobs(shape, seed, labels=3):
    rng = np.random.default_rng(seed)
    filled = rng.random(shape) < rng.choice([0.05, 0.3, 0.9])
    return (filled * rng.integers(1, labels + 1, shape)).astype(np.uint32)


def brute_force(own, other, voxel_nm, gap_nm, same=False):
    """Every pair of voxels, one by one."""
    rows = {}
    targets = np.argwhere(other)
    for at in np.argwhere(own):
        faces = [0, 0, 0]
        for axis in range(3):
            for side in (-1, 1):
                beside = at.copy()
                beside[axis] += side
                if 0 <= beside[axis] < own.shape[axis]:
                    faces[axis] += own[tuple(beside)] != own[tuple(at)]
        if not any(faces) or not len(targets):
            continue
        between = np.maximum(np.abs(targets - at) - 1, 0) * voxel_nm
        squares = (between**2).sum(axis=1)
        label = own[tuple(at)]
        near = {}
        for target, square in zip(targets, squares, strict=True):
            met = other[tuple(target)]
            if square <= gap_nm**2 + 1e-6 and not (same and met == label):
                near[met] = min(near.get(met, np.inf), square)
        for met, square in near.items():
            row = rows.setdefault((int(label), int(met)), [0, 0, 0, 0, np.inf])
            row[:4] = [row[0] + 1, *np.add(row[1:4], faces)]
            row[4] = min(row[4], square)
    return [(*pair, *row) for pair, row in sorted(rows.items())]


def in_blocks(own, other, block, voxel_nm, gap_nm, same=False):
    halo = halo_voxels(gap_nm, voxel_nm)
    return merge_contacts(
        surface_contacts(
            own[b.read.slices],
            other[b.read.slices],
            voxel_nm=voxel_nm,
            gap_nm=gap_nm,
            trim=b.trim,
            same=same,
        )
        for b in BlockGrid(Box.of(own.shape), block, halo, halo)
    )


def rows_of(table):
    assert [table[name].dtype for name in table] == ["u8"] * 2 + ["i8"] * 4 + ["f8"]
    return list(zip(*(column.tolist() for column in table.values()), strict=True))


def assert_rows(got, expected):
    assert [row[:6] for row in got] == [row[:6] for row in expected]
    np.testing.assert_allclose([row[6] for row in got], [row[6] for row in expected], atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    shape=shapes,
    block=blocks,
    seed=seeds,
    voxel_nm=sizes,
    gap_nm=reaches,
    labels=st.sampled_from([1, 3, 40]),
)
def test_contacts_with_another_labelling_are_those_of_all_voxel_pairs(
    shape, block, seed, voxel_nm, gap_nm, labels
):
    own, other = blobs(shape, seed), blobs(shape, seed + 1, labels)
    expected = brute_force(own, other, voxel_nm, gap_nm)
    whole = rows_of(in_blocks(own, other, shape, voxel_nm, gap_nm))
    assert_rows(whole, expected)
    assert rows_of(in_blocks(own, other, block, voxel_nm, gap_nm)) == whole


@settings(max_examples=40, deadline=None)
@given(
    shape=shapes,
    block=blocks,
    seed=seeds,
    voxel_nm=sizes,
    gap_nm=reaches,
    labels=st.sampled_from([1, 3, 40]),
)
def test_contacts_within_one_labelling_are_those_of_all_voxel_pairs(
    shape, block, seed, voxel_nm, gap_nm, labels
):
    own = blobs(shape, seed, labels)
    whole = rows_of(in_blocks(own, own, shape, voxel_nm, gap_nm, same=True))
    assert_rows(whole, brute_force(own, own, voxel_nm, gap_nm, same=True))
    assert rows_of(in_blocks(own, own, block, voxel_nm, gap_nm, same=True)) == whole


@pytest.mark.parametrize("same", [False, True])
def test_a_larger_volume_does_not_depend_on_the_grid(same):
    rng = np.random.default_rng(4)
    coarse = (rng.integers(1, 30, (6, 6, 6)) * (rng.random((6, 6, 6)) < 0.3)).astype(np.uint32)
    own = np.kron(coarse, np.ones((5, 4, 3), np.uint32))
    other = own if same else np.roll(own, (3, 5, 7), (0, 1, 2)) * np.uint32(5)
    whole = rows_of(in_blocks(own, other, own.shape, VOXEL_NM, 35.0, same))
    assert len(whole) > 20
    assert rows_of(in_blocks(own, other, (11, 9, 8), VOXEL_NM, 35.0, same)) == whole


def two_slabs(gap):
    """An 8 x 2 x 2 slab of label 7 and one of label 9, `gap` voxels apart along z."""
    labels = np.zeros((8 + gap, 4, 4), np.uint32)
    labels[2:4, 1:3, 1:3] = 7
    labels[4 + gap : 6 + gap, 1:3, 1:3] = 9
    return labels


def test_two_slabs_are_worked_by_hand():
    labels = two_slabs(gap=3)
    everywhere = tuple(slice(None) for _ in range(3))
    options = {"voxel_nm": VOXEL_NM, "trim": everywhere, "same": True}
    # Three empty voxels of 4 nm lie between the slabs; the second layer lies 16 nm away.
    assert not rows_of(surface_contacts(labels, labels, gap_nm=11.9, **options))
    near = rows_of(surface_contacts(labels, labels, gap_nm=12.0, **options))
    # 4 voxels of the facing layer: each has one face along z, one along y and one along x.
    assert near == [(7, 9, 4, 4, 4, 4, 144.0), (9, 7, 4, 4, 4, 4, 144.0)]
    both = rows_of(surface_contacts(labels, labels, gap_nm=16.0, **options))
    assert both == [(7, 9, 8, 8, 8, 8, 144.0), (9, 7, 8, 8, 8, 8, 144.0)]


def test_touching_by_a_corner_and_overlap_have_no_gap():
    own, other = np.zeros((2, 4, 4, 4), np.uint8)
    own[1, 1, 1] = 3
    other[2, 2, 2] = 5
    everywhere = (slice(None),) * 3
    table = surface_contacts(own, other, voxel_nm=VOXEL_NM, gap_nm=0.0, trim=everywhere)
    assert rows_of(table) == [(3, 5, 1, 2, 2, 2, 0.0)]
    table = surface_contacts(own, own * 2, voxel_nm=VOXEL_NM, gap_nm=0.0, trim=everywhere)
    assert rows_of(table) == [(3, 6, 1, 2, 2, 2, 0.0)]


def test_the_border_of_the_volume_is_no_surface():
    own = np.ones((2, 2, 2), np.uint8)
    table = surface_contacts(own, own, voxel_nm=VOXEL_NM, gap_nm=9.0, trim=(slice(None),) * 3)
    assert rows_of(table) == []


def test_slabs_of_voxels_add_up(monkeypatch):
    own, other = blobs((7, 7, 7), 1), blobs((7, 7, 7), 2)
    expected = rows_of(in_blocks(own, other, (7, 7, 7), VOXEL_NM, 20.0))
    monkeypatch.setattr(contacts, "_SLAB", 5)
    monkeypatch.setattr(contacts, "_BATCH_ROWS", 2)
    assert rows_of(in_blocks(own, other, (7, 7, 7), VOXEL_NM, 20.0)) == expected


def test_nothing_to_merge_is_an_empty_table():
    assert rows_of(merge_contacts([])) == []


def test_the_halo_reaches_every_box_within_the_gap():
    assert halo_voxels(30.0, VOXEL_NM) == (8, 4, 2)
    assert halo_voxels(0.0, VOXEL_NM) == (1, 1, 1)
    assert halo_voxels(29.5, (40.0, 5.9, 5.9)) == (1, 6, 6)


@pytest.mark.parametrize("gap_nm", [-1.0, np.inf, np.nan])
def test_a_gap_that_makes_no_sense_is_refused(gap_nm):
    with pytest.raises(ConfigError, match="contacts need a finite gap of 0 nm or more"):
        halo_voxels(gap_nm, VOXEL_NM)


def test_blocks_of_different_shapes_are_refused():
    own, other = np.ones((2, 2, 2), np.uint8), np.ones((2, 2, 3), np.uint8)
    with pytest.raises(InputError, match="read both over one box"):
        surface_contacts(own, other, voxel_nm=VOXEL_NM, gap_nm=9.0, trim=(slice(None),) * 3)
