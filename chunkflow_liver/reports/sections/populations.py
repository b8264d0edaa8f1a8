"""Forms of objects, cells and conditions in words and figures; every number stands in a table of the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from chunkflow_liver.engine.plan import Product
from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.kernels.populations.components import SHARES
from chunkflow_liver.kernels.populations.index import FITTED
from chunkflow_liver.reports.pictures import populations as draw
from chunkflow_liver.reports.pictures.figures import inline
from chunkflow_liver.reports.sections.findings import Figure
from chunkflow_liver.reports.tables import Shown, first_rows, stored
from chunkflow_liver.reports.words import THIN, number, percent, readable
from chunkflow_liver.reports.work import Work

Columns = dict[str, np.ndarray[Any, Any]]
SHOWN = ("-components", "-features", "-forms", "-cells", "-tests", "-enrichment", "-summary")
NAMED = 5
"""Columns of a comparison that the text names."""


@dataclass
class Told:
    """A population, or a comparison, as the page shows it."""

    name: str
    sentences: list[str] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[Shown] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def add(self, title: str, svg: str, caption: str, *legend: tuple[str, str]) -> None:
        self.figures.append(Figure(title, inline(svg), caption, legend))


def populations(work: Work) -> list[Told]:
    """Every population and comparison of a run; what cannot be shown is listed as missing."""
    found = []
    for kind, tell in (("population", _population), ("comparison", _comparison)):
        for product in work.of(kind):
            made = Told(product.name)
            found.append(made)
            try:
                tell(product, work, made)
            except ChunkflowLiverError as err:
                made.missing.append(f"{kind.capitalize()} {product.name!r}: {err}.")
    return found


def _read(work: Work, name: str) -> Columns:
    product = next(
        p for p in work.products if p.name == name and p.kind.startswith(("population", "comparison"))
    )
    table = pq.read_table(stored(product).path)
    return {n: table.column(n).to_numpy(zero_copy_only=False) for n in table.column_names}


def _population(product: Product, work: Work, made: Told) -> None:
    name, about = product.name, dict(product.about)
    parts = {p.name.removeprefix(name): p for p in work.products if p.kind.startswith("population ")}
    objects, features = _read(work, name), _read(work, f"{name}-features")
    components, forms = _read(work, f"{name}-components"), _read(work, f"{name}-forms")
    told = _read(work, f"{name}-summary")
    counted = {
        (str(what), str(of)): value
        for what, of, value in zip(told["what"], told["of"], told["value"].tolist(), strict=True)
    }
    _objects(counted, made)
    _components(counted, components, made)
    _forms(counted, forms, made, fitted=bool(about.get("fitted")))
    columns = [str(c) for c in features["column"]]
    kept = {n: values[objects["left_out"] == ""] for n, values in objects.items()}
    limits = (counted["threshold", "low"], counted["threshold", "high"])
    made.add(
        "Components",
        draw.scree(components, name=f"{name}s"),
        "Bars: the part of the variance of each; line: added up. Dashed: 80, 90 and 95 %.",
    )
    made.add(
        "Scores",
        draw.distributions(kept, components, limits, name=f"{name}d"),
        "Line: the skew-normal fit, dotted where the index goes by percentile. Coloured: where forms end.",
    )
    legend = zip((str(f) for f in forms["form"]), draw.COLOURS, strict=True)
    made.add("Objects", draw.plane(kept, name=f"{name}p"), "By the index of PC1, and by form.", *legend)
    made.add(
        "Features on the components",
        draw.on_plane(kept, columns, name=f"{name}f"),
        "Blue: low, red: high, as in the next figure.",
    )
    made.add(
        "Features by PC1",
        draw.heat_map(kept, columns, name=f"{name}h"),
        "Rows stand as Ward's clustering of their correlations orders them.",
    )
    if "-cells" in parts:
        _cells(_read(work, f"{name}-cells"), _read(work, f"{name}-tests"), counted, kept, made)
    if "-enrichment" in parts:
        _enriched(_read(work, f"{name}-enrichment"), made)
    made.tables += [first_rows(stored(parts[end])) for end in SHOWN if end in parts]


def _objects(counted: dict[tuple[str, str], float], made: Told) -> None:
    out = {r: int(counted["left_out", r]) for r in ("missing", "border", "outlier")}
    z = counted["threshold", "outlier_z"]
    said = {
        "missing": ("lacks a value", "lack a value"),
        "border": ("is cut by the end of the volume", "are cut by the end of the volume"),
        "outlier": (f"is an outlier (|z| > {z:g})", f"are outliers (|z| > {z:g})"),
    }
    words = [f"{number(n)} {said[why][n != 1]}" for why, n in out.items() if n]
    rest = f"; {', '.join(words)}; all are kept in the table" if words else ""
    of = f"{number(int(counted['objects', 'in the model']))} of {number(int(counted['objects', 'all']))}"
    made.sentences.append(f"{of} objects are described{rest}.")


def _components(counted: dict[tuple[str, str], float], components: Columns, made: Told) -> None:
    needed = [str(int(counted["components", f"{p} % of the variance"])) for p in SHARES]
    share = [percent(float(s)) for s in components["share"][:2]]
    made.sentences.append(
        f"{needed[0]}, {needed[1]} and {needed[2]} of {len(components['share'])} components have "
        f"{', '.join(f'{p}{THIN}%' for p in SHARES)} of the variance; PC1 has {share[0]}, PC2 {share[1]}."
    )
    for i, by in enumerate(components["index_by"][:2].tolist()):
        if by == FITTED:
            off = number(float(components["ks_distance"][i]))
            made.sentences.append(
                f"The index of PC{i + 1} is that of a skew-normal fit, which is {off} off at most."
            )
        else:
            why = components["why_percentile"][i]
            made.sentences.append(f"The index of PC{i + 1} is the percentile in the population: {why}.")


def _forms(counted: dict[tuple[str, str], float], forms: Columns, made: Told, *, fitted: bool) -> None:
    rows = zip(forms["form"].tolist(), forms["fraction"].tolist(), strict=True)
    parts = ", ".join(f"{percent(fraction)} {form}" for form, fraction in rows)
    low, high = counted["threshold", "low"], counted["threshold", "high"]
    made.sentences.append(f"{parts} (index of PC1 up to {low:g}, and from {high:g}).")
    if fitted:
        made.caveats.append(
            "In the population that an index was fitted to, the fractions of forms follow from the "
            "thresholds: they say something of cells, of conditions, and of another population that gets "
            "this model."
        )
    if "jaccard" in forms:
        least = int(np.argmin(forms["jaccard"]))
        unit = next(of for what, of in counted if what == "draws")
        made.sentences.append(
            f"In populations drawn anew by {unit}, classes keep their objects to "
            f"{number(float(forms['jaccard'][least]))} (Jaccard) or more; the least stable is "
            f"{forms['form'][least]}."
        )


def _cells(
    cells: Columns, tests: Columns, counted: dict[tuple[str, str], float], kept: Columns, made: Told
) -> None:
    lost = int(counted["objects", "without a cell"])
    if lost:
        made.sentences.append(f"{number(lost)} {'object lies' if lost == 1 else 'objects lie'} in no cell.")
    if not len(cells["cell"]):
        made.caveats.append("No object that is described has a cell.")
        return
    if np.isfinite(tests["icc"][0]):
        icc, low, high = (number(float(tests[f"icc{end}"][0])) for end in ("", "_low", "_high"))
        made.sentences.append(
            f"Between {number(int(tests['cells'][0]))} cells PC1 has an intraclass correlation of {icc} "
            f"(95{THIN}% interval {low} to {high}): {percent(float(tests['eta_squared'][0]))} of its "
            "sum of squares lie between cells."
        )
    if tests["any_difference_is_significant"][0]:
        least = percent(float(tests["detectable_eta_squared"][0]))
        made.caveats.append(
            f"With so many objects, {least} of the variance between cells would be significant: read how "
            "much cells differ, not the p-values. They say nothing of animals; for these there is 'compare'."
        )
    made.add(
        "PC1 in the largest cells",
        draw.violins(kept, cells, name=f"{made.name}v"),
        f"At most {draw.VIOLINS} cells, by their mean. Bar: the middle half; dot: the mean.",
    )
    made.add(
        "Densities of PC1", draw.ridges(kept, cells, name=f"{made.name}r"), f"At most {draw.RIDGES} cells."
    )


def _enriched(rows: Columns, made: Told) -> None:
    for i, by in enumerate(rows["by"].tolist()):
        if by not in ("all", "form"):
            continue
        here, there = (percent(float(rows[f"mean_{what}"][i])) for what in ("narrow", "control"))
        what = "selected objects" if by == "all" else f"{rows['group'][i]} objects"
        tested = (
            rows["no_test"][i]
            or f"p = {number(float(rows['p_value'][i]))}, q = {number(float(rows['q_value'][i]))}"
        )
        made.sentences.append(
            f"Contact of {number(int(rows['objects'][i]))} {what}: {here} of the surface at narrowings, "
            f"{there} at other places of them ({tested})."
        )


def _comparison(product: Product, work: Work, made: Told) -> None:
    table, animals = _read(work, product.name), _read(work, f"{product.name}-animals")
    kinds, counts = np.unique(animals["condition"].astype(str), return_counts=True)
    design = " and ".join(f"{n} {kind}" for kind, n in zip(kinds.tolist(), counts.tolist(), strict=True))
    objects = number(int(animals["objects"].sum()))
    made.sentences.append(f"{design} animals, with {objects} objects; animals are the units.")
    why = str(table["no_test"][0])
    if np.isnan(table["p_value"]).all():
        made.sentences.append(f"Described, not tested: {why}.")
    else:
        q = table["q_value"]
        below = np.flatnonzero(q <= 0.05)
        order = below[np.argsort(q[below], kind="stable")]
        named = ", ".join(
            f"{readable(str(table['column'][i]))} (q = {number(float(q[i]))})" for i in order[:NAMED]
        )
        known = int(np.isfinite(q).sum())
        tested = f"{len(below)} of {known} columns differ at a false discovery rate of 5{THIN}%"
        made.sentences.append(f"{tested}: {named}." if named else f"{tested}.")
    if np.isfinite(table["detectable"][0]):
        kind = "standard deviations of animals" if len(kinds) == 2 else "(Cohen's f)"
        made.sentences.append(
            f"This design finds a difference of {number(float(table['detectable'][0]))} {kind} with a power "
            f"of 80{THIN}%; smaller ones it may miss."
        )
    if np.isfinite(table["standardised"]).any():
        first = str(animals["condition"][0])
        second = next(kind for kind in kinds.tolist() if kind != first)
        made.add(
            "Differences of animals",
            draw.effects(table, name=f"{made.name}e"),
            f"{second} less {first}, with 95 % intervals. Dashed: the smallest that the design finds with "
            "a power of 80 %.",
        )
    other = next(p for p in work.products if p.name == f"{product.name}-animals")
    made.tables += [first_rows(stored(product)), first_rows(stored(other))]
