"""Distance maps equal the transform of the whole array up to the cap, and say where they are unsure."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.morphology import ball
from strategies import (
    VOXEL_NM,
    blocks,
    done,
    resumed_equals_whole,
    seeds,
    semantic,
    shapes,
    voxel_sizes,
    write,
)

import chunkflow_liver as cf
from chunkflow_liver import DistanceOptions as Options
from chunkflow_liver.errors import ConfigError, InputError


def whole(mask, cap_nm):
    if not mask.any():
        return np.full(mask.shape, np.inf)
    found = ndimage.distance_transform_edt(~mask, sampling=VOXEL_NM)
    return np.where(found <= cap_nm, found, np.inf)


def certain(distance, cap_nm, voxel_nm=VOXEL_NM):
    """1 where no voxel outside the volume is nearer than the distance (or the cap), one by one."""
    exact = np.ones(distance.shape, np.uint8)
    for at in np.ndindex(distance.shape):
        sides = zip(at, distance.shape, voxel_nm, strict=True)
        outside = min((min(i + 1, n - i) * v for i, n, v in sides if n > 1), default=np.inf)
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


def test_uncapped_distances_are_those_of_scipy(tmp_path_factory):
    @settings(max_examples=8, deadline=None)
    @given(shape=st.tuples(*[st.integers(1, 40)] * 3), seed=seeds, voxel_nm=voxel_sizes)
    @example(shape=(9, 33, 36), seed=1, voxel_nm=VOXEL_NM)
    def check(shape, seed, voxel_nm):
        mask = np.random.default_rng(seed).random(shape) > 0.999
        folder = tmp_path_factory.mktemp("uncapped")
        volume = write(folder, mask.astype(np.uint8), voxel_nm=voxel_nm)
        plan = cf.distance(volume, to=1, cap_nm=None, name="er", work=folder / "work", block=(16, 16, 16))
        found = done(plan).read()
        flags = cf.open_volume(folder / "work/results.ome.zarr/labels/er-exact").read()
        wanted = np.full(shape, np.inf)
        if mask.any():
            wanted = ndimage.distance_transform_edt(~mask, sampling=voxel_nm)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
        np.testing.assert_array_equal(flags, certain(wanted, np.inf, voxel_nm) * np.isfinite(wanted))

    check()


@settings(max_examples=15, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks, border=st.sampled_from(["unknown", "background", "mirror"]))
@example(shape=(11, 15, 8), seed=2, block=(5, 7, 3), border="background")
def test_signed_distances_are_negative_inside(shape, seed, block, border):
    array = semantic(shape, seed)
    with tempfile.TemporaryDirectory() as folder:
        plan = cf.distance(
            write(folder, array),
            to="er",
            cap_nm=33.0,
            name="er",
            work=f"{folder}/work",
            block=block,
            options=Options(signed=True, border=border),
        )
        found = done(plan).read()
        exact = cf.open_volume(Path(folder) / "work" / "results.ome.zarr/labels/er-exact").read()
    er = array == 1
    around = {"unknown": er, "background": np.pad(er, 1), "mirror": np.pad(er, 9, mode="symmetric")}[border]
    inside = whole(~around, 33.0)
    inner = tuple(slice((b - a) // 2, (b - a) // 2 + a) for a, b in zip(shape, inside.shape, strict=True))
    wanted = np.where(er, -inside[inner], whole(er, 33.0))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    sure = certain(np.abs(wanted), 33.0) if border == "unknown" else np.ones(shape)
    np.testing.assert_array_equal(exact, sure)


@settings(max_examples=15, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks, cap_nm=st.sampled_from([17.0, 40.0]))
def test_the_nearest_instance_is_the_smallest_of_the_nearest(shape, seed, block, cap_nm):
    labels = np.random.default_rng(seed).integers(0, 2**63, 6, np.uint64)[semantic(shape, seed, 5)]
    labels[semantic(shape, seed, 5) == 0] = 0
    with tempfile.TemporaryDirectory() as folder:
        plan = cf.distance(
            write(folder, labels, "own", kind="label"),
            cap_nm=cap_nm,
            name="d",
            work=f"{folder}/work",
            block=block,
            options=Options(nearest=True, signed=True),
        )
        found = done(plan).read()
        near = cf.open_volume(Path(folder) / "work" / "results.ome.zarr/labels/d-nearest").read()
    ids = [int(i) for i in np.unique(labels) if i]
    distance = np.full((len(ids) + 1, *shape), np.inf)
    for i, label in enumerate(ids, 1):
        distance[i] = whole(labels == label, cap_nm)
    best = distance.min(axis=0)
    first = (distance <= best * (1 + 1e-9)).argmax(axis=0)
    np.testing.assert_array_equal(near, np.array([0, *ids], np.uint64)[np.where(np.isinf(best), 0, first)])
    inside = np.zeros(shape)
    for label in ids:
        inside = np.where(labels == label, -whole(labels != label, cap_nm), inside)
    np.testing.assert_allclose(found, np.where(labels > 0, inside, best), rtol=1e-6)


@pytest.mark.parametrize("signed", [False, True])
def test_distances_in_steps_state_the_step(signed, tmp_path):
    volume = write(tmp_path, semantic((6, 7, 8), 4))
    for name, quantum in (("plain", None), ("steps", 0.5)):
        options = Options(signed=signed, quantum_nm=quantum)
        plan = cf.distance(volume, to="er", cap_nm=12.0, name=name, work=tmp_path / name, options=options)
        done(plan)
    plain = cf.open_volume(tmp_path / "plain/plain.ome.zarr").read()
    steps = cf.open_volume(tmp_path / "steps/steps.ome.zarr")
    most = 32767 if signed else 65535
    assert steps.dtype == ("int16" if signed else "uint16")
    wanted = np.where(np.isinf(plain), np.copysign(most, plain), np.rint(plain / 0.5))
    np.testing.assert_array_equal(steps.read(), wanted)
    about = json.loads((tmp_path / "steps/steps.ome.zarr/zarr.json").read_text())["attributes"]
    assert about["chunkflow_liver"] == {"status": "complete", "quantum_nm": 0.5}
    assert cf.validate(steps.url) == []


def test_growing_by_a_ball_is_the_distance_up_to_its_radius(tmp_path):
    array = (np.random.default_rng(5).random((14, 15, 16)) > 0.99).astype(np.uint8)
    volume = write(tmp_path, array, voxel_nm=(8.0, 8.0, 8.0))
    plan = cf.distance(volume, to=1, cap_nm=16.0, name="er", work=tmp_path / "work")
    grown = ndimage.binary_dilation(array, ball(2))
    np.testing.assert_array_equal(np.isfinite(done(plan).read()), grown)


def test_a_broken_uncapped_run_goes_on_to_the_same_bytes(tmp_path):
    volume = write(tmp_path, semantic((18, 20, 33), 3))

    def plan(work):
        return cf.distance(volume, to="er", cap_nm=None, name="er", work=work, block=(16, 16, 16))

    resumed_equals_whole(plan, tmp_path, "er/along-y", 1)


@pytest.mark.parametrize(
    ("block", "stages"),
    [
        ((16, 16, 16), ["along-x", "along-y", "distance"]),
        ((18, 20, 16), ["along-x", "distance"]),
        (None, ["distance"]),
    ],
)
@pytest.mark.parametrize("voxel_nm", [VOXEL_NM, (40.0, 5.91, 5.9)])
def test_blocks_that_hold_more_lines_need_fewer_passes(block, stages, voxel_nm, tmp_path):
    mask = np.random.default_rng(3).random((18, 20, 33)) > 0.995
    volume = write(tmp_path, mask.astype(np.uint8), voxel_nm=voxel_nm)
    plan = cf.distance(volume, to=1, cap_nm=None, name="er", work=tmp_path / "work", block=block)
    assert [s.name for s in plan.stages] == [f"er/{stage}" for stage in stages]
    wanted = ndimage.distance_transform_edt(~mask, sampling=voxel_nm)
    np.testing.assert_allclose(done(plan).read(), wanted, rtol=1e-6)


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
        ({"options": Options(border="wrap")}, ConfigError, "border must be one of"),
        ({"options": Options(nearest=True)}, ConfigError, "nearest is a question to instances: leave out"),
        ({"options": Options(quantum_nm=1e-4)}, ConfigError, "leave at most 65534 steps up to the cap of 10"),
        ({"options": Options(signed=True), "cap_nm": None}, ConfigError, "need a cap_nm; without one"),
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


def test_a_volume_too_large_for_exact_squares_is_refused(tmp_path, monkeypatch):
    volume = write(tmp_path, semantic((3, 4, 5), 0))
    monkeypatch.setattr("chunkflow_liver.kernels.distance.lines.LARGEST_SQUARE", 100)
    with pytest.raises(ConfigError, match=r"too large for exact distances .* of 4.0 nm; give a cap_nm"):
        cf.distance(volume, to="er", cap_nm=None, name="d", work=tmp_path / "work")


def test_intensities_have_no_distance(tmp_path):
    volume = write(tmp_path, np.ones((3, 4, 5), np.float32), "raw")
    with pytest.raises(InputError, match="holds float32 voxels; classes and instances must be integers"):
        cf.distance(volume, to=1, cap_nm=10, name="d", work=tmp_path / "work")
