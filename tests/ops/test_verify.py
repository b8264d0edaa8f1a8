"""A region without blocks agrees with the run, and where it does not that is said."""

from __future__ import annotations

import block_functions as functions
import numpy as np
import pytest
from strategies import done, semantic, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, MemoryBudgetError
from chunkflow_liver.kernels.labels.overlap import overlap, variation_of_information

NM = (16.0, 8.0, 8.0)


def cells(folder, function=functions.same, halo_nm=128.0, **options):
    truth = functions.voronoi((12, 24, 24), 40, 3)
    truth[truth % 4 == 1] = 0
    volume = write(folder, truth, name="truth", kind="label", voxel_nm=NM)
    plan = cf.stitch(
        volume, function, halo_nm=halo_nm, name="cells", work=f"{folder}/work", block=(6, 12, 12), **options
    )
    done(plan)
    return plan


def test_what_all_blocks_see_alike_is_the_same_without_blocks(tmp_path):
    found = cf.verify(cells(tmp_path), cf.Box((0, 0, 0), (12, 24, 24)), name="cells")
    assert found["identical"]
    assert found["objects_blocks"] == found["objects_unblocked"] == 30
    assert "differs_at" not in found
    assert (found["f1"], found["agreement"], found["vi_split"], found["vi_merge"]) == (1, 1, 0, 0)


def test_walls_that_wobble_do_not_agree_everywhere(tmp_path):
    plan = cells(tmp_path, functions.wobbling, halo_nm=32.0, params={"voxels": 0.7})
    found = cf.verify(plan, cf.Box((0, 0, 0), (12, 24, 24)), name="cells")
    assert not found["identical"]
    assert 0.5 < found["agreement"] < 1
    assert found["vi_split"] > 0
    z, y, x = (int(part.split()[1]) for part in found["differs_at"].split(", "))
    assert plan.output.read()[z, y, x] or plan.maps[0].inputs[0].read()[z, y, x]


def test_components_are_verified_too(tmp_path):
    plan = cf.label(
        write(tmp_path, semantic((9, 9, 9), 4)),
        connectivity=6,
        name="all",
        work=tmp_path / "w",
        block=(3, 4, 5),
    )
    done(plan)
    assert cf.verify(plan, cf.Box((0, 0, 0), (9, 9, 9)), name="all")["identical"]
    assert cf.verify(plan, cf.Box((2, 1, 3), (8, 7, 9)), name="all")["identical"]


def test_a_box_of_which_nothing_is_left_is_refused(tmp_path):
    volume = write(tmp_path, np.ones((6, 12, 12), np.uint8))
    plan = cf.label(volume, name="all", work=tmp_path / "w", block=(3, 12, 12))
    done(plan)
    with pytest.raises(ConfigError, match=r"every object in the box .* nothing is left to compare"):
        cf.verify(plan, cf.Box((1, 2, 2), (5, 8, 8)), name="all")


def test_what_cannot_be_verified_is_refused(tmp_path, monkeypatch):
    plan = cells(tmp_path)
    with pytest.raises(
        ConfigError, match=r"no instances 'cell' of label, split or stitch; it has \['cells'\]"
    ):
        cf.verify(plan, cf.Box((0, 0, 0), (1, 1, 1)), name="cell")
    cleaner = plan + cf.refine(plan.output, shapes=cf.Shapes(), name="clean", work=tmp_path / "work")
    with pytest.raises(ConfigError, match=r"no instances 'clean' .* it has \['cells'\]"):
        cf.verify(cleaner, cf.Box((0, 0, 0), (1, 1, 1)), name="clean")
    for box in (cf.Box((0, 0, 0), (13, 1, 1)), cf.Box((3, 3, 3), (3, 4, 4))):
        with pytest.raises(ConfigError, match="is not inside"):
            cf.verify(plan, box, name="cells")
    monkeypatch.setattr("chunkflow_liver.ops.steps.whole_box.worker_memory", lambda _: 1e6)
    with pytest.raises(MemoryBudgetError, match="choose a smaller box"):
        cf.verify(plan, cf.Box((0, 0, 0), (12, 24, 24)), name="cells")


def test_variation_of_information_of_a_hand_worked_example():
    """The truth: 4 voxels and 4; found: 2, 2 and 4 in one case, all 8 as one in the other."""
    truth = np.array([[[1, 1, 1, 1, 2, 2, 2, 2, 0]]])
    apart = np.array([[[1, 1, 3, 3, 2, 2, 2, 2, 9]]])
    assert variation_of_information(overlap(apart, truth)) == (0.5, 0.0)
    assert variation_of_information(overlap(np.ones_like(truth), truth)) == (0.0, 1.0)
    assert variation_of_information(overlap(truth, truth)) == (0.0, 0.0)
    assert variation_of_information(overlap(truth, np.zeros_like(truth))) == (0.0, 0.0)
