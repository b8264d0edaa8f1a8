"""What a section off its place makes of a rod is told from a neck."""

from __future__ import annotations

import numpy as np
import pytest

from chunkflow_liver.kernels.centreline.line import centreline
from chunkflow_liver.kernels.centreline.necks import Neck, find_narrowings
from chunkflow_liver.kernels.centreline.stacks import between_sections

SLICES = (40.0, 8.0, 8.0)


def stack(radius_nm, off_nm):
    """A rod along z of voxels of 40 x 8 x 8 nm, radius and place of each section given."""
    y, x = np.meshgrid(*[(np.arange(n) + 0.5) * 8 for n in (70, 110)], indexing="ij")
    sections = zip(radius_nm, off_nm, strict=True)
    return np.stack([(x - 360 - off) ** 2 + (y - 280) ** 2 < r * r for r, off in sections])


def necks(mask):
    line = centreline(mask, SLICES)
    found = find_narrowings(line, SLICES, Neck())
    return found | {"between": between_sections(mask, line, found, SLICES)}


@pytest.mark.parametrize(
    ("radius", "off"), [(60, 1.3), (60, 1.5), (80, 1.1), (100, 1.5), (150, 1.1), (200, 1.3)]
)
def test_a_section_off_its_place_makes_a_neck_between_sections(radius, off):
    place = np.zeros(30)
    place[15] = off * radius
    found = necks(stack(np.full(30, float(radius)), place))
    assert found["between"].tolist() == [True]
    assert found["width_voxels"][0] > 2


@pytest.mark.parametrize("sigma_nm", [40.0, 60.0, 80.0])
@pytest.mark.parametrize("drift_nm", [0.0, 12.0])
def test_a_neck_of_the_object_is_seen_in_its_sections(sigma_nm, drift_nm):
    """A Gaussian neck: full width at half its depth 2.35 sigma."""
    z = (np.arange(30) + 0.5) * 40
    radius = 120 * (1 - 0.6 * np.exp(-((z - 608) ** 2) / 2 / sigma_nm**2))
    found = necks(stack(radius, drift_nm * (np.arange(30) - 12.0)))
    assert found["between"].tolist() == [False]
    if not drift_nm:
        assert found["neck_length_nm"][0] == pytest.approx(2.355 * sigma_nm, abs=30)
        assert found["neck_length_voxels"][0] == pytest.approx(found["neck_length_nm"][0] / 40, rel=0.02)


def test_long_necks_are_those_of_the_object():
    """A dumbbell that lies obliquely: sections cut the thick ends beside the neck."""
    z = (np.arange(30) + 0.5) * 40
    radius = 120 * (1 - 0.6 * np.exp(-((z - 608) ** 2) / 2 / 150**2))
    found = necks(stack(radius, 25.0 * (np.arange(30) - 14)))
    assert found["resolved"].all()
    assert not found["between"].any()


def test_lines_in_the_plane_are_not_looked_at():
    mask = stack(np.full(30, 100.0), np.zeros(30)).swapaxes(0, 2)[:, :, :]
    line = centreline(mask, SLICES)
    row = {"branch": np.array([0]), "position_nm": np.array([400.0]), "width_nm": np.array([10.0])}
    row["neck_length_voxels"] = np.array([2.0])
    assert between_sections(mask, line, row, SLICES).shape == (1,)
    assert not between_sections(mask[:0], line, {k: v[:0] for k, v in row.items()}, SLICES).size
