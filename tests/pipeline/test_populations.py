"""Populations and comparisons of a run file: what the operations give, and names that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from run_files import SHAPE, planned, project_in
from strategies import done, semantic

import chunkflow_liver as cf
from chunkflow_liver.config import parse
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.store.table import Table


def written(folder, name, seed):
    rng = np.random.default_rng(seed)
    values = {n: rng.normal(size=60) for n in ("a", "b", "c")}
    Table(str(folder / f"{name}.parquet")).write(
        {"label": np.arange(60), "parent": np.arange(60) % 3, **values}
    )


def test_a_run_file_of_tables_alone_gives_what_the_operations_give(tmp_path):
    for name in ("one", "two"):
        written(tmp_path, name, len(name))
    columns = ["a", "b", "c"]
    forms = {"columns": columns, "cell": "parent", "draws": 3, "negated": ["a"], "low": 0.3, "pc1": [0, 5]}
    content = {
        "work": "work",
        "population": [
            {"name": "forms", "files": ["one.parquet"], **forms},
            {"name": "applied", "files": ["two.parquet"], "model": "work/tables/forms-model.parquet"},
        ],
        "compare": [
            {
                "name": "diet",
                "columns": ["PC1", "form"],
                "samples": [
                    {"table": "work/tables/forms.parquet", "animal": "x", "condition": "fed"},
                    {"table": "work/tables/applied.parquet", "animal": "y", "condition": "fasted"},
                ],
            }
        ],
    }
    done(cf.plan_run(parse(content, tmp_path, "run.yaml")))
    by_hand = cf.population(
        tmp_path / "one.parquet",
        columns=columns,
        cell="parent",
        forms=cf.Forms(negated=("a",), low=0.3),
        search=cf.Search(draws=3),
        select=cf.Select(pc1=(0, 5)),
        name="forms",
        work=tmp_path / "hand",
    )
    done(by_hand)
    for end in ("", "-cells", "-tests", "-model"):
        found, hand = (
            cf.read_table(tmp_path / f"{w}/tables/forms{end}.parquet").to_pandas() for w in ("work", "hand")
        )
        assert found.equals(hand), end
    applied = cf.read_table(tmp_path / "work/tables/applied.parquet").to_pandas()
    own = cf.read_table(tmp_path / "work/tables/forms.parquet").to_pandas()
    assert applied["model"][0] == own["model"][0]
    assert cf.read_table(tmp_path / "work/tables/diet.parquet").num_rows == 4


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({}, "give 'tables' .of this run, by name. or 'files'"),
        ({"tables": ["mitos"]}, "'forms' takes the table 'mitos'; before it the run makes"),
        ({"files": ["a.parquet"], "windows": "necks-windows"}, "takes the table 'necks-windows'"),
        ({"files": ["a.parquet"], "low": 0.9}, "low and high must ascend"),
    ],
)
def test_entries_that_do_not_fit_are_refused(tmp_path, entry, says):
    with pytest.raises(ConfigError, match=says):
        cf.plan_run(parse({"work": "w", "population": [{"name": "forms"} | entry]}, tmp_path, "run.yaml"))


def test_tables_of_the_same_run_are_taken_by_name_and_follow_their_stage(tmp_path):
    project = project_in(tmp_path, semantic(SHAPE, 3))
    project["measure"] = [{"name": "form", "instances": "mitos", "features": ["basic", "shape"]}]
    project["narrowing"] = [{"name": "necks", "instances": "mitos", "to": "er"}]
    wish = {"name": "forms", "tables": ["form", "necks-objects"], "windows": "necks-windows"}
    project["population"] = [wish | {"columns": ["axis_major_nm", "necks-objects.length_nm"], "draws": 0}]
    plan = planned(tmp_path, project)
    done(plan)
    work = tmp_path / "work/tables"
    rows = cf.read_table(work / "forms.parquet").to_pandas()
    measured = cf.read_table(work / "form.parquet").to_pandas()
    lines = cf.read_table(work / "necks-objects.parquet").to_pandas().set_index("label")
    assert rows["label"].tolist() == measured["label"].tolist()
    np.testing.assert_array_equal(rows["axis_major_nm"], measured["axis_major_nm"])
    there = lines["length_nm"].reindex(rows["label"]).to_numpy()
    np.testing.assert_array_equal(rows["necks-objects.length_nm"], there)
    assert cf.read_table(work / "forms-enrichment.parquet").num_rows >= 1
    schema = cf.read_table(work / "forms.parquet").schema
    assert schema.field("axis_major_nm").metadata[b"unit"] == b"nanometer"
    project["label"][0]["min_volume_um3"] = 1e-6
    with pytest.raises(RuntimeError, match="was written by a different plan"):
        done(planned(tmp_path, project))
