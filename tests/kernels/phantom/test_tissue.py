"""Tissue with cells that touch: maps fit the truth, protrusions begin in their cell and touch no other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.phantom.tissue import Tissue, planes

VOXEL_NM = (25.0, 8.0, 8.0)


@pytest.fixture(scope="module")
def stack():
    found = Tissue((40, 144, 176), VOXEL_NM, 3, cells=6, missing=(5,))
    return found, [np.stack(a) for a in zip(*planes(found), strict=True)]


def test_maps_fit_the_truth_and_lost_slices_are_black(stack):
    _, (raw, interior, boundary, truth, thread) = stack
    there = np.arange(len(truth)) != 5
    assert (interior[there][truth[there] > 0] == 255).all()
    assert not boundary[truth > 0].any()
    assert not any(a[5].any() for a in (raw, interior, boundary))
    assert truth[5].any()
    # Cells are darker than what is between them, and walls darker than cells.
    assert (
        raw[boundary > 0].mean()
        < raw[there][truth[there] > 0].mean()
        < raw[there][interior[there] == 0].mean()
    )
    np.testing.assert_array_equal(truth[thread > 0], thread[thread > 0])


def test_a_protrusion_begins_in_its_cell_and_is_one_with_it_in_3d(stack):
    tissue, (*_, truth, thread) = stack
    assert len(tissue.threads) >= 4
    for cell, discs in tissue.threads:
        labels, _ = ndimage.label(truth == cell + 1, np.ones((3, 3, 3)))
        ends = [labels[int(z)][thread[int(z)] == cell + 1] for z in discs[[0, -1], 0]]
        assert len(np.unique(np.concatenate(ends))) <= 2
    assert (thread > 0).any(axis=(1, 2)).mean() > 0.5


def test_the_same_seed_is_the_same_tissue_and_some_cells_come_and_go():
    one, two, other = (
        np.stack([p.truth for p in planes(Tissue((20, 64, 96), VOXEL_NM, s, cells=8, late=0.5))])
        for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()
    seen = [set(np.unique(p)) for p in one]
    assert len(set.union(*seen)) > len(set.intersection(*seen))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shape": (0, 4, 4)}, "tissue needs voxels of sizes above 0 nm"),
        ({"seed": -1}, "tissue needs a seed of 0 or more and one cell or more, got seed -1"),
        ({"gaps": 1.0}, "late and gaps are shares and drift is 0 or more"),
    ],
)
def test_impossible_tissue_is_refused(change, says):
    with pytest.raises(ConfigError, match=says):
        Tissue(**{"shape": (4, 16, 16), "voxel_nm": VOXEL_NM, "seed": 0} | change)
