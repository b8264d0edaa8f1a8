"""Displacements have the right sign and axis: shifts, rotations, a smooth warp; 16 bits on purpose."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.tissue import flow
from chunkflow_liver.kernels.tissue.flow import Motion, displacement, greys, is_blank, part_of, pulled

cv2 = pytest.importorskip("cv2", reason="needs the extra 'cells'")
SIDE, RIM = 192, 40
INNER = (slice(None), slice(RIM, -RIM), slice(RIM, -RIM))


def texture(seed=0, side=SIDE + 2 * RIM):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random((side, side)), 2.5)
    return (smooth - smooth.min()) / np.ptp(smooth) * 255


def seen(field, full=255):
    """Two slices: what is at p in the first is at p + field(p) in the second (given at where it arrives)."""
    whole = texture()
    y, x = np.mgrid[RIM : RIM + SIDE, RIM : RIM + SIDE].astype(float)
    kind = np.uint8 if full == 255 else np.uint16
    planes = []
    for dy, dx in ((0 * y, 0 * x), field(y, x)):
        values = ndimage.map_coordinates(whole, [y - dy, x - dx], order=3)
        planes.append(np.rint(np.clip(values, 0, 255) * (full / 255)).astype(kind))
    return planes


@pytest.mark.parametrize("method", flow.METHODS)
@pytest.mark.parametrize("shift", [(0, 4), (4, 0), (3.5, -2.25), (12, 7), (0.4, 0)])
def test_a_shift_is_found_along_its_own_axis_and_to_a_fraction_of_a_pixel(method, shift):
    here, there = seen(lambda y, x: (0 * y + shift[0], 0 * x + shift[1]))
    found = displacement(here, there, Motion(method))
    assert found.dtype == np.float32
    assert np.abs(found[INNER] - np.array(shift)[:, None, None]).max() < 0.15


@pytest.mark.parametrize("method", flow.METHODS)
@pytest.mark.parametrize("degrees", [-3, 2])
def test_a_rotation_is_found(method, degrees):
    middle, angle = RIM + SIDE / 2, np.deg2rad(degrees)

    def turned(y, x):
        # Where the pixel at (y, x) came from, turned back about the middle.
        u, v = y - middle, x - middle
        return u - (u * np.cos(angle) - v * np.sin(angle)), v - (u * np.sin(angle) + v * np.cos(angle))

    here, there = seen(turned)
    found = displacement(here, there, Motion(method))
    y, x = np.mgrid[RIM : RIM + SIDE, RIM : RIM + SIDE] - middle
    # Forward: p goes to R(-angle) p.
    true = np.stack([y * np.cos(angle) + x * np.sin(angle) - y, -y * np.sin(angle) + x * np.cos(angle) - x])
    off = np.abs(found - true)[INNER]
    assert off.max() < 0.45
    assert off.mean() < 0.1


@pytest.mark.parametrize("method", flow.METHODS)
def test_a_smooth_warp_brings_the_second_slice_onto_the_first(method):
    here, there = seen(lambda y, x: (3 * np.sin(x / 30), 2 * np.cos(y / 25)))
    found = displacement(here, there, Motion(method))
    off, left = (
        np.abs(here.astype(float) - b)[INNER[1:]].mean()
        for b in (there, pulled(there[None].astype(float), found)[0])
    )
    assert left < 0.08 * off


def test_grey_values_of_16_bits_are_scaled_between_limits_and_refused_without(monkeypatch):
    shift = (2.5, -3)
    here, there = seen(lambda y, x: (0 * y + shift[0], 0 * x + shift[1]), full=60000)
    motion = Motion(limits=(0, 60000))
    eight, sixteen = greys(seen(lambda y, x: (y * 0, x * 0))[0], Motion()), greys(here, motion)
    assert np.abs(eight.astype(int) - sixteen).max() <= 1
    found = displacement(greys(here, motion), greys(there, motion), motion)
    assert np.abs(found[INNER] - np.array(shift)[:, None, None]).max() < 0.15
    with pytest.raises(ConfigError, match="flow sees 256 grey values, and these are uint16: give limits"):
        greys(here, Motion())


def test_averaged_pixels_find_the_same_shift_in_their_own_size():
    here, there = seen(lambda y, x: (0 * y + 8, 0 * x - 4))
    motion = Motion(reduce=4)
    planes = [greys(p[:190, :187], motion) for p in (here, there)]
    assert planes[0].shape == (48, 47)
    np.testing.assert_array_equal(planes[0][0, 0], np.rint(here[:4, :4].mean()))
    found = displacement(*planes, motion)[:, 12:-12, 12:-12]
    assert np.abs(found - np.array([2, -1])[:, None, None]).max() < 0.15


@settings(max_examples=20, deadline=None)
@given(steps=st.integers(2, 5), seed=st.integers(0, 99))
def test_parts_of_a_bridged_displacement_add_up_to_it(steps, seed):
    rng = np.random.default_rng(seed)
    field = np.stack([ndimage.gaussian_filter(rng.normal(size=(60, 60)), 12) * 60 for _ in "yx"]).astype(
        np.float32
    )
    total = np.zeros_like(field)
    for i in range(steps):
        total = total + pulled(part_of(field, 1 / steps, i / steps), total)
    inner = (slice(None), slice(12, -12), slice(12, -12))
    assert np.abs(total - field)[inner].max() < 0.1


def test_blank_slices_are_black_or_nearly_so():
    plane = texture().astype(np.uint8)
    assert not is_blank(plane)
    assert is_blank(np.zeros_like(plane))
    assert is_blank(np.where(np.arange(plane.size).reshape(plane.shape) < 0.04 * plane.size, plane, 7))


def test_what_cannot_be_used_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match=r"flow is found by one of \['farneback', 'dis'\], got 'tvl1'"):
        Motion(method="tvl1")
    with pytest.raises(ConfigError, match="reduce is a number of pixels, 1 or more, got 0"):
        Motion(reduce=0)
    with pytest.raises(ConfigError, match="limits are two grey values, black below white"):
        Motion(limits=(9, 3))
    monkeypatch.setitem(sys.modules, "cv2", None)
    flow.opencv.cache_clear()
    with pytest.raises(ConfigError, match=r"need OpenCV; pip install 'chunkflow-liver\[cells\]'"):
        flow.opencv()
    flow.opencv.cache_clear()
