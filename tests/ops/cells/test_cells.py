"""Cells between painted slices: the same for any blocks, better with flow, ids kept, errors told."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import numpy as np
import pytest
from strategies import contents, done, most_resident, resumed_equals_whole, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.kernels.labels.overlap import overlap, partition_scores
from chunkflow_liver.kernels.phantom.tissue import Tissue, planes
from chunkflow_liver.kernels.tissue.planes import MODES, Cutting

pytest.importorskip("cv2", reason="needs the extra 'cells'")
VOXEL_NM = (25.0, 8.0, 8.0)
SMALL = {"small_um2": 0.05}


@functools.cache
def tissue(depth=31, side=128, missing=(), **how):
    shape = (depth, side, side + 32)
    found = Tissue(shape, VOXEL_NM, 5, **{"cells": 5, "gaps": 0.5, "drift": 2.0} | how, missing=missing)
    return [np.stack(a) for a in zip(*planes(found), strict=True)]


def volumes(folder, stack, slices, dtype=np.uint16, add=0):
    raw, interior, boundary, truth, _ = stack
    painted = np.zeros(truth.shape, dtype)
    painted[slices] = np.where(truth[slices] > 0, truth[slices].astype(dtype) + dtype(add), 0)
    kinds = {"raw": raw, "interior": interior, "boundary": boundary}
    found = {k: write(folder, v, k, voxel_nm=VOXEL_NM) for k, v in kinds.items()}
    return found | {"painted": write(folder, painted, "painted", kind="label", voxel_nm=VOXEL_NM)}


def used_by(mode, given):
    """Without the volumes that a mode refuses."""
    cutting = Cutting(mode=mode)
    without = {"boundary": not cutting.walls, "raw": not cutting.moves}
    return {k: v for k, v in given.items() if not without.get(k)}


def ari(found, true):
    return partition_scores(overlap(found, true))["ari"].item()


def body(stack, drop):
    """Truth without thin pieces, on slices that were not painted."""
    rest = np.setdiff1d(np.arange(len(stack[3])), drop)
    return rest, np.where(stack[4][rest] > 0, 0, stack[3][rest])


def test_every_mode_runs_and_contours_that_flow_beat_the_mask_alone(tmp_path):
    stack = tissue(21, 112, protrusions=0, late=0.0, drift=3.0)
    used = [0, 20]
    given = volumes(tmp_path, stack, used)
    rest, true = body(stack, used)
    found = {}
    for mode in MODES:
        plan = cf.cells(**used_by(mode, given), mode=mode, name=mode, work=tmp_path / "work", **SMALL)
        out = done(plan).read()
        np.testing.assert_array_equal(out[used], given["painted"].read()[used])
        found[mode] = ari(out[rest], true)
    assert found["contours"] > found["mask"] + 0.01
    assert found["selective"] > found["boundary"]
    assert min(found["contours"], found["selective"]) > 0.98, found


@pytest.mark.parametrize("mode", ["selective", "recursive", "boundary"])
def test_cells_do_not_depend_on_the_grid(mode, tmp_path):
    stack = tissue(13, 64, cells=3, protrusions=0, missing=(4,))
    given = volumes(tmp_path, stack, [2, 9])
    tables, images = [], []
    for i, block in enumerate([None, (3, 16, 32), (13, 64, 96)]):
        how = {"mode": mode, "work": tmp_path / f"work{i}", "block": block}
        plan = cf.cells(**used_by(mode, given), **how, name="cells", **SMALL)
        images.append(done(plan).read())
        tables.append([cf.read_table(p.handle).to_pydict() for p in plan.products if "table" in p.kind])
    for image, rows in zip(images[1:], tables[1:], strict=True):
        np.testing.assert_array_equal(image, images[0])
        assert str(rows) == str(tables[0])  # NaN of an empty comparison included


def test_slices_without_an_image_are_bridged(tmp_path):
    """Two slices in a row are black in image, interior and boundary."""
    stack = tissue(missing=(10, 11), protrusions=0, late=0.0)
    given = volumes(tmp_path, stack, [0, 30])
    out = done(cf.cells(**given, name="cells", work=tmp_path / "work", **SMALL)).read()
    listed = cf.read_table(tmp_path / "work" / "tables" / "cells-blank.parquet").to_pydict()
    assert listed == {
        "slice": [10, 11],
        "z_nm": [10.5 * given["raw"].voxel_nm[0], 11.5 * given["raw"].voxel_nm[0]],
    }
    assert ari(out[10:12], stack[3][10:12]) > 0.9
    rest = np.setdiff1d(np.arange(31), [0, 10, 11, 30])
    assert ari(out[rest], stack[3][rest]) > 0.97


def test_held_out_slices_are_compared_and_errors_of_carrying_are_told(tmp_path):
    stack = tissue(protrusions=0, late=0.0)
    given = volumes(tmp_path, stack, [0, 7, 15, 30])
    plan = cf.cells(**given, slices=[0, 30], name="cells", work=tmp_path / "work", **SMALL)
    out = done(plan).read()
    tables = {
        dict(p.about)["rows"]: cf.read_table(p.handle).to_pydict() for p in plan.products if "table" in p.kind
    }
    held = tables["agreement"]
    assert held["slice"] == [7, 15]
    assert held["from_painted_nm"] == [7 * 25, 15 * 25]
    for row, z in enumerate(held["slice"]):
        assert held["ari"][row] == pytest.approx(ari(out[z][None], stack[3][z][None]))
    told = tables["errors"]
    assert {(a, b) for a, b in zip(told["from_slice"], told["slice"], strict=True)} == {(0, 30), (30, 0)}
    assert set(told["label"]) <= set(np.unique(stack[3]))
    assert np.mean(told["dice"]) > 0.8


def test_a_cell_that_appears_between_painted_slices_gets_the_next_id_and_one_row_per_slice(tmp_path):
    """Three squares of 10 pixels: one painted as 9, one in slices 2 to 5, one from 3 on painted as 4."""
    interior = np.zeros((8, 40, 64), np.uint8)
    painted = np.zeros(interior.shape, np.uint32)
    interior[:, 5:15, 5:15] = interior[2:6, 5:15, 25:35] = interior[3:, 25:35, 40:50] = 255
    painted[[0, 7], 5:15, 5:15] = 9
    painted[7, 25:35, 40:50] = 4
    given = {
        "interior": write(tmp_path, interior, "interior", voxel_nm=VOXEL_NM),
        "painted": write(tmp_path, painted, "painted", kind="label", voxel_nm=VOXEL_NM),
    }
    plan = cf.cells(**given, mode="mask", name="cells", work=tmp_path / "work", small_um2=50 * 0.008**2)
    out = done(plan).read()
    wanted = np.where(interior > 0, 9, 0)
    wanted[:, 5:15, 25:35] = np.where(interior[:, 5:15, 25:35] > 0, 10, 0)
    wanted[3:, 25:35, 40:50] = 4
    np.testing.assert_array_equal(out, wanted)
    rows = cf.read_table(next(p.handle for p in plan.products if p.name == "cells-matches")).to_pydict()
    new = [i for i, label in enumerate(rows["label"]) if label == 10]
    assert [rows["slice"][i] for i in new] == [2, 3, 4, 5]
    assert {rows["reason"][i] for i in new} == {"new, followed"}
    assert rows["area_um2"][new[0]] == pytest.approx(100 * 0.008**2)


def test_ids_of_64_bits_are_kept(tmp_path):
    stack = tissue(5, 64, cells=3, protrusions=0, late=0.0)
    given = volumes(tmp_path, stack, [0, 4], np.uint64, 2**53)
    out = done(cf.cells(**given, name="cells", work=tmp_path / "work", **SMALL)).read()
    assert out.dtype == np.uint64
    assert set(np.unique(out)) >= set(np.unique(given["painted"].read()))


def test_nearest_labels_instead_of_both(tmp_path):
    stack = tissue(13, 64, cells=3, protrusions=0, late=0.0)
    given = volumes(tmp_path, stack, [0, 12])
    near, both = (
        done(cf.cells(**given, both=b, name=f"b{b}", work=tmp_path / "work", **SMALL)).read()
        for b in (False, True)
    )
    assert ari(near[1:12], stack[3][1:12]) > 0.9
    assert (near != both).any()


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    stack = tissue(9, 64, cells=3, protrusions=0)
    given = volumes(tmp_path, stack, [0, 4, 8])

    def plan(work):
        return cf.cells(**given, name="cells", work=work, block=(3, 64, 96), **SMALL)

    resumed_equals_whole(plan, tmp_path / "first", "cells/carry", 4)
    resumed_equals_whole(plan, tmp_path / "second", "cells/apply", 1)


def test_carried_slices_are_checked_repaired_and_cleaned(tmp_path):
    stack = tissue(9, 64, cells=3, protrusions=0)
    given = volumes(tmp_path, stack, [0, 4, 8])
    plan = cf.cells(**given, name="cells", work=tmp_path / "work", **SMALL)
    before = done(plan).read()
    folder = tmp_path / "work/artefacts/cells.carried"
    whole = contents(folder)
    assert len(whole) == 6
    assert cf.damage(plan, progress=False) == []
    (folder / "00000002.plane").unlink()
    flipped = folder / "00000005.plane"
    flipped.write_bytes(flipped.read_bytes()[:-1] + b"?")
    lost = next(iter(plan.maps[2].outputs[0].keys(plan.maps[2].grid[0].write)))
    (Path(plan.maps[2].outputs[0].url) / plan.maps[2].outputs[0].path / lost).unlink()
    found = cf.repair(plan, progress=False)
    assert [(d.stage, d.block) for d in found] == [
        ("cells/carry", 0),
        ("cells/carry", 4),
        ("cells/slices", 0),
    ]
    assert "cannot read what was carried to slice 2" in found[0].what
    assert "its checksum is not that of its content; it is a result of the run in" in found[1].what
    assert contents(folder) == whole
    np.testing.assert_array_equal(plan.output.read(), before)
    assert folder in {entry.path for entry in cf.clean(plan)}
    assert not folder.exists()
    assert cf.damage(plan, progress=False) == []
    shutil.rmtree(tmp_path / "work/results.ome.zarr/labels/cells")
    np.testing.assert_array_equal(done(plan).read(), before)
    assert contents(folder) == whole


def test_memory_is_that_of_slices(tmp_path):
    stack = [np.tile(a, (1, 4, 4)) for a in tissue(9, 128)]
    given = volumes(tmp_path, stack, [0, 8])
    plan = cf.cells(**given, name="cells", work=tmp_path / "work", **SMALL)
    done(plan)
    stage = next(m for m in plan.maps if m.name == "cells/slices")
    inputs, artefacts = stage.inputs, stage.artefacts

    def one() -> None:
        for _ in stage.function(stage.grid[0], *inputs, **artefacts, **stage.params):
            pass

    assert most_resident(one) <= stage.resident


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"painted": None}, ConfigError, "mode 'selective' starts from painted slices"),
        ({"boundary": None}, ConfigError, "mode 'selective' needs the boundary"),
        ({"raw": None}, ConfigError, "carries cells along the motion of the image; give raw"),
        ({"mode": "mask"}, ConfigError, "mode 'mask' does not use boundary; leave it out"),
        ({"mode": "mask", "boundary": None}, ConfigError, "mode 'mask' does not use raw; leave it out"),
        ({"mode": "boundary"}, ConfigError, "mode 'boundary' does not use raw; leave it out"),
        ({"mode": "magic"}, ConfigError, "mode is one of"),
        ({"blur": 3}, ConfigError, r"no options \['blur'\]"),
        ({"min_iou": 0}, ConfigError, "min_iou is a share above 0 and up to 1, got 0"),
        ({"classes": "cell"}, ConfigError, "holds no labels, so it has no classes"),
    ],
)
def test_what_cannot_be_used_is_refused(change, error, says, tmp_path, listing):
    given = volumes(tmp_path, tissue(5, 64, cells=3), [0])
    before = listing()
    with pytest.raises(error, match=says):
        cf.cells(**{**given, "name": "cells", "work": tmp_path / "work"} | change)
    assert listing() == before


def test_slices_that_are_not_painted_are_named(tmp_path):
    given = volumes(tmp_path, tissue(5, 64, cells=3), [1])
    with pytest.raises(InputError, match=r"slices \[3\] of .* are painted; there are labels in \[1\]"):
        done(cf.cells(**given, slices=[1, 3], name="cells", work=tmp_path / "work"))


def test_oblong_pixels_and_other_voxels_are_refused_and_planning_reads_none(tmp_path, monkeypatch):
    stack = tissue(5, 64, cells=3)
    given = volumes(tmp_path, stack, [0])
    other = write(tmp_path, stack[1], "other", voxel_nm=(25.0, 8.0, 4.0))
    with pytest.raises(InputError, match="cells of slices need square ones"):
        cf.cells(**{**given, "interior": other}, name="cells", work=tmp_path / "work")
    with pytest.raises(InputError, match="cells need all on the same voxels"):
        cf.cells(**{**given, "raw": other}, name="cells", work=tmp_path / "work")
    monkeypatch.setattr(cf.Volume, "read", lambda *_: pytest.fail("planning read voxels"))
    assert "cells/carry" in str(cf.cells(**given, name="cells", work=tmp_path / "work"))
