"""Touching objects are taken apart at their necks, whatever the blocks are."""

from __future__ import annotations

import tempfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from solids import NM, balls, chain
from strategies import done, most_resident, numbered, resumed_equals_whole, seeds, table, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.kernels.instances.touching.basins import inner_steps
from chunkflow_liver.kernels.instances.touching.watershed import Necks, split_block, split_mask

HOW = (
    {},
    {"distance_smooth_nm": 8.0},
    {"steepness": 0.0},
    {"steepness": 0.3, "connectivity": 26},
    {"contact": 0.5},
)


def test_two_touching_balls_are_two_and_a_rod_is_one():
    """Balls of radius 64 nm, 112 nm apart: the neck's half-width is 31 nm, 33 nm less than that of a ball.

    It rises by these 33 nm over the 56 nm to the centre of a ball: by 0.59 nm per nm.
    """
    mask = balls((11, 20, 34), [(5, 10, 10), (5, 10, 24)], 64.0)
    necks = Necks(depth_nm=20, cap_nm=200, steepness=0.5)
    found = split_mask(mask, voxel_nm=NM, necks=necks)
    assert set(np.unique(found)) == {0, 1, 2}
    assert (found[:, :, :17][mask[:, :, :17]] == 1).all()
    assert (found[:, :, 18:][mask[:, :, 18:]] == 2).all()
    for other in ({"depth_nm": 45}, {"steepness": 0.7}):
        assert split_mask(mask, voxel_nm=NM, necks=replace(necks, **other)).max() == 1
    # A neck wider than twice the cap is none.
    assert split_mask(mask, voxel_nm=NM, necks=replace(necks, cap_nm=24)).max() == 1
    rod = np.zeros((5, 9, 40), bool)
    rod[1:4, 2:7, 2:38] = True
    assert split_mask(rod, voxel_nm=NM, necks=Necks(depth_nm=8, cap_nm=200)).max() == 1


def test_a_body_that_narrows_slowly_is_one_and_two_that_meet_are_two():
    """Both have bodies of 10 and necks of 3 voxels' half-width, at 8 nm; one over 30 voxels."""
    along = np.abs(np.arange(90) - 45)
    off = np.indices((23, 23)) - 11
    for length, count in ((30, 1), (1, 2)):
        radius = np.minimum(10, 3 + 7 * along / length)
        mask = np.hypot(*off)[None] <= radius[:, None, None]
        found = split_mask(mask, voxel_nm=(8.0, 8.0, 8.0), necks=Necks(depth_nm=24, cap_nm=200))
        assert found.max() == count
        assert split_mask(mask, voxel_nm=(8.0, 8.0, 8.0), necks=Necks(24, 200, steepness=0)).max() == 2


def test_a_neck_against_one_side_is_none():
    """A rod of 3 voxels' half-width out of a ball of 10: the rod is not wider than where it comes out."""
    z, y, x = np.indices((25, 25, 70)) - np.array([12, 12, 12])[:, None, None, None]
    mask = z**2 + y**2 + x**2 <= 100
    mask |= (z**2 + y**2 <= 9) & (x > 0) & (x < 50)
    assert split_mask(mask, voxel_nm=(8.0, 8.0, 8.0), necks=Necks(16, 200, steepness=0.3)).max() == 1


def test_flat_objects_that_touch_over_little_are_two_by_their_contact():
    """Plates of 3 x 12 x 12 voxels of 8 nm, one a step of 2 voxels above the other: half-widths of 2, then 1.

    A plate has the volume of a ball of radius 4.69, section 69 voxels. They touch over 1 x 12 faces: 0.17.
    """
    mask = np.zeros((7, 14, 26), bool)
    mask[1:4, 1:13, 1:13], mask[3:6, 1:13, 13:25] = True, True
    at = {"voxel_nm": (8.0, 8.0, 8.0)}
    assert split_mask(mask, necks=Necks(8, 200), **at).max() == 1
    found = split_mask(mask, necks=Necks(8, 200, contact=0.2), **at)
    wanted = np.zeros(mask.shape, np.uint32)
    wanted[1:4, 1:13, 1:13], wanted[3:6, 1:13, 13:25] = 1, 2
    # Where the two meet a row or two may be on either side.
    assert found.max() == 2
    assert (found != wanted).sum() <= 24
    assert split_mask(mask, necks=Necks(8, 200, contact=0.1), **at).max() == 1


def test_across_edges_and_corners_only_where_it_is_asked_for():
    mask = np.zeros((3, 4, 5), bool)
    mask[0, :2, :2], mask[0, 2:, 2:4] = True, True
    necks = Necks(depth_nm=8, cap_nm=40)
    assert split_mask(mask, voxel_nm=NM, necks=necks).max() == 2
    assert split_mask(mask, voxel_nm=NM, necks=replace(necks, connectivity=26)).max() == 1


@settings(max_examples=12, deadline=None)
@given(seed=seeds, block=st.tuples(*[st.integers(1, 9)] * 3))
def test_inner_distances_are_those_of_scipy(seed, block):
    mask = np.random.default_rng(seed).random(block) < 0.8
    mask[0, 0, 0] = False
    wanted = np.minimum(ndimage.distance_transform_edt(mask, NM), 30.0)
    np.testing.assert_array_equal(inner_steps(mask, NM, 30.0, 0.3), np.rint(wanted / 0.3))
    assert (inner_steps(np.ones(block, bool), NM, 30.0, 0.5) == 60).all()


@settings(max_examples=12, deadline=None)
@given(seed=seeds, depth=st.sampled_from([4.0, 12.0]))
def test_basins_are_those_of_h_maxima(seed, depth):
    """As many objects as there are extended h-maxima of the distance (by scikit-image), each in one."""
    from skimage.morphology import local_maxima, reconstruction

    mask = chain(seed)
    found = split_mask(mask, voxel_nm=NM, necks=Necks(depth, 1000.0, steepness=0, connectivity=26))
    if mask.all() or not mask.any():
        return
    steps = np.rint(ndimage.distance_transform_edt(mask, NM) * 2).astype(np.int32)
    lowered = reconstruction(steps - round(depth / 8 * 16) + 1, steps, footprint=np.ones((3, 3, 3)))
    seeds_there, n = ndimage.label(local_maxima(lowered) & mask, np.ones((3, 3, 3)))
    whole, count = ndimage.label(mask, np.ones((3, 3, 3)))
    # A component that is thinner than the depth has no such maximum, and is an object all the same.
    assert found.max() == n + count - len(np.unique(whole[seeds_there > 0]))
    peaks = [np.unique(found[seeds_there == i]) for i in range(1, n + 1)]
    assert all(len(p) == 1 for p in peaks)
    assert len({int(p[0]) for p in peaks}) == n
    np.testing.assert_array_equal(found > 0, mask)


@settings(max_examples=4, deadline=None)
@given(seed=seeds, block=st.tuples(*[st.integers(5, 13)] * 3), how=st.sampled_from(HOW))
def test_with_a_halo_as_long_as_the_objects_blocks_give_what_one_block_gives(seed, block, how):
    mask = chain(seed)
    necks = Necks(depth_nm=8, cap_nm=64, **how)
    wanted = numbered(split_mask(mask, voxel_nm=NM, necks=necks))
    with tempfile.TemporaryDirectory() as folder:
        plan = cf.split(
            write(folder, mask.astype(np.uint8), voxel_nm=NM),
            classes=["er"],
            depth_nm=8,
            cap_nm=64,
            halo_nm=320.0,
            **how,
            name="parts",
            work=f"{folder}/work",
            block=block,
        )
        np.testing.assert_array_equal(done(plan).read(), wanted)


def test_smaller_halos_give_the_same_cells(tmp_path):
    """60 balls in a close lattice; the default halo sees no ball whole, the partition is the same."""
    grid = np.stack(np.meshgrid([4, 12], np.arange(7, 80, 14), np.arange(7, 70, 14), indexing="ij"), -1)
    centres = grid.reshape(-1, 3)
    mask = balls((17, 84, 70), centres, 60.0)
    volume = write(tmp_path, mask.astype(np.uint8), voxel_nm=NM)
    at = {"classes": ["er"], "depth_nm": 6.0, "cap_nm": 64.0, "work": tmp_path / "work"}
    plan = cf.split(volume, name="parts", halo_nm=96.0, block=(9, 24, 24), **at)
    found = done(plan).read()
    assert found.max() == len(centres)
    assert len({found[tuple(c)] for c in centres}) == len(centres)
    rows = cf.read_table(plan.products[1].handle).to_pandas()
    assert rows["matched"].sum() > 50
    assert rows["vetoed"].sum() == 0


def test_classes_are_taken_apart_on_their_own_and_keep_their_class(tmp_path):
    array = np.zeros((8, 10, 12), np.uint8)
    array[1:7, 1:9, 1:5], array[1:7, 1:9, 5:11] = 1, 3
    plan = cf.split(
        write(tmp_path, array),
        classes=["lipid", "er"],
        depth_nm=500,
        cap_nm=500,
        name="both",
        work=tmp_path / "work",
        halo_nm=700,
        block=(4, 10, 6),
    )
    np.testing.assert_array_equal(done(plan).read(), np.where(array == 3, 2, array))
    assert table(cf.measure(plan.output, name="t", work=tmp_path / "work"))["class"] == ["er", "lipid"]


def test_holes_smoothing_and_opening_change_the_seeds():
    """A hole is filled if it is small; a knob on a spur is a seed unless it is opened or smoothed away."""
    mask = balls((11, 20, 30), [(5, 10, 10)], 64.0)
    hollow = mask.copy()
    hollow[4:7, 9:12, 9:12] = False
    args = {"voxel_nm": NM, "classes": [1]}
    semantic = hollow.astype(np.uint8)
    filled = split_block(semantic, necks=Necks(4, 200, steepness=0, fill_nm=48), **args)
    np.testing.assert_array_equal(filled > 0, mask)
    assert filled.max() == 1
    assert not split_block(semantic, necks=Necks(4, 200, steepness=0, fill_nm=40), **args)[5, 10, 10]
    spur = mask.copy()
    spur[5, 10, 10:29], spur[4:7, 9:12, 25:28] = True, True
    semantic = spur.astype(np.uint8)
    assert split_block(semantic, necks=Necks(4, 200, steepness=0), **args).max() == 2
    opened = split_block(semantic, necks=Necks(4, 200, steepness=0, opening_nm=24), **args)
    smoothed = split_block(semantic, necks=Necks(4, 200, steepness=0, mask_smooth_nm=24), **args)
    for found in (opened, smoothed):
        np.testing.assert_array_equal(found, spur)


def test_opening_takes_necks_away_and_gives_bodies_their_depth_back():
    """Squares of 9 voxels, 9 high, with a bar of 3 between them: half-widths of 40 and 16 nm at 8 nm.

    Without the bar the neck's height is 0; eroded squares would be only 24 nm deep.
    """
    mask = np.zeros((1, 11, 28), bool)
    mask[0, 1:10, 1:10] = mask[0, 1:10, 18:27] = True
    mask[0, 4:7, 10:18] = True
    necks = Necks(depth_nm=32, cap_nm=200, steepness=0)
    assert split_mask(mask, voxel_nm=NM, necks=necks).max() == 1
    found = split_mask(mask, voxel_nm=NM, necks=replace(necks, opening_nm=16))
    assert set(np.unique(found)) == {0, 1, 2}
    np.testing.assert_array_equal(found > 0, mask)
    assert split_mask(mask, voxel_nm=NM, necks=replace(necks, depth_nm=41, opening_nm=16)).max() == 1


def test_objects_meet_on_the_ridge_of_a_boundary_map_or_at_a_boundary_class(tmp_path):
    """A rod of two chambers; the wall is not where the neck is."""
    mask = balls((11, 20, 34), [(5, 10, 10), (5, 10, 24)], 64.0)
    ridge = np.zeros(mask.shape, np.float32)
    ridge[:, :, 14] = 1
    volume = write(tmp_path, mask.astype(np.uint8), voxel_nm=NM)
    membrane = write(tmp_path, ridge, name="membrane", voxel_nm=NM)
    at = {"classes": ["er"], "depth_nm": 16, "cap_nm": 200, "work": tmp_path / "work", "halo_nm": 700}
    found = done(cf.split(volume, boundary=membrane, name="ridge", **at)).read()
    assert (found[:, :, :14][mask[:, :, :14]] == 1).all()
    assert (found[:, :, 15:][mask[:, :, 15:]] == 2).all()
    # A map parts what has no neck at all, at any depth; numbers are shares of what their type holds.
    block = np.ones((9, 12, 30), np.uint8)
    ridge = np.zeros(block.shape, np.uint8)
    ridge[:, :, 11:16] = [140, 180, 230, 180, 140]
    volume = write(tmp_path / "block", block, voxel_nm=NM)
    membrane = write(tmp_path / "block", ridge, name="membrane", voxel_nm=NM)
    for depth in (8, 30):
        found = done(cf.split(volume, boundary=membrane, name=f"b{depth}", **at | {"depth_nm": depth})).read()
        assert (found[:, :, :13] == 1).all()
        assert (found[:, :, 14:] == 2).all()
    found = done(cf.split(volume, boundary=membrane, wall=0.95, name="none", **at)).read()
    assert found.max() == 1
    # Organelles inside a cell are no neck if distances are measured to the wall class alone.
    cell = np.full((9, 20, 20), 1, np.uint8)
    cell[:, 9:11, 3:17], cell[:, [0, -1]], cell[:, :, [0, -1]] = 2, 3, 3
    cells = write(tmp_path / "cells", cell, voxel_nm=NM)
    at |= {"depth_nm": 8, "steepness": 0}
    assert done(cf.split(cells, name="organelle", **at)).read().max() == 2
    assert done(cf.split(cells, name="wall", boundary="lipid", **at)).read().max() == 1


def test_slices_are_taken_apart_one_by_one_and_linked(tmp_path):
    """Two columns that touch in every slice, over 6 thick slices in blocks of 3."""
    mask = np.repeat(balls((1, 20, 34), [(0, 10, 10), (0, 10, 24)], 60.0), 6, axis=0)
    volume = write(tmp_path, mask.astype(np.uint8), voxel_nm=(60.0, 8.0, 8.0))
    plan = cf.split(
        volume,
        classes=[1],
        depth_nm=20,
        cap_nm=120,
        mode="slices",
        name="columns",
        work=tmp_path / "work",
        block=(3, 20, 17),
    )
    found = done(plan).read()
    assert set(np.unique(found)) == {0, 1, 2}
    assert (found == found[0]).all()
    assert found[0, 10, 10] != found[0, 10, 24]


@pytest.mark.parametrize("fill", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 8), (7, 1, 5), (9, 9, 9)])
def test_empty_full_and_flat_volumes_are_split(shape, fill, tmp_path):
    plan = cf.split(
        write(tmp_path, np.full(shape, fill, np.uint8)),
        classes=[1],
        depth_nm=8,
        cap_nm=40,
        name="all",
        work=tmp_path / "work",
        block=(4, 4, 4),
    )
    np.testing.assert_array_equal(done(plan).read(), np.full(shape, fill))


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    volume = write(tmp_path, chain(3).astype(np.uint8), voxel_nm=NM)

    def make(work):
        at = {"classes": [1], "depth_nm": 8, "cap_nm": 48}
        return cf.split(volume, name="parts", work=work, block=(5, 26, 26), **at)

    resumed_equals_whole(make, tmp_path / "first", "parts/blocks", 1)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"depth_nm": 0}, ConfigError, "depth_nm must be above 0, got 0"),
        ({"cap_nm": float("inf")}, ConfigError, "cap_nm must be above 0, got inf"),
        ({"opening_nm": -2}, ConfigError, "opening_nm must be 0 or more, got -2"),
        ({"halo_nm": 30}, ConfigError, "halo_nm 30 is less than the 40 nm that distances"),
        ({"mode": "planes"}, ConfigError, "mode must be 'volume' or 'slices', got 'planes'"),
        ({"classes": []}, ConfigError, "name one or more"),
        ({"classes": ["golgi"]}, InputError, "no class 'golgi'"),
        ({"boundary": "er"}, ConfigError, "the boundary 'er' is one of the classes"),
        ({"steepness": -1}, ConfigError, "steepness must be 0 or more, got -1"),
        ({"connectivity": 18}, ConfigError, "connectivity must be 6 or 26, got 18"),
        ({"wall": 1}, ConfigError, "wall is a share of what the boundary's type holds, below 1, got 1"),
        ({"smooth": 1}, ConfigError, r"no options \['smooth'\]; there are"),
    ],
)
def test_what_cannot_be_split_is_refused(options, error, says, tmp_path, listing):
    volume = write(tmp_path, np.ones((3, 4, 5), np.uint8))
    before = listing()
    given = {"classes": ["er"], "depth_nm": 8, "cap_nm": 40, "name": "parts", "work": tmp_path / "work"}
    with pytest.raises(error, match=says):
        cf.split(volume, **given | options)
    assert listing() == before


@pytest.mark.parametrize(("noise", "coarser"), [(False, False), (True, False), (False, True), (True, True)])
def test_a_task_fits_its_estimate(noise, coarser, tmp_path):
    """On balls and on pure noise, where every voxel pair is a pass between basins."""
    rng = np.random.default_rng(0)
    array = rng.random((48, 48, 48)) < 0.7
    if not noise:
        array = balls((48, 48, 48), rng.random((60, 3)) * 48, 60.0, (8.0, 8.0, 8.0))
    volume = write(tmp_path, array.astype(np.uint8), voxel_nm=(8.0, 8.0, 8.0))
    at = {"depth_nm": 8, "cap_nm": 64, "distance_smooth_nm": 8, "opening_nm": 8, "mask_smooth_nm": 8}
    given = [array.astype(np.uint8)]
    if coarser:
        half = np.ascontiguousarray(given[0][:, :, ::2])
        at["seeds_from"] = write(tmp_path / "half", half, voxel_nm=(8.0, 8.0, 16.0))
        given.append(half.repeat(2, 2))
    stage = cf.split(
        volume, classes=["er"], name="parts", work=tmp_path / "w", block=(48, 48, 48), **at
    ).maps[0]
    peak = most_resident(lambda: stage.function(stage.grid[0], *given, **stage.params))
    assert peak <= array.size * stage.working


def test_planning_reads_no_voxels(tmp_path, monkeypatch):
    volume = write(tmp_path, np.ones((3, 4, 5), np.uint8))
    monkeypatch.setattr(cf.Volume, "read", lambda *_: pytest.fail("planning read voxels"))
    made = cf.split(volume, classes=[1], depth_nm=8, cap_nm=40, name="parts", work=tmp_path / "work")
    assert "parts/blocks" in str(made)


def wires(kind):
    """Thin objects without necks that go through all blocks of 8^3, or meet in the corner of eight."""
    out = np.zeros((16, 16, 16), np.uint8)
    if kind == "comb":
        out[2:14:2, 1:15, 8], out[2:13, 1, 8] = 1, 1
    elif kind == "helix":
        for i, t in enumerate(np.linspace(0, 6 * np.pi, 300)):
            out[i * 16 // 300, round(7.5 + 5 * np.sin(t)), round(7.5 + 5 * np.cos(t))] = 1
    else:
        out[7, 7, 7] = out[8, 8, 8] = 1
    return out


@pytest.mark.parametrize("kind", ["comb", "helix", "corner"])
def test_wires_through_all_blocks_are_what_one_block_makes_of_them(kind, tmp_path):
    volume = write(tmp_path, wires(kind), voxel_nm=(8.0, 8.0, 8.0))
    at = {"classes": [1], "depth_nm": 8, "cap_nm": 40, "connectivity": 26, "work": tmp_path / "work"}
    whole = done(cf.split(volume, name="whole", block=(16, 16, 16), **at)).read()
    found = done(cf.split(volume, name="blocks", block=(8, 8, 8), **at)).read()
    np.testing.assert_array_equal(found, whole)
    assert whole.max() == 1
