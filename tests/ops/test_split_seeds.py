"""Splitting with seeds of a coarser level."""

from __future__ import annotations

import tempfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from solids import NM, balls, chain
from strategies import done, numbered, resumed_equals_whole, seeds, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, GridError, InputError
from chunkflow_liver.kernels.images.downsample import mode
from chunkflow_liver.kernels.instances.touching.watershed import Necks, split_block
from chunkflow_liver.store.create import create, finish, new_volume


def two_levels(folder, mask, voxel_nm=NM):
    """A mask as class 1 of an image with a second level, although it is small."""
    at = {"voxel_nm": voxel_nm, "kind": "label"}
    volume = new_volume(f"{folder}/semantic.ome.zarr", mask.shape, "uint8", **at)
    volume = replace(volume, levels=2, classes=(("er", 1),))
    create(volume)
    fine, coarse = volume.pyramid()
    fine.write(fine.box, mask.astype(np.uint8))
    coarse.write(coarse.box, mode(mask.astype(np.uint8), coarse.reduction))
    finish(volume)
    return cf.open_volume(volume.url)


def seeded(semantic, coarse, factor, **necks):
    """Objects of class 1 with the seeds of `coarse`, by the kernel, on the whole array."""
    args = {"voxel_nm": NM, "classes": [1], "necks": Necks(**necks)}
    return split_block(semantic.astype(np.uint8), coarse=(coarse, factor), **args)


@pytest.mark.parametrize("seed", range(5))
def test_objects_are_the_h_maxima_of_the_coarser_level(seed, tmp_path):
    """As many in every component as scikit-image finds maxima over it on level 1; one where it finds none."""
    from skimage.morphology import local_maxima, reconstruction

    mask = chain(seed)
    mask[0, 0, 0] = True
    volume = two_levels(tmp_path, mask)
    coarse = cf.open_volume(volume.url, level=1)
    assert coarse.voxel_nm == (16, 16, 16)
    there = coarse.read() > 0
    full = np.ones((3, 3, 3))
    steps = np.rint(ndimage.distance_transform_edt(np.pad(there, 1, mode="edge"), 16)).astype(np.int32)
    steps = np.minimum(steps[1:-1, 1:-1, 1:-1], 1000)
    lowered = reconstruction(steps - 8 + 1, steps, footprint=full)
    maxima, _ = ndimage.label(local_maxima(lowered) & there, full)
    fine = maxima.repeat(2, 1).repeat(2, 2)[:, : mask.shape[1], : mask.shape[2]]
    whole, count = ndimage.label(mask, full)
    wanted = [max(1, len(np.unique(fine[(whole == i) & (fine > 0)]))) for i in range(1, count + 1)]
    at = {"classes": [1], "depth_nm": 8.0, "cap_nm": 1000.0, "halo_nm": 1600.0, "work": tmp_path / "work"}
    at |= {"steepness": 0, "connectivity": 26}
    found = done(cf.split(volume, seeds_from=1, name="parts", **at)).read()
    assert [len(np.unique(found[whole == i])) for i in range(1, count + 1)] == wanted
    np.testing.assert_array_equal(found > 0, mask)


def test_the_coarser_level_decides_what_is_an_object_and_the_finer_one_where_it_ends(tmp_path):
    """Bars along z, voxels of 4 x 8 x 16 nm; seeds on voxels of 8 x 16 x 16 nm.

    The first bar is thin at plane 10 but whole on the coarse level: one object. The second is whole but in
    two parts there, with no seed in planes 8-11; the flood meets in the middle. The third is not there at
    all: one object. The fourth is one there and in two components here: two objects.
    """
    fine = np.zeros((20, 32, 3), np.uint8)
    for y in (1, 9, 17, 25):
        fine[:, y : y + 6] = 1
    coarse = np.zeros((10, 16, 3), np.uint8)
    coarse[:, :3], coarse[:4, 4:7], coarse[6:, 4:7], coarse[:, 12:15] = 1, 1, 1, 1
    fine[10, 1:3], fine[10, 4:7], fine[10, 3, :1], fine[10, 25:31] = 0, 0, 0, 0
    volume = write(tmp_path, fine, voxel_nm=(4.0, 8.0, 16.0))
    level = write(tmp_path / "coarse", coarse, voxel_nm=(8.0, 16.0, 16.0))
    at = {"classes": ["er"], "depth_nm": 8.0, "cap_nm": 24.0, "work": tmp_path / "work", "halo_nm": 200.0}
    found = done(cf.split(volume, seeds_from=level, name="parts", block=(8, 8, 3), **at)).read()
    wanted = fine.astype(int)
    wanted[:, 9:15], wanted[:, 17:23] = 2, 3
    wanted[:10, 25:31], wanted[10:, 9:15], wanted[11:, 25:31] = 4, 5, 6
    np.testing.assert_array_equal(found, wanted)
    assert done(cf.split(volume, name="own", **at)).read()[[0, 19], 3, 1].tolist() == [1, 5]


@settings(max_examples=4, deadline=None)
@given(seed=seeds, block=st.tuples(st.integers(5, 13), *[st.integers(3, 7).map(lambda n: 2 * n)] * 2))
def test_with_seeds_of_a_coarser_level_blocks_give_what_one_block_gives(seed, block):
    mask = chain(seed)
    with tempfile.TemporaryDirectory() as folder:
        volume = two_levels(folder, mask)
        coarse = cf.open_volume(volume.url, level=1).read()
        at = {"depth_nm": 8, "cap_nm": 64, "distance_smooth_nm": 8.0}
        plan = cf.split(
            volume,
            classes=["er"],
            seeds_from=1,
            halo_nm=320.0,
            name="parts",
            work=f"{folder}/work",
            block=block,
            **at,
        )
        wanted = numbered(seeded(mask, coarse, (1, 2, 2), **at))
        np.testing.assert_array_equal(done(plan).read(), wanted)
        # A box that cuts through coarse voxels is read in whole ones.
        assert cf.verify(plan, cf.Box((1, 3, 5), (9, 22, 24)), name="parts")["identical"]


def test_a_level_that_is_only_planned_gives_seeds_too(tmp_path):
    """The level is made by an earlier part of the same plan, and a broken run goes on."""
    mask = chain(3).repeat(2, 1).repeat(2, 2)
    volume = two_levels(tmp_path, mask)

    def make(work):
        at = {"work": work, "block": (5, 52, 52)}
        first = cf.label(volume, classes=[1], name="one", **at)
        second = cf.split(first.output, classes=[1], seeds_from=1, depth_nm=8, cap_nm=48, name="parts", **at)
        return first + second

    resumed_equals_whole(make, tmp_path / "first", "parts/blocks", 1)


def test_slices_take_seeds_of_a_level_of_the_same_slices(tmp_path):
    mask = np.repeat(balls((1, 20, 34), [(0, 10, 10), (0, 10, 24)], 60.0), 4, axis=0)
    volume = two_levels(tmp_path, mask, (60.0, 8.0, 8.0))
    at = {"classes": [1], "depth_nm": 16, "cap_nm": 120, "mode": "slices", "work": tmp_path / "work"}
    at["steepness"] = 0.4
    found = done(cf.split(volume, seeds_from=1, name="columns", **at)).read()
    assert set(np.unique(found)) == {0, 1, 2}
    assert (found == found[0]).all()
    thick = write(tmp_path / "thick", np.ones((2, 10, 17), np.uint8), voxel_nm=(120.0, 16.0, 16.0))
    with pytest.raises(ConfigError, match="joins 2 of them; choose a level of the same slices"):
        cf.split(volume, seeds_from=thick, name="thick", **at)


def test_levels_that_give_no_seeds_are_refused(tmp_path, listing):
    volume = two_levels(tmp_path, np.ones((8, 20, 20), np.uint8))
    other = write(tmp_path / "other", np.ones((8, 10, 11), np.uint8), voxel_nm=(16.0, 16.0, 16.0))
    before = listing()
    at = {"classes": ["er"], "depth_nm": 8, "cap_nm": 40, "name": "parts", "work": tmp_path / "work"}
    with pytest.raises(InputError, match="has no level 2 coarser than 0; there is 1 to 1"):
        cf.split(volume, seeds_from=2, **at)
    with pytest.raises(InputError, match="has no level 0 coarser than 0"):
        cf.split(volume, seeds_from=0, **at)
    for level in (other, volume):
        with pytest.raises(InputError, match=r"seeds cannot be taken from .* they must be whole multiples"):
            cf.split(volume, seeds_from=level, **at)
    with pytest.raises(GridError, match="use a multiple of that on every axis"):
        cf.split(volume, seeds_from=1, block=(8, 5, 20), **at)
    assert listing() == before
