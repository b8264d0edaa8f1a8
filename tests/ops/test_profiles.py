"""Profiles hold the same bytes for every grid, and the numbers that all pairs of voxels give."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from brute_areas import voxel_areas
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from strategies import VOXEL_NM, blocks, components, done, resumed_equals_whole, seeds, semantic, table, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError

SHAPES = st.tuples(*[st.integers(1, 7)] * 3)
SHELLS = (10.0, 17.0, 33.0)


def nearest_end(at, shape, beside):
    """nm from voxels (last axis: z, y, x) to the volume's ends; an axis of one voxel has none."""
    steps = np.minimum(at, np.array(shape) - 1 - at) + beside
    return np.where(np.array(shape) > 1, steps * VOXEL_NM, np.inf).min(-1)


def surfaces(own, er, group, cap_nm):
    """label of `group` -> rows (area, gap, exact) of surface voxels, by all pairs."""
    area, found = voxel_areas(own, VOXEL_NM), {}
    targets = np.argwhere(er)
    for at in np.argwhere(own):
        beside = [at + step for axis in np.eye(3, dtype=int) for step in (axis, -axis)]
        beside = [b for b in beside if (b >= 0).all() and (b < own.shape).all()]
        if all(own[tuple(b)] == own[tuple(at)] for b in beside) or not group[tuple(at)]:
            continue
        between = np.maximum(np.abs(targets - at) - 1, 0) * np.array(VOXEL_NM)
        gap = np.sqrt((between**2).sum(1)).min(initial=np.inf)
        gap = gap if gap <= cap_nm + 1e-6 else np.inf
        outside = nearest_end(at, own.shape, 0)
        row = (area[tuple(at)], gap, min(gap, cap_nm) <= outside + 1e-6)
        found.setdefault(int(group[tuple(at)]), []).append(row)
    return found


def check_surfaces(got, wanted, cap_nm):
    assert got["label"] == sorted(wanted)
    for i, label in enumerate(got["label"]):
        area, gap, exact = np.array(wanted[label]).T
        near = gap <= cap_nm + 1e-6
        total = area.sum()
        assert got["surface_voxels"][i] == len(area)
        assert got["surface_um2"][i] == pytest.approx(total / 1e6, rel=1e-5)
        if not total:
            continue
        assert got["exact_fraction"][i] == pytest.approx((area * exact).sum() / total, abs=1e-5)
        assert got["within_cap_fraction"][i] == pytest.approx(area[near].sum() / total, abs=1e-5)
        if area[near].sum():
            mean = (area * np.where(near, gap, 0)).sum() / area[near].sum()
            assert got["distance_mean_nm"][i] == pytest.approx(mean, rel=1e-5)
        share = {p: area[gap <= got[f"distance_p{p}_nm"][i]].sum() / total for p in (5, 50, 95)}
        assert all(share[p] >= p / 100 - 1e-5 for p in share)
        less = {p: area[gap < got[f"distance_p{p}_nm"][i]].sum() / total for p in (5, 50, 95)}
        assert all(less[p] <= p / 100 + 1e-5 for p in less)
        for within in (10, 20):
            hit = area[gap <= within].sum() / total
            assert got[f"within_{within}_nm_fraction"][i] == pytest.approx(hit, abs=1e-5)


def check_shells(got, own, er, group):
    """Voxels outside the instances by whole-array transforms, one per instance."""
    ids = [int(i) for i in np.unique(own) if i]
    each = np.full((len(ids) + 1, *own.shape), np.inf)
    for i, label in enumerate(ids, 1):
        each[i] = ndimage.distance_transform_edt(own != label, sampling=VOXEL_NM)
    best = each.min(0)
    nearest = np.array([0, *ids])[np.where(np.isinf(best), 0, (each <= best * (1 + 1e-9)).argmax(0))]
    whom = nearest if group is None else group
    index = np.indices(own.shape).reshape(3, -1).T
    outside = nearest_end(index, own.shape, 1).reshape(own.shape)
    rows, edges = [], (0.0, *SHELLS)
    for label in np.unique(whom[whom > 0]):
        for low, high in zip(edges, SHELLS, strict=False):
            inside = (whom == label) & (best > low + 1e-6) & (best <= high + 1e-6)
            if inside.any():
                exact = inside & (best <= outside + 1e-6)
                rows.append([label, low, high, inside.sum(), (inside & er).sum(), exact.sum()])
    keys = ("label", "from_nm", "to_nm", "voxels", "class_voxels", "exact_voxels")
    np.testing.assert_array_equal(np.array([got[k] for k in keys]).T, np.array(rows, float).reshape(-1, 6))
    np.testing.assert_allclose(got["class_fraction"], np.array([r[4] / r[3] for r in rows]))


@settings(max_examples=12, deadline=None)
@given(shape=SHAPES, seed=seeds, block=blocks, cap_nm=st.sampled_from([20.0, 45.0]))
@example(shape=(7, 6, 5), seed=2, block=(3, 4, 5), cap_nm=30.0)
def test_profiles_do_not_depend_on_the_grid(shape, seed, block, cap_nm):
    array = semantic(shape, seed)
    own = components(np.where(array == 2, array, 0), 26).astype(np.uint32)
    cells = np.random.default_rng(seed).integers(0, 3, shape).astype(np.uint32)
    names = ("p", "p-shells", "p-parents", "p-parent-shells")
    with tempfile.TemporaryDirectory() as folder:
        volumes = write(folder, own, "own", kind="label"), write(folder, array)
        parents = write(folder, cells, "cells", kind="label")
        options = {"to": "er", "cap_nm": cap_nm, "shells_nm": SHELLS, "parents": parents, "name": "p"}
        for work, cut in (("whole", None), ("cut", block)):
            done(cf.profiles(*volumes, work=f"{folder}/{work}", block=cut, **options))
        files = [[Path(folder) / w / "tables" / f"{n}.parquet" for n in names] for w in ("whole", "cut")]
        assert [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]]
        found = [cf.read_table(f).to_pydict() for f in files[1]]
    check_surfaces(found[0], surfaces(own, array == 1, own, cap_nm), cap_nm)
    check_surfaces(found[2], surfaces(own, array == 1, cells, cap_nm), cap_nm)
    check_shells(found[1], own, array == 1, None)
    check_shells(found[3], own, array == 1, cells)


def test_a_hand_worked_plate(tmp_path):
    """A plate one voxel thick, 32 nm of empty voxels from the ER on one side: every voxel has one gap."""
    array = np.zeros((5, 5, 9), np.uint8)
    array[:, :, 2], array[:, :, 5:] = 2, 1
    volume = write(tmp_path, array)
    at = {"work": tmp_path / "work", "block": (5, 5, 3)}
    own = write(tmp_path, (array == 2) * np.uint32(6), "own", kind="label")
    found = table(cf.profiles(own, volume, to="er", cap_nm=40, shells_nm=[16, 32, 64], name="p", **at))
    # 5 x 5 faces of 8 x 4 nm2 on either side.
    assert (found["label"], found["surface_um2"]) == ([6], [pytest.approx(2 * 25 * 32 / 1e6)])
    assert [found[k] for k in ("distance_mean_nm", "distance_p5_nm", "distance_p95_nm")] == [[32.0]] * 3
    within = (
        "within_10_nm_fraction",
        "within_20_nm_fraction",
        "within_30_nm_fraction",
        "within_cap_fraction",
    )
    assert [found[k] for k in within] == [[0.0], [0.0], [0.0], [1.0]]
    assert "within_50_nm_fraction" not in found
    # 32 nm to the ER are certain where the volume goes on for 32 nm: nowhere, along z it is 20 nm deep.
    assert found["exact_fraction"] == [0.0]
    shells = cf.read_table(tmp_path / "work/tables/p-shells.parquet").to_pydict()
    assert (shells["from_nm"], shells["voxels"]) == ([0.0, 16.0, 32.0], [50, 50, 50])
    assert shells["class_fraction"] == [0.0, 0.0, 1.0]
    far = table(cf.profiles(own, volume, to="er", cap_nm=30, name="far", **at))
    assert (far["distance_p50_nm"], far["within_cap_fraction"]) == ([np.inf], [0.0])
    assert np.isnan(far["distance_mean_nm"][0])


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    volume = write(tmp_path, semantic((9, 9, 9), 3))
    own = write(tmp_path, (semantic((9, 9, 9), 3) == 2).astype(np.uint32), "own", kind="label")

    def plan(work):
        at = {"work": work, "block": (3, 9, 9)}
        return cf.profiles(own, volume, to="er", cap_nm=20, shells_nm=[9], name="p", **at) + cf.label(
            volume, name="cells", **at
        )

    resumed_equals_whole(plan, tmp_path, "p/profiles", 1)


def test_planning_reads_no_voxels(tmp_path, monkeypatch):
    volume = write(tmp_path, semantic((5, 5, 5), 1))
    monkeypatch.setattr(type(volume), "read", None)
    plan = cf.profiles(volume, volume, to="er", cap_nm=20, shells_nm=[50], name="p", work=tmp_path / "w")
    assert "p/profiles" in str(plan)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"cap_nm": 0}, ConfigError, "cap_nm must be above 0, got 0"),
        ({"shells_nm": [20, 10]}, ConfigError, r"shells_nm must ascend from above 0, got \[20, 10\]"),
        ({"to": 0}, InputError, "has no class 0"),
        ({"to": "golgi"}, InputError, "no class 'golgi'; it has"),
        ({"name": "a/b"}, InputError, "name 'a/b' is not usable"),
    ],
)
def test_what_has_no_profile_is_refused(options, error, says, tmp_path, listing):
    volume = write(tmp_path, semantic((3, 4, 5), 0))
    before = listing()
    at = {"to": "er", "cap_nm": 10, "name": "p", "work": tmp_path / "work"}
    with pytest.raises(error, match=says):
        cf.profiles(volume, volume, **at | options)
    assert listing() == before


def test_other_shapes_and_background_have_no_profile(tmp_path):
    at = {"cap_nm": 10, "name": "p", "work": tmp_path / "work"}
    cells = write(tmp_path, np.ones((3, 4, 5), np.uint32), "cells", kind="label")
    smaller = write(tmp_path, np.ones((3, 4, 4), np.uint32), "smaller", kind="label")
    with pytest.raises(InputError, match=r"\(3, 4, 5\) voxels and .* \(3, 4, 4\): profiles need"):
        cf.profiles(cells, smaller, to=1, **at)
    with pytest.raises(ConfigError, match="a profile to class 0 does not exist"):
        cf.profiles(cells, cells, to=0, **at)
