"""Sums over marching-cubes cells are the surface and the volume of the mesh, for any label and voxel size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import VOXEL_NM, seeds

from chunkflow_liver.kernels.mesh import CORNERS, areas, cells_by_object, configurations, triangles, volumes


def padded(shape, seed, labels=3):
    rng = np.random.default_rng(seed)
    filled = rng.random(shape) < rng.choice([0.1, 0.5, 0.9])
    return np.pad((filled * rng.integers(1, labels + 1, shape)).astype(np.uint64) << 60, 1)


class Found:
    """The cells of padded labels, in any order."""

    def __init__(self, labels, most=None):
        parts = list(cells_by_object(labels, (1, 1, 1), most))
        self.label = np.concatenate([np.repeat(p.label, np.diff(p.begin)) for p in parts])
        self.code, row, self.x = (
            np.concatenate([getattr(p, n) for p in parts]) for n in ("code", "row", "x")
        )
        self.z, self.y = np.divmod(row, parts[0].shape[1])
        self.keep(self.code != 255)

    def keep(self, rows):
        for name in ("label", "code", "z", "y", "x"):
            setattr(self, name, getattr(self, name)[rows].astype(np.uint64 if name == "label" else np.int64))

    def __len__(self):
        return len(self.label)


def test_a_single_voxel_is_an_octahedron():
    """Vertices in the middle of the faces of one voxel of (4, 8, 16) nm: a sixth of its volume."""
    found = Found(np.pad(np.full((1, 1, 1), 7, np.uint8), 1))
    assert sorted(found.code.tolist()) == [1 << bit for bit in range(8)]
    assert set(found.label.tolist()) == {7}
    a, b, c = 2.0, 4.0, 8.0
    face = 0.5 * np.sqrt((a * b) ** 2 + (b * c) ** 2 + (a * c) ** 2)
    assert areas(VOXEL_NM)[found.code].sum() == pytest.approx(8 * face)
    volume, vector = volumes()
    at = np.stack([found.z, found.y, found.x], axis=1)
    assert (volume[found.code] + 2 * (at * vector[found.code]).sum(1)).sum() == 48 / 6


def test_the_two_sides_of_a_surface_have_one_area():
    area = areas(VOXEL_NM)
    np.testing.assert_allclose(area, area[::-1])
    assert area[0] == area[255] == 0.0
    assert [len(t) for t in triangles()[:4]] == [0, 1, 1, 2]


@settings(max_examples=30, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 5)] * 3), seed=seeds, most=st.sampled_from([None, 1, 40]))
def test_cells_are_those_of_a_loop_over_voxels(shape, seed, most):
    labels = padded(shape, seed)
    wanted = set()
    for z, y, x in np.ndindex(*(n - 1 for n in labels.shape)):
        corners = [int(labels[z + a, y + b, x + c]) for a, b, c in CORNERS]
        for label in set(corners) - {0}:
            code = sum(1 << bit for bit, corner in enumerate(corners) if corner == label)
            if code != 255:
                wanted.add((label, code, z, y, x))
    found = Found(labels, most)
    rows = list(zip(*(c.tolist() for c in (found.label, found.code, found.z, found.y, found.x)), strict=True))
    assert len(rows) == len(set(rows))
    assert set(rows) == wanted


@settings(max_examples=30, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 6)] * 3), seed=seeds)
def test_area_and_volume_are_those_of_pyradiomics(shape, seed):
    cshape = pytest.importorskip("radiomics").cShape
    labels = padded(shape, seed)
    found, area, (volume, vector) = Found(labels), areas(VOXEL_NM), volumes()
    for label in np.unique(labels[labels > 0]):
        mask = labels == label
        surface, inside, _ = cshape.calculate_coefficients(mask, np.array(VOXEL_NM))
        count = np.bincount(configurations(mask).reshape(-1), minlength=256)
        assert area @ count == pytest.approx(surface, rel=1e-12)
        own = found.label == label
        at = np.stack([found.z, found.y, found.x], axis=1)[own]
        total = (volume[found.code[own]] + 2 * (at * vector[found.code[own]]).sum(1)).sum()
        assert total * np.prod(VOXEL_NM) / 48 == pytest.approx(inside, rel=1e-12)


def test_an_array_without_cells_has_none():
    assert len(Found(np.zeros((4, 5, 6), np.uint32))) == len(Found(np.ones((1, 5, 6), np.uint32))) == 0
