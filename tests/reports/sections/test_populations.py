"""What the report says of populations and comparisons: every number stands in a table of the run."""

from __future__ import annotations

import re

import numpy as np
import pytest
from strategies import done

import chunkflow_liver as cf
from chunkflow_liver.kernels.populations.components import SHARES
from chunkflow_liver.reports.sections.populations import populations
from chunkflow_liver.reports.words import THIN, number, percent
from chunkflow_liver.reports.work import read_work
from chunkflow_liver.store.table import Table

NAMES = ("round", "long", "size")
FIXED = {"80", "90", "95", "5", *map(str, SHARES)}
"""Levels and powers that the text states and no table has as a value."""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("populations")
    rng = np.random.default_rng(0)
    samples = []
    for i in range(8):
        cell = rng.integers(0, 4, 90)
        long = rng.gamma(3, size=90) + 0.6 * rng.normal(size=4)[cell] + 2 * (i > 3)
        noise = rng.normal(size=(90, 3))
        columns = {"label": np.arange(90), "parent": cell}
        columns |= dict(zip(NAMES, (np.stack([-long, long, long], 1) + noise).T, strict=True))
        columns["size"][3] = np.nan if i == 0 else 40.0
        table = Table(str(folder / f"m{i}.parquet"))
        table.write(columns)
        samples.append(cf.Sample(table, f"a{i}", "fed" if i < 4 else "fasted"))
    at = {"work": folder / "work"}
    window = {
        "label": np.repeat(np.arange(90), 3),
        "cell": np.ones(270, np.int64),
        "narrow": np.tile([True, False, False], 90),
        "area_um2": np.ones(270),
        "density": rng.random(270),
    }
    Table(str(folder / "necks-windows.parquet")).write(window)
    forms = cf.Forms(negated=("round",))
    plan = cf.population(
        samples[0].table,
        columns=NAMES,
        cell="parent",
        forms=forms,
        search=cf.Search(draws=5),
        windows=folder / "necks-windows.parquet",
        name="forms",
        **at,
    )
    plan += cf.compare(samples, columns=NAMES, cell="parent", name="diet", **at)
    plan += cf.compare([samples[0], samples[5]], columns=NAMES, name="two", **at)
    done(plan)
    return folder / "work"


def told_by_tables(work, name):
    """Every value of the tables of one result, as the text would write it."""
    texts = set(FIXED)
    for path in (work / "tables").glob(f"{name}*.parquet"):
        table = cf.read_table(path)
        texts.add(number(table.num_rows))
        for column in table.column_names:
            values = [v for v in table.column(column).to_pylist() if v is not None]
            for value in values:
                if isinstance(value, str):
                    texts |= set(re.findall(r"\d[\d.]*", value))
                    continue
                texts |= {number(float(value)), percent(float(value)), f"{float(value):g}"}
                texts |= {number(int(value))} if float(value).is_integer() else set()
            numeric = [v for v in values if not isinstance(v, str)]
            if numeric and all(float(v).is_integer() for v in numeric):
                texts.add(number(int(sum(numeric))))
            if column == "q_value":
                texts |= {str(sum(v <= 0.05 for v in values)), str(len(values))}
            if column == "condition":
                texts |= {str(values.count(v)) for v in values}
    return {n for text in texts for n in numbers_of(text.replace("%", ""))}


def numbers_of(text):
    text = re.sub(r"PC\d|\(\|z\| > ", "", text.replace(THIN, ""))
    return [n.rstrip(".") for n in re.findall(r"(?<![\w.])\d[\d.]*", text)]


@pytest.mark.parametrize("name", ["forms", "diet", "two"])
def test_every_number_of_the_text_stands_in_a_table(work, name):
    (made,) = [one for one in populations(read_work(work)) if one.name == name]
    assert not made.missing
    known = told_by_tables(work, name)
    found = numbers_of(" ".join(made.sentences + made.caveats))
    assert len(found) > 3
    assert [n for n in found if n not in known] == []


def test_a_population_is_told_with_its_figures(work):
    made = {one.name: one for one in populations(read_work(work))}
    text = " ".join(made["forms"].sentences)
    assert text.startswith("89 of 90 objects are described; 1 lacks a value; all are kept in the table")
    assert "intraclass correlation" in text
    assert "Contact of" in text
    titles = [f.title for f in made["forms"].figures]
    assert len(titles) == 7
    assert all(f.svg.startswith("<svg") for one in made.values() for f in one.figures)
    assert [t.name for t in made["forms"].tables][-1] == "forms-summary"


def test_a_comparison_says_what_differs_or_why_it_is_not_tested(work):
    made = {one.name: " ".join(one.sentences) for one in populations(read_work(work))}
    assert "4 fasted and 4 fed animals" in made["diet"]
    assert "3 of 3 columns differ" in made["diet"]
    assert "Described, not tested: too few animals (1 and 1)" in made["two"]


def test_the_page_has_a_section_and_a_lost_table_is_named(work):
    page = cf.report(work).read_text(encoding="utf-8")
    assert '<section id="populations">' in page
    assert "89 of 90 objects" in page
    (work / "tables/forms-features.parquet").rename(work / "tables/gone")
    (made,) = [one for one in populations(read_work(work)) if one.name == "forms"]
    assert made.missing == ["Population 'forms': table 'forms-features' is not written yet."]
    (work / "tables/gone").rename(work / "tables/forms-features.parquet")
