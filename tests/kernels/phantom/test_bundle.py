"""Bundles have cells that touch, a vessel that branches, and slices that are lost or askew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.phantom.bundle import Bundle, render_bundle

PLAIN = Bundle((12, 160, 160), (400.0, 44.0, 44.0), 3)
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def made() -> tuple[Array, Array]:
    return render_bundle(PLAIN)


def parts(mask: Array) -> int:
    return int(ndimage.label(mask, np.ones((3, 3)))[1])


def test_every_object_is_on_every_slice_and_cells_touch(made: tuple[Array, Array]) -> None:
    _, truth = made
    assert all(np.unique(plane).tolist() == list(range(PLAIN.vessel + 1)) for plane in truth)
    for number in range(1, PLAIN.cells + 1):
        for plane in truth[::4]:
            rim = ndimage.binary_dilation(plane == number) & (plane != number)
            assert (plane[rim] > 0).any(), number


def test_the_vessel_is_one_disc_and_then_two(made: tuple[Array, Array]) -> None:
    _, truth = made
    counts = [parts(plane == PLAIN.vessel) for plane in truth]
    assert counts[0] == 1
    assert counts[-1] == 2
    assert counts == sorted(counts)
    # One object all the same: its discs meet where it branches.
    assert ndimage.label(truth == PLAIN.vessel, np.ones((3, 3, 3)))[1] == 1


def test_membranes_are_dark_and_the_lumen_is_bright(made: tuple[Array, Array]) -> None:
    raw, truth = made
    deep = ndimage.binary_erosion(truth == PLAIN.vessel, np.ones((1, 9, 9)))
    assert raw[deep].mean() > 190
    cell = truth == 1
    rim = cell & ~ndimage.binary_erosion(cell, np.ones((1, 3, 3)))
    assert raw[rim].mean() < raw[cell].mean() - 30


def test_lost_and_shifted_slices(made: tuple[Array, Array]) -> None:
    raw, truth = made
    hurt, moved = render_bundle(replace(PLAIN, missing=(4,), shifted=((7, 5, -3),)))
    assert not hurt[4].any()
    np.testing.assert_array_equal(moved[4], truth[4])
    np.testing.assert_array_equal(moved[7, 5:, :-3], truth[7, :-5, 3:])
    others = [z for z in range(12) if z not in (4, 7)]
    np.testing.assert_array_equal(hurt[others], raw[others])


def test_some_cells_begin_or_end_within() -> None:
    _, truth = render_bundle(replace(PLAIN, ending=2))
    there = [[bool((plane == n).any()) for plane in truth] for n in range(1, PLAIN.cells + 1)]
    assert there[0][0]
    assert not there[0][-1]
    assert there[1][-1]
    assert not there[1][0]
    assert all(all(cell) for cell in there[2:])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"shape": (0, 8, 8)}, "at least one voxel"),
        ({"voxel_nm": (40.0, 0.0, 8.0)}, "voxels and cells above 0"),
        ({"cell_nm": float("nan")}, "voxels and cells above 0"),
        ({"seed": -1}, "a seed of 0 or more"),
        ({"cells": 0}, "one cell or more"),
        ({"ending": 9}, "no more that end"),
        ({"missing": (12,)}, r"no slices \[12\]"),
        ({"shifted": ((-1, 0, 0),)}, r"no slices \[-1\]"),
    ],
    ids=str,
)
def test_impossible_bundles_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        replace(PLAIN, **wrong)
