"""The scripts for populations: the columns of the liver study, and figures from a table."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from places import ROOT

from chunkflow_liver.kernels.populations.standard import SHAPE
from chunkflow_liver.store.table import Table


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    form = rng.gamma(3, size=(150, 1))
    shapes = np.exp(0.2 * form + 0.3 * rng.normal(size=(150, 14)))
    columns = {"label": np.arange(1, 151), "parent": rng.integers(0, 4, 150)}
    Table(str(tmp_path / "mitos.parquet")).write(columns | dict(zip(SHAPE, shapes.T, strict=True)))
    return tmp_path / "mitos.parquet"


def script(name, *words):
    call = [sys.executable, str(ROOT / "scripts" / name), *map(str, words)]
    return subprocess.run(call, capture_output=True, text=True, timeout=300, check=True).stdout


def test_the_columns_of_the_liver_study_are_printed_and_written(table, tmp_path):
    said = script("seed_tables.py", table, "--to", tmp_path / "out")
    assert "cluster_df_PCA_Skew: " in said
    clusters = pd.read_csv(tmp_path / "out/cluster_df_PCA_Skew.csv")
    wanted = ["PC1", "PC2", "elongation_index_PC1", "elongation_index_PC2", "label_soft"]
    assert [name for name in clusters.columns if name in wanted] == wanted
    assert {name.removeprefix("shape_") for name in SHAPE} <= set(clusters.columns)
    assert (clusters["Elongation"] < 0).all(), "negated, as there"
    index = clusters["elongation_index_PC1"]
    assert (clusters["label_soft"] == "elongated-like").equals(index >= 0.6)
    assert (clusters["label_soft"] == "constricted-like").equals(index <= 0.4)
    cells = pd.read_csv(tmp_path / "out/hepatocytes.csv")
    assert cells.columns.tolist() == [
        "hep_id",
        "n",
        "mean_PC1",
        "sd_PC1",
        "alpha",
        "loc",
        "scale",
        "q_low",
        "q_high",
        "frac_constricted",
        "frac_intermediate",
        "frac_elongated",
    ]
    own = clusters[clusters["hep_id"] == 2]["PC1"]
    row = cells.set_index("hep_id").loc[2]
    assert row["n"] == len(own)
    assert row["mean_PC1"] == pytest.approx(own.mean())
    assert row["q_low"] == pytest.approx(own.quantile(0.2))


def test_a_short_script_goes_from_a_table_to_the_figures(table, tmp_path):
    source = (ROOT / "scripts/population_figures.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) < 40
    assert script("population_figures.py", table, tmp_path / "out").strip().endswith("report.html")
    names = {p.stem for p in (tmp_path / "out").glob("*.svg")}
    assert names == {"scree", "distributions", "plane", "features", "heat-map", "violins", "ridges"}
