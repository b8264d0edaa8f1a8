"""Distance maps equal the transform of the whole array up to the cap, and say where they are unsure."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from strategies import VOXEL_NM, blocks, done, resumed_equals_whole, seeds, semantic, shapes, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError


def whole(mask, cap_nm):
    if not mask.any():
        return np.full(mask.shape, np.inf)
    found = ndimage.distance_transform_edt(~mask, sampling=VOXEL_NM)
    return np.where(found <= cap_nm, found, np.inf)


def certain(distance, cap_nm):
    """1 where no voxel outside the volume is nearer than the distance (or the cap), one by one."""
    exact = np.ones(distance.shape, np.uint8)
    for at in np.ndindex(distance.shape):
        outside = min(min(i + 1, n - i) * v for i, n, v in zip(at, distance.shape, VOXEL_NM, strict=True))
        exact[at] = min(distance[at], cap_nm) <= outside * (1 + 1e-6)
    return exact


@settings(max_examples=20, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks, cap_nm=st.sampled_from([4.0, 17.0, 40.0, 500.0]))
@example(shape=(11, 15, 8), seed=2, block=(5, 7, 3), cap_nm=33.0)
def test_distances_do_not_depend_on_the_grid(shape, seed, block, cap_nm):
    array = semantic(shape, seed)
    with tempfile.TemporaryDirectory() as folder:
        plan = cf.distance(
            write(folder, array), to="er", cap_nm=cap_nm, name="er", work=f"{folder}/work", block=block
        )
        found = done(plan).read()
        exact = cf.open_volume(Path(folder) / "work" / "results.ome.zarr/labels/er-exact").read()
    wanted = whole(array == 1, cap_nm)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(exact, certain(wanted, cap_nm))


def test_a_hand_worked_volume(tmp_path):
    """One voxel of ER at (1, 1, 0): 4, 8 and 16 nm to its neighbours, 17.9 nm across y and x."""
    array = np.zeros((3, 3, 4), np.uint8)
    array[1, 1, 0] = 1
    volume = write(tmp_path, array)
    plan = cf.distance(volume, to=1, cap_nm=18.0, name="er", work=tmp_path / "work", block=(3, 3, 2))
    found = done(plan).read()
    beside = [8, np.sqrt(320), np.inf, np.inf]
    np.testing.assert_allclose(found[1], [beside, [0, 16, np.inf, np.inf], beside])
    np.testing.assert_allclose(found[0, 1], [4, np.sqrt(272), np.inf, np.inf])
    exact = cf.open_volume(tmp_path / "work/results.ome.zarr/labels/er-exact")
    # Outside the volume lies 4 nm from the first slice: only what is at most that near is certain there.
    np.testing.assert_array_equal(exact.read()[0], [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(exact.read()[1], [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])
    assert dict(exact.classes) == {"exact": 1}


def test_a_single_plane_has_distances(tmp_path):
    array = semantic((1, 9, 8), 6)
    plan = cf.distance(
        write(tmp_path, array[0]), to="er", cap_nm=50, name="er", work=tmp_path / "work", block=(1, 4, 3)
    )
    np.testing.assert_allclose(done(plan).read(), whole(array == 1, 50), rtol=1e-6)


def test_results_are_valid_images(tmp_path):
    volume = write(tmp_path, semantic((6, 7, 8), 1))
    raw = write(tmp_path, semantic((6, 7, 8), 1), "raw", kind="image", ome_version="0.4")
    plan = cf.distance(volume, to="er", cap_nm=20, name="er", work=tmp_path / "work", into=raw.url)
    done(plan)
    assert cf.validate(plan.output.url) == []
    assert cf.validate(f"{raw.url}/labels/er-exact", deep=True) == []
    # Infinite distances are meant: only the deep check, made for inputs, speaks of them.
    assert all("NaN or infinite" in p for p in cf.validate(plan.output.url, deep=True))


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    volume = write(tmp_path, semantic((9, 9, 9), 3))

    def plan(work):
        return cf.distance(volume, to="er", cap_nm=20, name="er", work=work, block=(3, 9, 9))

    resumed_equals_whole(plan, tmp_path, "er/distance", 1)
    images = [(tmp_path / run / "work/er.ome.zarr") for run in "ab"]
    assert len({b"".join(p.read_bytes() for p in sorted(i.rglob("*")) if p.is_file()) for i in images}) == 1


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"cap_nm": 0}, ConfigError, "cap_nm must be above 0, got 0"),
        ({"cap_nm": float("inf")}, ConfigError, "cap_nm must be above 0, got inf"),
        ({"to": "golgi"}, InputError, "no class 'golgi'; it has"),
        ({"name": "a/b"}, InputError, "name 'a/b' is not usable"),
    ],
)
def test_what_has_no_distance_is_refused(options, error, says, tmp_path, listing):
    volume = write(tmp_path, semantic((3, 4, 5), 0))
    before = listing()
    with pytest.raises(error, match=says):
        cf.distance(volume, **{"to": "er", "cap_nm": 10, "name": "d", "work": tmp_path / "work"} | options)
    assert listing() == before


def test_intensities_have_no_distance(tmp_path):
    volume = write(tmp_path, np.ones((3, 4, 5), np.float32), "raw")
    with pytest.raises(InputError, match="holds float32 voxels; classes and instances must be integers"):
        cf.distance(volume, to=1, cap_nm=10, name="d", work=tmp_path / "work")
