"""Whether objects lie nearer to others than chance would lay them: sentences, and curves with their bands."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Product
from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.reports.pictures.figures import INK, bare, inline, sketch
from chunkflow_liver.reports.pictures.slices import css
from chunkflow_liver.reports.sections.findings import GREY, Figure, Findings
from chunkflow_liver.reports.tables import first_rows, stored
from chunkflow_liver.reports.words import between, counted, length, near_to, number, one, percent
from chunkflow_liver.reports.work import Work
from chunkflow_liver.store.ngff.write import PALETTE
from chunkflow_liver.store.table import read_table

COLOUR = css(PALETTE[2])
Columns = dict[str, np.ndarray[Any, Any]]


def chance(work: Work, found: Findings) -> None:
    """Add what tests of random placement say, and their curves; interval and null first, p beside them."""
    for product in work.of("placement tests"):
        try:
            tests = _columns(product)
            found.sentences += _sentences(product, tests)
            found.warnings += _left_out(product, tests)
            found.previews.append(first_rows(stored(product)))
            curve = next(p for p in work.of("placement curve") if p.name == f"{product.name}-curve")
            found.figures += _figures(curve, _columns(curve), tests, len(found.figures))
        except ChunkflowLiverError as err:
            found.missing.append(f"Placements {product.name!r}: {err}.")


def _columns(product: Product) -> Columns:
    table = read_table(stored(product).path)
    return {name: table.column(name).to_numpy(zero_copy_only=False) for name in table.column_names}


def _sentences(product: Product, tests: Columns) -> list[str]:
    about = dict(product.about)
    a, gap_nm = str(about.get("a", "A")), float(about["gap_nm"])
    said = []
    for i, partner in enumerate(tests["partner"].tolist()):
        if i % 2:
            continue
        row = {name: column[i] for name, column in tests.items()}
        if not math.isfinite(row["observed"]):
            said.append(f"No objects of {a} could be laid at random near {one(partner)}.")
            continue
        text = (
            f"{percent(row['observed'])} of the surface of {a} {near_to(gap_nm, one(partner), 'lies')}; laid "
            f"at random {percent(row['expected'])} would (95 % of the placements: {percent(row['low'])} to "
            f"{percent(row['high'])}). The difference is {number(100 * row['difference'])} percentage points"
        )
        low, high = row["difference_low"], row["difference_high"]
        objects = counted(int(row["objects"]), "object")
        unit = counted(int(row["cells"]), "cell") if row["cells"] > 1 else objects
        text += (
            f" (95 % interval {between(100 * low, 100 * high)}, from {unit})"
            if math.isfinite(low)
            else " (no interval: two cells do not say how cells differ)"
            if row["cells"] == 2
            else f" (no interval: too few of {objects} have any)"
        )
        p, q = row["p_value"], row["q_value"]
        text += (
            f"; p = {number(p, 2)}, q = {number(q, 2)}." if math.isfinite(p) else f"; no p: {row['no_test']}."
        )
        # A share below 0.1 % is told in words.
        said.append(text[0].upper() + text[1:])
    return said


def _left_out(product: Product, tests: Columns) -> list[str]:
    why = {
        "no_room": "had no other place",
        "border": "are cut by the volume's end",
        "too_large": "are too large",
    }
    counts = {text: int(tests[name][0]) for name, text in why.items() if len(tests[name]) and tests[name][0]}
    if not counts:
        return []
    parts = ", ".join(f"{number(n)} {text}" for text, n in counts.items())
    laid = counted(int(tests["objects"][0]), "object was", "objects were")
    return [f"{product.name}: {laid} laid at random; {parts}."]


def _figures(product: Product, curve: Columns, tests: Columns, first: int) -> list[Figure]:
    about = dict(product.about)
    figures = []
    for i, partner in enumerate(dict.fromkeys(curve["partner"].tolist())):
        here = {name: column[curve["partner"] == partner] for name, column in curve.items()}
        if not np.isfinite(here["observed_fraction"]).all():
            continue

        def draw(figure: Any, here: Columns = here) -> None:
            axes = figure.add_subplot()
            at = here["gap_nm"]
            for name, colour in (("", GREY), ("observed_", COLOUR)):
                ends = [100 * here[f"{name}{end}_fraction"] for end in ("low", "high")]
                if np.isfinite(ends).all():
                    axes.fill_between(at, *ends, color=colour, alpha=0.3, linewidth=0)
            axes.plot(at, 100 * here["expected_fraction"], color=GREY, linewidth=1.8, linestyle=(0, (5, 3)))
            axes.plot(at, 100 * here["observed_fraction"], color=COLOUR, linewidth=2.2)
            axes.axvline(float(about["gap_nm"]), color=INK, linewidth=1, linestyle=(0, (2, 3)))
            axes.set_xlim(0, float(at[-1]))
            axes.set_ylim(bottom=0)
            axes.set_xlabel("gap up to which surface counts (nm)")
            axes.set_ylabel("share of the surface (%)")
            bare(axes)

        figures.append(
            Figure(
                f"Near {one(partner)}: as it is, and by chance ({product.name.removesuffix('-curve')})",
                inline(sketch(draw, name=f"chance{first + i}")),
                f"Mean share of the surface of {counted(int(tests['objects'][0]), 'object')} of "
                f"{about.get('a', 'A')} that has {one(partner)} within the gap. Bands: of this mean, 95 % "
                f"by t over {'cells' if tests['cells'][0] > 1 else 'objects'}; of chance, where 95 % of "
                f"{number(int(about['placements']))} placements lie, at each gap by itself. Dotted: the gap "
                f"of the test, {length(float(about['gap_nm']))}.",
                (("where they are", COLOUR), ("laid at random", GREY)),
            )
        )
    return figures
