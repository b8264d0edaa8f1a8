"""Narrowings of solids with known necks, and none where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from solids import arc, ellipsoid, flat_ended, star, straight, tube, turned
from strategies import VOXEL_NM

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.centreline.line import Branch, Centreline, centreline
from chunkflow_liver.kernels.centreline.necks import (
    COLUMNS,
    Neck,
    find_narrowings,
    major_line,
    narrowest_slice,
)

CUBES = (16.0, 16.0, 16.0)
VOXELS = [CUBES, (8.0, 16.0, 32.0), (40.0, 16.0, 16.0)]


def found_in(mask, voxel_nm, neck=None):
    return find_narrowings(centreline(mask, voxel_nm), voxel_nm, neck or Neck())


def places(found):
    return np.stack([found[f"{a}_nm"] for a in "zyx"], 1)


def dumbbells(rng, axes, voxel_nm):
    along, line = straight(1300.0, axes)
    body, neck, width, at = (rng.uniform(*r) for r in ((150, 230), (100, 200), (120, 200), (-150, 150)))
    radius = body - (body - neck / 2) / (1 + ((along - at) / width) ** 2) ** 2
    mask, line = tube(line, radius, voxel_nm)
    return mask, [(line[np.abs(along - at).argmin()], neck)]


def bent_with_two(rng, axes, voxel_nm):
    along, line = arc(1800.0, 800.0, axes)
    depth = rng.uniform(80, 110, 2)
    radius = (
        170
        - depth[0] * np.exp(-(((along + 350) / 90) ** 2))
        - depth[1] * np.exp(-(((along - 400) / 80) ** 2))
    )
    mask, line = tube(line, radius, voxel_nm)
    return mask, [
        (line[np.abs(along - p).argmin()], 2 * (170 - d)) for p, d in zip((-350, 400), depth, strict=True)
    ]


def arm_with_one(rng, axes, voxel_nm):
    line = star(700.0, axes)
    away = np.linalg.norm(line, axis=1)
    arm = len(line) // 3
    radius = np.full(len(line), 130.0)
    radius[:arm] -= 75 * np.exp(-(((away[:arm] - 400) / 80) ** 2))
    mask, line = tube(line, radius, voxel_nm)
    return mask, [(line[:arm][np.abs(away[:arm] - 400).argmin()], 110.0)]


@pytest.mark.parametrize("voxel_nm", VOXELS)
@pytest.mark.parametrize("seed", range(4))
def test_cavities_make_no_narrowing(voxel_nm, seed):
    """Holes in a segmentation, of one voxel and of several, on the centre line and beside it."""
    _, line = straight(1200.0, turned(seed))
    mask, line = tube(line, 150.0, voxel_nm)
    holed = mask.copy()
    for share, beside, half in ((0.3, 0, 0), (0.5, 60, 0), (0.7, 30, 1)):
        at = ((line[int(share * len(line))] + beside * turned(seed)[1]) // voxel_nm).astype(int)
        holed[tuple(slice(a - half, a + half + 1) for a in at)] = False
    assert 1 < (mask ^ holed).sum() <= 29
    assert len(found_in(holed, voxel_nm)["width_nm"]) == 0
    whole, found = (centreline(m, voxel_nm).branches for m in (mask, holed))
    np.testing.assert_array_equal(found[0].area_nm2, whole[0].area_nm2)


def test_known_necks_are_found_with_place_and_width():
    """Recall and precision 0.95 or more, place within 2 voxels, width within 1."""
    right = wrong = missed = 0
    rng = np.random.default_rng(0)
    for voxel_nm in VOXELS:
        for seed in range(2):
            for make in (dumbbells, dumbbells, bent_with_two, arm_with_one):
                mask, truth = make(rng, turned(seed), voxel_nm)
                found = found_in(mask, voxel_nm)
                hit = 0
                for place, width in truth:
                    away = np.linalg.norm((places(found) - place) / voxel_nm, axis=1)
                    near = away <= 2
                    near &= np.abs(found["width_nm"] - width) <= max(voxel_nm)
                    hit += near.any()
                right, wrong, missed = (
                    right + hit,
                    wrong + len(found["branch"]) - hit,
                    missed + len(truth) - hit,
                )
    assert right / (right + missed) >= 0.95
    assert right / (right + wrong) >= 0.95


@pytest.mark.parametrize("voxel_nm", VOXELS, ids=str)
@pytest.mark.parametrize("seed", range(2))
def test_nothing_narrows_where_the_width_is_constant_or_has_one_maximum(voxel_nm, seed):
    axes = turned(10 + seed)
    bar = np.linspace(-500, 500, 201)[:, None]
    solids = [tube(straight(1100.0, axes)[1], r, voxel_nm)[0] for r in (70.0, 180.0)]
    solids += [tube(arc(1200.0, 400.0 + r, axes)[1], r, voxel_nm)[0] for r in (70.0, 160.0)]
    solids += [
        ellipsoid(half, voxel_nm, axes) for half in ((300, 150, 120), (250, 240, 230), (450, 120, 100))
    ]
    solids += [tube(star(600.0, axes), 110.0, voxel_nm)[0]]
    rungs = np.concatenate(
        [bar * axes[0] - 400 * axes[1], bar * axes[0] + 400 * axes[1], 0.8 * bar * axes[1]]
    )
    solids += [tube(rungs, 100.0, voxel_nm)[0]]
    assert [len(found_in(mask, voxel_nm)["branch"]) for mask in solids] == [0] * len(solids)


@pytest.mark.parametrize("voxel_nm", VOXELS, ids=str)
@pytest.mark.parametrize("seed", range(2))
def test_nothing_narrows_in_boxes_and_discs(voxel_nm, seed):
    axes = turned(50 + seed) if seed else np.eye(3)
    halves = [(400, 250, 120), (400, 400, 120), (250, 250, 250), (400, 300, 80)]
    solids = [flat_ended(half, voxel_nm, axes, round_=False) for half in halves]
    solids += [flat_ended((100, 400, 400), voxel_nm, axes, round_=True), np.ones((10, 30, 100), bool)]
    assert [len(found_in(mask, voxel_nm)["branch"]) for mask in solids] == [0] * len(solids)


@pytest.mark.parametrize("side", [1, 2])
def test_a_thin_bridge_beside_the_axis_has_a_width(side):
    """Two boxes of 320 nm joined by a bridge of 64 nm from corner to corner: a smooth line cuts it off."""
    mask = np.zeros((20, 20, 44), bool)
    mask[:, :, :20] = mask[:, :, 24:] = True
    mask[:side, :side, 20:24] = True
    found = found_in(mask, CUBES)
    assert found["width_voxels"] == pytest.approx([2 * side / np.sqrt(np.pi)], abs=0.5)
    assert found["resolved"].tolist() == [side == 2]
    assert abs(found["x_nm"][0] - 352) <= 48


def test_a_neck_of_less_than_two_voxels_is_not_resolved():
    """Necks of 20, 44 and 80 nm on cubes of 16 nm: 1.25, 2.75 and 5 voxels, to half a voxel."""
    for neck, resolved in ((20, False), (44, True), (80, True)):
        along, line = straight(1100.0, turned(7))
        mask, _ = tube(line, 170 - (170 - neck / 2) / (1 + (along / 130) ** 2) ** 2, CUBES)
        found = found_in(mask, CUBES)
        assert found["width_voxels"] == pytest.approx(found["width_nm"] / 16)
        assert found["width_voxels"] == pytest.approx([neck / 16], abs=0.5)
        assert found["resolved"].tolist() == [resolved]


def test_widths_of_necks_have_no_bias():
    """Dips between bodies, as sharp as the smoothing of a profile would fill by 5 to 15 nm."""
    rng = np.random.default_rng(3)
    off = []
    for voxel_nm in VOXELS:
        for seed in range(3):
            mask, ((_, width),) = dumbbells(rng, turned(20 + seed), voxel_nm)
            off.append((found_in(mask, voxel_nm)["width_nm"][0] - width) / max(voxel_nm))
    assert abs(np.mean(off)) < 0.1
    assert np.abs(off).max() < 0.5


def test_a_hand_worked_neck():
    """A box of 20 x 20 x 20 voxels, a bar of 8 x 4 voxels (32 x 32 nm), another box; (4, 8, 16) nm."""
    mask = np.zeros((40, 20, 40), bool)
    mask[:, :, :12] = mask[:, :, 28:] = True
    mask[16:24, 8:12, 12:28] = True
    found = found_in(mask, VOXEL_NM)
    # Boxes of 160 x 160 nm: their width is that of a circle of the same area, the bar's likewise.
    flank, width = (2 * side / np.sqrt(np.pi) for side in (160, 32))
    (narrow,) = [{k: v[0] for k, v in found.items()}]
    assert narrow["width_nm"] == pytest.approx(width, abs=4)
    # The bar runs along x: 8 nm is the largest voxel side across it.
    assert narrow["width_voxels"] == pytest.approx(narrow["width_nm"] / 8, rel=0.01)
    assert narrow["resolved"]
    assert narrow["flank_width_nm"] == pytest.approx(flank, abs=8)
    assert narrow["prominence_nm"] == pytest.approx(narrow["flank_width_nm"] - narrow["width_nm"])
    assert narrow["width_ratio"] == pytest.approx(narrow["width_nm"] / narrow["flank_width_nm"])
    assert (narrow["z_nm"], narrow["y_nm"]) == pytest.approx((80, 80), abs=4)
    assert abs(narrow["x_nm"] - 320) < 128
    assert narrow["branch_length_nm"] == pytest.approx(640, abs=56)


def test_limits_decide_what_counts():
    mask, _ = dumbbells(np.random.default_rng(1), turned(0), CUBES)
    found = found_in(mask, CUBES)
    assert len(found["branch"]) == 1
    prominence, ratio = found["prominence_nm"][0], found["width_ratio"][0]
    assert len(found_in(mask, CUBES, Neck(max_ratio=ratio - 0.01))["branch"]) == 0
    assert len(found_in(mask, CUBES, Neck(min_prominence_nm=prominence + 10))["branch"]) == 0
    assert len(found_in(mask, CUBES, Neck(min_prominence_nm=prominence - 10))["branch"]) == 1


@pytest.mark.parametrize(
    ("degree", "kept"),
    [((1, 1), [150.0, 500.0]), ((3, 1), [50.0, 150.0, 500.0]), ((1, 3), [150.0, 500.0, 950.0])],
)
def test_ends_are_excluded_up_to_half_the_flank(degree, kept):
    """Dips of a width of 200 nm at 50 and 150 nm from the start, in the middle and at 50 nm from the stop.

    Half the flank is 100 nm: the two outer dips are at a tip, unless that end is a branch point.
    """
    at = np.arange(0.0, 1001.0, 5.0)
    width = np.full(len(at), 200.0)
    for dip in (50.0, 150.0, 500.0, 950.0):
        width -= 80 * np.exp(-(((at - dip) / 15) ** 2))
    points = np.stack([0 * at, 0 * at, at], 1)
    # Spheres inside as small as half a voxel: a branch point leaves the widths beside it as they are.
    branch = Branch(
        0, 1, points, np.tile([0.0, 0, 1], (len(at), 1)), np.pi * (width / 2) ** 2, np.full(len(at), 8.0)
    )
    line = Centreline(points[[0, -1]], np.array(degree), (branch,))
    assert find_narrowings(line, CUBES, Neck())["position_nm"] == pytest.approx(kept, abs=2)


def test_curvatures_are_those_of_the_solid():
    """Radius 150 - 70 exp(-(s/100)^2): second derivative 2 x 70 / 100^2 = 14 per um, on an arc of 700 nm."""
    along, line = arc(1400.0, 700.0, turned(3))
    mask, _ = tube(line, 150 - 70 * np.exp(-((along / 100) ** 2)), (10.0, 10.0, 10.0))
    found = found_in(mask, (10.0, 10.0, 10.0))
    assert found["curvature_per_um"] == pytest.approx([14], rel=0.25)
    assert found["bend_per_um"] == pytest.approx([1 / 0.7], rel=0.1)


def test_the_straight_axis_calls_an_ellipsoid_narrow():
    """The definition that it is there to be compared with, and why it is not the default."""
    mask = ellipsoid((400, 200, 200), CUBES, turned(1))
    line = major_line(mask, CUBES, 20)
    assert line.branches[0].area_nm2.sum() * line.length_nm / 19 == pytest.approx(mask.sum() * 4096, rel=1e-9)
    found = narrowest_slice(line, CUBES, Neck())
    assert set(found) == set(COLUMNS)
    # Of 20 slices the third is the first that counts: at u = -0.75 of the half length, area 1 - u^2 of the
    # largest, against the median's.
    u = (np.arange(20) + 0.5) / 10 - 1
    area = 1 - u**2 - 1 / 1200
    assert found["width_ratio"] == pytest.approx([area[2] / np.median(area)], rel=0.05)
    assert len(narrowest_slice(line, CUBES, Neck(max_ratio=0.4))["branch"]) == 0
    assert len(found_in(mask, CUBES)["branch"]) == 0
    assert len(narrowest_slice(major_line(np.ones((1, 1, 1), bool), CUBES, 5), CUBES, Neck())["branch"]) == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_ratio": 0.0}, "max_ratio must be above 0 and at most 1, got 0.0"),
        ({"min_prominence_nm": -1.0}, "min_prominence_nm must be positive and finite, got -1.0"),
        ({"slices": 2}, "needs 3 slices or more .* got 2 and 0.1"),
        ({"end_fraction": 0.5}, "less than half of them left out at an end, got 20 and 0.5"),
    ],
)
def test_bad_limits_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        Neck(**options)
