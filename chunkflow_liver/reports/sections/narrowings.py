"""What was found at narrowings: tests in words, near against far, and objects with their width profiles."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from chunkflow_liver.engine.plan import Product
from chunkflow_liver.errors import ChunkflowLiverError, InputError
from chunkflow_liver.kernels.centreline.kinds import KINDS
from chunkflow_liver.reports.pictures.figures import INK, bare, even_edges, inline, sketch
from chunkflow_liver.reports.pictures.narrowing_examples import Columns, Example, enrichment, examples
from chunkflow_liver.reports.pictures.renderings import CONTACT, NECK
from chunkflow_liver.reports.pictures.slices import Pictures, css
from chunkflow_liver.reports.sections.findings import Figure
from chunkflow_liver.reports.sections.lead import Compared, compared, lead
from chunkflow_liver.reports.tables import Shown, first_rows, stored
from chunkflow_liver.reports.words import counted, length, near_to, number, off_by, one, percent
from chunkflow_liver.reports.work import Work

MOST_LINES = 150
"""Pairs that are drawn one by one; of more, even steps through all of them."""
FEWEST_APART = 5
"""Distances between consecutive narrowings of which the page states the median."""
NAMED = 10
LEVEL = 0.05
"""Up to which p the page says what is not by chance."""
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
    untested: str = ""
    tiles: list[tuple[str, str]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
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


def _columns(work: Work, name: str, newest: str) -> Columns:
    """The columns of a table; one of an earlier version, without the `newest`, is said to be that."""
    product = next(p for p in work.products if p.name == name and p.kind.startswith("narrowing"))
    table = pq.read_table(stored(product).path)
    if newest not in table.column_names:
        raise InputError(
            f"table {name!r} is of an earlier version and has no column {newest!r}; run its stage anew"
        )
    return {n: table.column(n).to_numpy(zero_copy_only=False) for n in table.column_names}


def _narrowings(product: Product, work: Work, drawn: Pictures, made: Narrowed) -> None:
    about = dict(product.about)
    narrow = _columns(work, product.name, "resolved")
    objects = _columns(work, f"{product.name}-objects", "too_large")
    large = objects["label"][objects["too_large"]]
    total, with_any = len(objects["label"]) - len(large), int((objects["narrowings"] > 0).sum())
    share = percent(with_any / total) if total else "–"
    made.sentences.append(
        f"{counted(len(narrow['label']), 'narrowing')} in {number(with_any)} of {counted(total, 'object')} "
        f"({share})."
    )
    made.answer = made.sentences[0]
    made.tiles.append((number(len(narrow["label"])), f"narrowings, in {share} of the objects"))
    made.facts += [(number(len(narrow["label"])), "narrowings"), (share, "of the objects have one")]
    if len(large):
        few = ", ".join(str(label) for label in large[:NAMED]) + (" ..." if len(large) > NAMED else "")
        made.missing.append(
            f"Narrowings {product.name!r}: {counted(len(large), 'object was', 'objects were')} left out, "
            f"because their bounding boxes are above crop_voxels = {number(int(about['crop_voxels']))}: {few}"
            ". Raise it, use a coarser level, or split them."
        )
    _kinds(narrow, made)
    apart = narrow["next_nm"][np.isfinite(narrow["next_nm"])] if "next_nm" in narrow else np.zeros(0)
    if len(apart) >= FEWEST_APART:
        low, median, high = (length(float(np.round(v))) for v in np.percentile(apart, [25, 50, 75]))
        made.caveats.append(
            f"Consecutive narrowings on one branch lie {median} apart (median of {number(len(apart))}; the "
            f"middle half {low} to {high})."
        )
    _evenness(product, work, made)
    if len(narrow["label"]):
        sure = narrow["resolved"] if narrow["resolved"].any() else np.ones(len(narrow["label"]), bool)
        which = (
            f"the {number(int(sure.sum()))} resolved" if narrow["resolved"].any() else "all, none resolved"
        )
        middle = float(np.median(narrow["width_nm"][sure]))
        made.facts.append((length(round(middle)), f"median width there, of {which}"))
        _widths(narrow, about, made)
        unsure = int((~narrow["resolved"]).sum())
        if unsure:
            made.caveats.append(
                f"{number(unsure)} of the narrowings {'is' if unsure == 1 else 'are'} thinner or shorter "
                "than two voxels, or between two sections: not resolved, and how thin is not known. What is "
                "not resolved counts in the tests; as examples others go first."
            )
    if "near_density" in narrow:
        tests = _columns(work, f"{product.name}-tests", "unpaired")
        partners = about.get("partners", (about.get("to", "er"),))
        for i, partner in enumerate(partners):
            _contact(i, {**about, "to": partner}, narrow, objects, tests, made)
        for part in ("-tests", "-cells"):
            table = next(p for p in work.products if p.name == product.name + part)
            made.tables.append(first_rows(stored(table)))
    made.tables.insert(0, first_rows(stored(product), first=FIRST))
    if len(narrow["label"]):
        shown, missing = examples(narrow, about, work, product.name, drawn)
        made.missing += missing
        for example in shown:
            made.show(example)


def _contact(
    i: int, about: dict[str, Any], narrow: Columns, objects: Columns, tests: Columns, made: Narrowed
) -> None:
    """What is said and drawn of the contact with partner `i`, the first of which has the plain names."""
    partner = str(about["to"])
    if i:
        begin = f"{partner}_"
        own = {name.removeprefix(begin): c for name, c in narrow.items() if name.startswith(begin)}
        narrow = narrow | own
    if "partner" in tests:
        rows = tests["partner"] == partner
        tests = {name: column[rows] for name, column in tests.items()}
    compare = compared(narrow, tests, with_cells=bool(objects["cell"].any()))
    said = lead(made.name, narrow, objects, tests, about, compare)
    # What could not be tested is no headline; it stands below.
    if compare.tested:
        made.answer += said.answer
        made.tiles += said.tiles
    elif not i:
        made.untested = f"{made.name}: {said.answer.strip()}"
    made.sentences += said.sentences
    made.caveats += [text for text in said.caveats if text not in made.caveats]
    made.facts += said.facts
    if not i:
        made.warnings += said.warnings
    _paired(narrow, about, compare, made, "" if not i else f"{partner}-")
    _enrichment(narrow, about, made, "" if not i else f"{partner}-")


def _evenness(product: Product, work: Work, made: Narrowed) -> None:
    """Whether narrowings of one branch follow each other more evenly than chance would lay them."""
    if not any(p.name == f"{product.name}-spacing" for p in work.products):
        return
    row = {name: column[0] for name, column in _columns(work, f"{product.name}-spacing", "spread").items()}
    if not math.isfinite(row["p_value"]):
        return
    word = "as evenly as chance lays them"
    if row["p_value"] <= LEVEL:
        more = row["spread"] < row["expected_spread"]
        word = "more evenly than chance lays them" if more else "less evenly than chance lays them, in groups"
    made.sentences.append(
        f"Three or more narrowings in a row follow each other {word}: their distances vary by "
        f"{percent(float(row['spread']))}, of places at random by {percent(float(row['expected_spread']))} "
        f"(95 %: {percent(float(row['low_spread']))} to {percent(float(row['high_spread']))}); p = "
        f"{number(float(row['p_value']), 2)} from {number(int(row['spacings']))} distances on "
        f"{counted(int(row['objects']), 'object')}."
    )


def _kinds(narrow: Columns, made: Narrowed) -> None:
    """How many narrowings are no constrictions, and whether tests take them."""
    if "kind" not in narrow:
        return
    counts = [(kind, int((narrow["kind"] == kind).sum())) for kind in KINDS]
    how = {KINDS[1]: f"a contact of {KINDS[1]}", KINDS[2]: f"made by the {KINDS[2]}"}
    others = " and ".join(
        f"{number(n)} {'is' if n == 1 else 'are'} {how[kind]}" for kind, n in counts[1:] if n
    )
    if others:
        left = int((~narrow["tested"]).sum())
        tested = "which tests leave out" if left else "which tests take, too, as was asked"
        made.sentences.append(f"{number(counts[0][1])} are constrictions; {others}, {tested}.")


def _widths(narrow: Columns, about: dict[str, Any], made: Narrowed) -> None:
    width = narrow["width_nm"]
    edges = even_edges(0.0, float(width.max()), 30)
    typical, ratio = (number(float(np.median(narrow[c]))) for c in ("width_nm", "width_ratio"))

    sources = {str(about["boundary_source"])} if "boundary_source" in about else set()
    ends = [number(float(np.median(narrow[f"width_{end}_nm"]))) for end in ("low", "high") if sources]
    off = off_by(sources, "it", f"{' to '.join(ends)} nm")

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
        f"Diameter of a circle with the area of the cross-section. Median of all {typical} nm; over the "
        f"lower flank, {ratio}. {off}".strip(),
    )


def _paired(narrow: Columns, about: dict[str, Any], seen: Compared, made: Narrowed, begin: str = "") -> None:
    near, other, every = seen.near, seen.other, len(seen.rows)
    if not every:
        return
    order = np.argsort(near - other, kind="stable")
    shown = order[np.unique(np.linspace(0, every - 1, min(MOST_LINES, every)).astype(int))]
    to = one(str(about.get("to", "er")))

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for i in shown:
            colour = css(CONTACT) if near[i] > other[i] else css(NECK)
            axes.plot([0, 1], [100 * other[i], 100 * near[i]], color=colour, alpha=0.4, linewidth=1)
        means = [100 * seen.there, 100 * seen.here]
        axes.plot([0, 1], means, color=INK, linewidth=3, marker="o", markersize=6)
        axes.set_xticks([0, 1], [seen.where.replace("same objects", "object"), "at the narrowing"])
        axes.set_xlim(-0.3, 1.3)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(f"surface near {to} (%)")
        bare(axes)

    against = (
        "(mean) in windows of the same length elsewhere on the object"
        if seen.tested
        else "on the object outside all windows of narrowings (described, not tested)"
    )
    some = "" if len(shown) == every else f" {number(len(shown))} of {number(every)} are drawn."
    left = len(narrow["label"]) - every
    without = " or no room for another window" if seen.tested else ""
    made.add(
        f"{begin}paired",
        f"{to} at narrowings and {seen.where}",
        sketch(draw, name=f"{made.name}{begin}p"),
        f"One line per narrowing: the share of the surface {near_to(float(about['gap_nm']), to)}, in the "
        f"window at the narrowing and {against}.{some} Thick: the means in the text, each of the "
        f"{counted(seen.objects, 'object')} with the mean of its narrowings."
        + (
            f" {counted(left, 'narrowing is on an object', 'narrowings are on objects')} that "
            f"{'has' if left == 1 else 'have'} no contact{without}."
            if left
            else ""
        ),
        ("more at the narrowing", css(CONTACT)),
        ("more elsewhere", css(NECK)),
    )


def _enrichment(narrow: Columns, about: dict[str, Any], made: Narrowed, begin: str = "") -> None:
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
        f"{begin}enrichment",
        f"Enrichment of {one(str(about.get('to', 'er')))} at narrowings",
        sketch(draw, name=f"{made.name}{begin}e"),
        "Contact per surface in the window of a narrowing over that of the rest of the object. "
        f"{counted(int((finite > 0).sum() + only), 'narrowing has', 'narrowings have')} more, "
        f"{number(int((finite < 0).sum() + never))} less; {counted(int(missing), 'is', 'are')} on objects "
        "without any contact (0 over 0): missing, not depleted.",
    )
