"""Instances found block by block become those of the whole volume."""

from __future__ import annotations

import importlib
import json
import linecache
import subprocess
import sys
import tempfile

import block_functions as functions
import numpy as np
import pytest
import stitch_memory
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from strategies import blocks, done, numbered, resumed_equals_whole, seeds, table, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError, JournalError, RunIncompleteError
from chunkflow_liver.ops.steps.seams.links import Rules
from chunkflow_liver.store.create import new_volume

NM = (16.0, 8.0, 8.0)


def plan(labels, folder, function=functions.same, **options):
    """Stitching of `labels` (written as an image) with a halo of 32 nm."""
    volume = write(folder, labels, name="truth", kind="label", voxel_nm=NM)
    return cf.stitch(
        volume, function, **{"halo_nm": 32.0, "name": "cells", "work": f"{folder}/work"} | options
    )


@settings(max_examples=10, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 10)] * 3), seed=seeds, block=blocks, count=st.integers(1, 20))
@example(shape=(12, 12, 12), seed=4, block=(3, 4, 5), count=15)
def test_cells_that_every_block_sees_alike_are_whole_again(shape, seed, block, count):
    truth = functions.voronoi(shape, count, seed)
    truth[truth % 5 == 1] = 0
    with tempfile.TemporaryDirectory() as folder:
        found = done(plan(truth, folder, block=block, halo_nm=64.0)).read()
    np.testing.assert_array_equal(found, numbered(truth))


def test_cells_with_walls_that_wobble_from_block_to_block_are_neither_merged_nor_split(tmp_path):
    """250 cells over 48 blocks; each block draws walls anew, off by half a voxel."""
    truth = functions.voronoi((48, 80, 80), 250, 1)
    made = plan(
        truth, tmp_path, functions.wobbling, params={"voxels": 0.5}, halo_nm=128.0, block=(24, 24, 24)
    )
    found = done(made).read()
    pairs, voxels = np.unique(np.stack([truth.ravel(), found.ravel()]), axis=1, return_counts=True)
    order = np.argsort(-voxels)
    of_cell = dict(reversed([(int(t), int(f)) for t, f in pairs[:, order].T]))
    of_found = dict(reversed([(int(f), int(t)) for t, f in pairs[:, order].T]))
    assert len(set(of_cell.values())) == 250
    assert len(of_found) == 250
    seams = cf.read_table(tmp_path / "work/tables/cells-seams.parquet").to_pandas()
    assert seams["matched"].sum() > 300
    assert (seams["score"].dropna() <= 1).all()
    assert list(seams["axis"].unique()) != []


def test_a_hand_worked_volume(tmp_path):
    """Two rods along x over two blocks, the ids of which swap; one object at the end of the second block."""
    truth = np.zeros((2, 3, 12), np.uint8)
    truth[0, 0, 1:9], truth[0, 2, 2:12], truth[1, 2, 11] = 3, 1, 2
    made = plan(truth, tmp_path, block=(2, 3, 6), min_volume_um3=2 * 1024e-9)
    wanted = np.zeros(truth.shape, int)
    wanted[0, 0, 1:9], wanted[0, 2, 2:12] = 1, 2
    np.testing.assert_array_equal(done(made).read(), wanted)
    (row,) = cf.read_table(tmp_path / "work/tables/cells-seams.parquet").to_pylist()
    assert (row["block_a"], row["block_b"], row["axis"]) == (0, 1, "x")
    assert [row[f"{a}_{end}"] for a in "zyx" for end in ("start", "stop")] == [0, 2, 0, 3, 4, 8]
    assert (row["matched"], row["unmatched"], row["ambiguous"], row["vetoed"]) == (2, 0, 0, 0)
    assert (row["score"], row["iou_min"], row["iou_median"], row["iou_9"]) == (1, 1, 1, 2)
    assert (row["z"], row["y"], row["x"]) == (0, 0, 4)
    assert (row["z_nm"], row["y_nm"], row["x_nm"]) == (8, 4, 36)


def test_a_run_is_not_resumed_with_a_function_that_was_changed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = tmp_path / "found_in_blocks.py"
    text = "LEAST = {}\n\n\ndef found(labels, *, voxel_nm):\n    return (labels > LEAST).astype('uint8')\n"
    truth = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    file.write_text(text.format(3))
    module = importlib.import_module("found_in_blocks")
    at = {"block": (2, 3, 2), "halo_nm": 16.0}
    first = done(plan(truth, tmp_path, module.found, **at)).read()
    assert (first == (truth > 3)).all()
    file.write_text(text.format(9))
    again = importlib.reload(module)
    volume = cf.open_volume(tmp_path / "truth.ome.zarr")
    changed = cf.stitch(volume, again.found, name="cells", work=tmp_path / "work", **at)
    with pytest.raises(JournalError, match="cells/blocks"):
        cf.run(changed, progress=False)
    del again.__dict__["__file__"]
    file.unlink()
    linecache.clearcache()
    with pytest.raises(ConfigError, match="has no source, so a changed function could not be told"):
        cf.stitch(volume, again.found, name="cells", work=tmp_path / "work", **at)


def test_two_legs_of_a_bow_are_one_object_only_with_branches(tmp_path):
    """A bow whose legs end in block 0, where they are two objects; block 1 sees that they are one."""
    truth = np.zeros((1, 7, 12), np.uint8)
    truth[0, 1, 0:9] = truth[0, 5, 0:9] = truth[0, 1:6, 8] = 1
    at = {"function": functions.components, "block": (1, 7, 6), "halo_nm": 16.0}
    apart = plan(truth, tmp_path / "strict", **at)
    assert len(np.unique(done(apart).read())) == 3
    joined = plan(truth, tmp_path / "branches", branches=True, **at)
    np.testing.assert_array_equal(done(joined).read(), truth)


def pieces(truth, folder, block, **options):
    """Every block finds face-connected components of its own; what becomes of them."""
    at = {"function": functions.components, "block": block, "halo_nm": 32.0, "branches": True}
    return done(plan(truth, folder, **at | options)).read()


def helix(shape, phase, *, radius, pitch):
    """A wire around the z axis, a voxel thick, joined across faces."""
    out = np.zeros(shape, np.uint8)
    middle, last = np.array(shape[1:]) / 2 - 0.5, None
    for t in np.linspace(0, shape[0] - 1, 4000):
        angle = 2 * np.pi * t / pitch + phase
        y, x = middle + radius * np.array([np.sin(angle), np.cos(angle)])
        at = (round(t), round(y), round(x))
        for axis in range(3 if last else 0):
            # Step by step along single axes, so that faces meet.
            out[(*at[:axis], *last[axis:])] = 1
        out[at], last = 1, at
    return out


def test_two_helices_through_all_blocks_are_two_objects(tmp_path):
    """Wires that wind around each other; a block sees up to six pieces of them that do not meet in it."""
    shape, block = (30, 24, 24), (10, 12, 12)
    truth = np.maximum(
        helix(shape, 0.0, radius=8, pitch=12), 2 * helix(shape, np.pi, radius=8, pitch=12)
    ).astype(np.uint8)
    assert ndimage.label(truth > 0)[1] == 2
    for corner in np.ndindex(3, 2, 2):
        here = tuple(slice(c * b, (c + 1) * b) for c, b in zip(corner, block, strict=True))
        assert truth[here].any()
    np.testing.assert_array_equal(pieces(truth, tmp_path, block), numbered(truth))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_two_combs_with_their_teeth_between_each_other_are_two_objects(axis, tmp_path):
    """Teeth are joined by a spine in the last block along them, or in the first."""
    truth = np.zeros((3, 26, 26), np.uint8)
    truth[1, 1:26:4, 2:25], truth[1, 1:26, 24] = 1, 1
    truth[1, 3:26:4, 0:23], truth[1, 3:24, 0] = 2, 2
    assert ndimage.label(truth)[1] == 2
    truth = np.moveaxis(truth, 2, axis)
    block = tuple(min(8, n) for n in truth.shape)
    np.testing.assert_array_equal(pieces(truth, tmp_path, block), numbered(truth))


@pytest.mark.parametrize("branches", [False, True])
def test_voxels_of_a_checkerboard_stay_apart(branches, tmp_path):
    """Face-connected, every second voxel is an object, and all touch at edges."""
    truth = (np.indices((7, 8, 9)).sum(0) % 2).astype(np.uint8)
    wanted = numbered(np.asarray(ndimage.label(truth)[0]))
    assert wanted.max() == truth.sum()
    found = pieces(truth, tmp_path, (3, 4, 4), branches=branches)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("fill", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 8), (7, 1, 5), (9, 9, 9)])
def test_empty_full_and_flat_volumes_are_stitched(shape, fill, tmp_path):
    truth = np.full(shape, fill, np.uint8)
    np.testing.assert_array_equal(done(plan(truth, tmp_path, block=(4, 4, 4))).read(), truth)


def test_an_object_in_two_blocks_that_meet_in_a_corner_is_one(tmp_path):
    truth = np.zeros((4, 6, 6), np.uint8)
    truth[1, 2, 2] = truth[2, 3, 3] = 5
    found = done(plan(truth, tmp_path, block=(2, 3, 3))).read()
    np.testing.assert_array_equal(found, truth > 0)


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    truth = functions.voronoi((6, 9, 9), 12, 5)
    volume = write(tmp_path, truth, name="truth", kind="label", voxel_nm=NM)

    def make(work):
        return cf.stitch(
            volume, functions.same, halo_nm=32.0, branches=True, name="cells", work=work, block=(3, 9, 9)
        )

    resumed_equals_whole(make, tmp_path / "first", "cells/blocks", 1)
    resumed_equals_whole(make, tmp_path / "second", "cells/apply", 1)


def test_ids_have_64_bits_only_where_32_might_not_do(tmp_path):
    """By default if a volume has more voxels than 32 bits count, unless objects are known to be larger."""
    at = {"name": "cells", "work": tmp_path / "work", "halo_nm": 32.0}
    large = new_volume(f"{tmp_path}/large.ome.zarr", (2000, 2000, 2000), "uint8", (10, 10, 10), kind="label")
    for options, wanted in (
        ({}, "uint64"),
        ({"min_volume_um3": 2e-6}, "uint32"),
        ({"dtype": "uint32"}, "uint32"),
    ):
        made = cf.stitch(large, functions.same, **at | options)
        assert made.output.dtype == made.output.pyramid()[1].dtype == wanted
    truth = functions.voronoi((6, 9, 9), 12, 5)
    wide = done(plan(truth, tmp_path, block=(3, 9, 9), dtype="uint64")).read()
    assert wide.dtype == np.uint64
    np.testing.assert_array_equal(wide, numbered(truth))
    # The join counts before it numbers.
    many = {"voxels": np.ones(300, int), "first": np.arange(300), "value": np.zeros(300, int)}
    join = next(s for s in plan(truth, tmp_path / "more", block=(6, 9, 9)).stages if s.name == "cells/join")
    at = {**join.params, "dtype": "uint8", "scratch": tmp_path}
    with pytest.raises(InputError, match="more than 255 instances, which uint8 ids cannot number; ask for"):
        join.function(iter([(0, many)]), **at)


@pytest.mark.parametrize("branches", ["no", "yes"])
def test_memory_of_the_driver_does_not_grow_with_the_blocks(branches, tmp_path):
    command = [sys.executable, stitch_memory.__file__, str(tmp_path), branches]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    peaks = json.loads(told.stdout.splitlines()[-1])
    # What grows is where the objects of each block begin, and handles of sorted parts.
    assert peaks[2] < 1.3 * peaks[1]


def test_what_measure_says_of_stitched_objects(tmp_path):
    truth = functions.voronoi((6, 9, 9), 3, 5)
    made = plan(truth, tmp_path, block=(3, 9, 9))
    done(made)
    columns = table(cf.measure(made.output, name="sizes", work=tmp_path / "work"))
    assert columns["class"] == ["cells"] * 3
    sizes = ndimage.sum_labels(np.ones(truth.shape), numbered(truth), [1, 2, 3])
    assert columns["voxels"] == sizes.astype(int).tolist()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"link": "touch"}, "link 'touch' does not exist here"),
        ({"function": lambda a, voxel_nm: a}, "has no name that a worker could import"),
        ({"function": None}, r"\['halo_nm'\] are for a function, and there is none"),
        ({"function": 7}, "has no name that a worker could import"),
        ({"halo_nm": 0}, "halo_nm must be above 0"),
        ({"halo_nm": float("nan")}, "halo_nm must be above 0"),
        ({"iou": 0}, "iou is a share of voxels, above 0 and at most 1, got 0"),
        ({"iomin": 1.5}, "iomin is a share of voxels, above 0 and at most 1, got 1.5"),
        ({"min_volume_um3": -1}, "min_volume_um3 must be 0 or more, got -1"),
        ({"dtype": "int8"}, "ids are 'uint32' or 'uint64', got dtype 'int8'"),
        ({"iuo": 0.5}, r"no options \['iuo'\]; there are"),
        ({"working": -1}, "working is bytes per voxel, 0 or more, got -1"),
    ],
)
def test_what_cannot_be_stitched_is_refused(options, says, tmp_path, listing):
    volume = write(tmp_path, np.ones((3, 4, 5), np.uint8), name="truth", kind="label")
    before = listing()
    given = {"function": functions.same, "halo_nm": 32.0, "name": "cells", "work": tmp_path / "work"}
    with pytest.raises(ConfigError, match=says):
        cf.stitch(volume, **given | options)
    assert listing() == before


def test_sources_that_do_not_fit_are_refused(tmp_path):
    one = write(tmp_path, np.ones((3, 4, 5), np.uint8), name="one")
    other = write(tmp_path, np.ones((3, 4, 6), np.uint8), name="other")
    with pytest.raises(InputError, match="a function needs all on the same voxels; choose the level"):
        cf.stitch([one, other], functions.same, halo_nm=9, name="cells", work=tmp_path / "work")
    with pytest.raises(ConfigError, match="nothing to stitch"):
        cf.stitch([], functions.same, halo_nm=9, name="cells", work=tmp_path / "work")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (functions.real, "must return integer labels, got float32"),
        (functions.negative, "must return labels of 0 or more, got -1"),
        (functions.flat, "must return labels of the shape of its block"),
    ],
)
def test_a_function_that_returns_no_labels_is_told_so(function, says, tmp_path):
    with pytest.raises(RunIncompleteError, match=says):
        done(plan(np.zeros((3, 4, 5), np.uint8), tmp_path, function))


def test_planning_reads_no_voxels(tmp_path, monkeypatch):
    volume = write(tmp_path, np.ones((3, 4, 5), np.uint8), name="truth", kind="label")
    monkeypatch.setattr(cf.Volume, "read", lambda *_: pytest.fail("planning read voxels"))
    made = cf.stitch(volume, functions.same, halo_nm=32, name="cells", work=tmp_path / "work")
    assert "cells/blocks" in str(made)
    assert Rules().iou < Rules().iomin
