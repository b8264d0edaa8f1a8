"""What scores say of a boundary is exact for planes in any direction; folds say how far they differ."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.distance.local_errors import (
    Image,
    error_rows,
    errors_nm,
    local_errors,
    reach_voxels,
    sampled,
)
from chunkflow_liver.kernels.distance.surface_distances import surface_voxels
from chunkflow_liver.kernels.rows import added

CAP_NM = 30.0


def surface(labels):
    return np.argwhere(surface_voxels(labels > 0, np.ones(labels.shape, bool))).T


def error_nm(labels, images, voxel_nm, at=None, cap_nm=CAP_NM):
    sums = local_errors(labels, surface(labels) if at is None else at, images, voxel_nm, cap_nm)
    rows = {
        name: values.sum(keepdims=True)
        for name, values in zip(("weight", "squares", "capped"), sums, strict=True)
    }
    return float(errors_nm(rows, cap_nm)[0]), float(rows["capped"][0] / max(rows["weight"][0], 1))


def plane(direction, off, voxel_nm, shape=(20, 40, 40)):
    """Depth under a plane, in nm."""
    axes = [(np.arange(n) - (n - 1) / 2) * size for n, size in zip(shape, voxel_nm, strict=True)]
    normal = np.array(direction) / np.linalg.norm(direction)
    return sum(a * part for a, part in zip(np.meshgrid(*axes, indexing="ij"), normal, strict=True)) + off


def inner(labels, margin=5):
    """Surface voxels away from where the array ends."""
    at = surface(labels)
    far = [(p >= margin) & (p < n - margin) for p, n in zip(at, labels.shape, strict=True)]
    return at[:, np.all(far, axis=0)]


@pytest.mark.parametrize("voxel_nm", [(8.0, 8.0, 8.0), (16.0, 8.0, 8.0), (4.0, 8.0, 16.0)])
@pytest.mark.parametrize("direction", [(1, 0, 0), (0, 0, -1), (1, 2, 3), (-3, 1, 1), (0, 5, -4)])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_a_plane_in_any_direction_is_as_unsure_as_its_scores(voxel_nm, direction, kind):
    depth = plane(direction, 1.7, voxel_nm)
    scores = ndtr(depth / 9.0)
    if kind != "float32":
        scores = np.rint(scores * np.iinfo(kind).max)
    labels = (depth > 0).astype(np.uint8)
    got, capped = error_nm(labels, [Image.of_scores(scores.astype(kind), "s")], voxel_nm, inner(labels))
    assert got == pytest.approx(9.0, rel=0.01)
    assert capped == 0


def test_by_hand_with_voxels_of_4_8_16_nm():
    """Scores along x of 0.9772, 0.8413 | 0.1587, 0.0228: 2, 1, -1, -2 standard deviations, 16 nm apart.

    It falls through 0.5 at the face, and by one standard deviation in 8 nm to either side. Along z 4 nm a
    voxel, 2, 1, -1, -2 again: 2 nm.
    """
    for axis, expected in ((2, 8.0), (1, 4.0), (0, 2.0)):
        quantiles = np.moveaxis(np.broadcast_to(np.array([2.5, 2, 1, -1, -2, -2.5]), (6, 6, 6)), 2, axis)
        labels = (quantiles > 0).astype(np.uint8)
        image = Image.of_scores(ndtr(quantiles).astype(np.float32), "s")
        got, _ = error_nm(labels, [image], (4.0, 8.0, 16.0))
        assert got == pytest.approx(expected, rel=1e-3)


def test_two_folds_by_hand():
    """Boundaries of three labellings 8 nm before, at, and 8 nm beyond the face: sd 8, times (1 + 1/3)^0.5."""
    along = np.arange(12)
    labels = np.broadcast_to((along < 6).astype(np.uint8), (5, 5, 12)).copy()
    images = [Image.of_mask(np.broadcast_to(along < 6 + k, (5, 5, 12))) for k in (-1, 0, 1)]
    got, _ = error_nm(labels, images, (8.0, 8.0, 8.0))
    assert got == pytest.approx(8 * (4 / 3) ** 0.5, rel=1e-3)
    # Two of scores, 16 nm apart, each unsure by 6 nm: 16^2 / 2 * (1 + 1/2) + 6^2.
    depth = np.broadcast_to((5.5 - along) * 8.0, (5, 5, 12))
    two = [Image.of_scores(ndtr((depth + k) / 6).astype(np.float32), "s") for k in (-8, 8)]
    got, _ = error_nm(labels, two, (8.0, 8.0, 8.0))
    assert got == pytest.approx((128 * 1.5 + 36) ** 0.5, rel=0.01)


def test_what_is_larger_than_the_cap_counts_as_the_cap_and_is_told():
    depth = plane((0, 0, 1), 0.0, (8.0, 8.0, 8.0))
    labels = (depth > 0).astype(np.uint8)
    got, capped = error_nm(
        labels, [Image.of_scores(ndtr(depth / 20).astype(np.float32), "s")], (8.0,) * 3, cap_nm=12.0
    )
    assert (got, capped) == (pytest.approx(12.0), 1.0)


def test_walls_between_objects_and_flat_scores_say_nothing():
    labels = np.zeros((4, 4, 12), np.uint8)
    labels[..., :6], labels[..., 6:] = 1, 2
    sure = Image.of_scores(np.full(labels.shape, 0.99, np.float32), "s")
    assert np.isnan(error_nm(labels, [sure], (8.0,) * 3)[0])
    labels[..., 6:] = 0
    assert np.isnan(error_nm(labels, [sure], (8.0,) * 3)[0])


def test_where_another_object_lies_the_other_side_counts():
    """A gap of two voxels in which the score never falls to 0.16: inside the object it says enough."""
    quantiles = np.broadcast_to(np.array([2, 2, 2, 1.5, 0.5, -0.5, -0.5, 0.5, 1.5, 2, 2, 2.0]), (5, 5, 12))
    labels = np.zeros(quantiles.shape, np.uint8)
    labels[..., :5], labels[..., 7:] = 1, 2
    got, _ = error_nm(labels, [Image.of_scores(ndtr(quantiles).astype(np.float32), "s")], (8.0,) * 3)
    assert got == pytest.approx(8.0, rel=1e-3)


def test_sums_do_not_depend_on_blocks():
    rng = np.random.default_rng(0)
    voxel_nm, shape = (16.0, 8.0, 8.0), (14, 30, 34)
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(rng.normal(size=shape), (1, 2, 2))
    score = ndtr(field / field.std() * 1.5)
    labels = (score > 0.5).astype(np.uint32) * 7
    seen = [np.rint(255 * s).astype(np.uint8) for s in (score, ndtr(1.5 * field / field.std() + 0.2))]
    images = [Image.of_scores(seen[0], "a"), Image.of_mask(seen[1] > 127)]

    def rows(box, start, labels, images):
        at = surface(labels)
        own = np.all([(p >= s.start) & (p < s.stop) for p, s in zip(at, box, strict=True)], axis=0)
        at = at[:, own]
        at = at[:, sampled(at, start)]
        label = labels[tuple(at)].astype(np.uint64)
        return error_rows({"label": label}, local_errors(labels, at, images, voxel_nm, 20.0))

    whole = rows(tuple(slice(0, n) for n in shape), (0, 0, 0), labels, images)
    reach = reach_voxels(20.0, voxel_nm)
    parts = [
        rows(
            block.trim,
            block.read.start,
            np.ascontiguousarray(labels[block.read.slices]),
            [image.within(block.read.slices) for image in images],
        )
        for block in BlockGrid(Box.of(shape), (5, 12, 17), reach, reach)
    ]
    merged = added(parts, ("label",))
    assert whole["weight"][0] > 0
    for name, values in whole.items():
        np.testing.assert_array_equal(merged[name], values, err_msg=name)


def test_ids_above_2_to_the_53_are_told_apart():
    depth = plane((0, 0, 1), 0.0, (8.0, 8.0, 8.0), (6, 6, 16))
    image = Image.of_scores(ndtr(depth / 9).astype(np.float32), "s")
    labels = np.where(depth > 0, np.uint64(2**53), np.uint64(0))
    labels[:, :, 9:] = np.where(labels[:, :, 9:] > 0, np.uint64(2**53 + 1), np.uint64(0))
    # Inwards the way ends at the next object after one voxel: the outer side counts.
    got, _ = error_nm(labels, [image], (8.0,) * 3, at=np.argwhere(labels == 2**53).T)
    assert got == pytest.approx(9.0, rel=0.01)


@pytest.mark.parametrize("wrong", [1.5, -0.25, np.nan])
def test_scores_that_are_none_are_refused(wrong):
    with pytest.raises(InputError, match="where 0 to 1 are wanted; give probabilities"):
        Image.of_scores(np.array([[[0.5, wrong]]], np.float32), "mito")
