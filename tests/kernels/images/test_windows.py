"""Windows on slices: shrinking is a mean, and logits come back where torch would put them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_liver.kernels.images.windows import Window, carried, cropped, sampled, shrunk


def test_squares_are_averaged() -> None:
    voxels = np.arange(32, dtype=np.uint16).reshape(1, 4, 8)
    # By hand: of the first square 0 1 8 9, of the last 22 23 30 31.
    assert shrunk(voxels, 2)[0].tolist() == [[4.5, 6.5, 8.5, 10.5], [20.5, 22.5, 24.5, 26.5]]
    assert shrunk(voxels, 1).dtype == np.float32


@pytest.mark.parametrize("factor", [1, 3, 8])
def test_logits_are_interpolated_as_torch_does(factor: int) -> None:
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(1).normal(size=(7, 7)).astype(np.float32)
    side = 7 * factor
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None, None], size=(side, side), mode="bilinear", align_corners=False
    )[0, 0].numpy()
    window = Window(5, 9, factor, 7)
    y, x, found = sampled(logits, (0, 0), window, (0, 100), (0, 100))
    assert (y, x) == ((5, 5 + side), (9, 9 + side))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(carried(logits, window, Window(5, 9, 1, side)), wanted, atol=1e-5)


@settings(deadline=None)
@given(
    seed=st.integers(0, 99),
    factor=st.integers(1, 5),
    at=st.tuples(st.integers(-9, 20), st.integers(0, 20)),
    cut=st.tuples(st.integers(0, 40), st.integers(0, 40)),
)
def test_a_crop_says_what_the_whole_plane_says_in_any_part(
    seed: int, factor: int, at: tuple[int, int], cut: tuple[int, int]
) -> None:
    plane = np.random.default_rng(seed).normal(-1.2, 1, (8, 8)).astype(np.float32)
    window = Window(*at, factor, 8)
    whole = np.zeros((60, 60), bool)
    (y0, y1), (x0, x1), logits = sampled(plane, (0, 0), window, (0, 60), (0, 60))
    whole[y0:y1, x0:x1] = logits > 0
    part = cropped(plane)
    found = np.zeros((60, 60), bool)
    if part is not None:
        top, left, crop = part
        for rows in ((0, cut[0]), (cut[0], 60)):
            for columns in ((0, cut[1]), (cut[1], 60)):
                (y0, y1), (x0, x1), logits = sampled(crop, (top, left), window, rows, columns)
                found[y0:y1, x0:x1] |= logits > 0
    np.testing.assert_array_equal(found, whole)


def test_nothing_is_carried_where_a_window_does_not_reach() -> None:
    found = carried(np.ones((4, 4), np.float32), Window(0, 0, 2, 4), Window(4, 0, 1, 8))
    assert (found[:4] > 0).all()
    assert (found[4:] < 0).all()
    assert cropped(np.full((4, 4), -1.0)) is None
