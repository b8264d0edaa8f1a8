"""Windows along a centre line: where they lie, which surface is theirs, what of it is in contact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_liver.kernels.centreline.line import Branch, Centreline
from chunkflow_liver.kernels.centreline.windows import Near, Track, along, contact_mask, windows, within


def two_branches():
    """Branches of 1000 and 600 nm from one node."""
    made = []
    for i, stop in enumerate((1000.0, 600.0)):
        at = np.linspace(0, stop, 51)
        points = np.stack([0 * at, at if i else 0 * at, 0 * at if i else at], 1)
        made.append(Branch(0, i + 1, points, points, 0 * at + 1, 0 * at + 1))
    nodes = np.array([[0.0, 0, 0], [0, 0, 1000], [0, 600, 0]])
    return Centreline(nodes, np.array([2, 1, 1]), tuple(made))


def surface(positions, contact):
    """One voxel of 2 um2 at every position (branch, nm)."""
    branch, at = (np.array(c) for c in zip(*positions, strict=True))
    none = np.zeros(len(at), int)
    return Track(
        (none,) * 3, branch, none, at.astype(float), np.full(len(at), 2e6), np.array([contact], bool)
    )


def test_windows_by_hand():
    """A narrowing at 500 of 1000 nm, windows of 200 nm: two controls to either side, three on the other."""
    line = two_branches()
    track = surface([(0, 410), (0, 500), (0, 601), (0, 90), (1, 500), (1, 290)], [1, 0, 1, 1, 1, 0])
    narrow = {"branch": np.array([0]), "position_nm": np.array([500.0]), "tested": np.array([False])}
    found = windows(line, track, narrow, Near(window_nm=100))
    places = [(0, 500), (0, 100), (0, 300), (0, 700), (0, 900), (1, 100), (1, 300), (1, 500)]
    # The windows at (0, 300), (0, 900) and (1, 100) have no surface and are none.
    kept = [places[i] for i in (0, 1, 3, 6, 7)]
    assert list(zip(found["branch"], found["position_nm"], strict=True)) == kept
    assert found["narrow"].tolist() == [True, False, False, False, False]
    assert found["tested"].tolist() == [False, True, True, True, True]
    assert found["area_um2"].tolist() == [4, 2, 2, 2, 2]
    assert found["contact_um2"][:, 0].tolist() == [2, 2, 2, 0, 2]
    # (1, 500) is as far along, on the other branch.
    assert within(track, narrow, line, Near(window_nm=100)).tolist() == [1, 1, 0, 0, 0, 0]
    assert within(track, narrow, line, Near(window_fraction=0.11)).tolist() == [1, 1, 1, 0, 0, 0]


@given(st.lists(st.floats(0, 1000), max_size=4), st.floats(20, 400))
def test_controls_overlap_nothing_and_leave_no_room_for_another(narrow, reach):
    line = two_branches()
    every = [(0, p) for p in np.linspace(0, 1000, 401)] + [(1, p) for p in np.linspace(0, 600, 241)]
    found = windows(
        line,
        surface(every, [False] * len(every)),
        {
            "branch": np.zeros(len(narrow), int),
            "position_nm": np.array(narrow),
            "tested": np.ones(len(narrow), bool),
        },
        Near(window_nm=reach),
    )
    for i, length in enumerate((1000.0, 600.0)):
        own = found["branch"] == i
        at, control = found["position_nm"][own], ~found["narrow"][own]
        assert (at[control] >= reach - 1e-6).all()
        assert (at[control] <= length - reach + 1e-6).all()
        order = np.argsort(at)
        gaps = np.diff(at[order])
        some = control[order][1:] | control[order][:-1]
        assert (gaps[some] >= 2 * reach - 1e-6).all()
        # From end to end, what is left between windows is shorter than a window.
        edges = np.concatenate([[-reach], at[order], [length + reach]])
        assert (np.diff(edges) < 4 * reach + 1e-6).all()


@pytest.mark.parametrize("gap_nm", [0.0, 10.0, 20.0])
def test_contact_is_a_gap_of_boxes_and_not_of_faces_alone(gap_nm):
    """One voxel of (4, 8, 16) nm; its neighbours across an edge or a corner touch it."""
    other = np.zeros((13, 13, 13), bool)
    other[6, 6, 6] = True
    apart = np.maximum(np.abs(np.indices(other.shape) - 6) - 1, 0)
    gap = np.sqrt(((apart.reshape(3, -1).T * np.array([4, 8, 16])) ** 2).sum(1)).reshape(other.shape)
    np.testing.assert_array_equal(contact_mask(other, (4.0, 8.0, 16.0), gap_nm), gap <= gap_nm)


def test_surface_along_a_line_is_that_of_its_nearest_points():
    """Both branches have 51 points; the second's begin behind the first's."""
    track = replace(surface([(0, 20), (0, 20), (1, 24)], [1, 0, 1]), point=np.array([1, 1, 2]))
    area, contact = along(two_branches(), track)
    assert len(area) == 102
    assert (area[1], area[53], area.sum()) == (4, 2, 6)
    assert (contact[1, 0], contact[53, 0], contact.sum()) == (2, 2, 4)
