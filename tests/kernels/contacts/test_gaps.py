"""Contacts are those of all pairs of voxel boxes, for any block grid."""

from __future__ import annotations

import numpy as np
import pytest
from brute_areas import voxel_areas
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import voxel_sizes

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels import rows
from chunkflow_liver.kernels.contacts import gaps as contacts
from chunkflow_liver.kernels.contacts import meetings, tallies
from chunkflow_liver.kernels.contacts.areas import area_step_nm2
from chunkflow_liver.kernels.contacts.gaps import MOST_ALONG, halo_voxels, near_surface
from chunkflow_liver.kernels.contacts.tallies import (
    OBJECT,
    PAIR,
    gap_statistics,
    no_objects,
    no_pairs,
    object_rows,
    pair_rows,
)
from chunkflow_liver.kernels.distance.squares import Unit, whole_unit
from chunkflow_liver.kernels.rows import grouped, merged

VOXEL_NM = (4.0, 8.0, 16.0)
shapes = st.tuples(*[st.integers(1, 6)] * 3)
blocks = st.tuples(*[st.integers(2, 5)] * 3)
seeds = st.integers(0, 2**32 - 1)
reaches = st.sampled_from([0.0, 4.0, 12.0, 17.7, 30.0])


def blobs(shape, seed, labels=3):
    rng = np.random.default_rng(seed)
    filled = rng.random(shape) < rng.choice([0.05, 0.3, 0.9])
    return (filled * rng.integers(1, labels + 1, shape)).astype(np.uint32)


def brute_force(own, other, voxel_nm, gap_nm, same=False):
    """Every pair of voxels, one by one: rows of pairs and gaps, and rows of objects."""
    rows, objects = {}, {}
    area = voxel_areas(own, voxel_nm)
    targets = np.argwhere(other)
    for at in np.argwhere(own):
        beside = [at + step for axis in np.eye(3, dtype=int) for step in (axis, -axis)]
        beside = [b for b in beside if (b >= 0).all() and (b < own.shape).all()]
        label = own[tuple(at)]
        if all(own[tuple(b)] == label for b in beside):
            continue
        between = np.maximum(np.abs(targets - at) - 1, 0) * voxel_nm
        squares = (between**2).sum(axis=1)
        near = {}
        for target, square in zip(targets, squares, strict=True):
            met = other[tuple(target)]
            if square <= gap_nm**2 + 1e-6 and not (same and met == label):
                near[met] = min(near.get(met, np.inf), square)
        for met, square in near.items():
            row = rows.setdefault((int(label), int(met), round(square**0.5, 6)), [0, 0.0])
            row[:] = [row[0] + 1, row[1] + area[tuple(at)]]
        row = objects.setdefault(int(label), [0, 0.0, 0, 0.0])
        touched = bool(near)
        row[:] = np.add(row, [1, area[tuple(at)], touched, touched * area[tuple(at)]])
    return rows, objects


def in_blocks(own, other, block, voxel_nm, gap_nm, same=False):
    """Rows per pair and gap, and per object, summed over blocks."""
    halo = halo_voxels(gap_nm, voxel_nm)
    pairs, objects = [], []
    for b in BlockGrid(Box.of(own.shape), block, halo, halo):
        for near in near_surface(
            own[b.read.slices],
            other[b.read.slices],
            voxel_nm=voxel_nm,
            gap_nm=gap_nm,
            trim=b.trim,
            same=same,
        ):
            everywhere = np.ones(len(near.label), bool)
            pairs.append(pair_rows(near, everywhere))
            objects.append(object_rows(near, everywhere))
    return merged(pairs, PAIR, no_pairs()), merged(objects, OBJECT, no_objects())


def assert_equal(got, expected, voxel_nm):
    (pairs, objects), unit = got, whole_unit(voxel_nm)
    assert [pairs[name].dtype for name in pairs] == ["u8"] * 2 + ["i8"] * 3
    gaps = np.round(unit.length_nm(pairs["square"]), 6).tolist()
    keys = list(zip(pairs["own"].tolist(), pairs["other"].tolist(), gaps, strict=True))
    assert keys == sorted(expected[0])
    voxels, areas = np.array([expected[0][k] for k in keys]).reshape(-1, 2).T
    np.testing.assert_array_equal(pairs["voxels"], voxels)
    assert_areas(pairs["area"], areas, voxels, voxel_nm)
    assert objects["label"].tolist() == sorted(expected[1])
    rows = np.array([expected[1][k] for k in objects["label"].tolist()]).reshape(-1, 4).T
    for prefix, voxels, areas in (("", *rows[:2]), ("near_", *rows[2:])):
        np.testing.assert_array_equal(objects[f"{prefix}voxels"], voxels)
        assert_areas(objects[f"{prefix}area"], areas, voxels, voxel_nm)


def assert_areas(steps, areas_nm2, voxels, voxel_nm):
    """The area of each voxel is rounded to a whole step, so that sums are exact: half a step off at most."""
    off = np.abs(steps - areas_nm2 / area_step_nm2(voxel_nm))
    # Both sides add faces in float64: the rest of their errors, in steps of voxels that have 2**24 at most.
    assert (off <= voxels * (0.5 + 1e-6)).all()


def assert_same(one, two):
    for a, b in zip(one, two, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("same", [False, True])
@settings(max_examples=12, deadline=None)
@given(
    shape=shapes,
    block=blocks,
    seed=seeds,
    voxel_nm=voxel_sizes,
    gap_nm=reaches,
    labels=st.sampled_from([1, 3, 40]),
)
def test_contacts_are_those_of_all_voxel_pairs(same, shape, block, seed, voxel_nm, gap_nm, labels):
    own = blobs(shape, seed, labels if same else 3)
    other = own if same else blobs(shape, seed + 1, labels)
    whole = in_blocks(own, other, shape, voxel_nm, gap_nm, same)
    assert_equal(whole, brute_force(own, other, voxel_nm, gap_nm, same), voxel_nm)
    assert_same(in_blocks(own, other, block, voxel_nm, gap_nm, same), whole)


@pytest.mark.parametrize("same", [False, True])
def test_a_larger_volume_does_not_depend_on_the_grid(same):
    rng = np.random.default_rng(4)
    coarse = (rng.integers(1, 30, (6, 6, 6)) * (rng.random((6, 6, 6)) < 0.3)).astype(np.uint32)
    own = np.kron(coarse, np.ones((5, 4, 3), np.uint32))
    other = own if same else np.roll(own, (3, 5, 7), (0, 1, 2)) * np.uint32(5)
    whole = in_blocks(own, other, own.shape, VOXEL_NM, 35.0, same)
    assert len(whole[0]["own"]) > 20
    assert_same(in_blocks(own, other, (11, 9, 8), VOXEL_NM, 35.0, same), whole)


@pytest.mark.parametrize("same", [False, True])
def test_voxels_may_meet_more_labels_than_there_is_room_for(same, monkeypatch):
    own, other = blobs((9, 8, 7), 3, 300), blobs((9, 8, 7), 4, 300)
    other = own if same else other
    expected = in_blocks(own, other, (9, 8, 7), VOXEL_NM, 20.0, same)
    monkeypatch.setattr(meetings, "_ROOM", 1)
    monkeypatch.setattr(contacts, "_SLAB", 5)
    monkeypatch.setattr(tallies, "_ROWS", 1)
    monkeypatch.setattr(rows, "_BATCH_ROWS", 2)
    assert_same(in_blocks(own, other, (9, 8, 7), VOXEL_NM, 20.0, same), expected)
    assert len(expected[0]["own"]) > 2000


def test_ids_that_do_not_fit_are_met():
    own, other = np.zeros((2, 3, 3, 700), np.uint32)
    own[1, 1, 340:350], other[0, 0, 4:600], other[2, 2] = 1, 5, 2**32 - 1
    size = (8.0, 8.0, 8.0)
    assert_equal(in_blocks(own, other, own.shape, size, 9.0), brute_force(own, other, size, 9.0), size)


@pytest.mark.parametrize("largest", [5, 2**40, 2**64 - 1])
def test_rows_with_equal_keys_are_added_whatever_the_ids(largest):
    rng = np.random.default_rng(1)
    own, other = (np.array([0, 3, largest // 2, largest], np.uint64)[rng.integers(0, 4, 200)] for _ in "ab")
    square, voxels = rng.integers(0, 3, 200) * 10**6, rng.integers(0, 9, 200)
    found = grouped({"own": own, "voxels": voxels, "other": other, "square": square}, PAIR)
    expected = {}
    for *key, count in zip(own.tolist(), other.tolist(), square.tolist(), voxels.tolist(), strict=True):
        expected[tuple(key)] = expected.get(tuple(key), 0) + count
    assert list(found) == ["own", "voxels", "other", "square"]
    keys = zip(*(found[name].tolist() for name in PAIR), strict=True)
    assert list(zip(keys, found["voxels"].tolist(), strict=True)) == sorted(expected.items())


def two_slabs(gap):
    """An 8 x 2 x 2 slab of label 7 and one of label 9, `gap` voxels apart along z."""
    labels = np.zeros((8 + gap, 4, 4), np.uint32)
    labels[2:4, 1:3, 1:3] = 7
    labels[4 + gap : 6 + gap, 1:3, 1:3] = 9
    return labels


def everything(own, other, gap_nm, same=False):
    """(own, other) -> voxels, area in nm2, smallest gap."""
    pairs, _ = in_blocks(own, other, own.shape, VOXEL_NM, gap_nm, same)
    found = {}
    for key in zip(pairs["own"].tolist(), pairs["other"].tolist(), strict=True):
        at = (pairs["own"] == key[0]) & (pairs["other"] == key[1])
        gap = whole_unit(VOXEL_NM).length_nm(pairs["square"][at].min())
        area = pairs["area"][at].sum() * area_step_nm2(VOXEL_NM)
        found[key] = (int(pairs["voxels"][at].sum()), pytest.approx(area, rel=1e-5), gap)
    return found


def test_two_slabs_are_worked_by_hand():
    labels = two_slabs(gap=3)
    # Three empty voxels of 4 nm lie between the slabs; the second layer lies 16 nm away.
    assert everything(labels, labels, 11.9, same=True) == {}
    near = everything(labels, labels, 12.0, same=True)
    assert list(near) == [(7, 9), (9, 7)]
    assert [row[0::2] for row in near.values()] == [(4, 12.0)] * 2
    # Both layers are all of the object: its whole surface.
    both = everything(labels, labels, 16.0, same=True)
    area = voxel_areas(labels == 7, VOXEL_NM).sum()
    assert both == {(7, 9): (8, area, 12.0)} | {(9, 7): (8, area, 12.0)}


def test_a_flat_face_counts_with_its_full_area():
    """Two half spaces 16 nm apart: 5 x 4 faces of 8 x 4 nm2."""
    own, other = np.zeros((2, 4, 5, 9), np.uint8)
    own[:, :, :4], other[:, :, 5:] = 3, 5
    assert everything(own, other, 16.0) == {(3, 5): (20, 20 * 32.0, 16.0)}


@pytest.mark.parametrize("voxel_nm", [(8.0, 8.0, 8.0), VOXEL_NM, (40.0, 8.0, 8.0)])
def test_parallel_curved_surfaces_have_the_area_of_each_in_contact(voxel_nm):
    """A ball in a hollow, and a rod in a tube along a tilted line, with a known gap all around."""
    unit = max(voxel_nm)
    half, gap = 11 * unit, 2.5 * unit
    sides = [(np.arange(-(half // v) - 2, half // v + 3) + 0.3) * v for v in voxel_nm]
    points = np.stack(np.meshgrid(*sides, indexing="ij"), -1)
    away = np.linalg.norm(points, axis=-1)
    found = areas_in_contact(away <= 6 * unit, away > 6 * unit + gap, voxel_nm, gap + unit)
    assert found == pytest.approx([4 * np.pi * r**2 for r in (6 * unit, 6 * unit + gap)], rel=0.03)
    line = np.array([0.6, 0.64, 0.48])
    along = points @ line
    away = np.sqrt(np.maximum(0, away**2 - along**2))
    part = np.maximum(0, 1 - np.abs(along) / (6 * unit))
    found = areas_in_contact(away <= 5 * unit, away > 5 * unit + gap, voxel_nm, gap + unit, part)
    assert found == pytest.approx([2 * np.pi * r * 6 * unit for r in (5 * unit, 5 * unit + gap)], rel=0.03)


def areas_in_contact(own, other, voxel_nm, gap_nm, weight=None):
    """Area in nm2 of the surface of each that is within the gap of the other, weighted."""
    found = []
    for a, b in ((own, other), (other, own)):
        area = 0.0
        everywhere = (slice(None),) * 3
        for near in near_surface(
            a.view(np.uint8), b.view(np.uint8), voxel_nm=voxel_nm, gap_nm=gap_nm, trim=everywhere
        ):
            here = 1 if weight is None else weight[tuple(near.at[:, near.voxel])]
            area += (near.area[near.voxel] * here).sum()
        found.append(area * area_step_nm2(voxel_nm))
    return found


def test_touching_by_a_corner_and_overlap_have_no_gap():
    own, other = np.zeros((2, 4, 4, 4), np.uint8)
    own[1, 1, 1] = 3
    other[2, 2, 2] = 5
    voxel = 2 * (4 * 8 + 4 * 16 + 8 * 16)
    assert everything(own, other, 0.0) == {(3, 5): (1, voxel, 0.0)}
    assert everything(own, own * 2, 0.0) == {(3, 6): (1, voxel, 0.0)}


def test_the_border_of_the_volume_is_no_surface():
    own = np.ones((2, 2, 2), np.uint8)
    pairs, objects = in_blocks(own, own, (2, 2, 2), VOXEL_NM, 9.0)
    assert not len(pairs["own"])
    assert not len(objects["label"])


def test_gap_statistics_are_worked_by_hand():
    """Gaps of 0, 8 and 16 nm on 1, 2 and 7 voxels, and one of 4 nm."""
    rows = np.array([0, 4, 16, 1]), np.array([1, 2, 7, 5])
    least, mean, levels = gap_statistics(np.array([0, 3]), *rows, Unit(4.0, (1, 2, 4)), (10, 30, 31, 100))
    assert least.tolist() == [0.0, 4.0]
    assert mean.tolist() == [(2 * 8 + 7 * 16) / 10, 4.0]
    assert levels.T.tolist() == [[0.0, 8.0, 16.0, 16.0], [4.0] * 4]


def test_the_halo_reaches_every_box_within_the_gap_and_the_outlines():
    assert halo_voxels(30.0, VOXEL_NM) == (17, 9, 5)
    assert halo_voxels(200.0, VOXEL_NM) == (51, 26, 13)
    assert halo_voxels(29.5, (8.0, 8.0, 8.0)) == (5, 5, 5)


@pytest.mark.parametrize("gap_nm", [-1.0, np.inf, np.nan])
def test_a_gap_that_makes_no_sense_is_refused(gap_nm):
    with pytest.raises(ConfigError, match="contacts need a finite gap of 0 nm or more"):
        halo_voxels(gap_nm, VOXEL_NM)


def test_blocks_of_different_shapes_are_refused():
    own, other = np.ones((2, 2, 2), np.uint8), np.ones((2, 2, 3), np.uint8)
    with pytest.raises(InputError, match="read both over one box"):
        next(near_surface(own, other, voxel_nm=VOXEL_NM, gap_nm=9.0, trim=(slice(None),) * 3))


def test_a_block_too_long_for_places_is_refused():
    long = np.zeros((1, 1, MOST_ALONG + 1), np.uint8)
    with pytest.raises(InputError, match=r"more than 2097149 along an axis; take a smaller block"):
        next(near_surface(long, long, voxel_nm=VOXEL_NM, gap_nm=9.0, trim=(slice(None),) * 3))


def test_far_places_of_a_long_block_are_told_apart():
    long = np.zeros((1, 1, MOST_ALONG), np.uint8)
    long[0, 0, [10, 12, -3, -1]] = 1, 2, 3, 4
    found = near_surface(long, long, voxel_nm=(8, 8, 8), gap_nm=24, trim=(slice(None),) * 3, same=True)
    pairs = [
        (int(near.label[v]), int(m)) for near in found for v, m in zip(near.voxel, near.met, strict=True)
    ]
    assert sorted(pairs) == [(1, 2), (2, 1), (3, 4), (4, 3)]
