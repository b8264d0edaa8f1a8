"""What was found at narrowings: tests in words, near against far, and objects with their width profiles."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from chunkflow_liver.engine.plan import Product
from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.reports.examples import Columns, Example, enrichment, examples
from chunkflow_liver.reports.figures import INK, bare, even_edges, inline, sketch
from chunkflow_liver.reports.findings import Figure
from chunkflow_liver.reports.renderings import CONTACT, NECK
from chunkflow_liver.reports.slices import Pictures, css
from chunkflow_liver.reports.tables import Shown, first_rows, stored
from chunkflow_liver.reports.words import length, number, one, percent
from chunkflow_liver.reports.work import Work

MOST_LINES = 150
"""Pairs that are drawn one by one; of more, even steps through all of them."""
NAMED = 10
"""Objects that were left out are named up to this number."""
FIRST = ("label", "z_nm", "y_nm", "x_nm", "width_nm", "near_density", "far_density", "enrichment", "resolved")
"""Columns of the table that the page shows before the others."""


@dataclass
class Narrowed:
    """One table of narrowings, as the page shows it; `files` are SVGs by name.

    `answer` and `tiles` stand at the top of the page, `sentences` first in its own section, `caveats` below.
    """

    name: str
    answer: str = ""
    tiles: list[tuple[str, str]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    examples: list[Figure] = field(default_factory=list)
    tables: list[Shown] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def add(self, name: str, title: str, svg: str, caption: str, *legend: tuple[str, str]) -> None:
        """A figure for the page, and as a file of its own."""
        self.figures.append(self._kept(name, title, svg, caption, legend))

    def show(self, example: Example) -> None:
        """A picture of an example, and as a file of its own."""
        self.examples.append(
            self._kept(example.name, example.title, example.svg, example.caption, example.legend)
        )

    def _kept(
        self, name: str, title: str, svg: str, caption: str, legend: tuple[tuple[str, str], ...]
    ) -> Figure:
        self.files[f"{self.name}-{name}.svg"] = svg.replace(INK, "#1c2329")
        return Figure(title, inline(svg), caption, legend)


def narrowings(work: Work, drawn: Pictures) -> list[Narrowed]:
    """Every table of narrowings of a run; what cannot be shown is listed as missing."""
    found = []
    for product in work.of("narrowing table"):
        made = Narrowed(product.name)
        found.append(made)
        try:
            _narrowings(product, work, drawn, made)
        except ChunkflowLiverError as err:
            made.missing.append(f"Narrowings {product.name!r}: {err}.")
    return found


def _columns(work: Work, name: str) -> Columns:
    product = next(p for p in work.products if p.name == name and p.kind.startswith("narrowing"))
    table = pq.read_table(stored(product).path)
    return {n: table.column(n).to_numpy(zero_copy_only=False) for n in table.column_names}


def _narrowings(product: Product, work: Work, drawn: Pictures, made: Narrowed) -> None:
    about = dict(product.about)
    narrow, objects = (_columns(work, product.name + part) for part in ("", "-objects"))
    large = objects["label"][objects["too_large"]]
    total, with_any = len(objects["label"]) - len(large), int((objects["narrowings"] > 0).sum())
    share = percent(with_any / total) if total else "–"
    made.sentences.append(
        f"{number(len(narrow['label']))} narrowings in {number(with_any)} of {number(total)} objects "
        f"({share})."
    )
    made.answer = made.sentences[0]
    made.tiles.append((number(len(narrow["label"])), f"narrowings, in {share} of the objects"))
    made.facts += [(number(len(narrow["label"])), "narrowings"), (share, "of the objects have one")]
    if len(large):
        few = ", ".join(str(label) for label in large[:NAMED]) + (" ..." if len(large) > NAMED else "")
        made.missing.append(
            f"Narrowings {product.name!r}: {number(len(large))} objects were left out, because their "
            f"bounding boxes are above crop_voxels = {number(int(about['crop_voxels']))}: {few}. Raise it, "
            "use a coarser level, or split them."
        )
    if len(narrow["label"]):
        made.facts.append((length(round(float(np.median(narrow["width_nm"])))), "median width there"))
        _widths(narrow, made)
        unsure = int((~narrow["resolved"]).sum())
        if unsure:
            made.caveats.append(
                f"{number(unsure)} of the narrowings are thinner than two voxels: they are not resolved, "
                "and how thin they are is not known. They count in the tests; as examples others go first."
            )
    if "near_density" in narrow:
        tests = _columns(work, f"{product.name}-tests")
        _tests(tests, about, made)
        _paired(narrow, about, made)
        _enrichment(narrow, about, made)
        for part in ("-tests", "-cells"):
            table = next(p for p in work.products if p.name == product.name + part)
            made.tables.append(first_rows(stored(table)))
    made.tables.insert(0, first_rows(stored(product), first=FIRST))
    if len(narrow["label"]):
        shown, missing = examples(narrow, about, work, product.name, drawn)
        made.missing += missing
        for example in shown:
            made.show(example)


def _tests(tests: Columns, about: dict[str, Any], made: Narrowed) -> None:
    to, gap = one(str(about.get("to", "er"))), length(float(about["gap_nm"]))
    p, ratio = float(tests["p_value"][0]), float(tests["ratio"][0])
    if not math.isfinite(p):
        made.sentences.append(
            f"No object with a narrowing and room for another window comes within {gap} of {to}: there is "
            "nothing to test."
        )
        made.answer += f" None can be tested for {to}."
        return
    here, there = (float(tests[c][0]) for c in ("mean_narrow", "mean_control"))
    low, high = (float(tests[c][0]) for c in ("difference_low", "difference_high"))
    more = number(100 * (here - there))
    objects, cells, missing = (int(tests[c][0]) for c in ("objects", "cells", "missing"))
    where = f" in {number(cells)} cells" if cells > 1 else ""
    interval = "no interval from so few"
    if math.isfinite(low):
        interval = f"95 % interval {number(100 * low)} to {number(100 * high)}"
        interval += "" if cells > 1 else " over objects of one cell, so not how cells differ"
    against = f"ratio {number(ratio)}" if math.isfinite(ratio) else "none at all elsewhere"
    found = (
        f"At narrowings {percent(here)} of the surface lies within {gap} of {to}, elsewhere on the same "
        f"objects {percent(there)}"
    )
    made.answer += f" {found} (p = {_chance(p)})."
    made.tiles += [
        (f"{_plain(here)} vs. {percent(there)}", f"of the surface near {to}, at narrowings and elsewhere"),
        (_chance(p), "p-value of that difference, two-sided"),
    ]
    made.sentences.append(
        f"{found}: p = {_chance(p)} by {number(int(about['permutations']))} permutations of places within "
        f"{number(objects)} objects."
    )
    made.caveats += [
        f"The difference is {more} percentage points ({interval}; {against}).",
        f"Tested are the objects with contact, a narrowing and room for another window{where}; "
        f"{number(missing)} objects without any contact say nothing and are left out: with them the "
        f"difference is {number(100 * (here - there) * objects / (objects + missing))} points.",
        "A patch of contact covers more of a thin neck than of a thick part: part of a difference may be "
        "this.",
    ]
    made.facts += [
        (more, f"percentage points more surface near {to} at narrowings"),
        (_chance(p), "p-value, two-sided"),
    ]


def _plain(share: float) -> str:
    """A share as `percent` writes it, without its sign."""
    return percent(share).removesuffix("%").rstrip()


def _chance(p: float) -> str:
    """A p-value; 0.0001 is easier to read than a power of ten."""
    return f"{p:.1g}" if 1e-4 <= p < 1e-3 else number(p, 2)


def _widths(narrow: Columns, made: Narrowed) -> None:
    width = narrow["width_nm"]
    edges = even_edges(0.0, float(width.max()), 30)
    typical, ratio = (number(float(np.median(narrow[c]))) for c in ("width_nm", "width_ratio"))

    def draw(figure: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.add_subplot()
        axes.hist(width, edges, color=css(NECK), alpha=0.75)
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("width at the narrowing (nm)")
        axes.set_ylabel("narrowings")
        bare(axes)

    made.add(
        "widths",
        "Widths of narrowings",
        sketch(draw, name=f"{made.name}w"),
        f"Diameter of a circle with the area of the cross-section. Median {typical} nm; relative to the "
        f"lower flank, {ratio}.",
    )


def _paired(narrow: Columns, about: dict[str, Any], made: Narrowed) -> None:
    near, control = narrow["near_density"], narrow["control_density"]
    known = np.isfinite(near) & np.isfinite(control) & (near + control > 0)
    if not known.any():
        return
    order = np.flatnonzero(known)[np.argsort((near - control)[known], kind="stable")]
    shown = order[np.unique(np.linspace(0, len(order) - 1, min(MOST_LINES, len(order))).astype(int))]
    to, gap = one(str(about.get("to", "er"))), length(float(about["gap_nm"]))

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for i in shown:
            colour = css(CONTACT) if near[i] > control[i] else css(NECK)
            axes.plot([0, 1], [100 * control[i], 100 * near[i]], color=colour, alpha=0.4, linewidth=1)
        means = [100 * float(np.mean(v[known])) for v in (control, near)]
        axes.plot([0, 1], means, color=INK, linewidth=3, marker="o", markersize=6)
        axes.set_xticks([0, 1], ["elsewhere on the object", "at the narrowing"])
        axes.set_xlim(-0.3, 1.3)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(f"surface near {to} (%)")
        bare(axes)

    made.add(
        "paired",
        f"{to} at narrowings and elsewhere on the same objects",
        sketch(draw, name=f"{made.name}p"),
        f"One line per narrowing: the share of the surface within {gap} of {to}, in the window at the "
        "narrowing and (mean) in windows of the same length elsewhere on the object; thick: the mean of "
        f"{number(int(known.sum()))} narrowings. {number(int(len(near) - known.sum()))} have no contact at "
        "all or no room for another window.",
        ("more at the narrowing", css(CONTACT)),
        ("more elsewhere", css(NECK)),
    )


def _enrichment(narrow: Columns, about: dict[str, Any], made: Narrowed) -> None:
    folds = enrichment(narrow)
    finite = folds[np.isfinite(folds)]
    only, never, missing = np.isposinf(folds).sum(), np.isneginf(folds).sum(), np.isnan(folds).sum()
    if not len(folds) - missing:
        return
    reach = max(2.0, math.ceil(float(np.abs(finite).max(initial=0.0))))
    edges = np.linspace(-reach, reach, 25)
    beyond = edges[1] - edges[0]

    def draw(figure: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.add_subplot()
        axes.hist(finite[finite < 0], edges, color=css(NECK), alpha=0.75)
        axes.hist(finite[finite >= 0], edges, color=css(CONTACT), alpha=0.75)
        # What has no logarithm stands beside the axis, not at an invented value.
        axes.bar([-reach - 3 * beyond], [never], beyond, color=css(NECK), alpha=0.35, hatch="//")
        axes.bar([reach + 3 * beyond], [only], beyond, color=css(CONTACT), alpha=0.35, hatch="//")
        axes.axvline(0, color=INK, linewidth=1)
        ticks = np.linspace(-reach, reach, 5)
        places = [-reach - 3 * beyond, *ticks, reach + 3 * beyond]
        axes.set_xticks(places, ["far\nonly", *(f"{t:g}" for t in ticks), "near\nonly"])
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("log2 of contact density, near over far")
        axes.set_ylabel("narrowings")
        bare(axes)

    made.add(
        "enrichment",
        "Enrichment at narrowings",
        sketch(draw, name=f"{made.name}e"),
        "Contact per surface in the window of a narrowing over that of the rest of the object. "
        f"{number(int((finite > 0).sum() + only))} narrowings have more, "
        f"{number(int((finite < 0).sum() + never))} less; {number(int(missing))} are on objects without any "
        "contact (0 over 0): missing, not depleted.",
    )
