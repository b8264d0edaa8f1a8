"""Instances do not depend on blocks, and filters act on whole instances."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import cc3d
import heaps
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import (
    blocks,
    broken,
    components,
    contents,
    done,
    numbered,
    resumed_equals_whole,
    seeds,
    semantic,
    shapes,
    write,
)

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, GridError, InputError, JournalError, RunIncompleteError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.images.downsample import mode
from chunkflow_liver.kernels.instances import union
from chunkflow_liver.ops.label import _apply
from chunkflow_liver.ops.steps import numbering
from chunkflow_liver.store.table import Arrays


@settings(max_examples=25, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks, connectivity=st.sampled_from([6, 18, 26]))
@example(shape=(11, 15, 8), seed=2, block=(5, 7, 3), connectivity=26)
@example(shape=(9, 8, 10), seed=5, block=(3, 4, 5), connectivity=6)
def test_labels_do_not_depend_on_the_grid(shape, seed, block, connectivity):
    array = semantic(shape, seed)
    with tempfile.TemporaryDirectory() as folder:
        volume = write(folder, array)
        plan = cf.label(volume, connectivity=connectivity, name="all", work=f"{folder}/work", block=block)
        found = done(plan).read()
    np.testing.assert_array_equal(found, components(array, connectivity))
    assert found.dtype == np.uint32


@settings(max_examples=10, deadline=None)
@given(seed=seeds, block=blocks, most=st.integers(1, 12))
def test_small_instances_go_after_stitching(seed, block, most):
    array = semantic((7, 9, 8), seed)
    wanted = components(array, 6)
    sizes = np.bincount(wanted.ravel())
    wanted = numbered(np.where(sizes[wanted] >= most, wanted, 0))
    voxel_um3 = 4 * 8 * 16 / 1e9
    with tempfile.TemporaryDirectory() as folder:
        plan = cf.label(
            write(folder, array),
            connectivity=6,
            min_volume_um3=most * voxel_um3,
            name="large",
            work=f"{folder}/work",
            block=block,
        )
        np.testing.assert_array_equal(done(plan).read(), wanted)


def test_an_instance_in_pieces_below_the_limit_stays_whole(tmp_path):
    """A rod of 12 voxels over 3 blocks, and one of 5 inside a block; the limit is 6 voxels."""
    array = np.zeros((4, 4, 12), np.uint8)
    array[1, 1] = 2
    array[3, 3, 4:9] = 2
    plan = cf.label(
        write(tmp_path, array),
        classes=["mitochondrion"],
        min_volume_um3=6 * 512e-9,
        name="rods",
        work=tmp_path / "work",
        block=(4, 4, 4),
    )
    found = done(plan).read()
    np.testing.assert_array_equal(found, (array == 2) & (np.arange(4) == 1)[:, None, None])


def test_a_hand_worked_volume(tmp_path):
    """Ids follow the raster order of first voxels, over classes; diagonal voxels join at 26."""
    array = np.zeros((2, 3, 6), np.uint8)
    array[0, 0, 5] = array[1, 1, 4] = 1
    array[0, 1, 0:2] = 2
    array[0, 1, 2] = 1
    at = {"work": tmp_path / "work", "block": (2, 3, 3)}
    volume = write(tmp_path, array)
    wanted = np.zeros(array.shape, int)
    wanted[0, 0, 5] = wanted[1, 1, 4] = 1
    wanted[0, 1, 0:2], wanted[0, 1, 2] = 2, 3
    np.testing.assert_array_equal(
        done(cf.label(volume, name="corners", connectivity=26, **at)).read(), wanted
    )
    wanted[1, 1, 4] = 4
    np.testing.assert_array_equal(done(cf.label(volume, connectivity=6, name="faces", **at)).read(), wanted)


@pytest.mark.parametrize("classes", [["er"], [2], ["er", 3], ["lipid", "er", "er"]])
def test_only_the_classes_asked_for_become_instances(classes, tmp_path):
    array = semantic((6, 7, 8), 4)
    numbers = {"er": 1, "lipid": 3}
    plan = cf.label(
        write(tmp_path, array), classes=classes, name="some", work=tmp_path / "work", block=(3, 7, 4)
    )
    found = done(plan).read()
    np.testing.assert_array_equal(found, components(array, 6, [numbers.get(c, c) for c in classes]))
    made = Arrays(str(tmp_path / "work/artefacts/some.instances"))
    ids, first = np.unique(found, return_index=True)
    np.testing.assert_array_equal(made["value"], array.ravel()[first[ids > 0]])
    np.testing.assert_array_equal(made["voxels"], np.bincount(found.ravel())[1:])


@pytest.mark.parametrize("fill", [0, 2])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 8), (7, 1, 5)])
def test_empty_full_and_flat_volumes_are_labelled(shape, fill, tmp_path):
    plan = cf.label(
        write(tmp_path, np.full(shape, fill, np.uint8)), name="all", work=tmp_path / "work", block=(3, 4, 4)
    )
    np.testing.assert_array_equal(done(plan).read(), np.full(shape, fill // 2))


@pytest.mark.parametrize("dtype", ["bool", "uint16", "int32", "uint64"])
def test_any_integer_can_be_a_class(dtype, tmp_path):
    array = semantic((5, 6, 7), 8, 1).astype(dtype)
    volume = write(tmp_path, array, kind="label", name="mask", voxel_nm=(40, 8, 8))
    plan = cf.label(volume, name="objects", work=tmp_path / "work", block=(5, 3, 7))
    np.testing.assert_array_equal(done(plan).read(), components(array.astype(int), 6))


def test_instances_get_the_levels_of_their_classes(tmp_path):
    array = np.zeros((4, 300, 20), np.uint8)
    array[:, 20:280, 4:12] = 1
    volume = write(tmp_path, array, voxel_nm=(8, 8, 8))
    assert volume.levels == 2
    output = done(cf.label(volume, name="slab", work=tmp_path / "work", block=(4, 96, 20)))
    coarse = cf.open_volume(output.url, level=1)
    np.testing.assert_array_equal(coarse.read(), array[::2, ::2, ::2])
    assert cf.validate(output.url, deep=True) == []


@pytest.mark.parametrize(("block", "made"), [((16, 32, 64), True), ((15, 32, 64), False)])
def test_level_1_is_made_with_level_0_where_blocks_hold_whole_units_of_it(block, made, tmp_path):
    array = semantic((20, 60, 300), 3)
    volume = cf.write_volume(tmp_path / "classes.ome.zarr", array, voxel_nm=(8, 8, 8), kind="label")
    plan = cf.label(volume, name="all", work=tmp_path / "work", block=block)
    assert len(plan.maps[1].outputs) == 1 + made
    assert ("all/level-1" in [s.name for s in plan.stages]) != made
    fine = done(plan).read()
    np.testing.assert_array_equal(plan.output.pyramid()[1].read(), mode(fine, (2, 2, 2)))
    written = plan.maps[1].written_bytes
    assert written == fine.nbytes + (plan.output.pyramid()[1].nbytes if made else 0)


def test_labels_join_the_image_they_were_made_from(tmp_path):
    for version in ("0.4", "0.5"):
        array = semantic((6, 7, 8), 1)
        raw = write(tmp_path, array, f"raw-{version}", kind="image", ome_version=version)
        output = done(cf.label(raw, name="objects", work=tmp_path / version, into=raw.url, block=(3, 7, 8)))
        assert output.url == f"{raw.url}/labels/objects"
        assert cf.validate(output.url, deep=True) == []
        np.testing.assert_array_equal(cf.open_volume(output.url).read(), components(array, 6))
        assert cf.open_volume(raw.url).read().sum() == array.sum()


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    volume = write(tmp_path, semantic((9, 9, 9), 3))

    def plan(work):
        return cf.label(volume, name="all", min_volume_um3=1e-6, work=work, block=(3, 9, 9))

    resumed_equals_whole(plan, tmp_path / "first", "all/components", 1)
    resumed_equals_whole(plan, tmp_path / "second", "all/apply", 2)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"connectivity": 8}, ConfigError, r"connectivity must be one of \(6, 18, 26\), got 8"),
        ({"min_volume_um3": -1}, ConfigError, "min_volume_um3 must be 0 or more, got -1"),
        ({"min_volume_um3": float("nan")}, ConfigError, "min_volume_um3 must be 0 or more, got nan"),
        ({"classes": ["golgi"]}, InputError, r"no class 'golgi'; it has \['er', 'lipid', 'mitochondrion'\]"),
        ({"classes": [7]}, InputError, "no class 7; it has"),
        ({"classes": []}, ConfigError, "name one or more"),
        ({"dtype": "uint8"}, ConfigError, "ids are 'uint32' or 'uint64', got dtype 'uint8'"),
        ({"name": "../x"}, InputError, "name '../x' is not usable as a folder name"),
    ],
)
def test_what_cannot_be_labelled_is_refused(options, error, says, tmp_path, listing):
    volume = write(tmp_path, semantic((3, 4, 5), 0))
    before = listing()
    with pytest.raises(error, match=says):
        cf.label(volume, **{"name": "all", "work": tmp_path / "work"} | options)
    assert listing() == before


def test_background_and_intensities_are_no_classes(tmp_path):
    nameless = write(tmp_path, semantic((3, 4, 5), 0), kind="image", classes=())
    with pytest.raises(ConfigError, match=r"classes \[0, 1\] are no objects"):
        cf.label(nameless, classes=[0, 1], name="all", work=tmp_path / "work")
    floats = write(tmp_path, np.ones((3, 4, 5), np.float32), "floats")
    with pytest.raises(InputError, match="holds float32 voxels; classes must be integers"):
        cf.label(floats, name="all", work=tmp_path / "work")


def test_planning_reads_no_voxels(tmp_path, monkeypatch, listing):
    volume = write(tmp_path, semantic((3, 4, 5), 0))
    monkeypatch.setattr(cf.Volume, "read", lambda *_: pytest.fail("planning read voxels"))
    before = listing()
    assert "all/components" in str(cf.label(volume, name="all", work=tmp_path / "work"))
    assert listing() == before


def helix(side):
    """A closed curve through all blocks, one voxel thick, with 26-connected steps."""
    array = np.zeros((side, side, side), np.uint8)
    turn = np.linspace(0, 14 * np.pi, 40 * side)
    z = np.linspace(0, side - 1, len(turn))
    r = (side - 1) / 2
    at = np.rint([z, r + r * np.sin(turn), r + r * np.cos(turn)]).astype(int)
    array[tuple(at)] = 1
    return array


def comb(side):
    """Teeth along z, joined in the last plane only: every block sees them apart but the last layer."""
    array = np.zeros((side, side, side), np.uint8)
    array[:, ::2, ::2] = 1
    array[-1] = 1
    return array


def checkerboard(side):
    """One object at 18 and 26 neighbours, as many as voxels at 6."""
    return (np.indices((side, side, side)).sum(0) % 2).astype(np.uint8)


def corner(side):
    """Two cubes that meet in the corner where eight blocks meet."""
    array = np.zeros((side, side, side), np.uint8)
    array[:4, :4, :4] = array[4:8, 4:8, 4:8] = 1
    return array


SHAPES = {
    "helix": helix,
    "comb": comb,
    "checkerboard": checkerboard,
    "corner": corner,
    "full": lambda side: np.ones((side, side, side), np.uint8),
    "nested": lambda side: (np.abs(np.indices((side,) * 3) - side // 2).max(0) % 3).astype(np.uint8),
}


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_made_to_break_seams_equal_cc3d_on_the_whole(shape, connectivity, tmp_path):
    array = SHAPES[shape](12)
    whole = numbered(cc3d.connected_components(array, connectivity=connectivity))
    volume = write(tmp_path, array)
    for i, block in enumerate([(4, 4, 4), (3, 5, 12), (12, 12, 12)]):
        plan = cf.label(volume, connectivity=connectivity, name="all", work=tmp_path / f"{i}", block=block)
        np.testing.assert_array_equal(done(plan).read(), whole)


@settings(max_examples=12, deadline=None)
@given(seed=seeds, block=blocks, batch=st.integers(1, 40), connectivity=st.sampled_from([6, 26]))
def test_tables_larger_than_memory_give_the_same_bytes(seed, block, batch, connectivity):
    """Rows are taken in parts of `batch`, so that every table is spilled and sorted in ranges."""
    array = semantic((8, 9, 7), seed)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        volume = write(folder, array)

        def made(work):
            done(
                cf.label(volume, connectivity=connectivity, name="all", work=f"{folder}/{work}", block=block)
            )
            return contents(Path(folder, work, "artefacts")) | contents(
                Path(folder, work, "results.ome.zarr")
            )

        whole = made("whole")
        for module in (numbering, union):
            patch.setattr(module, "BATCH", batch)
        assert made("parts") == whole
        assert not Path(folder, "parts", "scratch").exists()


def test_the_driver_holds_parts_of_its_tables_only(tmp_path, monkeypatch):
    """300,000 components in 300 blocks, a chain of all first ones: tables of 12 MB, parts of 0.1 MB."""
    n, blocks = 1000, 300
    monkeypatch.setattr(numbering, "BATCH", 1 << 12)
    monkeypatch.setattr(union, "BATCH", 1 << 12)
    monkeypatch.setattr(numbering, "BINS", 1 << 10)

    def gathered():
        found = numbering.Numbering(tmp_path, n * blocks)
        for i in range(blocks):
            first = found.add(np.full(n, 2), np.arange(n) + i * n, np.ones(n, int))
            if i:
                found.join(np.array([[first - n, first]]))
        return found.finish(min_voxels=1, dtype="uint32")

    with heaps.peak() as highest:
        found = gathered()
    assert highest[0] < 1.2e6
    assert int(found["final"].max()) == len(found["voxels"]) == n * blocks - (blocks - 1)
    assert found["final"][::n].tolist() == [1] * blocks
    assert found["voxels"][:2].tolist() == [2 * blocks, 2]


def test_ids_have_64_bits_only_where_32_might_not_do(tmp_path):
    volume = write(tmp_path, semantic((3, 4, 5), 1))
    at = {"name": "all", "work": tmp_path / "work"}
    huge = dataclasses.replace(volume, shape=(4096, 4096, 4096))
    assert cf.label(volume, **at).output.dtype == "uint32"
    assert cf.label(huge, **at, block=(256, 256, 256)).output.dtype == "uint64"
    assert cf.label(huge, **at, classes=["er"], connectivity=6).output.dtype == "uint64"
    # 16 voxels or more each: at most 2**32 instances, one more than 32 bits count.
    assert cf.label(huge, **at, min_volume_um3=16 * 512e-9).output.dtype == "uint64"
    assert cf.label(huge, **at, min_volume_um3=17 * 512e-9).output.dtype == "uint32"
    assert cf.label(huge, **at, dtype="uint32").output.dtype == "uint32"
    with pytest.raises(GridError, match="more voxels than the 4294967295 that 32-bit"):
        cf.label(huge, **at, block=(2048, 2048, 2048))
    array = semantic((6, 7, 8), 2)
    volume = write(tmp_path, array, "other", kind="label")
    found = done(cf.label(volume, **at, dtype="uint64", block=(3, 7, 4))).read()
    assert found.dtype == np.uint64
    np.testing.assert_array_equal(found, components(array, 6))


def test_more_instances_than_ids_are_refused(tmp_path):
    found = numbering.Numbering(tmp_path, 300)
    found.add(np.ones(300, int), np.arange(300), np.ones(300, int))
    with pytest.raises(InputError, match="more than 255 instances, which uint8 ids cannot number"):
        found.finish(min_voxels=1, dtype="uint8")


def test_label_values_of_64_bits_stay_what_they_are(tmp_path):
    array = np.array([[[2**64 - 2, 0, 2**53 + 1, 2**53]]], np.uint64)
    volume = write(tmp_path, array, "ids", kind="label")
    done(cf.label(volume, name="all", work=tmp_path / "work"))
    value = Arrays(str(tmp_path / "work/artefacts/all.instances"))["value"]
    assert value.tolist() == [2**64 - 2, 2**53 + 1, 2**53]


def test_classes_that_change_during_the_run_are_noticed(tmp_path):
    array = semantic((6, 6, 6), 3)
    volume = write(tmp_path, array)
    plan = cf.label(volume, name="all", work=tmp_path / "work", block=(3, 6, 6))
    with pytest.raises(RunIncompleteError):
        done(broken(plan, "all/apply", 1))
    volume.write(volume.box, np.zeros_like(array))
    with pytest.raises(JournalError, match="was written by a different plan"):
        done(plan)


def test_components_that_differ_between_the_passes_are_an_error(tmp_path):
    labels = np.ones((2, 2, 2), np.uint8)
    block = BlockGrid(Box.of((2, 2, 2)), (2, 2, 2))[0]
    merged = {"offsets": np.array([0, 2]), "final": np.array([1, 2], np.uint32)}
    with pytest.raises(InputError, match="1 components where there were 2 when seams were compared"):
        _apply(block, labels, merged=merged, classes=None, connectivity=6)


@pytest.mark.parametrize("one", ["er", 1])
def test_a_single_class_needs_no_list(one, tmp_path):
    volume = write(tmp_path, semantic((4, 5, 6), 3))
    plans = [cf.label(volume, classes=c, name="er", work=tmp_path / "work") for c in (one, ["er"])]
    assert plans[0].stages == plans[1].stages
    with pytest.raises(InputError, match="has no class 'golgi'; it has"):
        cf.label(volume, classes="golgi", name="golgi", work=tmp_path / "work")
