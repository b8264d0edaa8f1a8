"""Whether instances depend on the blocks is found out by cutting a box in several ways."""

from __future__ import annotations

import block_functions as functions
import numpy as np
import pytest
from solids import NM, balls
from strategies import write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, MemoryBudgetError
from chunkflow_liver.ops.tilings import tilings

ALL = cf.Box((0, 0, 0), (12, 24, 24))


def planned(folder, function, **options):
    """Cells of a function of blocks; the plan is never run."""
    volume = write(folder, functions.voronoi((12, 24, 24), 40, 3), name="truth", kind="label", voxel_nm=NM)
    at = {"halo_nm": 64.0, "name": "cells", "work": f"{folder}/work", "block": (6, 12, 12)}
    return cf.stitch(volume, function, **at | options)


def test_a_function_that_sees_the_same_in_every_block_does_not_depend_on_them(tmp_path, listing):
    plan = planned(tmp_path, functions.same, halo_nm=128.0)
    before = listing()
    found = tilings(plan, ALL, name="cells")
    assert [found[f"blocks_{i}"] for i in (1, 2, 3)] == ["6x12x12", "4x8x8", "2x4x4"]
    assert [found[f"objects_{i}"] for i in (1, 2, 3)] == [40, 40, 40]
    assert found["identical_2"]
    assert (found["f1_3"], found["vi_split_3"], found["vi_merge_3"]) == (1, 0, 0)
    assert not found["count_depends"]
    assert not found["instances_depend"]
    assert listing() == before


def test_a_function_that_draws_walls_anew_in_every_block_is_told(tmp_path):
    found = tilings(planned(tmp_path, functions.wobbling, params={"voxels": 0.7}), ALL, name="cells", count=2)
    assert found["instances_depend"]
    assert not found["identical_2"]
    assert 0 < found["f1_2"] < 1
    assert found["vi_split_2"] > 0


def test_split_with_a_halo_as_long_as_its_objects_does_not_depend_on_blocks(tmp_path):
    mask = balls((12, 24, 34), [(5, 10, 10), (5, 10, 24), (6, 19, 29)], 60.0)
    volume = write(tmp_path, mask.astype(np.uint8), voxel_nm=NM)
    at = {"depth_nm": 8, "cap_nm": 64, "halo_nm": 320.0, "block": (6, 12, 12), "work": tmp_path / "work"}
    plan = cf.split(volume, classes=[1], name="parts", **at)
    found = tilings(plan, cf.Box((0, 0, 0), mask.shape), name="parts", count=2)
    assert found["objects_1"] > 1
    assert not found["instances_depend"]


def test_what_cannot_be_cut_is_refused(tmp_path, monkeypatch):
    plan = planned(tmp_path, functions.same)
    with pytest.raises(ConfigError, match="finds no instances 'others' block by block"):
        tilings(plan, ALL, name="others")
    with pytest.raises(ConfigError, match="tilings are 2 to 9, got 1"):
        tilings(plan, ALL, name="cells", count=1)
    with pytest.raises(ConfigError, match="is not inside the"):
        tilings(plan, cf.Box((0, 0, 0), (13, 24, 24)), name="cells")
    with pytest.raises(ConfigError, match=r"blocks of 1x2x1, 1x1x1, 1x1x1 voxels, of which two are the same"):
        tilings(plan, cf.Box((0, 0, 0), (1, 2, 1)), name="cells")
    monkeypatch.setattr("chunkflow_liver.ops.steps.whole_box.worker_memory", lambda _: 1.0)
    with pytest.raises(MemoryBudgetError, match="choose a smaller box"):
        tilings(plan, ALL, name="cells")
