"""Carried objects are compared with the true ones that they were begun in."""

from __future__ import annotations

import numpy as np
import pytest

from chunkflow_liver.kernels.labels.tracks import slice_overlaps, track_scores


def test_scores_worked_by_hand() -> None:
    # Four slices of ten voxels in a row. Object 1 is begun on slice 1 in true object 7, misses part of it on
    # slice 2, lies in 8 on slice 3, and was not found on slice 0.
    truth = np.array([[7] * 4 + [8] * 6] * 4)[:, None]
    found = np.zeros_like(truth)
    found[1, 0, :4] = 1
    found[2, 0, 1:6] = 1
    found[3, 0, 3:9] = 1
    met = slice_overlaps(found, truth, 0)
    scores = track_scores(met, [1, 0], [[1], [0]])
    assert scores["object"].tolist() == [0] * 4
    assert scores["truth"].tolist() == [7] * 4
    assert scores["z"].tolist() == [0, 1, 2, 3]
    assert scores["from_prompt"].tolist() == [1, 0, 1, 2]
    assert scores["dice"].tolist() == pytest.approx([0, 1, 2 * 3 / 9, 2 * 1 / 10])
    assert scores["coverage"].tolist() == pytest.approx([0, 1, 3 / 4, 1 / 4])
    np.testing.assert_allclose(scores["leak"], [np.nan, 0, 2 / 5, 5 / 6])
    assert scores["switched"].tolist() == [False, False, False, True]


def test_scores_do_not_depend_on_how_slices_are_cut() -> None:
    rng = np.random.default_rng(3)
    found, truth = (rng.integers(0, 4, (6, 5, 5)) for _ in range(2))
    whole = slice_overlaps(found, truth, 0)
    parts = [slice_overlaps(found[i : i + 2], truth[i : i + 2], i) for i in (0, 2, 4)]
    for name, values in whole.items():
        np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), values)
    scores = track_scores(whole, [1, 2, 3], [[0], [1, 5], [3]])
    for row in range(len(scores["z"])):
        label, z, true = scores["object"][row] + 1, scores["z"][row], scores["truth"][row]
        mine, own = found[z] == label, truth[z] == true
        assert scores["dice"][row] == pytest.approx(2 * np.sum(mine & own) / (np.sum(mine) + np.sum(own)))


def test_an_object_begun_outside_all_true_ones_has_no_row() -> None:
    found, truth = np.zeros((2, 1, 4), int), np.zeros((2, 1, 4), int)
    found[:, :, 0], truth[1, :, 0] = 1, 5
    assert len(track_scores(slice_overlaps(found, truth, 0), [1], [[0]])["z"]) == 0
