"""Instances of slices become instances in 3D, whatever the blocks; branches, gaps and drift are followed."""

from __future__ import annotations

import tempfile
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from strategies import VOXEL_NM, blocks, done, numbered, resumed_equals_whole, seeds, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.kernels.instances.slice_links import Rule, link_slices


def slices(shape, seed, most=5):
    """Random blobs, each slice labelled by itself with ids in random order."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random(shape), (0.6, 1, 1))
    filled = smooth > np.quantile(smooth, rng.choice([0.4, 0.6, 0.8]))
    out = np.zeros(shape, np.uint32)
    for z in np.flatnonzero(rng.random(shape[0]) > 0.15):
        labels, n = ndimage.label(filled[z])
        out[z] = np.concatenate([[0], rng.permutation(n + most)[:n] + 1])[labels]
    return out


def pair_by_pair(labels, rule, voxel_nm):
    """The same rule, object by object, with sets of voxels: an independent implementation."""
    objects = {}
    for z in range(len(labels)):
        for i in np.unique(labels[z][labels[z] > 0]).tolist():
            objects[z, i] = set(map(tuple, np.argwhere(labels[z] == i).tolist()))
    centre = {k: np.mean(sorted(v), 0) * voxel_nm[1:] for k, v in objects.items()}
    up, down, links = set(), set(), []
    # One voxel of ten reaches 0.1, as written; the float 0.1 is a little more than a tenth.
    iou = Fraction(str(rule.iou))
    for step in range(1, rule.gap + 2):
        score = {}
        for a in objects:
            for b in objects:
                if b[0] != a[0] + step or a in up or b in down:
                    continue
                if objects[a] & objects[b]:
                    score[a, b] = Fraction(len(objects[a] & objects[b]), len(objects[a] | objects[b]))
        best = {
            (o, side): max(v for pair, v in score.items() if pair[side] == o)
            for side in (0, 1)
            for o in {pair[side] for pair in score}
        }
        by_iou = [p for p, v in score.items() if v >= iou and v in (best[p[0], 0], best[p[1], 1])]
        chosen = {(p[side], side) for p in by_iou for side in (0, 1)}
        found = by_iou + [
            p
            for p, v in score.items()
            if p not in by_iou
            and any(
                best[p[side], side] == v
                and (p[side], side) not in chosen
                and len(objects[p[0]] & objects[p[1]]) >= rule.share * len(objects[p[side]])
                for side in (0, 1)
            )
        ]
        if rule.distance_nm:
            ended = {o for o in objects if o not in up} - {a for a, _ in found}
            begun = {o for o in objects if o not in down} - {b for _, b in found}

            def near(a, b):
                return float(np.linalg.norm(centre[a] - centre[b]))

            for a in sorted(ended):
                above = [b for b in sorted(begun) if b[0] == a[0] + step]
                if not above:
                    continue
                best = min(above, key=lambda b: near(a, b))
                back = min((o for o in sorted(ended) if o[0] == a[0]), key=lambda o: near(o, best))
                # Of equally near ones either may be the nearest: the tests below leave no such case.
                if back == a and near(a, best) <= rule.distance_nm:
                    found.append((a, best))
        up |= {a for a, _ in found}
        down |= {b for _, b in found}
        links += found
    group = {o: o for o in objects}
    for a, b in links:
        old, new = group[b], group[a]
        group = {o: new if g == old else g for o, g in group.items()}
    roots = {g: i + 1 for i, g in enumerate(sorted(set(group.values())))}
    out = np.zeros(labels.shape, np.int64)
    for (z, i), g in group.items():
        out[z][labels[z] == i] = roots[g]
    return numbered(out)


rules = st.builds(
    Rule,
    iou=st.sampled_from([0.1, 0.3, 1.0]),
    share=st.sampled_from([0.3, 0.6, 1.0, np.inf]),
    distance_nm=st.just(0.0),
    gap=st.integers(0, 3),
)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, rule=rules)
@example(seed=167844, rule=Rule(iou=0.1, share=np.inf, distance_nm=0.0, gap=0))
def test_links_are_those_of_the_rule_read_aloud(seed, rule):
    labels = slices((6, 7, 8), seed)
    np.testing.assert_array_equal(link_slices(labels, rule, VOXEL_NM), pair_by_pair(labels, rule, VOXEL_NM))


@settings(max_examples=30, deadline=None)
@given(seed=seeds, gap=st.integers(0, 2))
def test_near_objects_are_linked_as_the_rule_says(seed, gap):
    """Single voxels at places whose distances all differ."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((5, 40, 40), np.uint32)
    for z in range(5):
        n = int(rng.integers(0, 5))
        labels[z, rng.choice(40, n, replace=False), rng.choice(40, n, replace=False)] = rng.permutation(n) + 1
    rule = Rule(iou=0.5, share=0.5, distance_nm=150.7, gap=gap)
    voxel_nm = (4.0, 8.0, 8.00317)
    np.testing.assert_array_equal(link_slices(labels, rule, voxel_nm), pair_by_pair(labels, rule, voxel_nm))


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    seed=seeds,
    block=blocks,
    gap=st.integers(0, 3),
    distance_nm=st.sampled_from([0.0, 30.0]),
)
@example(shape=(9, 7, 8), seed=3, block=(3, 4, 8), gap=3, distance_nm=30.0)
def test_linked_instances_do_not_depend_on_the_grid(shape, seed, block, gap, distance_nm):
    labels = slices(shape, seed)
    rule = Rule(0.1, 0.9, distance_nm, gap)
    with tempfile.TemporaryDirectory() as folder:
        volume = write(folder, labels, "slices", kind="label")
        plan = cf.link(
            volume, distance_nm=distance_nm, gap=gap, name="all", work=f"{folder}/work", block=block
        )
        found = done(plan).read()
    np.testing.assert_array_equal(found, link_slices(labels, rule, VOXEL_NM))
    assert found.dtype == np.uint32


def test_a_hand_worked_stack(tmp_path):
    """A Y of three slices, a gap of one slice, and a thing that moves 5 voxels of 16 nm: 80 nm."""
    labels = np.zeros((5, 3, 40), np.uint16)
    labels[0, 0, 0:10] = 7  # the stem of the Y
    labels[1, 0, 0:4], labels[1, 0, 6:10] = 7, 3  # its branches, 40 % each
    labels[2, 0, 0:3], labels[2, 0, 7:10] = 1, 2
    labels[0, 2, 0:4] = labels[2, 2, 0:4] = 9  # nothing in slice 1
    labels[3, 2, 20:23], labels[4, 2, 25:28] = 4, 5  # drifts without overlap
    volume = write(tmp_path, labels, "slices", kind="label")
    at = {"work": tmp_path / "work", "block": (3, 3, 16)}
    wanted = np.zeros(labels.shape, int)
    wanted[:3, 0][labels[:3, 0] > 0] = 1
    wanted[[0, 2], 2, 0:4] = 2
    wanted[3, 2, 20:23] = wanted[4, 2, 25:28] = 3
    np.testing.assert_array_equal(done(cf.link(volume, distance_nm=80, name="near", **at)).read(), wanted)
    wanted[4, 2, 25:28] = 4
    np.testing.assert_array_equal(done(cf.link(volume, distance_nm=79, name="far", **at)).read(), wanted)
    wanted[wanted >= 3] += 1
    wanted[2, 2, 0:4] = 3
    np.testing.assert_array_equal(done(cf.link(volume, gap=0, name="gapless", **at)).read(), wanted)


def test_links_are_the_same_seen_from_the_other_end():
    for seed in range(12):
        labels = slices((7, 9, 9), seed)
        rule = Rule(0.1, 0.9, 0.0, 2)
        forth, back = (link_slices(a, rule, VOXEL_NM) for a in (labels, labels[::-1].copy()))
        np.testing.assert_array_equal(numbered(back[::-1]), forth)


def test_a_thin_branch_is_part_of_a_thick_stem_and_a_slanted_neighbour_is_not(tmp_path):
    labels = np.zeros((2, 4, 40), np.uint8)
    labels[0, 0, 0:30] = 1
    labels[1, 0, 0:28], labels[1, 0, 29] = 1, 2  # 1 voxel of 30: below iou 0.1, but all of it on the stem
    labels[0, 2, 0:20], labels[0, 2, 20:30] = 3, 4
    labels[1, 2, 0:16], labels[1, 2, 16:26] = 3, 4  # 4 moves: 4 voxels on 3, 6 on itself
    found = link_slices(labels, Rule(0.1, 0.9, 0.0, 0), VOXEL_NM)
    np.testing.assert_array_equal(found, np.where(labels == 2, 1, np.where(labels > 2, labels - 1, labels)))
    volume = write(tmp_path, labels, "slices", kind="label")
    apart = done(cf.link(volume, share=None, gap=0, name="apart", work=tmp_path / "work")).read()
    np.testing.assert_array_equal(apart, np.array([0, 1, 4, 2, 3])[labels])


def test_ids_of_64_bits_and_empty_stacks_are_linked(tmp_path):
    labels = np.zeros((3, 2, 4), np.uint64)
    labels[0, 0], labels[1, 0] = 2**53, 2**64 - 1
    labels[1, 1], labels[2, 1] = 2**53 + 1, 2**53
    wanted = np.where(labels > 0, np.array([1, 2])[None, :, None], 0)
    big = write(tmp_path, labels, "big", kind="label")
    np.testing.assert_array_equal(done(cf.link(big, name="big", work=tmp_path / "work")).read(), wanted)
    empty = write(tmp_path, np.zeros((3, 2, 4), np.uint8), "empty", kind="label")
    assert not done(cf.link(empty, name="empty", work=tmp_path / "work")).read().any()


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    volume = write(tmp_path, slices((9, 9, 9), 3), "slices", kind="label")

    def plan(work):
        return cf.link(volume, name="all", work=work, block=(3, 9, 9))

    resumed_equals_whole(plan, tmp_path / "first", "all/slices", 1)
    resumed_equals_whole(plan, tmp_path / "second", "all/apply", 2)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"iou": 0}, ConfigError, "iou is a share above 0 and up to 1, got 0"),
        ({"share": 1.5}, ConfigError, "share is a share above 0 and up to 1, got 1.5"),
        ({"distance_nm": -1}, ConfigError, "distance_nm must be 0 or more, got -1"),
        ({"gap": -1}, ConfigError, "gap is a number of slices, 0 or more, got -1"),
    ],
)
def test_what_cannot_be_linked_is_refused(options, error, says, tmp_path, listing):
    volume = write(tmp_path, slices((3, 4, 5), 0), "slices", kind="label")
    before = listing()
    with pytest.raises(error, match=says):
        cf.link(volume, **{"name": "all", "work": tmp_path / "work"} | options)
    assert listing() == before


def test_intensities_are_not_linked_and_planning_reads_no_voxels(tmp_path, monkeypatch):
    floats = write(tmp_path, np.ones((3, 4, 5), np.float32), "floats")
    with pytest.raises(InputError, match="holds float32 voxels; instances must be integers"):
        cf.link(floats, name="all", work=tmp_path / "work")
    volume = write(tmp_path, slices((3, 4, 5), 0), "slices", kind="label")
    monkeypatch.setattr(cf.Volume, "read", lambda *_: pytest.fail("planning read voxels"))
    assert "all/slices" in str(cf.link(volume, name="all", work=tmp_path / "work"))
