"""Centre lines of solids whose axis, width and branches are known."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from solids import arc, ellipsoid, flat_ended, star, straight, tube, turned
from strategies import VOXEL_NM

from chunkflow_liver.errors import InputError
from chunkflow_liver.kernels.centreline.line import centreline

KINDS = ("instance", "branched")
CUBES, SLICES = (12.0, 12.0, 12.0), (40.0, 16.0, 16.0)


def gaps(points, line):
    """Distance of every point to the nearest one of a line."""
    return np.linalg.norm(points[:, None] - line[None], axis=2).min(1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("voxel_nm", [CUBES, VOXEL_NM, SLICES], ids=str)
def test_a_bent_rod_is_one_branch_of_its_length_and_width(voxel_nm, seed):
    _, line = arc(1200.0, 700.0, turned(seed))
    mask, line = tube(line, 110.0, voxel_nm)
    found = centreline(mask, voxel_nm)
    (branch,) = found.branches
    assert (found.tips, found.branch_points) == (2, 0)
    # Half a voxel for a corner of voxels that one end may reach into.
    assert found.length_nm == pytest.approx(1420, abs=max(voxel_nm))
    inner = (branch.position_nm > 150) & (branch.position_nm < branch.length_nm - 150)
    np.testing.assert_allclose(branch.width_nm[inner], 220, atol=max(voxel_nm) / 2)
    assert gaps(branch.points_nm[inner], line).max() < max(voxel_nm)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("voxel_nm", [CUBES, VOXEL_NM, SLICES], ids=str)
def test_three_arms_are_three_branches(voxel_nm, seed):
    axes = turned(seed)
    mask, line = tube(star(700.0, axes), 100.0, voxel_nm)
    found = centreline(mask, voxel_nm)
    assert sorted(found.degree) == [1, 1, 1, 3]
    assert [len(found.branches), found.tips, found.branch_points] == [3, 3, 1]
    assert found.length_nm == pytest.approx(2400, rel=0.02)
    assert np.linalg.norm(found.nodes_nm[found.degree == 3][0] - line[0]) < 100
    for branch in found.branches:
        assert branch.length_nm == pytest.approx(800, abs=60)
        for end, node in ((0, branch.start), (-1, branch.stop)):
            assert branch.points_nm[end].tolist() == found.nodes_nm[node].tolist()
        far = np.linalg.norm(branch.points_nm - line[0], axis=1)
        arm = (far > 250) & (far < 650)
        np.testing.assert_allclose(branch.width_nm[arm], 200, atol=max(voxel_nm) / 2)


@pytest.mark.parametrize("half_nm", [(300, 150, 120), (250, 240, 230), (260, 180, 80)], ids=str)
@pytest.mark.parametrize("voxel_nm", [CUBES, SLICES], ids=str)
def test_an_ellipsoid_is_one_branch_along_its_longest_axis(half_nm, voxel_nm):
    found = centreline(ellipsoid(half_nm, voxel_nm, turned(1)), voxel_nm)
    assert len(found.branches) == 1
    if half_nm[0] > 1.2 * half_nm[1]:
        assert found.length_nm == pytest.approx(2 * half_nm[0], abs=1.5 * max(voxel_nm))
        assert found.branches[0].width_nm.max() == pytest.approx(
            2 * (half_nm[1] * half_nm[2]) ** 0.5, rel=0.05
        )


@pytest.mark.parametrize("voxel_nm", [(16.0, 16.0, 16.0), (8.0, 16.0, 32.0), (40.0, 8.0, 8.0)], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_edges_of_flat_ends_and_of_flat_objects_are_no_branches(voxel_nm, seed):
    """Rods of 2, 4 and 6 diameters, a disc, boxes: long, square, flat ones and a cube; in any direction."""
    axes = np.eye(3)[[seed, seed - 2, seed - 1]] if seed < 1 else turned(40 + seed)
    rods = [(240, 120, 120), (480, 120, 120), (720, 120, 120), (480, 80, 80), (100, 400, 400)]
    boxes = [(400, 200, 200), (400, 250, 120), (500, 120, 120), (400, 400, 120), (250, 250, 250)]
    for halves, round_ in ((rods, True), (boxes, False)):
        for half in halves:
            found = centreline(flat_ended(half, voxel_nm, axes, round_=round_), voxel_nm)
            assert (len(found.branches), found.tips) == (1, 2), (half, round_)


def test_a_flat_box_is_one_branch_as_long_as_it_is():
    """By hand: 10 x 30 x 100 voxels of (40, 8, 8) nm, or 400 x 240 x 800 nm; its diagonal is 926 nm.

    The line bends a little at its ends.
    """
    found = centreline(np.ones((10, 30, 100), bool), (40.0, 8.0, 8.0))
    assert len(found.branches) == 1
    assert 800 <= found.length_nm <= 926 * 1.01


@pytest.mark.parametrize(("length_nm", "branches"), [(60.0, 1), (400.0, 3)])
def test_a_branch_leads_out_of_the_body_by_three_quarters_of_its_radius(length_nm, branches):
    """Stubs of 70 nm radius that lead 60 and 400 nm out of a rod with a radius of 120 nm."""
    axes = turned(5)
    _, rod = straight(900.0, axes)
    stub = np.linspace(0, 120 + length_nm - 70, 60)[:, None] * axes[1]
    mask, _ = tube(np.concatenate([rod, stub]), np.repeat([120.0, 70.0], [len(rod), 60]), CUBES)
    assert len(centreline(mask, CUBES).branches) == branches


def test_real_mitochondria_branch_where_people_saw_branches(em_data):
    """Mitochondria of UroCell that lie whole in the crop, and the flags of its authors."""
    labels, flags = (tifffile.imread(em_data / f"urocell_labels/mito_{n}_fib1-3-2-1.tif") for n in KINDS)
    same = []
    for label, box in enumerate(ndimage.find_objects(labels.astype(np.int32)), 1):
        if box and not any(b.start == 0 or b.stop == n for b, n in zip(box, labels.shape, strict=True)):
            mask = labels[box] == label
            found = centreline(mask, (15.0, 16.0, 16.0)).branch_points > 0
            same.append(bool(found == (flags[box][mask][0] == 1)))
    assert len(same) > 10
    # One is flagged that lies bent like a V, with two ends.
    assert same.count(False) <= 1


def test_a_large_object_is_traced_coarsely_and_measured_finely(monkeypatch):
    _, line = straight(600.0, turned(2))
    mask, line = tube(line, 90.0, CUBES)
    whole = centreline(mask, CUBES).branches[0]
    monkeypatch.setattr("chunkflow_liver.kernels.centreline.tracing.MOST_NODES", 800)
    coarse = centreline(mask, CUBES).branches[0]
    inner = slice(15, -15)
    assert gaps(coarse.points_nm[inner], line).max() < 4
    assert np.median(coarse.width_nm) == pytest.approx(np.median(whole.width_nm), rel=0.005)


def test_a_coarse_voxel_does_not_tear_a_neck(monkeypatch):
    along, line = straight(600.0, np.eye(3))
    mask, _ = tube(line, np.where(np.abs(along) < 60, 9.0, 120.0), CUBES)
    monkeypatch.setattr("chunkflow_liver.kernels.centreline.tracing.MOST_NODES", 500)
    assert centreline(mask, CUBES).length_nm == pytest.approx(840, abs=16)


def test_small_objects_have_a_line_from_surface_to_surface():
    """By hand: a row of 5 voxels of 16 nm, one voxel, a pair along y; in voxels of (4, 8, 16) nm.

    An end may lie half a voxel off, because the nearest surface of a thin object is at its side.
    """
    row = np.zeros((3, 3, 7), bool)
    row[1, 1, 1:6] = True
    found = centreline(row, VOXEL_NM)
    assert found.length_nm == pytest.approx(80, abs=16)
    assert found.branches[0].points_nm[:, 0] == pytest.approx(np.full(len(found.branches[0].points_nm), 6))
    assert centreline(np.ones((1, 1, 1), bool), VOXEL_NM).length_nm == pytest.approx(16, abs=10)
    assert centreline(np.ones((1, 2, 1), bool), VOXEL_NM).length_nm == pytest.approx(16, abs=8)


def test_of_several_parts_the_largest_counts():
    mask = np.zeros((3, 3, 30), bool)
    mask[1, 1, 1:20] = True
    mask[1, 1, 25:28] = True
    assert centreline(mask, CUBES).length_nm == pytest.approx(19 * 12, abs=1)


@pytest.mark.parametrize("mask", [np.zeros((2, 2, 2), bool), np.ones((2, 2), bool)])
def test_what_has_no_centre_line_is_refused(mask):
    with pytest.raises(InputError, match="a centre line needs an object in a volume, got"):
        centreline(mask, CUBES)
