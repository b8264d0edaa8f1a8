"""Overlaps of windows of slices: whatever the blocks, those of the whole arrays; the worst are found."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import blocks, seeds, semantic, shapes

from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.labels.differences import merge_windows, overlap_by_window, whole, worst_windows
from chunkflow_liver.kernels.labels.overlap import object_scores, overlap


@settings(max_examples=25, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks, side=st.integers(1, 6))
def test_windows_do_not_depend_on_the_grid(shape, seed, block, side):
    a, b = semantic(shape, seed), semantic(shape, seed + 1)
    known = np.random.default_rng(seed).random(shape) < 0.8
    parts = [
        overlap_by_window(a[box.slices], b[box.slices], known[box.slices], box.start, side)
        for box in (piece.write for piece in BlockGrid(Box.of(shape), block))
    ]
    got = merge_windows(parts[::-1])
    wanted = {}
    for z, y, x in np.argwhere(known).tolist():
        key = (z, y // side * side, x // side * side, int(a[z, y, x]), int(b[z, y, x]))
        wanted[key] = wanted.get(key, 0) + 1
    rows = zip(*(got[k].tolist() for k in ("z", "y", "x", "a", "b", "voxels")), strict=True)
    assert [(row[:-1], row[-1]) for row in rows] == sorted(wanted.items())
    together = overlap(a[known][None, None], b[known][None, None])
    for key, values in whole(got).items():
        np.testing.assert_array_equal(values, together[key])


def test_the_worst_windows_lie_apart_and_are_counted():
    """Slices 2 and 3 are as wrong as can be: of such neighbours the first is taken, then slice 7."""
    true, found = np.zeros((9, 4, 4), np.uint8), np.zeros((9, 4, 4), np.uint8)
    true[2:4, :2], true[7, 0, 0], found[7, 0, :2] = 1, 1, 1
    windows = overlap_by_window(found, true, None, (0, 0, 0), 4)
    is_found, is_true = windows["a"] == 1, windows["b"] == 1
    got = worst_windows(windows, is_found, is_true, is_found & is_true, 5)
    assert {k: v.tolist() for k, v in got.items()} == {
        "z": [2, 7],
        "y": [0, 0],
        "x": [0, 0],
        "right": [0, 1],
        "found_only": [0, 1],
        "truth_only": [8, 0],
    }


def test_every_object_has_its_best_partner():
    """Found 7 covers true 1 wholly (IoU 3/5) and a part of 2 (2/6); true 3 meets nothing."""
    truth = np.array([[[1, 1, 1, 2, 2, 2, 0, 3]]])
    found = np.array([[[7, 7, 7, 7, 7, 0, 0, 0]]])
    got = object_scores(overlap(found, truth))
    rows = list(zip(*(got[k].tolist() for k in got), strict=True))
    assert rows == [
        ("found", 7, 1, 5, 3, 3 / 5),
        ("truth", 1, 7, 3, 3, 3 / 5),
        ("truth", 2, 7, 3, 2, 2 / 6),
        ("truth", 3, 0, 1, 0, 0.0),
    ]
