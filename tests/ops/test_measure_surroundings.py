"""Parents, neighbours, border and density of instances, for any grid and against whole arrays."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.spatial.distance import cdist
from skimage.measure import regionprops
from strategies import (
    VOXEL_NM,
    blocks,
    components,
    most_resident,
    resumed_equals_whole,
    seeds,
    semantic,
    shapes,
    table,
    write,
)

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.kernels.features.neighbours import ball_in_box

RADIUS = 41.3
COLUMNS = [
    "border_distance_nm",
    "neighbour_distance_nm",
    "neighbour_label",
    "neighbour_certain",
    "density_per_um3",
    "parent",
    "parent_share",
]


def images(shape, seed):
    labels = components(semantic(shape, seed, 1), 26).astype(np.uint32)
    parents = np.random.default_rng(seed).integers(0, 3, [n // 3 + 1 for n in shape]).repeat(3, 0)
    parents = parents.repeat(3, 1).repeat(3, 2)[tuple(slice(n) for n in shape)]
    return labels, parents.astype(np.uint64) * np.uint64(2**60 + 1)


@settings(max_examples=8, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
def test_the_table_does_not_depend_on_the_grid(shape, seed, block):
    labels, parents = images(shape, seed)
    got = []
    with tempfile.TemporaryDirectory() as folder:
        cells = write(folder, parents, "cells", kind="label")
        mitos = write(folder, labels, "mitos", kind="label")
        for name, cut in (("whole", None), ("cut", block)):
            plan = cf.measure(
                mitos,
                parents=cells,
                features=["surroundings"],
                settings={"radius_nm": RADIUS},
                name="t",
                work=f"{folder}/{name}",
                block=cut,
            )
            found = table(plan)
            got.append(Path(plan.output.path).read_bytes())
    assert got[0] == got[1]
    assert list(found) == ["label", "class", *COLUMNS]
    size = np.array(VOXEL_NM)
    regions = regionprops(labels, spacing=VOXEL_NM)
    assert found["label"] == [r.label for r in regions]
    centres = np.array([r.centroid for r in regions]).reshape(-1, 3)
    apart = cdist(centres, centres)
    known = ball_in_box(centres + size / 2, tuple(size * shape), RADIUS) / 1e9
    assert found["density_per_um3"] == pytest.approx(((apart <= RADIUS).sum(1) - 1) / known)
    np.fill_diagonal(apart, np.inf)
    for i, region in enumerate(regions):
        inside = parents[labels == region.label]
        ids, counts = np.unique(inside, return_counts=True)
        assert found["parent"][i] == ids[counts.argmax()]
        assert found["parent_share"][i] == counts.max() / len(inside)
        room = [
            min(a, n - b) * v
            for a, b, n, v in zip(region.bbox[:3], region.bbox[3:], shape, VOXEL_NM, strict=True)
            if n > 1
        ]
        assert found["border_distance_nm"][i] == min(room, default=np.inf)
        if len(regions) > 1:
            assert found["neighbour_distance_nm"][i] == pytest.approx(apart[i].min())


def test_a_volume_worked_by_hand(tmp_path):
    """Two objects in voxels of (4, 8, 16) nm: one mostly in cell 5, one with half of itself in no cell."""
    mitos = np.zeros((5, 6, 8), np.uint32)
    mitos[2, 2, 1:4] = 1  # centre (2.5, 2.5, 2.5) voxels
    mitos[2, 2, 6:8] = 2  # centre (2.5, 2.5, 7)
    cells = np.zeros(mitos.shape, np.uint8)
    cells[..., :3], cells[..., 3:7] = 5, 4
    at = {"name": "t", "work": tmp_path / "work", "features": ["surroundings"]}
    found = table(
        cf.measure(
            write(tmp_path, mitos, "mitos", kind="label"),
            parents=write(tmp_path, cells, "cells", kind="label"),
            **at,
        )
    )
    assert found["parent"] == [5, 0]
    assert found["parent_share"] == [2 / 3, 0.5]
    assert found["border_distance_nm"] == [8.0, 0.0]
    assert found["neighbour_distance_nm"] == [72.0, 72.0]
    assert found["neighbour_label"] == [2, 1]
    assert found["neighbour_certain"] == [False, False]
    # The ball of 2 um holds the whole volume.
    assert found["density_per_um3"] == pytest.approx([1 / (mitos.size * 512e-9)] * 2)
    units = {
        f.name: (f.metadata or {}).get(b"unit")
        for f in cf.read_table(tmp_path / "work/tables/t.parquet").schema
    }
    assert units["density_per_um3"] == b"micrometer^-3"
    assert units["border_distance_nm"] == b"nanometer"


def test_parents_come_with_any_features(tmp_path):
    labels, parents = images((4, 5, 6), 3)
    mitos, cells = (
        write(tmp_path, labels, "mitos", kind="label"),
        write(tmp_path, parents, "cells", kind="label"),
    )
    found = table(cf.measure(mitos, parents=cells, name="t", work=tmp_path / "work"))
    assert list(found)[-3:] == ["touches_border", "parent", "parent_share"]
    assert len(found["parent"]) == labels.max()


def test_parents_that_do_not_fit_are_refused(tmp_path, listing):
    labels, _ = images((4, 5, 6), 3)
    mitos = write(tmp_path, labels, "mitos", kind="label")
    smaller = write(tmp_path, labels[:3], "cells", kind="label")
    grey = write(tmp_path, labels.astype(np.float32), "grey")
    before = listing()
    at = {"name": "t", "work": tmp_path / "work"}
    with pytest.raises(InputError, match="parents and instances must lie on the same voxels"):
        cf.measure(mitos, parents=smaller, **at)
    with pytest.raises(InputError, match="holds float32 voxels; parents must be integers"):
        cf.measure(mitos, parents=grey, **at)
    with pytest.raises(ConfigError, match="radius_nm must be positive and finite, got -1"):
        cf.measure(mitos, features=["surroundings"], settings={"radius_nm": -1}, **at)
    assert listing() == before


def test_a_block_of_small_touching_objects_fits_its_estimate(tmp_path):
    """Cubes of 8 voxels in half of the volume, in parents of 12 voxels."""
    z, y, x = np.indices((96, 96, 96)) // 8
    labels = ((z + y + x) % 2 * (1 + x + 12 * (y + 12 * z))).astype(np.uint32)
    parents = (np.indices(labels.shape) // 12).sum(0).astype(np.uint32)
    mitos, cells = (
        write(tmp_path, labels, "mitos", kind="label"),
        write(tmp_path, parents, "cells", kind="label"),
    )
    plan = cf.measure(mitos, parents=cells, name="t", work=tmp_path / "work")
    stage = next(s for s in plan.maps if s.name == "t/parents")
    peak = most_resident(lambda: stage.function(stage.grid[0], labels, parents))
    assert peak <= stage.working * labels.size


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    labels, parents = images((8, 12, 12), 1)

    def make(work):
        mitos = cf.label(write(work.parent, (labels > 0).astype(np.uint8)), name="mitos", work=work)
        cells = write(work.parent, parents, "cells", kind="label")
        at = {"name": "t", "work": work, "block": (4, 6, 12)}
        return mitos + cf.measure(mitos.output, parents=cells, features=["surroundings"], **at)

    resumed_equals_whole(make, tmp_path, "t/parents", 2)
