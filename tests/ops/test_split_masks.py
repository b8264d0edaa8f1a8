"""What a mask leaves out is to `split` as what lies beyond the volume."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from strategies import done, mask_of, numbered, write

import chunkflow_liver as cf
from chunkflow_liver.kernels.images.downsample import mode
from chunkflow_liver.kernels.instances.touching.watershed import Necks, _smoothed, split_block

NM = (8.0, 8.0, 8.0)


@pytest.mark.parametrize(("seed", "block"), [(1, (5, 9, 20)), (2, (11, 6, 7))])
def test_in_a_mask_blocks_give_what_one_block_gives(seed, block, tmp_path):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((11, 18, 20)), 2.0)
    mask = field > 0
    known = mask_of(mask.shape, seed)
    how = {"distance_smooth_nm": 8.0, "mask_smooth_nm": 6.0, "opening_nm": 12.0, "fill_nm": 40.0}
    wanted = split_block(
        (mask & known).astype(np.uint8),
        voxel_nm=NM,
        classes=[1],
        necks=Necks(depth_nm=8, cap_nm=64, **how),
        hidden=~known,
    )
    volume = write(tmp_path, mask.astype(np.uint8), voxel_nm=NM)
    volume = volume.within(write(tmp_path, known.astype(np.uint8), "mask", kind="label", voxel_nm=NM))
    at = {"classes": ["er"], "depth_nm": 8, "cap_nm": 64, "halo_nm": 400.0, "work": tmp_path / "work"}
    plan = cf.split(volume, **at, **how, name="parts", block=block)
    np.testing.assert_array_equal(done(plan).read(), numbered(wanted))
    assert not wanted[~known].any()


@pytest.mark.parametrize(
    "how",
    [{"fill_nm": 30.0}, {"opening_nm": 20.0}, {"mask_smooth_nm": 8.0}, {"distance_smooth_nm": 8.0}, {}],
    ids=str,
)
@pytest.mark.parametrize("walls", [False, True])
def test_in_an_array_of_which_a_box_is_known_objects_are_those_of_the_box(how, walls):
    box = (slice(2, 9), slice(3, 14), slice(4, 16))
    for seed in range(6):
        rng = np.random.default_rng(seed)
        field = ndimage.gaussian_filter(rng.standard_normal((11, 18, 20)), 2.0)
        # Holes of single voxels, at the edge of the box, too.
        mask = ((field > -0.03) & (rng.random(field.shape) < 0.95)).astype(np.uint8)
        high = (ndimage.gaussian_filter(rng.random(field.shape), 1.0) * 255).astype(np.uint8)
        hidden = np.ones(mask.shape, bool)
        hidden[box] = False
        how_all = {"voxel_nm": NM, "classes": [1], "necks": Necks(4.0, 64.0, steepness=0.2, **how)}
        boundary = high if walls else None
        found = split_block(mask * ~hidden, boundary, hidden=hidden, **how_all)
        alone = split_block(mask[box].copy(), None if boundary is None else high[box].copy(), **how_all)
        assert not found[hidden].any()
        np.testing.assert_array_equal(numbered(found[box]), numbered(alone))


def test_a_hole_that_a_mask_reaches_is_none():
    solid = np.ones((9, 9, 9), np.uint8)
    solid[4, 4, 4:6] = 0
    solid[0] = 0
    hidden = np.zeros(solid.shape, bool)
    hidden[4, 4, 4] = True
    how = {"voxel_nm": NM, "classes": [1], "necks": Necks(4.0, 64.0, fill_nm=40.0)}
    np.testing.assert_array_equal(split_block(solid, **how)[4, 4, 4:6], [1, 1])
    np.testing.assert_array_equal(split_block(solid, hidden=hidden, **how)[4, 4, 4:6], [0, 0])


@pytest.mark.parametrize("sigma_nm", [6.0, 20.0])
def test_smoothed_values_go_on_beyond_a_mask_as_they_are_at_its_end(sigma_nm):
    """Of voxels that are equally near the smallest counts, looked for one by one."""
    rng, known = np.random.default_rng(3), mask_of((6, 7, 9), 2)
    values = rng.integers(0, 50, known.shape).astype(float)
    wide = [int(3 * sigma_nm / v + 0.5) for v in NM]
    padded, seen = np.pad(values, [(n, n) for n in wide]), np.pad(known, [(n, n) for n in wide])
    there = np.argwhere(seen)
    for at in np.argwhere(~seen):
        far = (((there - at) * NM) ** 2).sum(1)
        padded[tuple(at)] = padded[tuple(there[far <= far.min() + 1e-6].T)].min()
    wanted = ndimage.gaussian_filter(padded, [sigma_nm / v for v in NM], truncate=3.0)
    inner = tuple(slice(n, n + s) for n, s in zip(wide, known.shape, strict=True))
    found = _smoothed(padded * seen, sigma_nm, NM, ~seen)[inner]
    np.testing.assert_allclose(found[known], wanted[inner][known], rtol=1e-12)


def test_of_larger_voxels_those_give_seeds_of_which_something_is_known(tmp_path):
    """A mask that is a box of whole larger voxels gives what the box gives, whatever lies outside."""
    field = ndimage.gaussian_filter(np.random.default_rng(4).standard_normal((12, 24, 24)), 2.0)
    mask = (field > 0).astype(np.uint8)
    known = np.zeros(mask.shape, np.uint8)
    known[2:10, 4:20, 6:22] = 1
    fine = write(tmp_path, mask, voxel_nm=NM)
    level = write(tmp_path / "coarse", mode(mask, (2, 2, 2)), voxel_nm=(16.0, 16.0, 16.0))
    parts = {
        "box": fine.within(((16, 32, 48), (80, 160, 176))),
        "mask": fine.within(write(tmp_path, known, "mask", kind="label", voxel_nm=NM)),
    }
    at = {"classes": ["er"], "depth_nm": 8.0, "cap_nm": 64.0, "distance_smooth_nm": 8.0, "halo_nm": 320.0}
    found = {}
    for what, block in (("box", (12, 24, 24)), ("mask", (6, 10, 24))):
        plan = cf.split(parts[what], seeds_from=level, name="x", work=tmp_path / what, block=block, **at)
        found[what] = done(plan).read()
    np.testing.assert_array_equal(found["mask"], found["box"])
    np.testing.assert_array_equal(found["mask"] > 0, (mask * known) > 0)
    assert found["mask"].max() > 1
