"""Pyramids made block by block equal those of the kernels on the whole array."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.engine.pyramid import Finer, pyramid
from chunkflow_liver.engine.run import run
from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.images.downsample import mean, mode
from chunkflow_liver.store.create import create, new_volume
from chunkflow_liver.store.images import inspect, validate


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 70), st.integers(257, 300)),
    kind=st.sampled_from(["image uint8", "image float32", "label uint32", "image bool"]),
    unit=st.sampled_from([(16, 16, 64), (16, 48, 128)]),
    seed=st.integers(0, 99),
)
def test_levels_do_not_depend_on_blocks(tmp_path, shape, kind, unit, seed):
    kind, dtype = kind.split()
    values = np.random.default_rng(seed).integers(0, 2 if dtype == "bool" else 6, shape).astype(dtype)
    number = len(list(tmp_path.iterdir()))
    base = new_volume(f"{tmp_path}/{number}.ome.zarr", shape, dtype, (16, 8, 8), kind=kind)
    volume = base.like(base.url, dtype=dtype, kind=kind, block=unit, levels=3)
    create(volume)
    volume.write(volume.box, values)
    run(Plan(pyramid(volume, "p"), tmp_path / f"{number}", volume), progress=False)
    reduce = mode if kind == "label" or dtype == "bool" else mean
    wanted = values
    for below, level in zip(volume.pyramid(), volume.pyramid()[1:], strict=False):
        step = tuple(b // a for a, b in zip(below.reduction, level.reduction, strict=True))
        wanted = reduce(wanted, step)
        np.testing.assert_array_equal(level.read(), wanted)
    assert len(volume.pyramid()) == 3
    assert validate(volume.url) == []
    assert [v.reduction for v in inspect(volume.url)[1]] == [v.reduction for v in volume.pyramid()]


def test_a_finer_level_is_read_in_coarse_coordinates(store, voxels):
    finer = Finer(store, (2, 4, 1), (19, 12, 50))
    box = Box((17, 10, 3), (19, 12, 5))
    np.testing.assert_array_equal(finer.read(box), voxels[34:37, 40:45, 3:5])
    assert finer.itemsize == 16
    assert finer.identity() == store.identity()


def test_an_image_of_one_level_needs_no_stages(store):
    assert pyramid(store, "p") == ()


@pytest.mark.parametrize("level", [1, 2])
def test_a_result_on_a_coarse_level_has_the_levels_that_are_left(tmp_path, level):
    base = new_volume(f"{tmp_path}/a.ome.zarr", (1, 900, 900), "uint8", (8, 8, 8))
    coarse = base.pyramid()[level]
    assert base.levels == 3
    assert coarse.like("b", dtype="uint8", kind="image").levels == 3 - level
