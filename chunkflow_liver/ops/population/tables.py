"""The tables of a population, from the tables of its objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chunkflow_liver.engine.stage import Result
from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Block
from chunkflow_liver.kernels.populations import clusters
from chunkflow_liver.kernels.populations.forms import FORMS, INDEXED, Forms, Model, fit_forms, stability
from chunkflow_liver.kernels.populations.standard import far_out
from chunkflow_liver.ops.population.models import as_columns, fingerprint, read_model
from chunkflow_liver.ops.population.options import Search, Select
from chunkflow_liver.ops.population.parts import (
    Scored,
    Told,
    cells,
    components,
    enrichment,
    features,
    summary,
)
from chunkflow_liver.ops.steps.objects import numbers, side_by_side
from chunkflow_liver.store.table import Table
from chunkflow_liver.xp import Array

MOST_SCORES = 5
"""Components whose scores the table holds; the loadings of all stand with the features."""
Columns = dict[str, Array]


def described(  # noqa: PLR0913
    block: Block,
    *,
    columns: Sequence[str],
    classes: Sequence[str] | None,
    border: bool,
    cell: str | None,
    forms: Forms,
    search: Search,
    select: Select,
    by: Sequence[str],
    windows: Table | None = None,
    model: Table | None = None,
    **tables: Table,
) -> Result:
    """All tables in one record: a key is the end of a table's name, '/' and a column."""
    given = [tables[key] for key in sorted(tables, key=lambda key: int(key.removeprefix("table")))]
    known = _chosen(side_by_side(given), classes, given[0].path)
    found = None if model is None else read_model(model)
    names = columns if found is None else found.standard.names
    seen, fitted = _scored(
        known, list(names), border=border, cell=cell, forms=forms, model=found, path=given[0].path
    )
    objects, forms_of, told = _objects(seen, fitted, search, select, draw=found is None)
    own = {"": objects, "-forms": forms_of, "-features": features(seen, fitted), "-model": as_columns(fitted)}
    own |= {"-components": components(fitted), "-summary": (summary(seen, fitted, objects) + told).columns()}
    if cell is not None:
        own |= cells(seen, objects, fitted)
    if windows is not None:
        own["-enrichment"] = enrichment(seen, objects, windows, by, search.seed)
    return Result(record={f"{end}/{name}": v for end, part in own.items() for name, v in part.items()})


def _chosen(known: Columns, classes: Sequence[str] | None, path: str) -> Columns:
    """Objects of some classes."""
    if classes is None:
        return known
    if "class" not in known:
        raise InputError(f"{path} has no column 'class', by which {list(classes)} could be chosen")
    there = np.isin(known["class"].astype(str), classes)
    if not there.any():
        raise InputError(f"{path} has no object of {list(classes)}; there are {sorted(set(known['class']))}")
    return {name: values[there] for name, values in known.items()}


def _scored(
    known: Columns,
    names: list[str],
    *,
    border: bool,
    cell: str | None,
    forms: Forms,
    model: Model | None,
    path: str,
) -> tuple[Scored, Model]:
    values = numbers(known, names, path)
    of = None if cell is None else _cell_of(known, cell, path)
    missing = ~np.isfinite(values).all(1)
    cut = np.zeros(len(values), bool)
    if not border:
        if "touches_border" not in known:
            raise InputError(f"{path} has no column 'touches_border'; leave 'border' at true")
        cut = known["touches_border"].astype(bool)
    used = ~missing & ~cut
    left_out = np.where(missing, "missing", np.where(cut, "border", ""))
    if model is None:
        model, outlier = fit_forms(tuple(names), values[used], forms)
    else:
        outlier = far_out(model.standard.scaled(values[used]), model.options.outlier_z)
    left_out[np.flatnonzero(used)[outlier]] = "outlier"
    scores = np.full(values.shape, np.nan)
    scores[~missing] = model.scores(values[~missing])
    return Scored(known, of, values, scores, left_out), model


def _cell_of(known: Columns, cell: str, path: str) -> Array:
    of = numbers(known, [cell], path)[:, 0]
    if (of[np.isfinite(of)] % 1).any():
        raise InputError(f"column {cell!r} of {path} holds fractions, not the ids of cells")
    return np.where(np.isfinite(of), of, 0).astype(np.int64)


def _objects(
    seen: Scored, model: Model, search: Search, select: Select, *, draw: bool
) -> tuple[Columns, Columns, Told]:
    """The table of objects, that of forms, and what is counted beside."""
    complete, kept, told = seen.complete, seen.kept, Told()
    index = [model.indices[i].of(seen.scores[:, i]) for i in range(INDEXED)]
    number = model.options.classes(index[0])
    form = np.where(complete, np.array(FORMS)[number], "")
    made: Columns = {"label": seen.columns["label"]}
    made |= {} if seen.cell is None else {"cell": seen.cell}
    made |= {name: seen.values[:, i] for i, name in enumerate(model.standard.names)}
    made["left_out"] = seen.left_out
    made |= {f"PC{i + 1}": seen.scores[:, i] for i in range(min(MOST_SCORES, seen.scores.shape[1]))}
    made |= {f"PC{i + 1}_index": values for i, values in enumerate(index)} | {"form": form}
    counts = np.array([(number[kept] == kind).sum() for kind in range(len(FORMS))])
    forms: Columns = {"form": np.array(FORMS), "objects": counts, "fraction": counts / max(counts.sum(), 1)}
    if search.draws and draw:
        stable, more, told = _stable(seen, model, number, search)
        made, forms = made | stable, forms | more
    found, also = _clustered(seen, model, search)
    made |= found
    made["selected"] = _selected(select, seen.scores, form, complete)
    made["model"] = np.full(len(form), fingerprint(model))
    return made, forms, told + also


def _stable(seen: Scored, model: Model, number: Array, search: Search) -> tuple[Columns, Columns, Told]:
    """How often objects keep their class, and classes their objects, in populations drawn anew."""
    used = seen.kept | (seen.left_out == "outlier")
    cell = None if seen.cell is None or not seen.cell.any() else seen.cell[used]
    if cell is not None:
        # What has no cell is drawn by itself.
        cell = np.where(cell > 0, cell, -1 - np.arange(len(cell)))
    same, drawn = stability(model, seen.values[used], cell, draws=search.draws, seed=search.seed)
    # A class that a draw does not have was not found again.
    jaccard = np.nan_to_num(drawn["jaccard"])
    own = [same[number[used] == kind] for kind in range(len(FORMS))]
    forms = {
        "stability": np.array([part.mean() if len(part) else np.nan for part in own]),
        "jaccard": jaccard.mean(0),
        "jaccard_low": np.quantile(jaccard, 0.05, axis=0),
    }
    told = Told()
    told.add("draws", "objects" if cell is None else "cells", search.draws)
    for i in range(INDEXED):
        told.add("congruence", f"PC{i + 1}", float(drawn["congruence"][:, i].mean()))
    return {"form_stability": spread_out(same, used)}, forms, told


def _clustered(seen: Scored, model: Model, search: Search) -> tuple[Columns, Told]:
    """Clusters and a map, as far as they are asked for."""
    kept, told = seen.kept, Told()
    plane = seen.scores[kept, :INDEXED]
    made: Columns = {}
    if search.mixture:
        which, share, bic = clusters.mixture(plane, search.mixture, search.seed)
        made["mixture"] = spread_out(which, kept, 0).astype(np.int64)
        made["mixture_share"] = spread_out(share, kept)
        for i, value in enumerate(bic.tolist()):
            told.add("mixture_bic", str(i + 1), value)
    if search.hdbscan:
        made["hdbscan"] = spread_out(clusters.hdbscan(plane, search.hdbscan), kept, 0).astype(np.int64)
    if search.umap:
        laid = clusters.umap(model.standard.scaled(seen.values[kept]), search.seed)
        made |= {f"umap_{i + 1}": spread_out(laid[:, i], kept) for i in range(2)}
    return made, told


def _selected(select: Select, scores: Array, form: Array, complete: Array) -> Array:
    chosen = complete.copy()
    for i, limits in enumerate((select.pc1, select.pc2)):
        if limits is not None:
            chosen &= (scores[:, i] >= limits[0]) & (scores[:, i] <= limits[1])
    return chosen if select.forms is None else chosen & np.isin(form, select.forms)


def spread_out(values: Array, rows: Array, empty: float = np.nan) -> Array:
    """Values of some rows in a column of all."""
    found = np.full(len(rows), empty, np.float64)
    found[rows] = values
    return found
