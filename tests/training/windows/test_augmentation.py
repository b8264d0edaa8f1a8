"""Changed windows keep image and labels together, and depend on their generator only."""

from __future__ import annotations

import numpy as np
import pytest
from painted import VOXEL_NM, InMemory, blobs

from chunkflow_liver.training.losses import IGNORE
from chunkflow_liver.training.windows import augmentation
from chunkflow_liver.training.windows.augmentation import _resampled, _rotation, _stained, augmented


def window():
    grey, classes = blobs((8, 32, 32))
    source = InMemory(grey, classes)
    return source.grey, source.known


@pytest.mark.parametrize("kind", ["em", "flips", "none"])
def test_the_same_generator_gives_the_same_window(kind):
    image, labels = window()
    before = image.copy(), labels.copy()
    for seed in range(20):
        made = [
            augmented(image, labels, np.random.default_rng(seed), kind=kind, voxel_nm=VOXEL_NM)
            for _ in range(2)
        ]
        for (a, b), (c, d) in [made]:
            np.testing.assert_array_equal(a, c)
            np.testing.assert_array_equal(b, d)
        assert made[0][0].dtype == np.float32
        assert made[0][0].shape == image.shape
        assert np.isfinite(made[0][0]).all()
        assert set(np.unique(made[0][1])) <= {IGNORE, 0, 1, 2}
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(labels, before[1])


@pytest.mark.parametrize("voxel_nm", [VOXEL_NM, (8.0, 8.0, 8.0)])
def test_labels_go_where_their_grey_values_go(voxel_nm, monkeypatch):
    """Class 1 is dark, class 2 bright: still so wherever the voxels went."""
    image, labels = window()
    monkeypatch.setattr(augmentation, "_intensities", lambda image, rng: image)
    monkeypatch.setattr(augmentation, "ROTATE", 1.0)
    monkeypatch.setattr(augmentation, "SCALE", 1.0)
    monkeypatch.setattr(augmentation, "MISSING", 0.0)
    monkeypatch.setattr(augmentation, "STAIN", 0.0)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        changed, moved = augmented(image, labels, rng, kind="em", voxel_nm=voxel_nm)
        means = [changed[0][moved == c].mean() for c in (0, 1, 2)]
        assert means[1] - means[0] > 0.3
        assert means[0] - means[2] > 0.3


def test_planes_of_thick_slices_are_turned_by_themselves():
    """A quarter turn about z is numpy's."""
    image, labels = window()
    matrix = _rotation(0, np.pi / 2)
    changed, moved = _resampled(image, labels, matrix, deep=False)
    candidates = [(np.rot90(image, k, (2, 3)), np.rot90(labels, k, (1, 2))) for k in (1, 3)]
    fits = [np.allclose(changed, a, atol=1e-3) and (moved == b).mean() > 0.99 for a, b in candidates]
    assert sum(fits) == 1


def test_in_thin_voxels_a_turn_is_one_of_nm():
    """About x by 90 degrees with voxels of (16, 8, 8) nm: one step along z is two along y."""
    grey = np.zeros((16, 32, 8), np.float32)
    grey[8, 20] = grey[7, 20] = 1
    sizes = np.array([16.0, 8, 8])
    matrix = _rotation(2, np.pi / 2) * sizes[None, :] / sizes[:, None]
    changed, _ = _resampled(grey[None], np.zeros(grey.shape, np.int16), matrix, deep=True)
    z, y, _ = (changed[0] > 0.2).nonzero()
    # From 4.5 voxels beside the middle of y, 36 nm, to 2.25 voxels beside the middle of z.
    assert abs(z - 7.5).mean() == pytest.approx(2.25, abs=0.3)
    assert abs(y - 15.5).max() < 2.5


def test_what_comes_from_outside_is_not_painted():
    image, labels = window()
    _, moved = _resampled(image, labels, np.diag([1, 1.4, 1.4]), deep=False)
    assert (moved[:, 0] == IGNORE).all()
    assert (moved[:, 16] != IGNORE).mean() > 0.5


def test_gamma_keeps_mean_and_deviation():
    image, _ = window()
    for inverted in (False, True):
        changed = augmentation._gamma(image, 0.7, inverted=inverted)
        assert changed.mean() == pytest.approx(image.mean(), abs=1e-4)
        assert changed.std() == pytest.approx(image.std(), rel=1e-4)
        assert np.corrcoef(changed.ravel(), image.ravel())[0, 1] > 0.9


def test_noise_is_as_smooth_in_nm_along_y_as_along_x():
    """In pixels that are twice as long along y it bends four times as much from one to the next."""
    sides = [8.0, 8.0, 16.0]

    def reach(axis):
        rng, steps = np.random.default_rng(0), []
        for _ in range(20):
            made = augmentation._smooth((4, 64, 128), sides, rng)
            steps.append(np.square(np.diff(made, 2, axis=axis)).mean())
        return float(np.mean(steps)) ** -0.25 / sides[axis]

    assert reach(1) == pytest.approx(reach(2), rel=0.05)


def test_what_is_dark_is_no_class_by_that(monkeypatch):
    monkeypatch.setattr("chunkflow_liver.training.windows.augmentation.STAIN", 1.0)
    truth = np.zeros((4, 64, 64), np.int16)
    truth[:, 20:40, 20:40] = 2
    image = np.random.default_rng(0).standard_normal((2, *truth.shape), np.float32)
    hidden = shown = 0
    for seed in range(40):
        given = image.copy()
        found, labels = _stained(given, truth, np.random.default_rng(seed), (40, 12, 12))
        changed = found[0] != image[0]
        np.testing.assert_array_equal(found[1], image[1])
        np.testing.assert_array_equal(labels[truth == 0], 0)
        np.testing.assert_array_equal(labels[~changed], truth[~changed])
        assert set(np.unique(labels)) <= {IGNORE, 0, 2}
        hidden += np.count_nonzero(labels == IGNORE)
        shown += np.count_nonzero(changed & (labels == 2))
        again, _ = _stained(image.copy(), truth, np.random.default_rng(seed), (40, 12, 12))
        np.testing.assert_array_equal(again, found)
    assert hidden
    assert shown
    assert truth.max() == 2
