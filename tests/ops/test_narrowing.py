"""Tables of narrowings hold the same bytes for every grid; contact is counted on the object's surface."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from solids import CUBES, dumbbell, scene
from strategies import VOXEL_NM, done, resumed_equals_whole, write

import chunkflow_liver as cf
from chunkflow_liver.engine.execute import peak_mib, reset_peak
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.kernels.centreline.sections import pitch_nm
from chunkflow_liver.kernels.contacts.areas import area_step_nm2, surface_areas, walled
from chunkflow_liver.ops.narrowing import tables as parts
from chunkflow_liver.store.table import Table

FEW = {"permutations": 99, "draws": 50}
PARTS = ("", "-objects", "-spacing", "-windows", "-cells", "-tests")


def plan(folder, work, block=None, near=None, **options):
    labels, er, cells, _ = scene()
    opened = [
        write(folder, array, name, kind="label", voxel_nm=CUBES, classes=classes)
        if not (Path(folder) / f"{name}.ome.zarr").exists()
        else cf.open_volume(f"{folder}/{name}.ome.zarr", level=0)
        for name, array, classes in (("mitos", labels, ()), ("er", er, (("er", 1),)), ("cells", cells, ()))
    ]
    return cf.narrowing(
        opened[0],
        er=opened[1],
        parents=opened[2],
        near=near or cf.Near(window_nm=120, **FEW),
        name="necks",
        work=work,
        block=block,
        **options,
    )


def tables(folder, parts=PARTS):
    return {
        p: cf.read_table(Table(str(Path(folder) / f"tables/necks{p}.parquet"))).to_pydict() for p in parts
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("narrowing")
    done(plan(folder, folder / "work"))
    return folder


def test_necks_contact_and_cells_are_those_of_the_scene(whole):
    found = tables(whole / "work")
    narrow, objects = found[""], found["-objects"]
    places = scene()[3]
    assert narrow["label"] == [3, 7]
    assert narrow["cell"] == [1, 5]
    got = np.stack([narrow[f"{a}_nm"] for a in "zyx"], 1)
    assert np.abs(got - places).max() <= 32
    assert narrow["width_nm"] == pytest.approx([110, 130], abs=16)
    assert objects["label"] == [3, 7, 12]
    assert objects["narrowings"] == [1, 1, 0]
    assert objects["cell"] == [1, 5, 5]
    assert objects["voxels"] == [int((scene()[0] == n).sum()) for n in (3, 7, 12)]
    # The ER rings the first neck only: dense there, thin farther away, none at the others.
    assert narrow["near_density"][0] > 0.8
    assert narrow["far_density"][0] < 0.3
    assert narrow["enrichment"][0] == pytest.approx(narrow["near_density"][0] / narrow["far_density"][0])
    assert narrow["near_contact_um2"][1] == 0
    assert np.isnan(narrow["enrichment"][1])
    windows = found["-windows"]
    assert [n for n, is_ in zip(windows["label"], windows["narrow"], strict=True) if is_] == [3, 7]
    assert {n: windows["label"].count(n) - 1 for n in (3, 7)} == dict(
        zip(narrow["label"], narrow["controls"], strict=True)
    )
    cells = found["-cells"]
    assert (cells["cell"], cells["instances"], cells["narrowings"]) == ([1, 5], [1, 2], [1, 1])
    assert (cells["objects"], cells["missing"]) == ([1, 0], [0, 1])
    tests = found["-tests"]
    assert (tests["objects"][0], tests["missing"][0], tests["unpaired"][0]) == (1, 1, 0)
    # One object says nothing about objects: its densities stand there, but no p.
    assert tests["mean_narrow"][0] == narrow["near_density"][0]
    assert np.isnan(tests["p_value"]).all()
    assert np.isnan(tests["q_value"]).all()
    # Cell 5 has objects with and without a neck and no contact; cell 1 has no object without one.
    assert tests["no_test"][:2] == ["fewer than 6 objects to test", "no contact in any cell that has both"]
    assert tests["no_test"][2] == "no contact on such objects"
    assert narrow["kind"] == ["constriction"] * 2
    assert narrow["tested"] == [True, True]
    assert cells["no_test"] == ["fewer than 6 objects to test", "no contact on any object that has both"]


def test_the_same_settings_given_or_left_out_write_the_same_bytes(whole, tmp_path):
    mitos = cf.open_volume(f"{whole}/mitos.ome.zarr", level=0)
    er = cf.open_volume(f"{whole}/er.ome.zarr", level=0)
    given = {"near": cf.Near(window_nm=150, **FEW), "neck": cf.Neck(min_prominence_nm=2 * pitch_nm(CUBES))}
    written = []
    for name, options in (("given", given), ("left-out", {"near": cf.Near(**FEW)})):
        work = tmp_path / name
        done(cf.narrowing(mitos, er=er, name="necks", work=work, **options))
        written.append({p.name: p.read_bytes() for p in (work / "tables").iterdir()})
    assert written[0] == written[1]
    about = json.loads(
        cf.read_table(tmp_path / "left-out/tables/necks.parquet").schema.metadata[b"chunkflow_liver"]
    )
    assert (about["window_nm"], about["min_prominence_nm"]) == (150, 2 * pitch_nm(CUBES))


def test_objects_without_a_cell_are_in_no_test(whole, tmp_path):
    """The first neck, the only one with contact, lies in no cell; where nothing does, all are one."""
    cells = scene()[2]
    for name, parents, tested in (("some", np.where(cells == 1, 0, cells), 0), ("none", 0 * cells, 1)):
        made = cf.narrowing(
            cf.open_volume(f"{whole}/mitos.ome.zarr", level=0),
            er=cf.open_volume(f"{whole}/er.ome.zarr", level=0),
            parents=write(tmp_path, parents, name, kind="label", voxel_nm=CUBES),
            near=cf.Near(window_nm=120, **FEW),
            name="necks",
            work=tmp_path / f"work-{name}",
        )
        done(made)
        found = tables(tmp_path / f"work-{name}")
        assert found["-cells"]["cell"][0] == 0
        assert found["-cells"]["instances"][0] == (1 if name == "some" else 3)
        assert found["-cells"]["objects"][0] == tested
        assert np.isnan(found["-cells"]["mean_narrow"][0]) == (tested == 0)
        assert found["-tests"]["objects"][0] == tested


def test_the_cell_of_an_object_is_the_parent_that_measure_finds(tmp_path):
    """Three voxels of a rod lie in no cell and two in a cell: it is in none."""
    labels, cells = np.zeros((2, 3, 5, 9), np.uint8)
    labels[1, 1, 2:7], labels[1, 3, 2:7] = 1, 2
    cells[1, :, 5:], cells[1, 3, 4] = 7, 7
    rods, parents = (write(tmp_path, a, n, kind="label") for a, n in ((labels, "rods"), (cells, "cells")))
    at = {"parents": parents, "work": tmp_path / "work"}
    done(cf.measure(rods, name="table", **at) + cf.narrowing(rods, name="necks", **at))
    assert cf.read_table(tmp_path / "work/tables/table.parquet")["parent"].to_pylist() == [0, 7]
    assert tables(tmp_path / "work", ["-objects"])["-objects"]["cell"] == [0, 7]


def test_cells_are_tested_with_random_numbers_of_their_own():
    """Ten cells with the same windows: as many draws of one p-value, which do not depend on the others."""
    rng = np.random.default_rng(0)
    density = np.tile(rng.random((6, 4)), (10, 1)).ravel()
    label = np.repeat(np.arange(1, 61), 4).astype(np.uint64)

    def p_values(kept):
        cell = (label - 1) // 6 + 1
        windows = {
            "label": label,
            "cell": cell,
            "branch": 0 * label,
            "position_nm": density,
            "narrow": np.tile([True, False, False, False], 60),
            "tested": np.ones(240, bool),
            "area_um2": np.ones(240),
            "contact_um2": density[:, None],
        }
        kinds = parts.OBJECT | parts.CONTACT
        objects = {
            name: np.ones((60, 1) if name.endswith(parts.WITH) else 60, k) for name, k in kinds.items()
        }
        objects |= {"label": label[::4], "cell": cell[::4], "too_large": np.zeros(60, bool)}
        chosen = np.isin(cell, kept)
        record = {f"window/{n}": c[chosen] for n, c in windows.items()}
        record |= {f"object/{n}": c[chosen[::4]] for n, c in objects.items()}
        part = {part: function for part, function, _ in parts.PARTS}["-cells"]
        return part(iter([(0, record)]), near=cf.Near(permutations=999, draws=10), partners=["er"])["p_value"]

    found = p_values(range(1, 11))
    assert len(set(found.tolist())) > 3
    assert np.ptp(found) < 0.1
    np.testing.assert_array_equal(p_values([3, 7]), found[[2, 6]])


def test_areas_are_those_of_contacts(whole):
    """The whole surface, and what of it lies within 30 nm of the ER, from all pairs of voxels."""
    from scipy.spatial import cKDTree

    labels, er, _, _ = scene()
    objects = tables(whole / "work")["-objects"]
    near = np.argwhere(er) * 16.0
    tree = cKDTree(near)
    step = area_step_nm2((16.0, 16.0, 16.0)) / 1e6
    for row, label in enumerate(objects["label"]):
        places, area = surface_areas(
            walled(labels == label)[0], ((0, 0, 0), labels.shape), (16.0, 16.0, 16.0)
        )
        assert objects["area_um2"][row] == pytest.approx(area.sum() * step)
        touched = 0
        for at, here in zip(places.T, area, strict=True):
            close = near[tree.query_ball_point(at * 16.0, 100.0)]
            gap = np.linalg.norm(np.maximum(np.abs(close - at * 16.0) - 16.0, 0), axis=1)
            touched += int(here) * bool(len(gap) and gap.min() <= 30.0)
        assert objects["contact_um2"][row] == pytest.approx(touched * step)


@pytest.mark.parametrize("block", [(16, 64, 48), (64, 16, 32)], ids=str)
def test_tables_do_not_depend_on_the_grid(block, whole, tmp_path):
    done(plan(whole, tmp_path / "work", block))
    for part in PARTS:
        name = f"tables/necks{part}.parquet"
        assert (tmp_path / "work" / name).read_bytes() == (whole / "work" / name).read_bytes()


def test_an_object_over_many_blocks_is_one_object(tmp_path):
    mask, place = dumbbell(100, 4, VOXEL_NM)
    volume = write(tmp_path, mask.astype(np.uint8), "mitos", kind="label")
    made = cf.narrowing(volume, name="necks", work=tmp_path / "work", block=(32, 32, 8))
    assert len(made.maps[1].grid) > 30
    done(made)
    found = tables(tmp_path / "work", ("", "-objects"))
    assert (found["-objects"]["label"], found["-objects"]["touches_border"]) == ([1], [False])
    got = np.array([found[""][f"{a}_nm"] for a in "zyx"]).T
    assert np.abs((got - place) / VOXEL_NM).max() <= 2
    assert "near_density" not in found[""]
    assert not (tmp_path / "work/tables/necks-tests.parquet").exists()


def test_the_straight_axis_is_an_option(whole, tmp_path):
    done(plan(whole, tmp_path / "work", axis="major", neck=cf.Neck(slices=15)))
    found = tables(tmp_path / "work")
    assert found[""]["label"] == [3, 7]
    assert np.isnan(found[""]["prominence_nm"]).all()
    assert found["-objects"]["branches"] == [1, 1, 1]
    assert (np.abs(np.array(found[""]["z_nm"]) - [p[0] for p in scene()[3]]) < 60).all()


def test_no_objects_are_no_rows(tmp_path):
    empty = write(tmp_path, np.zeros((8, 8, 8), np.uint16), "mitos", kind="label")
    done(cf.narrowing(empty, er=empty, near=cf.Near(**FEW), name="necks", work=tmp_path / "work"))
    found = tables(tmp_path / "work")
    assert [len(next(iter(found[p].values()))) for p in PARTS] == [0, 0, 1, 0, 0, 3]
    assert np.isnan(found["-tests"]["p_value"]).all()
    assert found["-tests"]["no_test"] == [nothing for nothing, _ in parts.NO_TEST]


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    resumed_equals_whole(lambda work: plan(tmp_path, work, (128, 128, 64)), tmp_path, "necks/narrowings", 1)


def test_an_object_beyond_the_limit_is_left_out_and_marked(tmp_path):
    """A fourth object with a box of the whole volume, of which 3,000 voxels are enough, beside two cells."""
    labels, er, cells, _ = scene()
    labels[0, :, 0] = labels[-1, 0, :] = labels[0, 0, :] = labels[:, 0, 0] = labels[:, 0, -1] = 20
    mitos, er, cells = (
        write(tmp_path, a, n, kind="label", voxel_nm=CUBES)
        for n, a in (("mitos", labels), ("er", er), ("cells", cells))
    )
    found = {}
    for name, shown, neck in (
        ("some", mitos, cf.Neck(crop_voxels=labels.size - 1)),
        (
            "without",
            write(tmp_path, np.where(labels == 20, 0, labels), "rest", kind="label", voxel_nm=CUBES),
            None,
        ),
    ):
        work = tmp_path / name
        near = cf.Near(window_nm=120, **FEW)
        done(cf.narrowing(shown, er=er, parents=cells, near=near, neck=neck, name="necks", work=work))
        found[name] = tables(work)
    objects = found["some"]["-objects"]
    assert objects["label"] == [3, 7, 12, 20]
    assert objects["too_large"] == [False, False, False, True]
    assert (objects["voxels"][3], objects["touches_border"][3]) == (int((labels == 20).sum()), True)
    assert [objects[c][3] for c in ("cell", "narrowings", "branches")] == [0, 0, 0]
    assert all(np.isnan(objects[c][3]) for c in ("length_nm", "area_um2", "density", "enrichment"))
    # All others are as if it were not there.
    for part in PARTS:
        for column, values in found["without"][part].items():
            np.testing.assert_equal(found["some"][part][column][: len(values)], values, f"{part} {column}")
            assert len(found["some"][part][column]) - len(values) == (part == "-objects")


def test_a_plan_fits_its_estimate(tmp_path):
    """One object of 10 Mvoxel in one block: the peak above an idle process stays below the estimate."""
    mask = np.zeros((200, 220, 240), np.uint8)
    mask[20:-20, 20:-20, 10:-10] = 1
    volume = write(tmp_path, mask, "mitos", kind="label", voxel_nm=CUBES)
    made = cf.narrowing(volume, er=volume, near=cf.Near(**FEW), name="necks", work=tmp_path / "work")
    reset_peak()
    before = peak_mib()
    done(made)
    assert peak_mib() - before < made.maps[1].resident / 2**20


def test_planning_reads_no_voxels(whole, tmp_path, monkeypatch):
    monkeypatch.setattr("chunkflow_liver.store.volume.Volume.read", lambda *_: pytest.fail("read"))
    assert len(plan(whole, tmp_path / "work").stages) == 10


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"axis": "minor"}, ConfigError, r"no axis 'minor'; there are \['centreline', 'major'\]"),
        ({"near": cf.Near(to="golgi")}, InputError, "no class 'golgi'; it has"),
        ({"near": cf.Near(to=("er", 1))}, ConfigError, "each once and not the background; got .'er', 1."),
    ],
)
def test_what_does_not_exist_is_refused(options, error, says, whole, tmp_path):
    with pytest.raises((error, ConfigError), match=says):
        plan(whole, tmp_path / "work", **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"to": ("er", "er")}, "'to' names classes, each once and none 'others'"),
        ({"to": ("er", "others")}, "'to' names classes, each once and none 'others'"),
        ({"to": ()}, "'to' names classes, each once"),
        ({"gap_nm": -1}, "gap_nm must be 0 or more, got -1"),
        ({"window_nm": 0}, "window_nm must be positive and finite, got 0"),
        ({"window_nm": 10, "window_fraction": 0.1}, "give either window_nm or window_fraction, not both"),
        ({"window_fraction": 0.6}, "window_fraction must be above 0 and at most 0.5, got 0.6"),
        (
            {"permutations": 0},
            "permutations and draws must be 1 or more and the seed 0 or more, got 0, 2000 and 0",
        ),
    ],
)
def test_bad_windows_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        cf.Near(**options)


def test_other_voxels_are_refused(whole, tmp_path):
    smaller = write(tmp_path, np.zeros((4, 5, 6), np.uint8), "er", kind="label")
    mitos = cf.open_volume(f"{whole}/mitos.ome.zarr", level=0)
    with pytest.raises(InputError, match=r"\(4, 5, 6\): narrowing needs the other class on the same voxels"):
        cf.narrowing(mitos, er=smaller, name="necks", work=tmp_path / "work")
    floats = smaller.like(f"{tmp_path}/floats", dtype="float32", kind="image")
    with pytest.raises(InputError, match="holds float32 voxels; instances must be integers"):
        cf.narrowing(floats, name="necks", work=tmp_path / "work")


def test_narrowings_of_real_mitochondria_lie_inside_them(em_data, tmp_path):
    """UroCell: every instance has one row, and every narrowing is a place of its own object."""
    labels = tifffile.imread(em_data / "urocell_labels/mito_instance_fib1-1-0-3.tif")[:, :, :160]
    voxel_nm = (15.0, 16.0, 16.0)
    volume = write(tmp_path, labels.astype(np.uint16), "mitos", kind="label", voxel_nm=voxel_nm)
    done(cf.narrowing(volume, name="necks", work=tmp_path / "work", block=(128, 128, 160)))
    found = tables(tmp_path / "work", ("", "-objects"))
    counts = np.bincount(labels.ravel())
    assert found["-objects"]["voxels"] == counts[1:][counts[1:] > 0].tolist()
    narrow = found[""]
    assert len(narrow["label"]) > 2
    at = (np.array([narrow[f"{a}_nm"] for a in "zyx"]).T / voxel_nm).astype(int)
    assert labels[tuple(at.T)].tolist() == narrow["label"]
    assert all(w <= 0.8 * f for w, f in zip(narrow["width_nm"], narrow["flank_width_nm"], strict=True))
