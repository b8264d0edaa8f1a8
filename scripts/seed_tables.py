"""The columns of the liver study's scripts (cluster, hepatocyte), from a table of `measure`.

    uv run scripts/seed_tables.py TABLE [--cell parent] [--to FOLDER]

Its definitions: Elongation and Flatness negated, outliers at |z| > 4 removed, forms at 0.6 and 0.4 of the
index. What differs on purpose: lengths are in um, not in voxels; the index is that of the fit, not always the
percentile; the sign of a component follows a rule; a cell is that of most voxels, not of the centroid, and
its classes are by the index of the whole population.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pandas as pd

import chunkflow_liver as cf

FORMS = ("constricted", "intermediate", "elongated")


def seed_tables(table: str, cell: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables `cluster_df_PCA_Skew` (a row per object) and of hepatocytes (a row per cell)."""
    with tempfile.TemporaryDirectory() as work:
        plan = cf.population(table, cell=cell, search=cf.Search(draws=0), name="seed", work=work)
        cf.run(plan, progress=False)
        objects = cf.read_table(plan.output).to_pandas()
        cells = cf.read_table(f"{work}/tables/seed-cells.parquet").to_pandas()
    kept = objects[objects["left_out"] == ""].drop(
        columns=["left_out", "selected", "model", "PC3", "PC4", "PC5"]
    )
    names = {f"PC{i}_index": f"elongation_index_PC{i}" for i in (1, 2)} | {
        "form": "label_soft",
        "cell": "hep_id",
    }
    clusters = kept.rename(columns=names).rename(columns=lambda name: name.removeprefix("shape_"))
    clusters[["Elongation", "Flatness"]] *= -1
    grouped = kept[kept["cell"] > 0].groupby("cell")["PC1"]
    hepatocytes = pd.DataFrame(
        {
            "hep_id": cells["cell"],
            "n": cells["objects"],
            "mean_PC1": cells["PC1_mean"],
            "sd_PC1": cells["PC1_sd"],
            **{what: cells[f"PC1_{what}"] for what in ("alpha", "loc", "scale")},
            **{f"q_{end}": grouped.quantile(q).to_numpy() for end, q in (("low", 0.2), ("high", 0.8))},
            **{f"frac_{form}": cells[f"{form}_fraction"] for form in FORMS},
        }
    )
    return clusters, hepatocytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", help="Parquet table of measure, with the group 'shape' and parents")
    parser.add_argument("--cell", default="parent", help="its column with the cell of each object")
    parser.add_argument("--to", type=Path, help="folder for both tables as CSV")
    given = parser.parse_args()
    for name, found in zip(
        ("cluster_df_PCA_Skew", "hepatocytes"), seed_tables(given.table, given.cell), strict=True
    ):
        print(f"{name}: {len(found)} rows\n{found.head().to_string()}\n")
        if given.to is not None:
            given.to.mkdir(parents=True, exist_ok=True)
            found.to_csv(given.to / f"{name}.csv", index=False)


if __name__ == "__main__":
    main()
