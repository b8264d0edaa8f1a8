"""A run file becomes one plan whose parts fit together, and which gives what the operations give."""

from __future__ import annotations

import block_functions as functions
import numpy as np
import pytest
from run_files import planned
from strategies import VOXEL_NM, components, contents, done, write

import chunkflow_liver as cf
from chunkflow_liver.config import parse
from chunkflow_liver.errors import ConfigError, InputError


def test_features_settings_and_parents_reach_the_table(project, tmp_path):
    project["label"].append({"name": "er", "classes": ["er"]})
    project["measure"] = [
        {
            "name": "t",
            "instances": "mitos",
            "parents": "er",
            "features": ["surroundings"],
            "settings": {"radius_nm": 50.5},
        }
    ]
    done(planned(tmp_path, project))
    labels = tmp_path / "work/results.ome.zarr/labels"
    by_hand = cf.measure(
        cf.open_volume(labels / "mitos"),
        parents=cf.open_volume(labels / "er"),
        features=["surroundings"],
        settings={"radius_nm": 50.5},
        name="t",
        work=tmp_path / "hand",
    )
    found = cf.read_table(tmp_path / "work/tables/t.parquet").drop_columns(["class"])
    assert found.equals(cf.read_table(done(by_hand)).drop_columns(["class"]))
    project["measure"][0]["parents"] = "cells"
    with pytest.raises(ConfigError, match="'t' refers to instances 'cells'"):
        planned(tmp_path, project)


def test_narrowings_have_their_options(project, tmp_path):
    project["label"].append({"name": "er-parts", "classes": ["er"]})
    options = {"max_ratio": 0.9, "slices": 7, "gap_nm": 20, "permutations": 9, "draws": 5, "window_nm": 40}
    project["narrowing"] = [
        {
            "name": "necks",
            "instances": "mitos",
            "to": "er",
            "axis": "major",
            "parents": "er-parts",
            **options,
        },
        {"name": "plain", "instances": "mitos"},
    ]
    done(planned(tmp_path, project))
    labels = tmp_path / "work/results.ome.zarr/labels"
    done(
        cf.narrowing(
            cf.open_volume(labels / "mitos"),
            er=cf.open_volume(tmp_path / "classes.ome.zarr"),
            near=cf.Near(gap_nm=20, permutations=9, draws=5, window_nm=40),
            neck=cf.Neck(max_ratio=0.9, slices=7),
            parents=cf.open_volume(labels / "er-parts"),
            axis="major",
            name="necks",
            work=tmp_path / "hand",
        )
    )
    for part in ("", "-objects", "-windows", "-cells", "-tests"):
        found, by_hand = (
            cf.read_table(tmp_path / f"{w}/tables/necks{part}.parquet") for w in ("work", "hand")
        )
        assert found.equals(by_hand) or found.to_pandas().equals(by_hand.to_pandas())
    assert not (tmp_path / "work/tables/plain-tests.parquet").exists()
    project["measure"] = [{"name": "necks-objects", "instances": "mitos"}]
    with pytest.raises(ConfigError, match="two tables are called 'necks-objects'"):
        planned(tmp_path, project)
    project["narrowing"][1] |= {"window_nm": 10, "window_fraction": 0.1}
    with pytest.raises(ConfigError, match="give either 'window_nm' or 'window_fraction'"):
        planned(tmp_path, project)


def test_labels_of_blocks_are_stitched_and_measured_as_by_hand(project, array, tmp_path):
    found = np.where(array == 3, 7, 0).astype(np.uint16)
    found[:, :, 8:] *= 5
    write(tmp_path, found, "cells-by-block", kind="label")
    block = [*array.shape[:2], 8]
    project["stitch"] = [{"name": "cells", "labels": "cells-by-block.ome.zarr", "block": block, "iou": 0.2}]
    project["refine"] = [{"name": "cells-large", "instances": "cells", "min_volume_um3": 1e-6}]
    project["measure"] = [{"name": "cell-table", "instances": "cells"}]
    done(planned(tmp_path, project))
    labels = cf.open_volume(tmp_path / "cells-by-block.ome.zarr")
    hand = cf.stitch(labels, block=tuple(block), iou=0.2, name="cells", work=tmp_path / "hand")
    made = cf.open_volume(tmp_path / "work/results.ome.zarr/labels/cells")
    np.testing.assert_array_equal(made.read(), done(hand).read())
    assert (made.read() > 0).sum() == (array == 3).sum()
    assert (tmp_path / "work/tables/cells-seams.parquet").exists()
    project["split"] = [{"name": "cells", "classes": ["er"], "depth_nm": 8, "cap_nm": 40}]
    with pytest.raises(ConfigError, match="two label images are called 'cells'"):
        planned(tmp_path, project)


def test_a_function_of_a_run_file_runs_only_where_code_is_allowed(project, tmp_path):
    wish = {"name": "cells", "function": "block_functions:components", "halo_nm": 32, "block": [4, 8, 8]}
    project["stitch"] = [wish]
    says = "the Python code 'block_functions:components' would be run; .* 'allow_code: true'"
    with pytest.raises(ConfigError, match=says):
        planned(tmp_path, project)
    wish["allow_code"] = True
    plan = planned(tmp_path, project)
    raw = cf.open_volume(tmp_path / "raw.ome.zarr")
    options = {"halo_nm": 32, "block": (4, 8, 8), "name": "cells", "work": tmp_path / "hand"}
    hand = cf.stitch(raw, functions.components, **options)
    done(plan)
    made = cf.open_volume(tmp_path / "work/results.ome.zarr/labels/cells")
    np.testing.assert_array_equal(made.read(), done(hand).read())
    for wrong, says in (
        ({"function": "block_functions:none"}, "no function 'block_functions:none': .* PYTHONPATH"),
        ({"function": "os"}, "function"),
        ({"labels": "x.ome.zarr"}, "give either 'labels'"),
        ({"halo_nm": None}, "halo_nm must be above 0"),
    ):
        project["stitch"] = [wish | wrong]
        with pytest.raises(ConfigError, match=says):
            planned(tmp_path, project)


def test_instances_are_linked_and_refined_as_by_hand(project, array, tmp_path):
    slices = np.where(array == 3, 7, 0).astype(np.uint16)
    write(tmp_path, slices, "cells-2d", kind="label")
    project["link"] = [{"name": "cells", "slices": "cells-2d.ome.zarr", "gap": 2}]
    project["refine"] = [
        {"name": "mitos-full", "instances": "mitos", "fill_holes": True, "open_nm": 8},
        {"name": "mitos-large", "instances": "mitos-full", "min_volume_um3": 1e-6, "border": False},
        {"name": "cells-small", "instances": "cells", "max_volume_um3": 1e-3},
    ]
    project["measure"] = [{"name": "mito-table", "instances": "mitos-large"}]
    done(planned(tmp_path, project))
    labels = tmp_path / "work/results.ome.zarr/labels"
    at = {"work": tmp_path / "hand"}
    linked = cf.link(cf.open_volume(tmp_path / "cells-2d.ome.zarr"), gap=2, name="cells", **at)
    np.testing.assert_array_equal(cf.open_volume(labels / "cells").read(), done(linked).read())
    np.testing.assert_array_equal(cf.open_volume(labels / "cells-small").read(), linked.output.read())
    mitos = cf.open_volume(labels / "mitos")
    full = cf.refine(mitos, shapes=cf.Shapes(open_nm=8, fill_holes=True), name="full", **at)
    np.testing.assert_array_equal(cf.open_volume(labels / "mitos-full").read(), done(full).read())
    keep = cf.Keep(min_volume_um3=1e-6, border=False)
    large = done(cf.refine(full.output, keep=keep, name="large", **at))
    np.testing.assert_array_equal(cf.open_volume(labels / "mitos-large").read(), large.read())
    ids = cf.read_table(tmp_path / "work/tables/mitos-large-ids.parquet").to_pydict()
    assert sorted(i for i in ids["final"] if i) == list(range(1, int(large.read().max()) + 1))


def test_objects_are_split_as_by_hand(project, array, tmp_path):
    project["split"] = [{"name": "parts", "classes": ["mitochondrion"], "depth_nm": 4, "cap_nm": 20}]
    project["measure"] = [{"name": "t", "instances": "parts"}]
    plan = cf.plan_run(parse(project, tmp_path, "run.yaml"))
    done(plan)
    at = {"work": tmp_path / "hand", "block": (5, 7, 3)}
    classes = cf.open_volume(tmp_path / "classes.ome.zarr")
    hand = cf.split(classes, classes=[2], depth_nm=4, cap_nm=20, name="parts", **at)
    found = cf.open_volume(tmp_path / "work/results.ome.zarr/labels/parts").read()
    np.testing.assert_array_equal(found, done(hand).read())
    assert cf.read_table(tmp_path / "work/tables/t.parquet").num_rows == found.max()
    project["split"][0]["seeds_from"] = 1
    with pytest.raises(InputError, match="has no level 1 coarser than 0; there is none"):
        planned(tmp_path, project)


def test_distances_and_contacts_have_their_options(project, tmp_path):
    project["distance"] = [
        {"name": "to-mitos", "instances": "mitos", "cap_nm": 20, "signed": True, "nearest": True},
        {"name": "all", "to": "er", "cap_nm": None},
    ]
    project["contacts"] = [{"name": "er-mito", "of": "er", "other": "mitos", "gap_nm": 9, "sites": True}]
    profile = {"name": "profile", "instances": "mitos", "to": "er", "cap_nm": 20}
    project["profiles"] = [profile | {"shells_nm": [20, 40], "parents": "mitos"}]
    done(planned(tmp_path, project))
    made = [cf.read_table(tmp_path / f"work/tables/profile{end}.parquet") for end in ("", "-parents")]
    assert made[0].equals(made[1])
    labels = tmp_path / "work/results.ome.zarr/labels"
    mitos, at = cf.open_volume(labels / "mitos"), {"work": tmp_path / "hand"}
    options = cf.DistanceOptions(signed=True, nearest=True)
    near = done(cf.distance(mitos, cap_nm=20, options=options, name="d", **at))
    np.testing.assert_array_equal(cf.open_volume(tmp_path / "work/to-mitos.ome.zarr").read(), near.read())
    found = cf.open_volume(labels / "to-mitos-nearest").read()
    np.testing.assert_array_equal(found > 0, np.isfinite(near.read()))
    assert np.isfinite(cf.open_volume(tmp_path / "work/all.ome.zarr").read()).all()
    sites = cf.read_table(tmp_path / "work/tables/er-mito-sites.parquet").to_pydict()["site"]
    assert cf.open_volume(labels / "er-mito").read().max() == len(sites) > 0


def test_a_run_file_gives_what_the_operations_give(project, array, tmp_path):
    plan = planned(tmp_path, project)
    done(plan)
    tables = {p.stem: cf.read_table(p).to_pydict() for p in (tmp_path / "work/tables").glob("*.parquet")}
    touching = {f"{c}{end}" for c in ("mito-er", "mito-mito") for end in ("", "-objects", "-sites")}
    assert set(tables) == touching | {"mito-table", "check", "check-objects", "classes-check"}
    mitos = cf.open_volume(tmp_path / "work/results.ome.zarr/labels/mitos")
    np.testing.assert_array_equal(mitos.read(), components(array, 6, [2]))
    assert tables["check"]["f1"] == [1.0]
    # The image holds a number that no class has.
    assert tables["classes-check"]["class"] == ["er", "mitochondrion", "(unnamed)"]
    assert tables["classes-check"]["dice"] == [1.0, 1.0, 1.0]
    assert set(tables["mito-table"]["class"]) == {"mitochondrion"}
    assert set(tables["mito-table"]["intensity_mean"]) == {207.0}
    at = {"work": tmp_path / "alone", "block": tuple(project["block"])}
    alone = cf.contacts(mitos, mitos, gap_nm=10, name="mito-mito", **at)
    done(alone)
    assert cf.read_table(alone.output).to_pydict() == tables["mito-mito"]


def test_textures_of_a_run_file_are_those_of_the_operation(project, tmp_path):
    options = {"features": ["ngtdm", "glszm"], "settings": {"bin_width": 40}}
    only = {key: project[key] for key in ("input", "work", "block", "semantic", "label")}
    done(planned(tmp_path, only | {"measure": [{"name": "texture", "instances": "mitos", **options}]}))
    mitos, raw = (
        cf.open_volume(tmp_path / path) for path in ("work/results.ome.zarr/labels/mitos", "raw.ome.zarr")
    )
    alone = cf.measure(mitos, raw=raw, name="texture", work=tmp_path / "alone", **options)
    done(alone)
    found = cf.read_table(tmp_path / "work/tables/texture.parquet")
    assert found.drop(["class"]).equals(cf.read_table(alone.output).drop(["class"]))
    assert "ngtdm_Strength" in found.schema.names


def test_products_tell_what_a_person_looks_at(project, tmp_path):
    plan = planned(tmp_path, project)
    assert [(p.kind, p.name) for p in plan.products] == [
        ("raw", "raw"),
        ("semantic", "classes"),
        ("instances", "mitos"),
        ("distance", "er-distance"),
        ("exact", "er-distance-exact"),
        ("contact table", "mito-er"),
        ("contact objects", "mito-er-objects"),
        ("contact sites", "mito-er-sites"),
        ("contact table", "mito-mito"),
        ("contact objects", "mito-mito-objects"),
        ("contact sites", "mito-mito-sites"),
        ("instance table", "mito-table"),
        ("evaluation", "check"),
        ("object evaluation", "check-objects"),
        ("evaluation", "classes-check"),
    ]


def test_a_second_run_does_nothing_again(project, tmp_path):
    done(planned(tmp_path, project))
    before = contents(tmp_path / "work/tables") | contents(tmp_path / "work/results.ome.zarr")
    rows = (tmp_path / "work/journal.jsonl").read_bytes()
    done(planned(tmp_path, project))
    assert contents(tmp_path / "work/tables") | contents(tmp_path / "work/results.ome.zarr") == before
    assert (tmp_path / "work/journal.jsonl").read_bytes() == rows


def test_classes_of_the_run_file_stand_for_those_of_the_image(project, array, tmp_path):
    project["semantic"]["classes"] = {"mitochondrion": 3, "er": 2}
    done(planned(tmp_path, project))
    mitos = cf.open_volume(tmp_path / "work/results.ome.zarr/labels/mitos")
    np.testing.assert_array_equal(mitos.read(), components(array, 6, [3]))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_results_can_join_the_input(version, project, array, tmp_path):
    write(tmp_path, array.astype(np.uint16), "raw-2", ome_version=version)
    project |= {"into_source": True, "input": {"path": "raw-2.ome.zarr"}}
    done(planned(tmp_path, project))
    for name in ("mitos", "er-distance-exact"):
        assert cf.validate(tmp_path / "raw-2.ome.zarr/labels" / name, deep=True) == []
    np.testing.assert_array_equal(cf.open_volume(tmp_path / "raw-2.ome.zarr").read(), array)
    assert not (tmp_path / "work/results.ome.zarr").exists()


def test_without_an_input_no_intensities_are_measured(project, array, tmp_path):
    only = {key: project[key] for key in ("work", "semantic", "label", "measure")}
    plan = planned(tmp_path, only | {"work": "none"})
    assert {p.kind for p in plan.products} == {"semantic", "instances", "instance table"}
    done(plan)
    found = cf.read_table(tmp_path / "none/tables/mito-table.parquet").to_pydict()
    assert "intensity_mean" not in found
    assert set(found["class"]) == {"mitochondrion"}
    assert "No raw image is known" in cf.report(tmp_path / "none").read_text()
    wish = only | {"measure": [{"name": "t", "instances": "mitos", "features": ["glcm"]}]}
    with pytest.raises(ConfigError, match=r"measure intensities: give the image as 'raw' \('input' in a run"):
        planned(tmp_path, wish)


def test_planning_reads_no_voxels(project, tmp_path, monkeypatch, listing):
    monkeypatch.setattr(cf.Volume, "read", lambda *_: pytest.fail("planning read voxels"))
    before = listing()
    text = str(planned(tmp_path, project))
    assert all(f"{name}" in text for name in ("mitos/apply", "er-distance/distance", "check/table"))
    assert listing() == before


def test_voxel_sizes_that_differ_by_rounding_are_one(project, array, tmp_path):
    write(
        tmp_path,
        array,
        "rounded",
        kind="label",
        voxel_nm=[v * 1.001 for v in VOXEL_NM],
        classes=[("er", 1), ("mitochondrion", 2)],
    )
    project |= {"semantic": {"path": "rounded.ome.zarr"}, "evaluate": []}
    assert planned(tmp_path, project).output


def test_the_demonstration_can_be_planned(tmp_path):
    """Its run file fits the phantom that it makes and the network in the package, here on a small one."""
    demo = pytest.importorskip("chunkflow_liver.demo")
    if not demo.MODEL.is_dir():
        pytest.skip(f"the model is not at {demo.MODEL}")
    done(cf.phantom(shape=(20, 70, 60), voxel_nm=demo.VOXEL_NM, seed=1, work=tmp_path / "phantom"))
    plan = planned(tmp_path, demo.demo_run_file(tmp_path))
    assert {p.kind for p in plan.products} >= {"semantic", "instances", "distance", "evaluation"}
    assert max(s.task_bytes for s in plan.maps) < 4 << 30
