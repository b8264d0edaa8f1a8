"""Populations from tables: joined by label, planted structure found, resumed, applied, refused."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from strategies import broken, done

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError, RunIncompleteError
from chunkflow_liver.store.table import Table

NAMES = ("round", "long", "size", "noise")
QUICK = {"forms": cf.Forms(negated=("round",)), "search": cf.Search(draws=5), "columns": NAMES}
PARTS = ("", "-features", "-components", "-forms", "-summary", "-model", "-cells", "-tests")


def objects(n=240, seed=0):
    """Objects of six cells, the last three of which hold more of the long form; some without a cell."""
    rng = np.random.default_rng(seed)
    cell = rng.integers(0, 7, n)
    long = 4.0 * (rng.random(n) < np.where(cell > 3, 0.8, 0.2))
    noise = rng.normal(size=(n, 4))
    columns = dict(zip(NAMES, (np.stack([-long, long, long, 0 * long], 1) + noise).T, strict=True))
    label = np.arange(1, n + 1, dtype=np.uint64) * 3
    return {
        "label": label,
        "class": np.full(n, "mitochondrion"),
        **columns,
        "parent": cell,
        "long_form": long > 0,
    }


def written(folder, columns, name="mitos", order=None):
    table = Table(str(folder / f"{name}.parquet"))
    order = slice(None) if order is None else order
    table.write({k: np.asarray(v)[order] for k, v in columns.items()}, {"units": {"size": "micrometer"}})
    return table


def tables(work, name="forms", parts=PARTS):
    return {end: cf.read_table(work / f"tables/{name}{end}.parquet") for end in parts}


def same(one, two):
    return all(one[end].equals(two[end]) or one[end].to_pandas().equals(two[end].to_pandas()) for end in one)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("population")
    columns = objects()
    columns["size"] = columns["size"].copy()
    columns["size"][7], columns["noise"][11] = np.nan, 90.0
    done(cf.population(written(folder, columns), cell="parent", name="forms", work=folder / "work", **QUICK))
    return folder, columns


def test_planted_forms_and_cells_are_found(run):
    folder, columns = run
    found = tables(folder / "work")
    rows = found[""].to_pandas()
    assert rows["label"].tolist() == columns["label"].tolist()
    ends = rows["form"].isin(["elongated-like", "constricted-like"]) & (rows["left_out"] == "")
    right = (rows["form"] == "elongated-like")[ends] == columns["long_form"][ends]
    assert right.mean() > 0.99
    assert np.corrcoef(rows["PC1"][ends], columns["long_form"][ends])[0, 1] > 0.9
    tests = found["-tests"].to_pandas().set_index("column")
    assert tests.loc["PC1", "anova_q"] < 1e-6
    assert tests.loc["PC1", "icc_low"] > 0.05
    assert tests.loc["noise", "anova_q"] > 0.01
    cells = found["-cells"].to_pandas().set_index("cell")
    assert cells.index.tolist() == [1, 2, 3, 4, 5, 6]
    assert (cells.loc[[4, 5, 6], "elongated_fraction"].min()) > cells.loc[
        [1, 2, 3], "elongated_fraction"
    ].max()
    kept = rows[(rows["left_out"] == "") & (rows["cell"] == 2)]
    assert cells.loc[2, "objects"] == len(kept)
    assert cells.loc[2, "PC1_mean"] == pytest.approx(kept["PC1"].mean())
    assert cells.loc[2, "PC1_p95"] == pytest.approx(np.percentile(kept["PC1"], 95))
    units = {f.name: (f.metadata or {}).get(b"unit") for f in found["-cells"].schema}
    assert units["size_mean"] == b"micrometer"


def test_what_is_missing_or_far_out_is_kept_and_flagged(run):
    folder, columns = run
    found = tables(folder / "work")
    rows = found[""].to_pandas()
    assert rows["left_out"].value_counts().to_dict() == {"": 238, "missing": 1, "outlier": 1}
    assert np.isnan(rows["PC1"][7])
    assert rows["form"][7] == ""
    assert rows["left_out"][11] == "outlier"
    assert np.isfinite(rows["PC1"][11])
    told = {(w, o): v for w, o, v in zip(*found["-summary"].to_pydict().values(), strict=True)}
    assert told["objects", "all"] == 240
    assert told["objects", "in the model"] == 238
    assert told["objects", "without a cell"] == (columns["parent"] == 0).sum() > 0
    features = found["-features"].to_pandas().set_index("column")
    assert features["missing"].to_dict() == {"round": 0, "long": 0, "size": 1, "noise": 0}
    assert features["outliers"].to_dict() == {"round": 0, "long": 0, "size": 0, "noise": 1}
    assert features["negated"].tolist() == [True, False, False, False]
    assert (features["PC1_loading"][:3] > 0.5).all()


def test_the_order_of_rows_does_not_matter_and_tables_are_joined_by_label(run, tmp_path):
    folder, columns = run
    order = np.random.default_rng(5).permutation(240)
    first = written(
        tmp_path, {k: columns[k] for k in ("label", "class", "parent", "round", "long")}, "mitos", order
    )
    rest = written(tmp_path, {k: columns[k] for k in ("label", "size", "noise")}, "more", order[::-1])
    options = QUICK | {"columns": ("round", "long", "more.size", "more.noise")}
    done(cf.population([first, rest], cell="parent", name="forms", work=tmp_path / "work", **options))
    one, two = (tables(f / "work")[""].to_pandas() for f in (folder, tmp_path))
    for name in ("label", "cell", "PC1", "PC2", "PC1_index", "form", "form_stability", "left_out"):
        assert one[name].equals(two[name]), name
    shuffled = written(tmp_path, columns, "shuffled", order)
    done(cf.population(shuffled, cell="parent", name="forms", work=tmp_path / "again", **QUICK))
    assert same(tables(folder / "work"), tables(tmp_path / "again"))


def test_a_run_that_broke_goes_on_to_the_same_tables(run, tmp_path):
    folder, columns = run
    plan = cf.population(
        written(tmp_path, columns), cell="parent", name="forms", work=tmp_path / "work", **QUICK
    )
    with pytest.raises(RunIncompleteError, match="the disk is gone"):
        done(broken(plan, "forms/described", 0))
    done(plan)
    assert same(tables(folder / "work"), tables(tmp_path / "work"))
    before = (tmp_path / "work/tables/forms.parquet").stat().st_mtime_ns
    done(plan)
    assert (tmp_path / "work/tables/forms.parquet").stat().st_mtime_ns == before
    columns = columns | {"long": columns["long"] + 1}
    written(tmp_path, columns)
    with pytest.raises(RuntimeError, match="was written by a different plan"):
        done(plan)


def test_a_model_gives_its_own_population_the_same_scores_and_another_one_scores(run, tmp_path):
    folder, columns = run
    model = folder / "work/tables/forms-model.parquet"
    own = written(tmp_path, columns)
    done(cf.population(own, model=model, name="forms", work=tmp_path / "own"))
    one, two = (tables(f, parts=("",))[""].to_pandas() for f in (folder / "work", tmp_path / "own"))
    for name in ("PC1", "PC2", "PC1_index", "form", "left_out", "model"):
        assert one[name].equals(two[name]), name
    other = objects(60, seed=9)
    done(cf.population(written(tmp_path, other, "other"), model=model, name="forms", work=tmp_path / "other"))
    found = tables(tmp_path / "other", parts=("",))[""].to_pandas()
    assert ((found["PC1"] > 0) == other["long_form"]).mean() > 0.95
    assert found["model"].unique().tolist() == two["model"].unique().tolist()


def test_clusters_selection_and_classes_are_options(run, tmp_path):
    _, columns = run
    search = cf.Search(draws=0, mixture=3, hdbscan=20)
    select = cf.Select(pc1=(0, 10), pc2=(-9, 0.6), forms=("elongated-like",))
    kinds = np.where(np.arange(240) < 200, "mitochondrion", "nucleus")
    table = written(tmp_path, columns | {"class": kinds})
    options = QUICK | {"search": search, "select": select, "classes": ["mitochondrion"]}
    done(cf.population(table, name="forms", work=tmp_path / "work", **options))
    rows = tables(tmp_path / "work", parts=("",))[""].to_pandas()
    assert len(rows) == 200
    kept = rows["left_out"] == ""
    assert (rows["mixture"][kept] >= 1).all()
    assert (rows["mixture"][~kept] == 0).all()
    means = rows[kept].groupby("mixture")["PC1"].mean()
    assert means.is_monotonic_increasing
    assert set(rows["hdbscan"]) == {0, 1, 2}
    wanted = rows["PC1"].between(0, 10) & rows["PC2"].between(-9, 0.6) & (rows["form"] == "elongated-like")
    assert rows["selected"].tolist() == wanted.tolist()
    assert 0 < wanted.sum() < 200


def test_contact_at_narrowings_is_told_of_selected_objects_by_group(run, tmp_path):
    _, columns = run
    rng = np.random.default_rng(3)
    label = np.repeat(columns["label"], 4)
    narrow = np.tile([True, False, False, False], 240)
    window = {
        "label": label,
        "cell": np.zeros(960, np.uint64),
        "narrow": narrow,
        "area_um2": np.full(960, 0.5),
        # Long objects have more contact at their narrowings, others as much as elsewhere.
        "density": 0.2 + 0.2 * rng.random(960) + 0.2 * narrow * np.repeat(columns["long_form"], 4),
    }
    windows = written(tmp_path, window, "necks-windows")
    table = written(tmp_path, columns)
    options = QUICK | {"windows": windows, "by": ("form", "cell"), "cell": "parent"}
    done(cf.population(table, name="forms", work=tmp_path / "work", **options))
    found = tables(tmp_path / "work", parts=("-enrichment",))["-enrichment"].to_pandas()
    rows = found.set_index(["by", "group"])
    assert rows.index.tolist()[0] == ("all", "selected")
    assert rows.loc[("form", "elongated-like"), "q_value"] < 0.01
    assert rows.loc[("form", "elongated-like"), "difference"] == pytest.approx(0.2, abs=0.05)
    assert rows.loc[("form", "constricted-like"), "p_value"] > 0.01
    assert len(rows.loc["cell"]) == 6


def test_contact_at_narrowings_is_told_by_zone(tmp_path):
    """Zones come from the table of another operation, joined by label; what has none is of no group."""
    columns = objects()
    rng = np.random.default_rng(5)
    zone = rng.integers(0, 4, 240)
    placed = rng.permutation(np.arange(240) % 8 > 0)
    zones = {"label": columns["label"], "zone": zone.astype(np.int64), "position": rng.random(240)}
    given = [
        written(tmp_path, columns),
        # In another order, and without every eighth object.
        written(tmp_path, zones, "lobule-objects", np.flatnonzero(placed)[::-1]),
    ]
    narrow = np.tile([True, False, False, False], 240)
    density = 0.2 + 0.2 * rng.random(960) + 0.2 * narrow * np.repeat(zone == 3, 4)
    window = {
        "label": np.repeat(columns["label"], 4),
        "cell": np.zeros(960, np.uint64),
        "narrow": narrow,
        "area_um2": np.full(960, 0.5),
        "density": density,
    }
    options = QUICK | {"windows": written(tmp_path, window, "necks-windows"), "by": ("lobule-objects.zone",)}
    done(cf.population(given, name="forms", work=tmp_path / "work", **options))
    rows = tables(tmp_path / "work", parts=("-enrichment",))["-enrichment"].to_pandas().set_index("group")
    assert rows.index.tolist() == ["selected", "1", "2", "3"]
    kept = tables(tmp_path / "work", parts=("",))[""].to_pandas()["selected"].to_numpy()
    for group in (1, 2, 3):
        there = (zone == group) & placed & kept
        assert rows.loc[str(group), "windows"] == 4 * there.sum()
        of = np.repeat(there, 4)
        gap = density[of & narrow].mean() - density[of & ~narrow].mean()
        assert rows.loc[str(group), "difference"] == pytest.approx(gap, abs=0.02)
    assert rows.loc["3", "q_value"] < 0.01
    assert rows.loc["1", "p_value"] > 0.01


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        (
            {"columns": ("round", "centroid_z_nm", "label")},
            ConfigError,
            "columns ['centroid_z_nm', 'label'] say where",
        ),
        ({"columns": ("round",)}, ConfigError, "components need 2 columns or more"),
        ({"columns": ("round", "round")}, ConfigError, "columns ['round'] are named twice"),
        ({"by": ("cell",)}, ConfigError, "give 'windows'"),
        ({"by": ("cell",), "windows": "w"}, ConfigError, "say in 'cell' which column has it"),
        ({"model": "m"}, ConfigError, "a model brings its columns and forms"),
        ({"tables": ()}, ConfigError, "at least one table"),
    ],
)
def test_wishes_that_cannot_be_are_refused_when_planned(tmp_path, options, error, says):
    given = {"tables": "mitos.parquet"} | QUICK | options
    with pytest.raises(error, match=re.escape(says)):
        cf.population(given.pop("tables"), name="forms", work=tmp_path, **given)


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        ({}, {"columns": ("round", "lost")}, "has no columns ['lost']"),
        ({"long": np.full(240, "x")}, {}, "hold no numbers"),
        ({"label": np.zeros(240, int)}, {}, "has several rows of object 0"),
        ({"parent": np.full(240, 0.5)}, {"cell": "parent"}, "holds fractions, not the ids of cells"),
        ({}, {"border": False}, "has no column 'touches_border'"),
        ({}, {"classes": ["er"]}, "has no object of ['er']"),
        ({}, {"windows": "mitos.parquet"}, "give '<name>-windows' of a narrowing"),
        ({}, {"model": "mitos.parquet", "columns": None, "forms": None}, "is no model of a population"),
    ],
)
def test_tables_that_do_not_fit_are_refused_by_name(tmp_path, change, options, says, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = written(tmp_path, objects() | change)
    with pytest.raises(RunIncompleteError, match=re.escape(says)):
        done(cf.population(table, name="forms", work=tmp_path / "work", **QUICK | options))


def test_a_table_that_is_not_there_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match=r"no table at .*none\.parquet"):
        done(cf.population(tmp_path / "none.parquet", name="forms", work=tmp_path / "work", **QUICK))
    assert not (tmp_path / "work/tables").exists()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: cf.Search(draws=-1), "draws must be 0 or more"),
        (lambda: cf.Search(hdbscan=1), "hdbscan must be 2 objects or more"),
        (lambda: cf.Select(pc1=(2, 1)), "pc1 must ascend"),
        (lambda: cf.Select(forms=("round",)), "no forms ['round']"),
    ],
)
def test_options_that_mean_nothing_are_refused(make, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        make()


def test_a_missing_package_is_named_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=re.escape("'chunkflow-liver[population]'")):
        cf.population("mitos.parquet", name="forms", work=tmp_path, **QUICK)


def test_a_plan_says_what_its_task_needs(tmp_path):
    plan = cf.population(written(tmp_path, objects()), name="forms", work=tmp_path / "work", **QUICK)
    (stage,) = plan.maps
    assert stage.task_bytes < 1 << 30
    wide = dataclasses.replace(stage, resident=1 << 40)
    with pytest.raises(MemoryError, match="forms/described"):
        cf.run(dataclasses.replace(plan, stages=(wide, *plan.stages[1:])), memory_gib=1)
