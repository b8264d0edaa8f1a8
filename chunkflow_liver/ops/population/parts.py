"""Features, components, counts, cells and enrichment of a population whose objects have scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.kernels.populations.between import SMALL, TESTED, between_cells
from chunkflow_liver.kernels.populations.cells import summaries
from chunkflow_liver.kernels.populations.components import SHARES
from chunkflow_liver.kernels.populations.forms import INDEXED, Model
from chunkflow_liver.kernels.significance.decisions import NO_TEST, decided
from chunkflow_liver.kernels.significance.permutations import EFFECT, Observed, adjusted, within_objects
from chunkflow_liver.store.table import Table, read_table
from chunkflow_liver.xp import Array

PERMUTATIONS, DRAWS = 9999, 2000
"""Of the tests of contact at narrowings, and for their intervals."""
LEFT_OUT = ("missing", "border", "outlier")
Columns = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Scored:
    """Objects with their scores.

    Attributes
    ----------
    columns : dict of ndarray of shape (n,)
        All columns of the tables, sorted by label.
    cell : ndarray of shape (n,), integer, or None
        Cell of each object; 0 is none.
    values : ndarray of shape (n, f), float64
        What the components are made of.
    scores : ndarray of shape (n, f), float64
        NaN where a value is missing.
    left_out : ndarray of shape (n,), str
        '' for objects that had a part in the model.
    """

    columns: Columns
    cell: Array | None
    values: Array
    scores: Array
    left_out: Array

    @property
    def complete(self) -> Array:
        return self.left_out != "missing"

    @property
    def kept(self) -> Array:
        return self.left_out == ""


@dataclasses.dataclass
class Told:
    """Single numbers: what, of what, how much."""

    rows: list[tuple[str, str, float]] = dataclasses.field(default_factory=list)

    def add(self, what: str, of: str, value: float) -> None:
        self.rows.append((what, of, value))

    def __add__(self, other: Told) -> Told:
        return Told(self.rows + other.rows)

    def columns(self) -> Columns:
        names = ("what", "of", "value")
        return {n: np.array([row[i] for row in self.rows]) for i, n in enumerate(names)}


def features(seen: Scored, model: Model) -> Columns:
    """A row per column of the model: scale, sign, what is missing or far out, loadings."""
    standard = model.standard
    far = np.abs(standard.scaled(seen.values)) > model.options.outlier_z
    found: Columns = {
        "column": np.array(standard.names),
        "negated": standard.sign < 0,
        "mean": standard.mean * standard.sign,
        "sd": standard.sd,
        "missing": (~np.isfinite(seen.values)).sum(0),
        "outliers": far.sum(0),
    }
    return found | {f"PC{i + 1}_loading": row for i, row in enumerate(model.components.vectors)}


def components(model: Model) -> Columns:
    """A row per component; of the first two, the fit of the scores and what the index goes by."""
    share = model.components.share
    found: Columns = {
        "component": np.arange(1, len(share) + 1),
        "variance": model.components.variance,
        "share": share,
        "cumulative": np.cumsum(share),
    }
    rows = np.full((len(share), 4), np.nan)
    by, reason = (np.full(len(share), "", "U80") for _ in range(2))
    for i, index in enumerate(model.indices):
        rows[i] = index.fit.alpha, index.fit.loc, index.fit.scale, index.distance
        by[i], reason[i] = index.by, index.reason
    found |= {name: rows[:, i] for i, name in enumerate(("alpha", "loc", "scale", "ks_distance"))}
    return found | {"index_by": by, "why_percentile": reason}


def summary(seen: Scored, model: Model, objects: Columns) -> Told:
    """What is counted."""
    told = Told()
    told.add("objects", "all", len(seen.left_out))
    told.add("objects", "in the model", int(seen.kept.sum()))
    for reason in LEFT_OUT:
        told.add("left_out", reason, int((seen.left_out == reason).sum()))
    told.add("objects", "selected", int(objects["selected"].sum()))
    if seen.cell is not None:
        told.add("objects", "without a cell", int((seen.cell == 0).sum()))
        told.add("cells", "all", len(np.unique(seen.cell[seen.cell > 0])))
    for percent in SHARES:
        told.add("components", f"{percent} % of the variance", model.components.needed(percent))
    for name in ("outlier_z", "low", "high", "ks_distance"):
        told.add("threshold", name, getattr(model.options, name))
    return told


def cells(seen: Scored, objects: Columns, model: Model) -> dict[str, Columns]:
    """A row per cell, and a row per column: whether cells differ. Objects in the model that have a cell."""
    assert seen.cell is not None
    used = seen.kept & (seen.cell > 0)
    cell, names = seen.cell[used], model.standard.names
    scores = {f"PC{i + 1}": seen.scores[used, i] for i in range(INDEXED)}
    values = {name: seen.values[used, i] for i, name in enumerate(names)}
    form = model.form(seen.scores[used])
    rows = summaries(cell, scores, form, values)
    every = seen.cell > 0
    counts = {reason: every & (seen.left_out == reason) for reason in LEFT_OUT}
    for reason, there in counts.items():
        rows[reason] = np.array([int(there[seen.cell == c].sum()) for c in rows["cell"].tolist()], np.int64)
    tested = scores | values
    found = [between_cells(column, cell) for column in tested.values()]
    tests: Columns = {"column": np.array(list(tested))}
    tests |= {name: np.array([row[name] for row in found]) for name in TESTED}
    tests |= {name: tests[name].astype(np.int64) for name in ("objects", "cells")}
    for name in ("anova", "kruskal", "mixed"):
        tests[f"{name}_q"] = adjusted(tests[f"{name}_p"])
    tests["any_difference_is_significant"] = tests["detectable_eta_squared"] < SMALL
    return {"-cells": rows, "-tests": tests}


def enrichment(seen: Scored, objects: Columns, windows: Table, by: Sequence[str], seed: int) -> Columns:
    """Contact at narrowings of the selected objects against other places on them, by group.

    Controls are the other windows of the same object, as `narrowing` drew them; groups with fewer objects
    than a test needs are described.
    """
    read = read_table(windows)
    wanted = ("label", "cell", "narrow", "area_um2", "density")
    lacking = [name for name in wanted if name not in read.column_names]
    if lacking:
        raise InputError(
            f"{windows.path} has no columns {lacking}; give '<name>-windows' of a narrowing with 'to'"
        )
    seen_there = {name: read.column(name).to_numpy(zero_copy_only=False) for name in wanted}
    at = np.minimum(np.searchsorted(objects["label"], seen_there["label"]), len(objects["label"]) - 1)
    known = objects["label"][at] == seen_there["label"]
    used = known & objects["selected"][at] & (seen_there["area_um2"] > 0)
    if "tested" in read.column_names:
        # Narrowings that are no constrictions say nothing about constrictions.
        used &= read.column("tested").to_numpy(zero_copy_only=False)
    if seen.cell is not None:
        seen_there["cell"] = seen.cell[at]
    # An unknown cell is neither the same as another unknown one nor a cell of its own.
    used &= (seen_there["cell"] > 0) | ~seen_there["cell"].any()
    order = np.lexsort((seen_there["density"], seen_there["label"]))
    order = order[used[order]]
    observed = Observed(*(seen_there[c][order] for c in ("density", "narrow", "label", "cell", "area_um2")))
    rows: list[tuple[str, str, Any]] = [("all", "selected", np.ones(len(order), bool))]
    for what in by:
        values = _group(seen, objects, what, windows.path)[at][order]
        rows += [
            (what, str(value), values == value) for value in np.unique(values) if str(value) not in ("", "0")
        ]
    found = [
        within_objects(observed.of(there), permutations=PERMUTATIONS, draws=DRAWS, seed=seed)
        for _, _, there in rows
    ]
    effect = {name: np.array([one[name] for one in found], np.float64) for name in EFFECT}
    told = decided(effect, [NO_TEST[0]] * len(rows))
    return {
        "by": np.array([row[0] for row in rows]),
        "group": np.array([row[1] for row in rows]),
        "windows": np.array([int(row[2].sum()) for row in rows]),
        **{name: values.astype(str) if values.dtype == object else values for name, values in told.items()},
    }


def _group(seen: Scored, objects: Columns, what: str, path: str) -> Array:
    if what in ("form", "cell"):
        return objects[what]
    if what not in seen.columns:
        raise InputError(
            f"no column {what!r} to group the windows of {path} by; there are {sorted(seen.columns)}"
        )
    values = seen.columns[what]
    if values.dtype.kind != "f":
        return values
    # Numbers of a table that lacks some of the objects are floats, and not known for these.
    return np.array(["" if np.isnan(value) else f"{value:g}" for value in values])
