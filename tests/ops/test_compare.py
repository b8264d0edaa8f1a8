"""Conditions of animals compared from their tables: by hand, resumed, in any order of rows, refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from strategies import broken, done

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, RunIncompleteError
from chunkflow_liver.store.table import Table


def written(folder, name, columns, order=None):
    table = Table(str(folder / f"{name}.parquet"))
    order = slice(None) if order is None else order
    table.write({k: np.asarray(v)[order] for k, v in columns.items()}, {"units": {"size": "micrometer"}})
    return table


def animals(folder, shift, order=False):
    """Eight animals of two cells; in the second half `size` is `shift` more."""
    rng = np.random.default_rng(1)
    found = []
    for i in range(8):
        cell = rng.integers(0, 3, 40)
        size = 3 * rng.normal(size=3)[cell] * 0.1 + rng.normal(size=40) + shift * (i >= 4)
        columns = {"label": np.arange(40), "parent": cell, "size": size, "other": rng.normal(size=40)}
        rows = np.random.default_rng(i).permutation(40) if order else None
        found.append(
            cf.Sample(written(folder, f"m{i}", columns, rows), f"a{i}", "fasted" if i < 4 else "fed")
        )
    return found


def read(folder, name="diet"):
    return [cf.read_table(folder / f"tables/{name}{end}.parquet").to_pandas() for end in ("", "-animals")]


def test_a_design_by_hand(tmp_path):
    # Cells 1 (2, 4) and 2 (9) give an animal 6; one without a cell is left out. Two samples of one animal.
    one = written(
        tmp_path, "one", {"label": [1, 2, 3, 4], "cell": [1, 1, 2, 0], "size": [2.0, 4.0, 9.0, 500.0]}
    )
    two = written(tmp_path, "two", {"label": [1, 2], "cell": [1, 1], "size": [10.0, 20.0]})
    three = written(tmp_path, "three", {"label": [7], "cell": [1], "size": [27.0]})
    samples = [cf.Sample(one, "a", "fed"), cf.Sample(two, "b", "fasted"), cf.Sample(three, "b", "fasted")]
    done(cf.compare(samples, cell="cell", name="diet", work=tmp_path / "work"))
    table, rows = read(tmp_path / "work")
    assert rows["size_mean"].tolist() == [6.0, 21.0]
    assert rows["cells"].tolist() == [2, 2]
    assert rows["objects"].tolist() == [3, 3]
    assert rows["left_out"].tolist() == [1, 0]
    assert table["fed_mean"].tolist() == [6.0]
    assert table["statistic"].tolist() == [15.0]
    assert table["no_test"][0].startswith("too few animals (1 and 1)")
    assert np.isnan(table["p_value"][0])
    schema = cf.read_table(tmp_path / "work/tables/diet-animals.parquet").schema
    assert schema.field("size_mean").metadata[b"unit"] == b"micrometer"


def test_a_planted_difference_is_found_and_corrected_over_columns(tmp_path):
    done(cf.compare(animals(tmp_path, 2.0), cell="parent", name="diet", work=tmp_path / "work"))
    table = read(tmp_path / "work")[0].set_index("column")
    assert table.index.tolist() == ["size", "other"]
    assert table.loc["size", "p_value"] == pytest.approx(2 / 70)
    assert table.loc["size", "q_value"] == pytest.approx(min(4 / 70, 1))
    assert table.loc["size", "difference_low"] < 2 < table.loc["size", "difference_high"]
    assert table.loc["other", "p_value"] > 0.05
    shares = table[[f"{level}_share" for level in ("conditions", "animals", "cells", "objects")]]
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (table["detectable"] > 1).all()


def test_enrichment_at_narrowings_is_compared_between_animals(tmp_path):
    """`-objects` of narrowing: objects without a narrowing have no enrichment, and are left out."""
    rng, samples = np.random.default_rng(2), []
    for i in range(8):
        has = np.arange(60) % 3 > 0
        ratio = np.where(has, np.exp(0.3 * rng.normal(size=60)) * (2 if i >= 4 else 1), np.nan)
        columns = {
            "label": np.arange(1, 61),
            "cell": rng.integers(1, 4, 60).astype(np.uint64),
            "density": rng.random(60),
            "enrichment": ratio,
        }
        samples.append(
            cf.Sample(written(tmp_path, f"necks{i}-objects", columns), f"a{i}", "fasted" if i < 4 else "fed")
        )
    columns = ("density", "enrichment")
    done(cf.compare(samples, columns=columns, cell="cell", name="necks", work=tmp_path / "work"))
    table, rows = read(tmp_path / "work", "necks")
    table = table.set_index("column")
    assert table.loc["enrichment", "p_value"] == pytest.approx(2 / 70)
    assert table.loc["enrichment", "difference_low"] > 0.5
    assert table.loc["density", "p_value"] > 0.05
    assert rows[["objects", "left_out"]].to_numpy().tolist() == [[40, 20]] * 8


def test_the_order_of_rows_and_an_interruption_do_not_matter(tmp_path):
    (tmp_path / "one").mkdir(), (tmp_path / "two").mkdir()
    done(cf.compare(animals(tmp_path / "one", 1.0), cell="parent", name="diet", work=tmp_path / "w1"))
    plan = cf.compare(
        animals(tmp_path / "two", 1.0, order=True), cell="parent", name="diet", work=tmp_path / "w2"
    )
    with pytest.raises(RunIncompleteError, match="the disk is gone"):
        done(broken(plan, "diet/compared", 0))
    done(plan)
    for one, two in zip(read(tmp_path / "w1"), read(tmp_path / "w2"), strict=True):
        assert one.equals(two)


def population(folder, name, seed, **options):
    rng = np.random.default_rng(seed)
    values = {n: rng.normal(size=60) for n in ("a", "b", "c")}
    table = written(folder, f"{name}-in", {"label": np.arange(60), **values})
    return cf.population(table, search=cf.Search(draws=0), name=name, work=folder / name, **options)


def test_components_are_compared_only_if_one_model_gave_them(tmp_path):
    columns = {"columns": ("a", "b", "c")}
    done(population(tmp_path, "p0", 0, **columns))
    done(population(tmp_path, "p1", 1, **columns))
    at = {name: tmp_path / name / f"tables/{name}.parquet" for name in ("p0", "p1", "q1")}
    samples = [cf.Sample(at["p0"], "x", "fed"), cf.Sample(at["p1"], "y", "fasted")]
    with pytest.raises(RunIncompleteError, match="are of different models and mean different things"):
        done(cf.compare(samples, columns=("PC1", "form"), name="diet", work=tmp_path / "work"))
    done(population(tmp_path, "q1", 1, model=tmp_path / "p0/tables/p0-model.parquet"))
    samples[1] = cf.Sample(at["q1"], "y", "fasted")
    done(cf.compare(samples, columns=("PC1", "form"), name="diet", work=tmp_path / "again"))
    table, rows = read(tmp_path / "again")
    fractions = ["constricted_fraction", "intermediate_fraction", "elongated_fraction"]
    assert table["column"].tolist() == ["PC1", *fractions]
    np.testing.assert_allclose(rows[[f"{f}_mean" for f in fractions]].sum(axis=1), 1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"samples": [("t", "a", "fed"), ("t", "b", "fed")]}, "two conditions or more, got ['fed']"),
        ({"samples": [("t", "a", "fed"), ("t", "a", "fasted")]}, "'a' has the conditions ['fasted', 'fed']"),
        ({"columns": ("label",)}, "say where or whose"),
        ({"level": 1.0}, "level must lie between 0 and 1"),
        ({"permutations": 0}, "permutations must be 1 or more"),
    ],
)
def test_designs_that_cannot_be_are_refused_when_planned(tmp_path, change, says):
    given = {"samples": [("t", "a", "fed"), ("t", "b", "fasted")]} | change
    samples = [cf.Sample(*row) for row in given.pop("samples")]
    with pytest.raises(ConfigError, match=re.escape(says)):
        cf.compare(samples, name="diet", work=tmp_path, **given)


@pytest.mark.parametrize(
    ("columns", "options", "says"),
    [
        ({"label": [1], "size": [np.nan]}, {}, "animals ['a', 'b'] have no object with all of the columns"),
        ({"label": [1], "text": ["x"]}, {}, "share no column of numbers"),
        ({"label": [1], "size": [1.0]}, {"columns": ("form",)}, "give the table of a population"),
        ({"size": [1.0]}, {}, "has no column 'label'"),
    ],
)
def test_tables_that_do_not_fit_are_refused_by_name(tmp_path, columns, options, says):
    table = written(tmp_path, "t", columns)
    samples = [cf.Sample(table, "a", "fed"), cf.Sample(table, "b", "fasted")]
    with pytest.raises(RunIncompleteError, match=re.escape(says)):
        done(cf.compare(samples, name="diet", work=tmp_path / "work", **options))
