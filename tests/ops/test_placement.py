"""Random placements: the observed numbers are those of contacts, chance is chance, in any blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from strategies import done, resumed_equals_whole, table, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.kernels.contacts.placements import limits_of, symmetries
from chunkflow_liver.ops.placement import tables
from chunkflow_liver.ops.placement.block import SHARE
from chunkflow_liver.ops.placement.tables import curves

VOXEL_NM = (16.0, 8.0, 8.0)
SHAPE = (24, 40, 44)
FEW = cf.Chance(gap_nm=10, cap_nm=30, placements=20, region_nm=120, border=True, draws=50)


def tissue(folder, seed=0):
    """Boxes that do not touch, as instances; a partner class of dots; two cells; a distance to a plane."""
    rng = np.random.default_rng(seed)
    own = np.zeros(SHAPE, np.uint32)
    for label in range(1, 9):
        z, y, x = (int(rng.integers(1, n - 7)) for n in SHAPE)
        part = own[z - 1 : z + 4, y - 1 : y + 6, x - 1 : x + 5]
        if not part.any():
            part[1:-1, 1:-1, 1:-1] = label * 7
    classes = ((rng.random(SHAPE) < 0.02) & (own == 0)).astype(np.uint8)
    classes[(rng.random(SHAPE) < 0.01) & (own == 0)] = 3
    cells = np.ones(SHAPE, np.uint32)
    cells[:, :, 22:] = 2
    far = np.broadcast_to(np.arange(SHAPE[2]) * 8.0, SHAPE).astype(np.float32)
    at = {"voxel_nm": VOXEL_NM}
    return {
        "instances": write(folder, own, "own", kind="label", **at),
        "other": write(folder, classes, **at),
        "parents": write(folder, cells, "cells", kind="label", **at),
        "keep": write(folder, far, "far", **at),
    }


def placed(given, work, block=None, **options):
    options = {"to": ["er", "lipid"], "chance": FEW, "name": "p"} | options
    return cf.placement(**given, work=work, block=block, **options)


def read(work, name):
    return cf.read_table(f"{work}/tables/{name}.parquet").to_pydict()


@pytest.mark.parametrize(("free", "apart"), [(False, False), (True, False), (False, True)])
def test_tables_are_the_same_bytes_for_any_blocks_and_windows(free, apart, tmp_path):
    given = tissue(tmp_path)
    runs = {
        "whole": (None, 1 << 25),
        "cut": ((9, 17, 44), 1 << 25),
        # Windows hold one object or two.
        "windows": ((24, 40, 44), 35_000),
    }
    for work, (block, crop) in runs.items():
        options = {"free": free, "apart": apart, "crop_voxels": crop}
        chance = cf.Chance(**vars(FEW) | options)
        done(placed(given, tmp_path / work, block, chance=chance))
    for name in ("p", "p-objects", "p-curve"):
        one, two, three = (read(tmp_path / work, name) for work in runs)
        assert repr(one) == repr(two) == repr(three)


def test_what_is_observed_is_what_contacts_say(tmp_path):
    given = tissue(tmp_path, 3)
    done(placed(given, tmp_path / "p"))
    found, curve = read(tmp_path / "p", "p-objects"), read(tmp_path / "p", "p-curve")
    for partner in ("er", "lipid"):
        at = {"to": partner, "gap_nm": 10, "name": "c", "work": tmp_path / partner, "curve_nm": 30}
        done(cf.contacts(given["instances"], given["other"], **at))
        objects = read(tmp_path / partner, "c-objects")
        wanted = {
            label: share
            for side, label, share in zip(
                *(objects[k] for k in ("side", "label", "contact_fraction")), strict=True
            )
            if side == "a"
        }
        rows = [i for i, name in enumerate(found["partner"]) if name == partner]
        used = [i for i in rows if found["placed"][i] == 20]
        assert len(used) > 4
        for i in used:
            assert found["observed_fraction"][i] == pytest.approx(wanted[found["label"][i]])
            nearest = objects["nearest_nm"][objects["label"].index(found["label"][i])]
            assert found["observed_nearest_nm"][i] == pytest.approx(nearest) or nearest > 10
        each = read(tmp_path / partner, "c-object-curve")
        labels = {found["label"][i] for i in used}
        for gap in (0, 17, 30):
            shares = [
                f
                for s, n, g, f in zip(
                    *(each[k] for k in ("side", "label", "gap_nm", "contact_fraction")), strict=True
                )
                if (s, g) == ("a", gap) and n in labels
            ]
            row = next(
                i
                for i, key in enumerate(zip(curve["partner"], curve["gap_nm"], strict=True))
                if key == (partner, gap)
            )
            assert curve["observed_fraction"][row] == pytest.approx(np.mean(shares))


def test_a_single_voxel_is_laid_at_all_places_of_its_cube(tmp_path):
    """One object of a voxel in a plane, beside a class; by hand."""
    shape = (1, 25, 41)
    own, classes = np.zeros(shape, np.uint32), np.zeros(shape, np.uint8)
    own[0, 12, 20], classes[0, :, 30:] = 5, 1
    at = {"voxel_nm": (8.0, 8.0, 8.0)}
    chance = cf.Chance(gap_nm=16, cap_nm=300, placements=4000, region_nm=128, draws=2)
    given = {
        "instances": write(tmp_path, own, "own", kind="label", **at),
        "other": write(tmp_path, classes, **at),
    }
    done(placed(given, tmp_path / "w", to="er", chance=chance))
    found = read(tmp_path / "w", "p-objects")
    assert found["observed_nearest_nm"] == [72.0]  # nine voxels between 20 and 30
    # Cubes of 16 voxels: x from 16 on, up to 29, where the class begins; 13 to 0 voxels before it.
    assert found["expected_nearest_nm"][0] == pytest.approx(8 * 6.5, abs=2.5)
    assert (found["low_nearest_nm"][0], found["high_nearest_nm"][0]) == (0, 104)
    assert found["expected_fraction"][0] == pytest.approx(3 / 14, abs=0.03)
    assert found["placed"] == [4000]


def test_objects_stay_in_their_cell_and_in_their_shell(tmp_path):
    """A partner in the other cell, or in another shell, is never reached by chance."""
    shape = (3, 30, 60)
    own, classes = np.zeros(shape, np.uint32), np.zeros(shape, np.uint8)
    own[1, 14:16, 24:26] = 1
    classes[:, :, 40:] = 1
    cells = np.ones(shape, np.uint32)
    cells[:, :, 32:] = 9
    far = np.broadcast_to(np.arange(60) * 8.0, shape).astype(np.float32)
    at = {"voxel_nm": (8.0, 8.0, 8.0)}
    volumes = write(tmp_path, own, "own", kind="label", **at), write(tmp_path, classes, **at)
    chance = cf.Chance(gap_nm=20, cap_nm=400, placements=50, region_nm=300, keep_nm=40, draws=2)
    least = {}
    for name, more in (
        ("free", {}),
        ("cell", {"parents": write(tmp_path, cells, "cells", kind="label", **at)}),
        ("shell", {"keep": write(tmp_path, far, "far", **at)}),
    ):
        plan = cf.placement(*volumes, to="er", chance=chance, name="p", work=tmp_path / name, **more)
        done(plan)
        least[name] = read(tmp_path / name, "p-objects")["low_nearest_nm"][0]
    assert least["free"] < 64 - 8
    assert least["cell"] >= 64  # x of its last voxel is 31 at most, eight between that and 40
    assert least["shell"] >= 96  # the middle stays in x of 20 to 24: to 25 with its last voxel


def test_objects_outside_of_all_parents_stay_outside(tmp_path):
    """A partner within the only cell is out of reach of an object beside it, which is laid nevertheless."""
    shape = (3, 30, 60)
    own, classes = np.zeros(shape, np.uint32), np.zeros(shape, np.uint8)
    own[1, 14:16, 24:26] = 1
    classes[:, :, 40:] = 1
    cells = np.zeros(shape, np.uint32)
    cells[:, :, 32:] = 9
    at = {"voxel_nm": (8.0, 8.0, 8.0)}
    volumes = write(tmp_path, own, "own", kind="label", **at), write(tmp_path, classes, **at)
    chance = cf.Chance(gap_nm=20, cap_nm=400, placements=50, region_nm=300, draws=2)
    parents = write(tmp_path, cells, "cells", kind="label", **at)
    found = table(
        cf.placement(*volumes, to="er", chance=chance, parents=parents, name="p", work=tmp_path / "w")
    )
    assert (found["objects"], found["no_room"]) == ([1, 1], [0, 0])
    laid = read(tmp_path / "w", "p-objects")
    assert (laid["cell"], laid["placed"]) == ([0], [50])
    assert laid["low_nearest_nm"][0] >= 64


def test_cells_of_large_ids_are_cells_of_their_own(tmp_path):
    """Beyond 2^53 not every whole number is a float64: an object would be laid in the cell beside its own."""
    given, found = tissue(tmp_path), []
    for name, first in (("small", 0), ("large", 1 << 60), ("largest", (1 << 64) - 3)):
        cells = given["parents"].read().astype(np.uint64) + np.uint64(first)
        parents = write(tmp_path, cells, name, kind="label", voxel_nm=VOXEL_NM)
        done(placed(given | {"parents": parents}, tmp_path / name))
        objects = read(tmp_path / name, "p-objects")
        assert {cell - first for cell in objects.pop("cell")} == {1, 2}
        found.append((repr(objects), repr(read(tmp_path / name, "p-curve"))))
    assert found[0] == found[1] == found[2]


def test_intervals_of_a_partner_do_not_depend_on_other_partners(tmp_path):
    given = tissue(tmp_path)
    both = table(placed(given, tmp_path / "both"))
    alone = table(placed(given, tmp_path / "alone", to=["lipid"], avoid=["er"]))
    assert both["partner"][2:] == alone["partner"] == ["lipid"] * 2
    for name in set(both) - {"q_value"}:
        assert repr(both[name][2:]) == repr(alone[name]), name


def few(shares, cells):
    """Records of objects, one per block, that have shares of 1 partner at all gaps, and lie in cells."""
    chance = cf.Chance(gap_nm=1, cap_nm=2, placements=3)
    for label, (share, cell) in enumerate(zip(shares, cells, strict=True), 1):
        own = np.full((1, 3), round(share * SHARE), np.int64)
        record = {f"object/{n}": np.array([label]) for n in ("label", "voxels", "placed", "surface")}
        record |= {"object/cell": np.array([cell]), "object/touches_border": np.array([False])}
        record |= {"object/too_large": np.array([False])}
        names = ("observed", "expected", "low", "high", "extreme_more", "extreme_less")
        record |= {f"object/{p}{n}": np.full((1, 1), share) for p in ("", "near_") for n in names}
        yield (
            label,
            record
            | {
                "sum/share": np.broadcast_to(own, (4, 1, 3)),
                "sum/near": np.zeros((4, 1), np.int64),
                "sum/square": np.full((1, 3), round(share**2 * SHARE), np.int64),
                "cell/label": np.array([cell]),
                "cell/objects": np.array([1]),
                "cell/share": own[None],
            },
        )
    assert len(limits_of(chance, VOXEL_NM)[0]) == 3


@pytest.mark.parametrize(
    ("cells", "half"),
    [
        # Three cells of two objects: means of 0.2, 0.3, 0.4, sd 0.1, t with 2 degrees of freedom.
        ([1, 1, 2, 2, 3, 3], stats.t.ppf(0.975, 2) * 0.1 / 3**0.5),
        ([1, 1, 1, 2, 2, 2], np.nan),
        ([0] * 6, stats.t.ppf(0.975, 5) * np.std([0.2, 0.2, 0.3, 0.3, 0.4, 0.4], ddof=1) / 6**0.5),
    ],
)
def test_the_band_of_a_curve_is_over_cells(cells, half):
    chance = cf.Chance(gap_nm=1, cap_nm=2, placements=3)
    records = list(few([0.2, 0.2, 0.3, 0.3, 0.4, 0.4], cells))
    found = curves(records, partners=["er"], chance=chance, voxel_nm=VOXEL_NM)
    ends = found["observed_low_fraction"], found["observed_high_fraction"]
    for end, wanted in zip(ends, (max(0.3 - half, 0) if half == half else half, 0.3 + half), strict=True):
        assert end == pytest.approx([wanted] * 3, abs=1e-6, nan_ok=True)


def test_bands_of_shares_end_at_0_and_1():
    chance = cf.Chance(gap_nm=1, cap_nm=2, placements=3)
    found = curves(list(few([0, 1, 1], [0] * 3)), partners=["er"], chance=chance, voxel_nm=VOXEL_NM)
    assert found["observed_low_fraction"].tolist() == [0] * 3
    assert found["observed_high_fraction"].tolist() == [1] * 3


def test_sums_that_would_wrap_are_refused(monkeypatch):
    assert tables.MOST >= 2_000_000_000
    assert (tables.MOST * SHARE) < 1 << 63
    monkeypatch.setattr(tables, "MOST", 2)
    chance = cf.Chance(gap_nm=1, cap_nm=2, placements=3)
    with pytest.raises(InputError, match="3 objects were placed; the shares of at most 2 can be added"):
        curves(list(few([0, 1, 1], [0] * 3)), partners=["er"], chance=chance, voxel_nm=VOXEL_NM)


def test_memory_counts_the_cap_around_a_window(tmp_path):
    given = tissue(tmp_path)
    small = {"crop_voxels": 100, "region_nm": 120}
    need = [
        placed(given, tmp_path / "w", chance=cf.Chance(**vars(FEW) | small | {"cap_nm": cap})).stages[-4]
        for cap in (10, 150)
    ]
    assert need[0].resident < need[1].resident


def test_whole_numbers_without_a_step_are_no_distances(tmp_path):
    given = tissue(tmp_path)
    given["keep"] = write(tmp_path, np.ones(SHAPE, np.uint16), "whole", voxel_nm=VOXEL_NM)
    with pytest.raises(ConfigError, match="no step in nm; 'keep' takes distances"):
        placed(given, tmp_path / "w")


def test_symmetries_keep_the_grid():
    assert [len(symmetries(v)) for v in ((8, 8, 8), (40, 8, 8), (40, 8, 7))] == [24, 8, 4]
    for turn in symmetries((40.0, 8.0, 8.0)):
        assert abs(turn[0, 0]) == 1


def test_a_planted_attraction_is_found_and_p_is_never_0(tmp_path):
    """Every object touches the class that lies sparsely elsewhere."""
    rng = np.random.default_rng(1)
    own, classes = np.zeros((30, 60, 60), np.uint32), np.zeros((30, 60, 60), np.uint8)
    label = 0
    for z in range(4, 26, 10):
        for y in range(4, 54, 10):
            for x in range(4, 54, 10):
                label += 1
                a, b, c = np.array([z, y, x]) + rng.integers(-2, 3, 3)
                own[a : a + 3, b : b + 3, c : c + 3] = label
                classes[a : a + 3, b + 3, c : c + 3] = 1
    at = {"voxel_nm": (8.0, 8.0, 8.0)}
    given = {
        "instances": write(tmp_path, own, "own", kind="label", **at),
        "other": write(tmp_path, classes, **at),
    }
    chance = cf.Chance(gap_nm=0, cap_nm=20, placements=50, region_nm=100, draws=50)
    found = table(placed(given, tmp_path / "w", to="er", chance=chance))
    assert found["statistic"] == ["share of the surface in contact", "distance to the nearest"]
    assert found["p_value"] == [pytest.approx(2 / 51)] * 2
    assert found["q_value"] == found["p_value"]
    assert found["observed"][0] > found["high"][0]
    assert found["difference_low"][0] > 0
    assert found["observed"][1] == 0
    assert found["observed"][1] < found["low"][1]


def test_few_objects_have_no_p_and_those_without_room_are_counted(tmp_path):
    own = np.full((4, 6, 6), 1, np.uint32)
    own[:, :, 3:] = 2  # they fill the volume
    given = {"other": write(tmp_path, np.zeros((6, 8, 8), np.uint8))}
    inner = given | {"instances": write(tmp_path, np.pad(own, 1), "inner", kind="label")}
    once = cf.Chance(**vars(FEW) | {"tries": 1})
    found = table(placed(inner, tmp_path / "w", to="er", chance=once))
    assert found["no_test"] == ["fewer than 6 objects to test"] * 2
    assert (found["objects"], found["no_room"]) == ([0, 0], [2, 2])
    whole = cf.Chance(**vars(FEW) | {"border": False})
    given = {
        "instances": write(tmp_path, own, "own", kind="label"),
        "other": write(tmp_path / "few", np.zeros(own.shape, np.uint8)),
    }
    found = table(placed(given, tmp_path / "b", to="er", chance=whole))
    assert (found["border"], found["no_room"]) == ([2, 2], [0, 0])


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    given = tissue(tmp_path)
    resumed_equals_whole(lambda work: placed(given, work, (24, 40, 22)), tmp_path, "p/placements", 1)


def test_planning_reads_no_voxels(tmp_path, monkeypatch):
    given = tissue(tmp_path)
    monkeypatch.setattr(type(given["other"]), "read", None)
    assert "p/placements" in str(placed(given, tmp_path / "w"))


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"to": "golgi"}, InputError, "no class 'golgi'"),
        ({"to": 0}, InputError, "no class 0"),
        ({"to": ["er", 1]}, ConfigError, "each once"),
        ({"to": None}, ConfigError, "say by 'to' which are meant"),
    ],
)
def test_partners_that_cannot_be_are_refused(options, error, says, tmp_path, listing):
    given = tissue(tmp_path)
    before = listing()
    with pytest.raises(error, match=says):
        placed(given, tmp_path / "w", **options)
    assert listing() == before


def test_objects_near_themselves_are_refused(tmp_path):
    given = tissue(tmp_path)
    with pytest.raises(ConfigError, match="lays 'own' at random near itself"):
        placed(given | {"other": given["instances"]}, tmp_path / "w", to=None)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"gap_nm": 101}, "gap_nm must be 0 or more and at most cap_nm = 100, got 101"),
        ({"region_nm": 0}, "region_nm must be positive and finite, got 0"),
        ({"placements": 0}, "placements must be 1 or more, got 0"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
    ],
)
def test_chances_that_cannot_be_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        cf.Chance(**options)


def test_objects_that_need_a_larger_window_are_named(tmp_path):
    given = tissue(tmp_path)
    done(placed(given, tmp_path / "w", chance=cf.Chance(**vars(FEW) | {"crop_voxels": 100})))
    found = read(Path(tmp_path) / "w", "p-objects")
    assert all(found["too_large"])
    assert read(tmp_path / "w", "p")["objects"] == [0] * 4
