"""Where do objects lie between two structures, and what changes there? Every number stands in a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from chunkflow_liver.engine.plan import Product
from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.reports.sections.populations import Told
from chunkflow_liver.reports.sections.zones.figures import (
    FACED,
    MOST_COLUMNS,
    RADIUS,
    WALL,
    along_duct,
    by_zone,
    diameters,
    positions,
    shares,
)
from chunkflow_liver.reports.sections.zones.planes import legend, tissue, zoned
from chunkflow_liver.reports.tables import Shown, beside, first_rows, in_short, stored
from chunkflow_liver.reports.words import THIN, counted, heading, number, percent, readable
from chunkflow_liver.reports.work import Work, exists

Columns = Mapping[str, np.ndarray[Any, Any]]
PUBLISHED = (
    ("diameter", "50 to 350 nm", "Boninsegna et al., Livers 3 (2023)"),
    ("porosity", "5 to 15 %", "Boninsegna et al., 2023"),
    ("porosity", "7.6 % near the portal, 9.1 % near the central vein", "man; Horn et al., Liver 6 (1986)"),
    ("fenestrae in 1 µm²", "19 near the portal, 24 near the central vein", "man; Horn et al., 1986"),
)
"""What is published of fenestrae."""
NAMED = 5
"""Columns with a trend that the text names."""


def zonations(work: Work) -> list[Told]:
    """Every zonation of a run, and what surfaces face; what cannot be shown is listed as missing."""
    found = []
    for kind, tell in TOLD.items():
        for product in work.of(kind):
            made = Told(product.name)
            found.append(made)
            try:
                tell(product, work, made)
            except ChunkflowLiverError as err:
                made.missing.append(f"{kind.capitalize()} {product.name!r}: {err}.")
    return found


def columns_of(product: Product) -> Columns:
    """The columns of a table, by name."""
    table = pq.read_table(stored(product).path)
    return {n: table.column(n).to_numpy(zero_copy_only=False) for n in table.column_names}


def _zonation(product: Product, work: Work, made: Told) -> None:
    name, about = product.name, dict(product.about)
    places, ends, zones = columns_of(product), list(about["ends"]), list(about["zones"])
    named = {p.name: p for p in work.products if p.kind.startswith("zonation ")}
    parts = {end: named[f"{name}{end}"] for end in ("-trends", "-zones") if f"{name}{end}" in named}
    _places(places, ends, len(zones) + 1, str(about["instances"]), made)
    used = places["left_out"] == ""
    if used.any():
        made.add(
            "Positions",
            positions(places["position"][used], places["zone"][used], zones, name=f"{name}p"),
            f"0: {readable(ends[0])}, 1: {readable(ends[1])}. Lines: where zones end.",
        )
    plane = zoned(work, str(about["instances"]), places["label"], places["zone"])
    if plane is not None:
        made.add(
            "Tissue by zone",
            tissue(*plane, len(zones) + 1, name=f"{made.name}t"),
            f"{readable(str(about['instances'])).capitalize()} in one plane across z, that in the middle "
            f"third which shows most; zone 1 is nearest to {readable(ends[0])}.",
            *legend(len(zones) + 1),
        )
    if "-trends" in parts and exists(parts["-trends"]) and exists(parts["-zones"]):
        _trends(columns_of(parts["-trends"]), columns_of(parts["-zones"]), made)
    made.tables += [first_rows(stored(p)) for p in (product, *parts.values()) if exists(p)]


def _domains(product: Product, work: Work, made: Told) -> None:
    cells, about = columns_of(product), dict(product.about)
    names = [*(str(name) for name in about["to"]), "neighbour", "free"]
    total = float(cells["surface_um2"].sum())
    told = [("cells", number(len(cells["label"])), ""), ("surface", number(total), "µm²")]
    made.sentences.append(
        f"The surfaces of {told[0][1]} {readable(str(about['instances']))} are {told[1][1]}{THIN}µm²."
    )
    if total > 0:
        called = {"neighbour": "other cells", "free": "nothing"}
        for name in names:
            area, what = float(cells[f"{name}_um2"].sum()), called.get(name, readable(name))
            told.append((f"faces {what}", number(area), "µm²"))
            told.append((f"share that faces {what}", percent(area / total), ""))
        shown = [f"{told[3 + 2 * i][1]} {called.get(name, readable(name))}" for i, name in enumerate(names)]
        made.sentences.append(f"They face {', '.join(shown)}.")
        made.add(
            "What surfaces face",
            shares(cells, names, name=f"{made.name}s"),
            "A bar per cell, sorted by the first part; at most the 60 with the largest surface.",
            *zip([called.get(name, readable(name)) for name in names], FACED, strict=False),
        )
    if cut := int(cells["touches_border"].sum()):
        made.caveats.append(
            f"{number(cut)} of them are cut by the end of the volume, and parts of their surface are missing."
        )
    made.tables.append(in_short(made.name, told))
    pairs = [p for p in work.of("domain neighbours") if p.name == f"{product.name}-neighbours"]
    made.tables += [first_rows(stored(p)) for p in (product, *pairs) if exists(p)]


def _fenestrae(product: Product, work: Work, made: Told) -> None:
    holes, about = columns_of(product), dict(product.about)
    found = [p for p in work.of("fenestrae summary") if p.name == f"{product.name}-summary" and exists(p)]
    if found:
        told = columns_of(found[0])
        values = dict(zip(told["what"].tolist(), told["value"].tolist(), strict=True))
        low, high = (f"{limit:g}" for limit in about["limits_nm"])
        count = counted(int(values["fenestrae"]), "fenestra", "fenestrae")
        share = ""
        if np.isfinite(values["porosity"]):
            area = f"{number(values['surface_um2'])}{THIN}µm²"
            share = f", with a porosity of {percent(values['porosity'])} of a surface of {area}"
        made.sentences.append(
            f"The wall of the {readable(str(about['lumen']))} has {count} of {low} to {high}{THIN}nm{share}."
        )
        if values["fenestrae"] > 0:
            middle, first, last = (number(values[f"diameter_p{p}_nm"]) for p in (50, 25, 75))
            made.sentences.append(
                f"Their diameter is {middle}{THIN}nm (median; the middle half {first} to {last}{THIN}nm), "
                f"and there are {number(values['fenestrae_per_um2'])} in 1{THIN}µm²."
            )
        made.sentences.append(
            f"{number(int(values['pores']))} holes are smaller, {number(int(values['gaps']))} larger; "
            f"{number(int(values['at_border']))} reach the end of the volume and do not count."
        )
    inner = (holes["kind"] == "fenestra") & ~holes["touches_border"].astype(bool)
    if inner.any():
        made.add(
            "Diameters of fenestrae",
            diameters(holes["diameter_nm"][inner], name=f"{made.name}d"),
            "Of a disk with the area of the hole, seen along its axis.",
        )
    if found:
        made.tables.append(_beside(product.name, values))
    made.tables += [first_rows(stored(p)) for p in (product, *found) if exists(p)]


def _beside(name: str, values: Mapping[str, float]) -> Shown:
    """Our numbers of fenestrae beside published ones."""
    share, per_area, middle = (values[k] for k in ("porosity", "fenestrae_per_um2", "diameter_p50_nm"))
    ours = {
        "diameter": f"{number(middle)}{THIN}nm (median)" if np.isfinite(middle) else "",
        "porosity": percent(share) if np.isfinite(share) else "",
        "fenestrae in 1 µm²": number(per_area) if np.isfinite(per_area) else "",
    }
    return beside(name, [(what, value, ours[what], source) for what, value, source in PUBLISHED])


def _duct(product: Product, work: Work, made: Told) -> None:
    cells, about = columns_of(product), dict(product.about)
    found = [p for p in work.of("duct sections") if p.name == f"{product.name}-sections" and exists(p)]
    kept = cells["left_out"] == ""
    told = [("cells around it", number(int(kept.sum())), "")]
    made.sentences.append(
        f"Around the {readable(str(about['lumen']))} lie {told[0][1]} {readable(str(about['instances']))}."
    )
    if kept.any():
        height = number(float(np.median(cells["height_nm"][kept])))
        told.append(("median height of a cell", height, "nm"))
        made.sentences.append(f"Their height is {height}{THIN}nm (median).")
    if found:
        told += _sections(columns_of(found[0]), made)
    made.tables.append(in_short(made.name, told))
    made.tables += [first_rows(stored(p)) for p in (product, *found) if exists(p)]


def _sections(sections: Columns, made: Told) -> list[tuple[str, str, str]]:
    whole = np.isfinite(sections["radius_nm"])
    if not whole.any():
        return []
    radius, wall = (number(float(np.median(sections[f"{w}_nm"][whole]))) for w in ("radius", "thickness"))
    many = number(int(whole.sum()))
    made.sentences.append(
        f"In {many} whole sections the lumen has a radius of {radius}{THIN}nm and the "
        f"wall a thickness of {wall}{THIN}nm (medians)."
    )
    made.add(
        "Along the duct",
        along_duct(sections, name=f"{made.name}a"),
        "Sections at the ends are not whole and have none.",
        ("radius of the lumen", RADIUS),
        ("thickness of the wall", WALL),
    )
    return [
        ("whole sections", many, ""),
        ("median radius of the lumen", radius, "nm"),
        ("median thickness of the wall", wall, "nm"),
    ]


def _places(places: Columns, ends: list[str], zones: int, instances: str, made: Told) -> None:
    used = places["left_out"] == ""
    total, kept = len(used), int(used.sum())
    told = [(instances, number(total), ""), ("with a position", number(kept), "")]
    made.sentences.append(
        f"{number(kept)} of {number(total)} {readable(instances)} have a position from 0 "
        f"({readable(ends[0])}) to 1 ({readable(ends[1])})."
    )
    if kept:
        counts = [int((places["zone"] == zone + 1).sum()) for zone in range(zones)]
        listed = ", ".join(f"{number(n)} in zone {zone + 1}" for zone, n in enumerate(counts))
        told += [(f"in zone {zone + 1}", number(n), "") for zone, n in enumerate(counts)]
        made.sentences.append(f"Of these {listed}.")
    for why, text in (
        ("unreached", "are not reached from both"),
        ("border", "could lie nearer to what is outside the volume"),
    ):
        if lost := int((places["left_out"] == why).sum()):
            told.append((f"left out: {why}", number(lost), ""))
            made.sentences.append(f"{number(lost)} {text}, and are left out.")
    unsure = float(np.mean(places["exact_fraction"][used] < 1)) if kept else 0.0
    if unsure > 0:
        told.append(("share that the outside could change", percent(unsure), ""))
        made.caveats.append(
            f"For {percent(unsure)} of them what lies outside the volume could be nearer to some part; "
            "'border: false' leaves these out."
        )
    made.tables.append(in_short(made.name, told))


def _trends(trends: Columns, zones: Columns, made: Told) -> None:
    p, q = trends["p_value"], trends["q_value"]
    cells = int(trends["cells"].max(initial=0))
    made.sentences.append(f"Trends have cells as their units, {number(cells)} at most.")
    if np.isnan(p).all():
        why = next((str(w) for w in trends["no_test"] if w), "all values are equal")
        made.sentences.append(f"Described, not tested: {why}.")
    else:
        below = np.flatnonzero(q <= 0.05)
        order = below[np.argsort(q[below], kind="stable")][:NAMED]
        named = "; ".join(_slope(trends, int(i)) for i in order)
        known = int(np.isfinite(q).sum())
        text = f"{len(below)} of {known} columns change along it at a false discovery rate of 5{THIN}%"
        made.sentences.append(f"{text}: {named}." if named else f"{text}.")
    rank = np.lexsort([np.arange(len(p)), np.where(np.isfinite(p), p, 2.0)])
    shown = [str(trends["column"][i]) for i in rank[:MOST_COLUMNS]]
    which = f"; the {len(shown)} columns with the smallest p" if len(shown) < len(rank) else ""
    made.add(
        "Means of zones",
        by_zone(zones, shown, name=f"{made.name}z"),
        f"Over cells, with 95 % intervals from three cells on{which}.",
    )


def _slope(trends: Columns, i: int) -> str:
    slope, low, high = (number(float(trends[f"slope{end}"][i])) for end in ("", "_low", "_high"))
    column, unit = heading(str(trends["column"][i]))
    return f"{column} by {slope}{THIN * bool(unit)}{unit} from 0 to 1 (95{THIN}% {low} to {high})"


TOLD: Mapping[str, Callable[[Product, Work, Told], None]] = {
    "zonation": _zonation,
    "domains": _domains,
    "duct cells": _duct,
    "fenestrae": _fenestrae,
}
"""What tells of a kind of table."""
