"""Diameters are the largest distances between mesh vertices, from any blocks, for objects of any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.spatial.distance import pdist
from strategies import VOXEL_NM, blocks, seeds, semantic, shapes

from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.labels.object_runs import runs_by_object
from chunkflow_liver.kernels.rows import joined
from chunkflow_liver.kernels.shape import diameter_loops
from chunkflow_liver.kernels.shape.diameters import DIAMETERS, extreme_voxels, largest, merge_voxels


def brute(mask, voxel_nm):
    """Squared diameters from all pairs of the middles of all faces, in half voxels."""
    mask = np.pad(mask, 1)
    points = []
    for axis in range(3):
        at = np.argwhere(np.diff(mask.astype(np.int8), axis=axis))
        points.append(2 * at + np.eye(3, dtype=int)[axis])
    points = np.concatenate(points)

    def widest(some):
        return float((pdist(some * np.array(voxel_nm) / 2) ** 2).max(initial=0.0))

    planes = [max(widest(points[points[:, a] == p]) for p in np.unique(points[:, a])) for a in range(3)]
    return [*planes, widest(points)]


def found(labels, voxel_nm, block):
    """The same from the blocks of a grid: of objects in one block, and of those in several."""
    parts, whole = [], []
    for cut in BlockGrid(Box.of(labels.shape), block, (0, 0, 0), (1, 1, 1)):
        runs = runs_by_object(labels[cut.read.slices])
        outside = labels.copy()
        outside[cut.write.slices] = 0
        known = ~np.isin(runs.label, outside)
        at = {"owned": cut.write.shape, "origin": cut.write.start, "voxel_nm": voxel_nm}
        voxels, squares = extreme_voxels(runs, known, **at)
        parts.append(voxels)
        whole.append(squares)
    rows = {}
    # A block sees the face to its next one as well: what lies in that as a whole is known better there.
    for known in (largest(merge_voxels(parts), voxel_nm), joined(whole)):
        rows |= dict(
            zip(known["label"].tolist(), np.stack([known[n] for n in DIAMETERS], axis=1), strict=True)
        )
    label = sorted(rows)
    return np.array(label), np.array([rows[value] for value in label]).reshape(-1, 4)


@settings(max_examples=30, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
def test_diameters_are_those_of_all_pairs_of_vertices(shape, seed, block):
    """Many small pieces per label."""
    labels = semantic(shape, seed).astype(np.uint16)
    label, squares = found(labels, VOXEL_NM, block)
    assert label.tolist() == np.unique(labels[labels > 0]).tolist()
    for row, value in enumerate(label):
        assert squares[row].tolist() == pytest.approx(brute(labels == value, VOXEL_NM))


@pytest.mark.parametrize("voxel_nm", [(8.0, 8.0, 8.0), (40.0, 5.9, 6.1)], ids=str)
@pytest.mark.parametrize("form", ["ball", "shell", "stick", "dust", "plate"])
def test_large_objects_have_the_diameters_of_all_their_vertices(form, voxel_nm):
    """More points than are looked at pair by pair; a ball has nearly as many ends as points."""
    z, y, x = (np.indices((26, 27, 28)).T - 13).T
    apart = z**2 + y**2 + x**2
    mask = {
        "ball": apart <= 144,
        "shell": (apart <= 144) & (apart >= 100),
        "stick": (abs(z - y) < 3) & (abs(y - x) < 3),
        "dust": np.random.default_rng(0).random(apart.shape) < 0.01,
        "plate": (z == 3) & (y**2 + x**2 < 150),
    }[form]
    label, squares = found(mask.astype(np.uint8), voxel_nm, (99, 99, 99))
    np.testing.assert_array_equal(squares, found(mask.astype(np.uint8), voxel_nm, (9, 10, 7))[1])
    assert label.tolist() == [1]
    assert squares[0].tolist() == pytest.approx(brute(mask, voxel_nm))


def test_a_rod_of_three_voxels_by_hand():
    """(4, 8, 16) nm, three along x: the ends of the mesh are the middles of the outer faces, 48 nm apart."""
    labels = np.zeros((3, 4, 7), np.uint64)
    labels[1, 2, 2:5] = 2**63 + 5
    label, squares = found(labels, VOXEL_NM, (3, 4, 3))
    assert label.tolist() == [2**63 + 5]
    assert squares.tolist() == [[48.0**2, 48.0**2, 8.0**2, 48.0**2]]


def test_points_are_compared_in_groups_without_a_loss():
    """20,000 points on a sphere, nearly all of which could end the longest distance."""
    direction = np.random.default_rng(1).normal(size=(20000, 3))
    at = np.rint(500 + 480 * direction / np.linalg.norm(direction, axis=1)[:, None]).astype(np.int32)
    at = at[np.argsort(at[:, 0])]
    points = np.concatenate([np.zeros((len(at), 2), np.int32), at], axis=1)
    found = diameter_loops.diameters(np.array([0, len(at)]), points, np.array(VOXEL_NM))[0, 3]
    ends = at[np.abs(at[:, 2] - 500) > 400] * np.array(VOXEL_NM)
    left, right = ends[ends[:, 2] < 8000], ends[ends[:, 2] > 8000]
    longest = max(((right - a) ** 2).sum(1).max() for a in left)
    assert np.sqrt(longest) <= np.sqrt(found) <= np.sqrt(longest) + max(VOXEL_NM)
