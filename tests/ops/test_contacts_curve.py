"""The curve of a contact is what contacts at every gap give; bands and the other convention fit to it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from brute_areas import voxel_areas
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import VOXEL_NM, blocks, components, done, resumed_equals_whole, seeds, semantic, table, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError

SHAPES = st.tuples(*[st.integers(1, 7)] * 3)
TABLES = ("c", "c-objects", "c-curve", "c-object-curve")
CAP_NM = 20.0


def made(folder, seed, shape, same):
    """Instances and their partner: a class of another labelling, which may overlap, or themselves."""
    own = components(semantic(shape, seed), 6).astype(np.uint32)
    first = write(folder, own, "own", kind="label")
    return (first, first, {}) if same else (first, write(folder, semantic(shape, seed + 1, 1)), {"to": "er"})


def read(work, name):
    return cf.read_table(f"{work}/tables/{name}.parquet").to_pydict()


@pytest.mark.parametrize("same", [False, True])
@settings(max_examples=3, deadline=None)
@given(shape=SHAPES, seed=seeds, block=blocks)
def test_the_curve_is_that_of_contacts_at_every_gap_in_any_blocks(same, shape, seed, block):
    with tempfile.TemporaryDirectory() as folder:
        own, other, to = made(folder, seed, shape, same)
        at = {"curve_nm": CAP_NM, "bands_nm": [(0, 4), (4, 9)], "gap_nm": 9, "name": "c", **to}
        for work, cut in (("whole", None), ("cut", block)):
            done(cf.contacts(own, other, work=f"{folder}/{work}", block=cut, **at))
        for name in TABLES:
            one, two = (Path(folder) / work / "tables" / f"{name}.parquet" for work in ("whole", "cut"))
            assert one.read_bytes() == two.read_bytes()
        curve, each = (read(f"{folder}/cut", name) for name in ("c-curve", "c-object-curve"))
        rows = dict(
            zip(
                zip(curve["label_a"], curve["label_b"], curve["gap_nm"], strict=True),
                zip(*(curve[k] for k in ("voxels", "voxels_b", "area_a_um2", "area_b_um2")), strict=True),
                strict=True,
            )
        )
        objects = dict(
            zip(
                zip(each["side"], each["label"], each["gap_nm"], strict=True),
                each["contact_um2"],
                strict=True,
            )
        )
        counted = 0
        for gap in (0, 9, 20):
            plan = cf.contacts(own, other, gap_nm=gap, name="c", work=f"{folder}/{gap}", **to)
            found = table(plan)
            for i, pair in enumerate(zip(found["label_a"], found["label_b"], strict=True)):
                wanted = [found[k][i] for k in ("voxels", "voxels_b", "area_a_um2", "area_b_um2")]
                assert list(rows[(*pair, gap)]) == wanted
                counted += 1
            assert sum(any(v[:2]) for k, v in rows.items() if k[2] == gap) == len(found["label_a"])
            alone = read(f"{folder}/{gap}", "c-objects")
            keys = zip(alone["side"], alone["label"], [gap] * len(alone["label"]), strict=True)
            assert [objects[k] for k in keys] == alone["contact_um2"]
        plain = table(cf.contacts(own, other, gap_nm=9, name="c", work=f"{folder}/plain", **to))
        banded = read(f"{folder}/cut", "c")
        for name, values in plain.items():
            assert banded[name] == pytest.approx(values, nan_ok=True)
        for i, pair in enumerate(zip(banded["label_a"], banded["label_b"], strict=True)):
            for side, column in (("a", 2), ("b", 3)):
                low, high = (rows[(*pair, gap)][column] for gap in (4, 9))
                assert banded[f"within_4_nm_area_{side}_um2"][i] == low
                assert banded[f"from_4_to_9_nm_area_{side}_um2"][i] == pytest.approx(high - low, abs=1e-12)


@settings(max_examples=4, deadline=None)
@given(shape=SHAPES, seed=seeds, block=blocks, gap_nm=st.sampled_from([0.0, 8.0, 17.9]))
def test_between_centres_is_what_all_pairs_of_centres_give(shape, seed, block, gap_nm):
    own = components(semantic(shape, seed), 6).astype(np.uint32)
    area = voxel_areas(own, VOXEL_NM) / 1e6
    inside, size = np.argwhere(own), np.array(VOXEL_NM)
    wanted = {}
    for at in np.argwhere(area):
        gap = np.sqrt((((inside - at) * size) ** 2).sum(1))
        label = own[tuple(at)]
        for met in np.unique(own[tuple(inside[gap <= gap_nm + 1e-6].T)]):
            if met != label:
                row = wanted.setdefault((int(label), int(met)), [0, 0.0])
                row[:] = row[0] + 1, row[1] + area[tuple(at)]
    with tempfile.TemporaryDirectory() as folder:
        volume = write(folder, own, "own", kind="label")
        at = {"gap_nm": gap_nm, "name": "c", "centres": True}
        found = table(cf.contacts(volume, volume, work=f"{folder}/cut", block=block, **at))
        done(cf.contacts(volume, volume, work=f"{folder}/whole", **at))
        for name in ("c", "c-objects"):
            one, two = (Path(folder) / work / "tables" / f"{name}.parquet" for work in ("whole", "cut"))
            assert one.read_bytes() == two.read_bytes()
    pairs = list(zip(found["label_a"], found["label_b"], strict=True))
    assert set(wanted) <= set(pairs)
    for i, pair in enumerate(pairs):
        voxels, um2 = wanted.get(pair, (0, 0.0))
        assert (found["centre_voxels"][i], found["centre_voxels_b"][i]) == (
            voxels,
            wanted.get(pair[::-1], [0])[0],
        )
        assert found["centre_area_a_um2"][i] == pytest.approx(um2, rel=1e-5)


def test_a_curve_by_hand(tmp_path):
    """Plates of 2 x 3 voxels, one voxel (16 nm) apart along x: all or nothing; 32 nm between centres."""
    array = np.zeros((4, 5, 8), np.uint8)
    array[1:3, 1:4, 2], array[1:3, 1:4, 4] = 2, 1
    volume = write(tmp_path, array)
    at = {"of": "mitochondrion", "to": "er", "name": "c", "curve_nm": 40, "centres": True}
    at["bands_nm"] = [[0, 15], [15, 32]]
    found = table(cf.contacts(volume, volume, gap_nm=32, work=tmp_path / "w", block=(4, 5, 3), **at))
    area = voxel_areas(array == 2, VOXEL_NM).sum() / 1e6
    assert found["within_15_nm_area_a_um2"] == [0]
    assert found["from_15_to_32_nm_area_a_um2"] == pytest.approx([area], rel=1e-5)
    assert (found["centre_voxels"], found["centre_area_b_um2"]) == ([6], pytest.approx([area], rel=1e-5))
    curve = read(tmp_path / "w", "c-curve")
    assert curve["gap_nm"] == list(range(41))
    assert curve["voxels"] == [0] * 16 + [6] * 25
    assert curve["area_b_um2"] == pytest.approx([0] * 16 + [area] * 25, rel=1e-5)
    each = read(tmp_path / "w", "c-objects")
    assert each["from_15_to_32_nm_fraction"] == each["centre_contact_fraction"] == [1, 1]
    plan = cf.contacts(volume, volume, gap_nm=31, work=tmp_path / "less", **at | {"bands_nm": []})
    assert table(plan)["centre_voxels"] == [0]


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    volume = write(tmp_path, semantic((9, 9, 9), 3))

    def plan(work):
        at = {"work": work, "block": (3, 9, 9), "curve_nm": 20, "centres": True, "bands_nm": [(0, 4)]}
        return cf.contacts(volume, volume, of="mitochondrion", to="er", gap_nm=9, name="c", **at)

    resumed_equals_whole(plan, tmp_path, "c/contacts", 1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"curve_nm": -1}, "curve_nm must be 0 or more, got -1"),
        ({"bands_nm": [(5, 5)]}, r"pairs of gaps in nm, from and to, such as \[24, 56\]; got \(5, 5\)"),
        ({"bands_nm": [10, 50]}, r"pairs of gaps in nm, .*; got 10"),
        (
            {"bands_nm": [(0, 31)]},
            r"ends beyond gap_nm = 30, the largest gap that is looked at; raise gap_nm",
        ),
        ({"bands_nm": [(0, 9), [0, 9.0]]}, "names a band twice"),
    ],
)
def test_gaps_that_cannot_be_are_refused(options, says, tmp_path, listing):
    volume = write(tmp_path, semantic((3, 4, 5), 0))
    before = listing()
    with pytest.raises(ConfigError, match=says):
        cf.contacts(volume, volume, **{"gap_nm": 30, "name": "c", "work": tmp_path / "work"} | options)
    assert listing() == before


def test_bands_of_a_profile_are_shares_of_the_surface(tmp_path):
    """The same surface as in contacts; the bands that were fixed are the default, up to the cap."""
    array = semantic((7, 8, 9), 5)
    own = write(
        tmp_path, components(np.where(array == 2, array, 0), 6).astype(np.uint32), "own", kind="label"
    )
    classes = write(tmp_path, array)
    at = {"to": "er", "name": "p", "cap_nm": 30}
    plain = table(cf.profiles(own, classes, work=tmp_path / "plain", **at))
    assert [c for c in plain if c.startswith("within_1") or c[7:9].isdigit()] == [
        "within_10_nm_fraction",
        "within_20_nm_fraction",
        "within_30_nm_fraction",
    ]
    bands = [(0, 10), (8, 20.5)]
    found = table(cf.profiles(own, classes, work=tmp_path / "bands", bands_nm=bands, **at))
    assert found["within_10_nm_fraction"] == plain["within_10_nm_fraction"]
    done(cf.contacts(own, classes, to="er", gap_nm=30, name="c", work=tmp_path / "c", bands_nm=bands))
    objects = read(tmp_path / "c", "c-objects")
    shares = [
        v for v, s in zip(objects["from_8_to_20.5_nm_fraction"], objects["side"], strict=True) if s == "a"
    ]
    assert found["from_8_to_20.5_nm_fraction"] == shares
    with pytest.raises(ConfigError, match="ends beyond cap_nm = 30"):
        cf.profiles(own, classes, work=tmp_path / "far", bands_nm=[(0, 31)], **at)
