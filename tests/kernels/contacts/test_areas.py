"""Areas of voxels are those of the outlines through their faces, and add up to the area of any surface."""

from __future__ import annotations

import math

import numpy as np
import pytest
from brute_areas import voxel_areas
from hypothesis import given, settings
from hypothesis import strategies as st
from solids import turned

from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.contacts.areas import area_step_nm2, reach_voxels, surface_areas, walled

VOXEL_NM = (4.0, 8.0, 16.0)
CUBES = (8.0, 8.0, 8.0)
SLICES = (40.0, 8.0, 8.0)
NEEDLES = (8.0, 160.0, 8.0)


def total(labels, voxel_nm, weight=None):
    """Area of all surface in nm2, or with a weight for each voxel."""
    at, area = surface_areas(walled(labels)[0], ((0, 0, 0), labels.shape), voxel_nm)
    return (area * (1 if weight is None else weight[tuple(at)])).sum() * area_step_nm2(voxel_nm)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    seed=st.integers(0, 2**32 - 1),
    filled=st.sampled_from([0.2, 0.6, 0.9]),
    labels=st.sampled_from([1, 3]),
    voxel_nm=st.sampled_from([VOXEL_NM, CUBES, SLICES, NEEDLES]),
)
def test_areas_are_those_of_the_outlines_through_all_faces(shape, seed, filled, labels, voxel_nm):
    rng = np.random.default_rng(seed)
    array = ((rng.random(shape) < filled) * rng.integers(1, labels + 1, shape)).astype(np.uint8)
    at, area = surface_areas(walled(array)[0], ((0, 0, 0), shape), voxel_nm)
    found = np.zeros(shape)
    found[tuple(at)] = area * area_step_nm2(voxel_nm)
    np.testing.assert_allclose(found, voxel_areas(array, voxel_nm), atol=area_step_nm2(voxel_nm))


@pytest.mark.parametrize("voxel_nm", [CUBES, SLICES])
@pytest.mark.parametrize("block", [(3, 5, 7), (40, 6, 1)])
def test_areas_do_not_depend_on_the_grid(voxel_nm, block):
    """Round things, larger than the reach, that touch each other and the border."""
    rng = np.random.default_rng(3)
    index = np.stack(np.indices((24, 22, 20)), -1)
    centres, radius = rng.random((12, 3)) * 22, rng.random(12) * 4 + 4
    inside = np.linalg.norm(index[..., None, :] - centres, axis=-1) < radius
    labels = np.where(inside.any(-1), inside.argmax(-1) + 1, 0).astype(np.uint64) << np.uint64(60)
    labels += inside.argmax(-1).astype(np.uint64)
    volume = Box.of(labels.shape)
    whole = np.zeros(labels.shape, np.int64)
    at, area = surface_areas(walled(labels)[0], ((0, 0, 0), labels.shape), voxel_nm)
    whole[tuple(at)] = area
    cut = np.zeros(labels.shape, np.int64)
    for b in BlockGrid(volume, block, reach_voxels(voxel_nm), reach_voxels(voxel_nm)):
        inner = b.write.relative_to(b.read)
        at, area = surface_areas(walled(labels[b.read.slices])[0], (inner.start, inner.stop), voxel_nm)
        cut[tuple(at + np.array(b.read.start)[:, None])] = area
    np.testing.assert_array_equal(cut, whole)
    assert (whole > 0).sum() > 2000


def axes_of(voxel_nm, half_nm):
    """Coordinates in nm around a middle that lies anywhere in a voxel."""
    sides = [(np.arange(-(half_nm // v) - 2, half_nm // v + 3) + 0.3) * v for v in voxel_nm]
    return np.stack(np.meshgrid(*sides, indexing="ij"), -1)


@pytest.mark.parametrize("voxel_nm", [CUBES, VOXEL_NM, SLICES])
@pytest.mark.parametrize("voxels", [5, 9])
def test_a_sphere_has_its_area(voxel_nm, voxels):
    radius = voxels * max(voxel_nm)
    sphere = np.linalg.norm(axes_of(voxel_nm, radius), axis=-1) <= radius
    assert total(sphere, voxel_nm) == pytest.approx(4 * np.pi * radius**2, rel=0.03)


@pytest.mark.parametrize("voxel_nm", [CUBES, VOXEL_NM, SLICES])
@pytest.mark.parametrize("seed", range(8))
def test_a_plane_has_its_area_in_any_direction(voxel_nm, seed):
    """Voxels count less the farther they are from the middle, so that the rim of the disc is no matter."""
    normal = turned(seed)[0] * [1, 1, 6 if seed % 2 else 1]
    normal /= np.linalg.norm(normal)
    radius = 16 * max(voxel_nm)
    points = axes_of(voxel_nm, radius + 4 * max(voxel_nm))
    weight = np.maximum(0, 1 - (points**2).sum(-1) / radius**2)
    assert total(points @ normal <= 0, voxel_nm, weight) == pytest.approx(np.pi * radius**2 / 2, rel=0.03)


@pytest.mark.parametrize("voxel_nm", [CUBES, VOXEL_NM, SLICES])
@pytest.mark.parametrize("seed", range(2))
def test_a_cylinder_and_a_torus_have_their_areas(voxel_nm, seed):
    unit = max(voxel_nm)
    along, *across = (axes_of(voxel_nm, 18 * unit) @ turned(seed).T).transpose(3, 0, 1, 2)
    away = np.hypot(*across)
    part = np.maximum(0, 1 - np.abs(along) / (10 * unit))
    cylinder = total(away <= 6 * unit, voxel_nm, part)
    assert cylinder == pytest.approx(2 * np.pi * 6 * unit * 10 * unit, rel=0.03)
    torus = total((away - 11 * unit) ** 2 + along**2 <= (5 * unit) ** 2, voxel_nm)
    assert torus == pytest.approx(4 * np.pi**2 * 11 * 5 * unit**2, rel=0.03)


@pytest.mark.parametrize("thick", [1, 2, 3])
def test_both_sides_of_a_thin_sheet_count(thick):
    """A tilted sheet, in places one voxel thick: its sides are outlines of their own."""
    points = axes_of(CUBES, 160.0)
    normal = np.array([1, 0.35, 0.2]) / np.linalg.norm([1, 0.35, 0.2])
    weight = np.maximum(0, 1 - (points**2).sum(-1) / 130.0**2)
    away = 4 * thick + 1.0
    sheet = np.abs(points @ normal) <= away
    discs = np.pi * (130.0**2 - away**2) ** 2 / (2 * 130.0**2)
    assert total(sheet, CUBES, weight) == pytest.approx(2 * discs, rel=0.05)


def test_a_box_has_its_faces_and_rounded_edges():
    """Flat faces are exact; of either side of an edge about 0.4 of a voxel's width is lost."""
    box = np.zeros((50, 50, 50), bool)
    box[5:45, 5:45, 5:45] = True
    at, area = surface_areas(walled(box)[0], ((0, 0, 0), box.shape), VOXEL_NM)
    found = np.zeros(box.shape)
    found[tuple(at)] = area * area_step_nm2(VOXEL_NM)
    np.testing.assert_allclose(found[25, 25, [5, 44]], 32.0, rtol=1e-6)
    np.testing.assert_allclose(found[[5, 44], 25, 25], 128.0, rtol=1e-6)
    cube = total(np.pad(np.ones((40, 40, 40), bool), 2), CUBES)
    assert cube == pytest.approx(6 * 320**2, rel=0.03)


def test_a_single_voxel_counts_with_its_faces():
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[1, 1, 1] = 7
    assert total(labels, VOXEL_NM) == pytest.approx(2 * (4 * 8 + 4 * 16 + 8 * 16), rel=1e-6)


def test_stairs_are_worked_by_hand():
    """Steps of one voxel along z and y: all outlines rise 4 nm on 8 nm, or are flat along x."""
    z, y, _ = np.indices((40, 40, 20))
    stairs = z <= y
    areas = np.zeros(stairs.shape)
    at, area = surface_areas(walled(stairs)[0], ((0, 0, 0), stairs.shape), VOXEL_NM)
    areas[tuple(at)] = area * area_step_nm2(VOXEL_NM)
    # Faces of 8 x 16 nm2 across z and of 4 x 16 nm2 across y; together the length of the slope.
    expected = 128 / np.sqrt(1 + 0.5**2) + 64 / np.sqrt(1 + 2**2)
    assert expected == pytest.approx(16 * np.hypot(4, 8))
    assert areas[20, 20, 10] == pytest.approx(expected, rel=1e-6)


def test_the_reach_covers_four_of_the_largest_sides():
    assert reach_voxels(CUBES) == (5, 5, 5)
    assert reach_voxels((40.0, 8.0, 5.9)) == (5, 21, 29)


def test_ids_that_do_not_fit_are_ranked():
    labels = np.array([[[0, 2**63, 5, 2**40]]], np.uint64)
    assert walled(labels)[0][1, 1].tolist() == [-1, 0, 3, 1, 2, -1]
    assert walled(labels)[1].tolist() == [5, 2**40, 2**63]
    assert walled(labels.astype(np.uint32))[0][1, 1].tolist() == [-1, 0, 0, 5, 0, -1]


@pytest.mark.parametrize("rise", [0.05, 0.2])
def test_a_plane_of_needles_has_its_area(rise):
    """Sides of a twentieth of the largest: outlines of 80 faces to either side, in sums that are long."""
    shape = (220, 3, 220)
    z, _, x = np.indices(shape)
    plane = z + rise * x < 100
    weight = np.zeros(shape)
    weight[20:-20, :, 90:130] = 1
    expected = 40 * 8 * 3 * 160 * math.hypot(1, rise)
    assert total(plane, NEEDLES, weight) == pytest.approx(expected, rel=0.01)
