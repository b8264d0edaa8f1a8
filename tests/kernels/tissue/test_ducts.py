"""Sections of ducts and places around them by hand."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.tissue.ducts import around, cell_sums, describe_sections, section_sums

NM = (4.0, 8.0, 16.0)


def test_angles_around_a_line_that_bends():
    # Along x, then along y: what lies on one side along z stays at its angle.
    centres = np.array([[0, 0, 0], [0, 0, 10], [0, 0, 20], [0, 10, 20], [0, 20, 20]], float)
    section = np.array([0, 4, 0, 4])
    places = centres[section] + [[5, 0, 0], [5, 0, 0], [-5, 0, 0], [-5, 0, 0]]
    found = around(centres, section, places)
    np.testing.assert_allclose((found - found[0]) % 360, [0, 0, 180, 180], atol=1e-9)


def test_sections_by_hand():
    # Seven sections of two voxels along x, a lumen of 2 x 3 voxels across, a wall of 1 x 3.
    lumen, cells = np.zeros((3, 3, 14), bool), np.zeros((3, 3, 14), np.uint16)
    lumen[:2], cells[2] = True, 7
    along = np.broadcast_to(16.0 * np.arange(14, dtype=np.float32), lumen.shape)
    rows = section_sums(lumen, cells, along, np.indices(lumen.shape)[2] == 13, (10, 0, 0), 32.0)
    assert rows["section"].tolist() == list(range(7))
    assert rows["lumen"].tolist() == [12] * 7
    assert rows["wall"].tolist() == [6] * 7
    found = describe_sections(rows, 32.0, NM)
    assert np.isfinite(found["radius_nm"]).tolist() == [False, False, True, True, True, False, False]
    np.testing.assert_allclose(found["length_nm"][2:5], 32)
    # Areas across x: 6 voxels of 4 x 8 nm in the lumen, 9 with the wall.
    inner, outer = np.sqrt(6 * 32 / np.pi), np.sqrt(9 * 32 / np.pi)
    np.testing.assert_allclose(found["radius_nm"][3], inner)
    np.testing.assert_allclose(found["thickness_nm"][3], outer - inner)
    assert found["touches_border"].tolist() == [False] * 6 + [True]
    np.testing.assert_allclose([found[f"{a}_nm"][0] for a in "zyx"], [44, 12, 16])


def test_sums_of_a_cell_by_hand():
    cells = np.array([[[3, 3, 3, 0]]], np.uint8)
    along = np.array([[[10.0, 20.0, np.inf, 5.0]]], np.float32)
    away = np.array([[[8.0, 24.0, 40.0, 0.0]]], np.float32)
    found = cell_sums(cells, along, away, away > 30, (0, 0, 100))
    assert {k: v.tolist() for k, v in found.items()} == {
        "label": [3],
        "voxels": [3],
        "reached": [2],
        "along": [30 * 16],
        "border": [1],
        "least": [8 * 16],
        "most": [24 * 16],
        "sum_z": [0],
        "sum_y": [0],
        "sum_x": [201],
    }
