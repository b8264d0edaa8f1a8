"""An object has one centre line, whatever margin, flips and order of axes its array has."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.centreline.frame import frame_of
from chunkflow_liver.kernels.centreline.line import centreline
from chunkflow_liver.kernels.centreline.necks import Neck, find_narrowings
from chunkflow_liver.kernels.centreline.sections import sections, signed_nm
from chunkflow_liver.kernels.centreline.skeleton import describe_skeleton
from chunkflow_liver.kernels.features.groups import Crop, Settings

SLICES = (40.0, 8.0, 8.0)


def tissue(seed, shape):
    """A lump as segmentations have them: bent, branched, rough, with the largest part kept."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), (1.2, 3, 3))
    labels, _ = ndimage.label(smooth > np.quantile(smooth, 0.72), np.ones((3, 3, 3)))
    return labels == np.bincount(labels.ravel())[1:].argmax() + 1


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    voxel_nm=st.sampled_from([(12.0, 12.0, 12.0), SLICES, (30.0, 6.0, 8.0)]),
    order=st.permutations(range(3)),
    flips=st.tuples(*[st.booleans()] * 3),
    margin=st.tuples(*[st.integers(0, 3)] * 6),
)
def test_the_line_does_not_depend_on_the_array(seed, voxel_nm, order, flips, margin):
    mask = tissue(seed, (12, 34, 34))
    way = tuple(slice(None, None, -1) if f else slice(None) for f in flips)
    wide = np.pad(mask, [margin[:2], margin[2:4], margin[4:]])
    other = np.ascontiguousarray(wide[way].transpose(order))
    sizes = tuple(voxel_nm[a] for a in order)
    lines = centreline(mask, voxel_nm), centreline(other, sizes)
    assert [len(b.points_nm) for b in lines[0].branches] == [len(b.points_nm) for b in lines[1].branches]
    for one, two in zip(lines[0].branches, lines[1].branches, strict=True):
        back = np.empty_like(two.points_nm)
        back[:, list(order)] = two.points_nm
        for axis in range(3):
            size, (before, after) = voxel_nm[axis], (margin[2 * axis], margin[2 * axis + 1])
            if flips[axis]:
                back[:, axis] = (mask.shape[axis] + before + after) * size - back[:, axis]
            back[:, axis] -= before * size
        np.testing.assert_allclose(back, one.points_nm, atol=1e-6)
        np.testing.assert_array_equal(one.area_nm2, two.area_nm2)
        np.testing.assert_array_equal(one.inscribed_nm, two.inscribed_nm)
    found = [find_narrowings(line, v, Neck()) for line, v in zip(lines, (voxel_nm, sizes), strict=True)]
    for name in ("position_nm", "width_nm", "width_voxels", "neck_length_voxels"):
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-9)


def test_of_a_symmetric_object_any_mirror_image_is_the_same():
    ball = np.zeros((5, 9, 9), bool)
    ball[1:4, 2:7, 2:7] = True
    ball[2, 4, 8] = True
    turned = [
        frame_of(x, SLICES).turned(x)
        for flip in itertools.product((1, -1), repeat=3)
        for x in (
            ball[:: flip[0], :: flip[1], :: flip[2]],
            ball[:: flip[0], :: flip[1], :: flip[2]].swapaxes(1, 2),
        )
    ]
    assert all((t == turned[0]).all() for t in turned)


@pytest.mark.parametrize(("voxels", "tolerance"), [(1, 0.21), (2, 0.06), (3, 0.03), (5, 0.01)])
def test_rods_thinner_in_the_plane_than_a_section_have_their_width(voxels, tolerance):
    """By hand: n x n voxels of (40, 8) nm across, a circle of the area 320 n^2; one was 8.6 nm wide."""
    mask = np.zeros((voxels, voxels, 160), bool)
    mask[:] = True
    line = centreline(mask, SLICES)
    width = np.median(line.branches[0].width_nm)
    assert width == pytest.approx(2 * np.sqrt(320 * voxels**2 / np.pi), rel=tolerance)
    said = describe_skeleton(Crop(1, Box.of(mask.shape), mask, None, SLICES, Settings()))
    assert 0.8 * width < 40 * said["width_min_voxels"] < 1.15 * width
    assert said["width_resolved"] == (voxels > 3)


def test_a_section_is_as_large_as_the_voxels_that_it_cuts():
    mask = np.zeros((7, 9, 40), bool)
    mask[1:6, 2:7] = True
    signed = signed_nm(np.pad(mask, 1), SLICES)
    found = sections(signed, SLICES, np.array([[4.5 * 40, 5.5 * 8, 160.0]]), np.array([[0.0, 0, 1]]))
    assert found.area_nm2[0] == pytest.approx(25 * 320, rel=0.02)
