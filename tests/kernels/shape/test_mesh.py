"""Sums over marching-cubes cells are the surface and the volume of the mesh, for any label and voxel size."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import VOXEL_NM, seeds

from chunkflow_liver.kernels.labels.object_runs import runs_by_object
from chunkflow_liver.kernels.shape.mesh import CORNERS, areas, cell_sums, triangles, volumes


def configurations(mask):
    """Code of every cell between the voxels of a mask: bit i is that of the voxel at `CORNERS[i]`."""
    inner = tuple(n - 1 for n in mask.shape)
    code = np.zeros(inner, np.uint8)
    for bit, corner in enumerate(CORNERS):
        seen = mask[tuple(slice(c, c + n) for c, n in zip(corner, inner, strict=True))]
        code |= seen.astype(np.uint8) << np.uint8(bit)
    return code


def padded(shape, seed, labels=3):
    rng = np.random.default_rng(seed)
    filled = rng.random(shape) < rng.choice([0.1, 0.5, 0.9])
    return np.pad((filled * rng.integers(1, labels + 1, shape)).astype(np.uint64) << 60, 1)


def counted(labels, low=(1, 1, 1), owned=None, origin=(0, 0, 0)):
    """Cells and volumes of labels, those that begin with the `owned` voxels, as dictionaries."""
    runs = runs_by_object(labels)
    cells, volume = cell_sums(runs, low=low, owned=owned or labels.shape, origin=origin)
    keys = list(zip(cells["label"].tolist(), cells["code"].tolist(), strict=True))
    assert keys == sorted(set(keys))
    halves = dict(zip(volume["label"].tolist(), volume["half_voxels"].tolist(), strict=True))
    return dict(zip(keys, cells["count"].tolist(), strict=True)), halves


def test_a_single_voxel_is_an_octahedron():
    """Vertices in the middle of the faces of one voxel of (4, 8, 16) nm: a sixth of its volume."""
    cells, halves = counted(np.full((1, 1, 1), 7, np.uint8))
    assert cells == {(7, 1 << bit): 1 for bit in range(8)}
    a, b, c = 2.0, 4.0, 8.0
    face = 0.5 * np.sqrt((a * b) ** 2 + (b * c) ** 2 + (a * c) ** 2)
    assert sum(areas(VOXEL_NM)[code] for _, code in cells) == pytest.approx(8 * face)
    assert halves == {7: 48 / 6}


def test_the_two_sides_of_a_surface_have_one_area():
    area = areas(VOXEL_NM)
    np.testing.assert_allclose(area, area[::-1])
    assert area[0] == area[255] == 0.0
    assert [len(t) for t in triangles()[:4]] == [0, 1, 1, 2]


@settings(max_examples=40, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 5)] * 3), seed=seeds, cut=st.tuples(*[st.integers(0, 5)] * 3))
def test_cells_are_those_of_a_loop_over_voxels(shape, seed, cut):
    """Of a block in the middle of a volume: it begins at `cut`, and one voxel after it is known."""
    labels = padded(shape, seed)
    start = [min(a, n - 1) for a, n in zip(cut, labels.shape, strict=True)]
    stop = [min(a + 3, n) for a, n in zip(start, labels.shape, strict=True)]
    volume, vector = volumes()
    low = [int(a == 0) for a in start]
    wanted, halves = Counter(), Counter()
    around = np.pad(labels, 1)
    for at in np.ndindex(*(b - a + n for a, b, n in zip(start, stop, low, strict=True))):
        cell = np.array(at) + start - low
        corners = [int(around[tuple(cell + corner + 1)]) for corner in CORNERS]
        for label in set(corners) - {0}:
            code = sum(1 << bit for bit, corner in enumerate(corners) if corner == label)
            if code != 255:
                wanted[label, code] += 1
                halves[label] += int(volume[code] + 2 * (cell * vector[code]).sum())
    seen = labels[tuple(slice(a, b + 1) for a, b in zip(start, stop, strict=True))]
    owned = tuple(b - a for a, b in zip(start, stop, strict=True))
    assert counted(seen, low, owned, start) == (wanted, halves)


@settings(max_examples=30, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 6)] * 3), seed=seeds)
def test_area_and_volume_are_those_of_pyradiomics(shape, seed):
    cshape = pytest.importorskip("radiomics").cShape
    labels = padded(shape, seed)
    (cells, halves), area = counted(labels), areas(VOXEL_NM)
    for label in np.unique(labels[labels > 0]):
        mask = labels == label
        surface, inside, _ = cshape.calculate_coefficients(mask, np.array(VOXEL_NM))
        count = np.bincount(configurations(mask).reshape(-1), minlength=256)
        count[255] = 0
        assert {code: n for (of, code), n in cells.items() if of == label} == {
            code: n for code, n in enumerate(count.tolist()) if n and code
        }
        assert area @ count == pytest.approx(surface, rel=1e-12)
        assert halves[int(label)] * np.prod(VOXEL_NM) / 48 == pytest.approx(inside, rel=1e-12)


def test_an_array_without_cells_has_none():
    """Nothing in it, or nothing but what goes on in the blocks around it."""
    assert counted(np.zeros((4, 5, 6), np.uint32)) == ({}, {})
    assert counted(np.ones((2, 5, 6), np.uint32), (0, 0, 0), (1, 4, 5)) == ({}, {})


def test_a_surface_that_is_alike_along_x_does_not_look_along_x():
    """Cells between the ends of runs add nothing per voxel along x: `count_cells` relies on it."""
    _, vector = volumes()
    mask = np.zeros((2, 2, 2), bool)
    for rows in range(16):
        mask[:] = np.array([rows >> k & 1 for k in range(4)], bool).reshape(2, 2, 1)
        assert vector[configurations(mask)[0, 0, 0], 2] == 0
