"""Instances do not depend on blocks, and filters act on whole instances."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import (
    blocks,
    components,
    done,
    numbered,
    resumed_equals_whole,
    seeds,
    semantic,
    shapes,
    write,
)

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
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
    np.testing.assert_array_equal(done(cf.label(volume, name="corners", **at)).read(), wanted)
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
    np.testing.assert_array_equal(found, components(array, 26, [numbers.get(c, c) for c in classes]))
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
    np.testing.assert_array_equal(done(plan).read(), components(array.astype(int), 26))


def test_instances_get_the_levels_of_their_classes(tmp_path):
    array = np.zeros((4, 300, 20), np.uint8)
    array[:, 20:280, 4:12] = 1
    volume = write(tmp_path, array, voxel_nm=(8, 8, 8))
    assert volume.levels == 2
    output = done(cf.label(volume, name="slab", work=tmp_path / "work", block=(4, 96, 20)))
    coarse = cf.open_volume(output.url, level=1)
    np.testing.assert_array_equal(coarse.read(), array[::2, ::2, ::2])
    assert cf.validate(output.url, deep=True) == []


def test_labels_join_the_image_they_were_made_from(tmp_path):
    for version in ("0.4", "0.5"):
        array = semantic((6, 7, 8), 1)
        raw = write(tmp_path, array, f"raw-{version}", kind="image", ome_version=version)
        output = done(cf.label(raw, name="objects", work=tmp_path / version, into=raw.url, block=(3, 7, 8)))
        assert output.url == f"{raw.url}/labels/objects"
        assert cf.validate(output.url, deep=True) == []
        np.testing.assert_array_equal(cf.open_volume(output.url).read(), components(array, 26))
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
