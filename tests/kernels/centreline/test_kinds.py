"""Balls that touch are two bodies, a waist is a constriction, and what a face cuts is the face's."""

from __future__ import annotations

import numpy as np
import pytest

from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.centreline.kinds import KINDS, kinds_of, sharpness
from chunkflow_liver.kernels.centreline.line import centreline
from chunkflow_liver.kernels.centreline.necks import Neck, find_narrowings

VOXEL_NM = (16.0, 16.0, 16.0)


def of_profile(radius_nm):
    """A solid of revolution along z with this radius at every slice."""
    reach = int(max(radius_nm) / 16) + 3
    y, x = np.indices((2 * reach + 1,) * 2) - reach
    return np.stack([(y**2 + x**2) * 256.0 < r * abs(r) for r in [-1, *radius_nm, -1]])


def waist(length=90, low=80, high=170):
    z = np.arange(length)
    ends = np.sqrt(
        np.clip(1 - np.clip((np.abs(z - (length - 1) / 2) - length / 2 + 11) / 11, 0, 1) ** 2, 0, 1)
    )
    return (low + (high - low) * (1 + np.cos(2 * np.pi * z / length)) / 2) * ends


def balls(radius=12, apart=20):
    z = np.arange(2 * radius + apart + 1)
    return 16 * np.sqrt(
        np.maximum(0, np.maximum(radius**2 - (z - radius) ** 2, radius**2 - (z - radius - apart) ** 2))
    )


def found(profile, box=None, known=None):
    mask = of_profile(profile)
    box = box or Box.of(mask.shape).shift((5, 5, 5))
    narrow = find_narrowings(centreline(mask, VOXEL_NM), VOXEL_NM, Neck())
    return narrow, [KINDS[k] for k in kinds_of(narrow, box, known or Box.of((300, 300, 300)), VOXEL_NM)]


def test_a_waist_is_a_constriction_and_touching_balls_are_two_bodies():
    narrow, kinds = found(waist())
    assert kinds == ["constriction"]
    narrow, kinds = found(balls())
    assert kinds == ["two bodies"]
    assert sharpness(narrow)[0] > 1.5
    by_hand = narrow["curvature_per_um"][0] * narrow["width_nm"][0] / 2000
    assert sharpness(narrow)[0] == pytest.approx(by_hand)


def test_a_narrowing_at_a_face_that_cuts_its_object_is_the_faces():
    narrow = {
        "y_nm": np.array([100.0, 100.0, 900.0]),
        "z_nm": np.full(3, 500.0),
        "x_nm": np.full(3, 500.0),
        "flank_width_nm": np.array([220.0, 180.0, 300.0]),
        "width_nm": np.full(3, 100.0),
        "curvature_per_um": np.array([50.0, 1.0, np.nan]),
    }
    box = Box((4, 0, 4), (70, 60, 70))
    known = Box((0, 0, 0), (100, 100, 100))
    # 100 nm from the face at y = 0: nearer than 110, not than 90; 60 nm from the box's end, which is none.
    assert kinds_of(narrow, box, known, VOXEL_NM).tolist() == [2, 0, 0]
    assert kinds_of(narrow, box, Box((0, 0, 0), (100, 60, 100)), VOXEL_NM).tolist() == [2, 0, 2]
    inside = Box((4, 1, 4), (70, 60, 70))
    assert kinds_of(narrow, inside, known, VOXEL_NM).tolist() == [1, 0, 0]
