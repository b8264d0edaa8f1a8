"""Windows are large enough for an object, lie on the image, and move when it nears the margin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_liver.errors import InputError
from chunkflow_liver.kernels.images.windows import Window
from chunkflow_liver.ops.propagate.kinds import KINDS, kind_of
from chunkflow_liver.ops.propagate.placing import Placing, mask_in

PLACING = Placing((1000, 700), 64)


def test_an_object_takes_at_most_half_of_its_window() -> None:
    # By hand: 40 voxels are more than half of 64, so a pixel is 2 voxels; windows begin at multiples of 16.
    assert PLACING.around((480, 300, 520, 340)) == Window(432, 256, 2, 64)
    assert PLACING.around((490, 310, 510, 330)).factor == 1
    assert PLACING.around((0, 0, 1000, 700)) == Window(0, 0, 16, 64)


def test_an_object_takes_at_least_a_third_of_a_window_of_wide_pixels() -> None:
    # By hand: 90 voxels are more than half of 2 x 64, so a pixel is 3 voxels, where powers of 2 would give 4.
    assert PLACING.around((480, 300, 570, 380)) == Window(432, 240, 3, 64)
    sizes = np.arange(33, 500)
    shares = [size / PLACING.around((0, 0, size, 1)).voxels for size in sizes]
    assert 1 / 4 < min(shares) < max(shares) <= 1 / 2
    # From pixels of 1 voxel to those of 2 there is nothing between.
    assert min(share for share, size in zip(shares, sizes, strict=True) if size > 64) > 1 / 3


@settings(deadline=None)
@given(y=st.floats(0, 999), x=st.floats(0, 699), height=st.floats(1, 600), width=st.floats(1, 500))
def test_a_window_holds_its_object_inside_the_image(y: float, x: float, height: float, width: float) -> None:
    y1, x1 = min(1000.0, y + height), min(700.0, x + width)
    window = PLACING.around((y, x, y1, x1))
    assert window.y <= y
    assert window.x <= x
    assert y1 <= window.y + window.voxels
    assert x1 <= window.x + window.voxels
    assert window.y >= 0
    assert window.x >= 0
    assert window.factor == 1 or max(y1 - y, x1 - x) > 16 * window.factor


def logits(y0: int, x0: int, y1: int, x1: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    found = np.full((16, 16), -1, np.float32)
    found[y0:y1, x0:x1] = 1
    return found


@pytest.mark.parametrize(
    ("window", "mask", "wanted"),
    [
        (Window(400, 400, 1, 64), (6, 6, 10, 10), None),
        (Window(400, 400, 1, 64), (0, 6, 4, 10), Window(376, 400, 1, 64)),
        (Window(0, 400, 1, 64), (0, 6, 4, 10), None),
        (Window(400, 400, 1, 64), (6, 12, 10, 16), Window(400, 424, 1, 64)),
        (Window(936, 400, 1, 64), (12, 6, 16, 10), None),
        (Window(400, 400, 1, 64), (1, 2, 15, 10), Window(368, 368, 2, 64)),
        (Window(400, 400, 4, 64), (8, 8, 9, 9), Window(504, 504, 1, 64)),
        (Window(400, 400, 1, 64), (0, 0, 0, 0), None),
    ],
    ids=["inside", "above", "image begins", "right", "image ends", "large", "small", "gone"],
)
def test_windows_move_with_their_object(
    window: Window, mask: tuple[int, int, int, int], wanted: Window | None
) -> None:
    assert PLACING.moved(window, logits(*mask)) == wanted


def test_a_mask_is_the_same_voxels_in_another_window() -> None:
    found = mask_in(Window(376, 400, 1, 64), Window(400, 400, 1, 64), logits(0, 6, 4, 10))
    rows, columns = np.nonzero(found)
    # 16 voxels from 400 and from 424, less than half a logit wider where they fall to -1.
    assert (rows.min() + 376, rows.max() + 377) == (400, 416)
    assert (columns.min() + 400, columns.max() + 401) == (424, 440)


def test_kinds_are_told_by_any_spelling() -> None:
    assert kind_of("Bile_Duct") == kind_of("bileduct") == KINDS["bile duct"]
    assert kind_of("bile duct").direction == "forward"
    with pytest.raises(InputError, match="no kind of object 'liver'"):
        kind_of("liver")
