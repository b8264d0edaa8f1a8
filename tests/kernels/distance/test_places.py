"""Sums of distances of objects by hand, and positions from them."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.distance.places import in_nm, object_sums, positions


def test_sums_and_positions_by_hand():
    labels = np.array([[[0, 5, 5, 5, 9]]], np.uint8)
    a = np.array([[[0, 10, 20, np.inf, np.inf]]], np.float32)
    b = np.array([[[9, 30, 40, 50, 1]]], np.float32)
    exact = np.array([[[True, True, False, True, True]]])
    rows = object_sums(labels, (a, b), exact)
    assert rows["label"].tolist() == [5, 9]
    assert rows["voxels"].tolist() == [3, 1]
    assert rows["reached"].tolist() == [2, 0]
    assert rows["exact"].tolist() == [1, 0]
    found = positions(rows)
    np.testing.assert_array_equal(found["mean_a"], [15, np.nan])
    np.testing.assert_array_equal(found["mean_b"], [35, np.nan])
    np.testing.assert_array_equal(found["least_a"], [10, np.nan])
    np.testing.assert_array_equal(found["least_b"], [30, 1])
    np.testing.assert_array_equal(found["position"], [0.3, np.nan])


def test_maps_of_steps_are_nm_and_infinite_beyond_the_cap():
    stored = np.array([0, 3, 65535], np.uint16)
    np.testing.assert_array_equal(in_nm(stored, 0.5), [0, 1.5, np.inf])
    np.testing.assert_array_equal(in_nm(stored.astype(np.float32), None), [0, 3, 65535])
