"""What was found, in words and figures: sizes, distances, intensities, contacts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Product
from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.reports.pictures.closeups import CloseUp, class_pictures, contact_pictures
from chunkflow_liver.reports.pictures.figures import Bars, even_edges, histogram, log_edges, single
from chunkflow_liver.reports.pictures.gallery import Extremes, Gallery, extreme_objects, gallery
from chunkflow_liver.reports.pictures.samples import choose, fits, levels_of, surface, together
from chunkflow_liver.reports.pictures.slices import Layer, Pictures, css
from chunkflow_liver.reports.sections.scores import evaluated_text, mean_scores
from chunkflow_liver.reports.sections.sentences import (
    edit_states,
    edited_text,
    masked_share,
    nearness,
    refined_text,
    superseded,
    tissue_um3,
)
from chunkflow_liver.reports.sections.trivial import trivial
from chunkflow_liver.reports.tables import WHOLE, Shown, Stored, extreme_rows, extremes, first_rows, stored
from chunkflow_liver.reports.words import counted, length, near_to, number, one, percent, several
from chunkflow_liver.reports.work import Work, exists
from chunkflow_liver.store.ngff.write import PALETTE
from chunkflow_liver.store.volume import Volume

GREY = "#9aa3ad"
MOST_CLASSES = len(PALETTE)


@dataclass(frozen=True)
class Figure:
    """A figure with its key: `legend` holds (text, CSS colour)."""

    title: str
    svg: str
    caption: str
    legend: tuple[tuple[str, str], ...] = ()


@dataclass
class Findings:
    """Everything the first half of the page shows beside pictures."""

    sentences: list[str] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    composition: list[tuple[str, str, str, str]] = field(default_factory=list)
    composition_text: str = ""
    shares: dict[str, list[float]] = field(default_factory=dict)
    """Share of the volume of every class, one per image of classes."""
    scores: list[tuple[Shown, str]] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    extremes: list[Extremes] = field(default_factory=list)
    contacts: list[tuple[str, list[tuple[str, str]], Shown | None, list[CloseUp]]] = field(
        default_factory=list
    )
    classes: list[CloseUp] = field(default_factory=list)
    galleries: list[Gallery] = field(default_factory=list)
    previews: list[Shown] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def findings(work: Work, drawn: Pictures) -> Findings:
    """What tables and samples of the volumes say; what is not there is listed as missing."""
    found = Findings()
    tables: dict[str, list[Stored]] = {}
    kinds = ("instance table", "contact table", "evaluation", "id table", "edit log")
    for kind in kinds:
        for product in work.of(kind):
            try:
                tables.setdefault(kind, []).append(stored(product))
            except ChunkflowLiverError as err:
                found.missing.append(f"{kind.capitalize()}: {err}.")
    for kind in ("instance table", "contact objects", "profile"):
        for product in work.of(kind):
            if exists(product):
                found.warnings += trivial(stored(product))
    logs, measured = tables.get("edit log", []), tables.get("instance table", [])
    states, gone = edit_states(logs), superseded(logs, measured)
    measured.sort(key=lambda table: str(table.about.get("instances")) in gone)
    for i, table in enumerate(measured):
        shown, image = gallery(table, f"o{i}", work, drawn), str(table.about.get("instances"))
        headed = found.facts.copy()
        _instances(table, work, shown, found, states.get(image, ""))
        found.facts = headed if image in gone else found.facts
        if shown is not None:
            found.galleries.append(shown)
    for table in tables.get("contact table", []):
        _contacts(table, work, measured, drawn, found, states)
    # Classes first: their shares are counted in more voxels than distances are.
    for layer in sorted(drawn.layers, key=lambda layer: layer.kind != "semantic"):
        try:
            if layer.kind == "distance":
                _distance(layer, _subjects(work, drawn), found)
            elif layer.kind == "semantic":
                _composition(layer, found)
                found.classes += class_pictures(layer, work, drawn)
                means = mean_scores(layer, drawn.layers)
                found.scores += [] if means is None else [means]
        except ChunkflowLiverError as err:
            found.missing.append(f"No statistics of {layer.name!r}: {err}.")
    _intensity(work, measured, drawn, found)
    found.sentences += [text for t in tables.get("evaluation", []) if (text := evaluated_text(t))]
    found.sentences += [refined_text(t) for t in tables.get("id table", [])]
    found.sentences += [edited_text(t) for t in logs]
    for kind in kinds:
        found.previews += [first_rows(t) for t in tables.get(kind, [])]
    return found


def _volume_of(work: Work, name: str) -> Volume | None:
    handles = (p.handle for p in work.products if p.name == name)
    return next((h for h in handles if isinstance(h, Volume)), None)


def _instances(table: Stored, work: Work, pictured: Gallery | None, found: Findings, state: str = "") -> None:
    """Counts, volumes, border, histogram and extreme rows of one instance table."""
    sizes = table.column("volume_um3")
    labelled = _volume_of(work, str(table.about.get("instances", "")))
    tissue = tissue_um3(labelled) if labelled else math.nan
    if not table.rows:
        where = f" in {number(tissue)} µm³ of tissue" if labelled else ""
        found.sentences.append(f"No instances were found{where} ({table.product.name}).")
        return
    if sizes is None:
        found.missing.append(f"Table {table.product.name!r} has no column volume_um3.")
        return
    groups = dict(list(table.by_class().items())[:MOST_CLASSES])
    whole = table.scopes().get(WHOLE)
    for i, (name, mask) in enumerate(groups.items()):
        here = sizes[mask]
        text = f"{number(len(here))} {several(name) if len(here) != 1 else one(name) or 'object'}{state}"
        if labelled and i == 0:
            text += f" in {number(tissue)} µm³ of tissue"
        share = f"; {percent(float(here.sum()) / tissue)} of the volume" if labelled else ""
        kept = here if whole is None or not (mask & whole).any() else sizes[mask & whole]
        middle = number(float(np.median(kept)))
        which = f" of the {number(len(kept))} whole ones" if len(kept) < len(here) else ""
        found.sentences.append(f"{text}{share}; median volume{which} {middle} µm³.")
        told = f",{state}" if state else ""
        found.facts.append((number(len(here)), f"{several(name)}{told}"))
        if labelled and i == 0:
            found.facts.append(
                (percent(float(here.sum()) / tissue), f"of the volume is {several(name)}{told}")
            )
        if i == 0:
            found.facts.append((f"{middle} µm³", f"median volume{which}{told}"))
    border = table.column("touches_border")
    if border is not None and border.any():
        found.warnings.append(
            f"{number(int(border.sum()))} of {counted(table.rows, 'object')} in {table.product.name} "
            f"({percent(float(border.mean()))}) {'touches' if border.sum() == 1 else 'touch'} the border of "
            "the volume: what goes on outside it has a volume and lengths that are lower bounds."
        )
    edges = log_edges(sizes)
    if len(edges):
        series = [
            Bars(edges, np.histogram(sizes[m], edges)[0], css(PALETTE[i]), filled=len(groups) == 1)
            for i, m in enumerate(groups.values())
        ]
        found.figures.append(
            Figure(
                f"Volumes ({table.product.name})",
                single(sizes, "µm³")
                or histogram(
                    series, x="volume (µm³)", y="objects", log=True, name=f"volume{len(found.figures)}"
                ),
                f"All of {counted(table.rows, 'object')}; the axis is logarithmic. Median of all "
                f"{number(float(np.median(sizes)))} µm³, middle half "
                f"{number(float(np.percentile(sizes, 25)))} to "
                f"{number(float(np.percentile(sizes, 75)))} µm³.",
                tuple((several(n), css(PALETTE[i])) for i, n in enumerate(groups)) if len(groups) > 1 else (),
            )
        )
    shown = extreme_objects(table, pictured)
    found.extremes += [shown] if shown.tables else []


def _contacts(
    table: Stored,
    work: Work,
    instances: Sequence[Stored],
    drawn: Pictures,
    found: Findings,
    states: Mapping[str, str],
) -> None:
    """How many objects have a contact, how large contacts are, and the largest."""
    a, b = str(table.about.get("a", "A")), str(table.about.get("b", "B"))
    gap = float(table.about.get("gap_nm", math.nan))
    own, other, area = (table.column(c) for c in ("label_a", "label_b", "area_a_um2"))
    known = next((t for t in instances if t.about.get("instances") == a), None)
    classes = list(known.by_class()) if known and known.rows else []
    subject = (several(classes[0]) if len(classes) == 1 else f"objects of {a}") + states.get(a, "")
    # A contact within one set of instances stands in the table twice, once from either side.
    mutual = (
        a == b and own is not None and other is not None and np.array_equal(np.unique(own), np.unique(other))
    )
    pairs = table.rows // 2 if mutual else table.rows
    facts = [(number(pairs), f"pairs within {length(gap)}" if gap != 0 else "pairs that touch")]
    if own is not None:
        touching = len(np.unique(own))
        if known and known.rows:
            share = percent(touching / known.rows)
            whom = "another of them" if mutual else one(b)
            found.sentences.append(f"{share} of the {subject} {near_to(gap, whom, 'come')}.")
            told = f",{states[a]}" if a in states else ""
            found.facts.append((share, f"{near_to(gap, whom, 'come')}{told}"))
            facts.append((share, f"of the {subject} have a contact"))
            found.sentences += nearness(table, work, known, subject, "another of them" if mutual else one(b))
        else:
            facts.append((number(touching), f"objects of {a} have a contact"))
    largest = None
    if area is not None and len(area):
        facts.append((f"{number(float(np.median(area)))} µm²", "median contact area"))
        facts.append((f"{number(float(area.sum()) / (2 if mutual else 1))} µm²", "contact area in all"))
        edges = log_edges(area)
        if len(edges):
            found.figures.append(
                Figure(
                    f"Contact areas ({table.product.name})",
                    single(area, "µm²")
                    or histogram(
                        [Bars(edges, np.histogram(area, edges)[0], css(PALETTE[1]))],
                        x="contact area (µm²)",
                        y="contacts (each from both sides)" if mutual else "contacts",
                        log=True,
                        name=f"contact{len(found.figures)}",
                    ),
                    f"Surface of {a} {near_to(gap, one(b))}, one value per pair. Areas "
                    "are those of the smooth surface that the voxels stand for.",
                )
            )
        # A class is one partner: its number would stand in every row.
        partners = {str(p.name) for p in work.of("instances")}
        columns = [c for c in table.names if c != "label_b" or b in partners]
        order = extreme_rows(table, "area_a_um2")
        largest = extremes(table, order, columns, title="The largest contacts")
    try:
        pictures = contact_pictures(table, work, drawn)
    except (ChunkflowLiverError, OSError) as err:
        pictures = []
        found.missing.append(f"No pictures of the contacts {table.product.name!r}: {err}.")
    found.contacts.append((f"{a} and {one(b)} ({table.product.name})", facts, largest, pictures))


def _subjects(work: Work, drawn: Pictures) -> list[Layer]:
    """The instances that the tables are about; without tables, those that nothing else was made from."""
    keys = (("narrowing table", "instances"), ("instance table", "instances"), ("contact table", "a"))
    about = [dict(p.about).get(key) for kind, key in (*keys, ("profile", "a")) for p in work.of(kind)]
    known = {p.name: p for p in drawn.layers if p.kind == "instances"}
    named = [known[n] for n in dict.fromkeys(about) if n in known]
    if any(about):
        return named
    # Contact sites are parts of objects, not objects.
    made = {p.name: dict(p.about) for p in work.of("instances") if "of" not in dict(p.about)}
    earlier = {a.get("instances") for a in made.values()}
    return [layer for name, layer in known.items() if name in made and name not in earlier]


def _distance(layer: Layer, instances: Sequence[Layer], found: Findings) -> None:
    """Share of the volume, and of the instances' surfaces, at every distance."""
    sample = choose(layer.levels)
    # At most one set of instances: more lines than two cannot be told apart.
    other = next((i for i in instances if fits(sample, i.levels)), None)
    flags = layer.flags if layer.flags and fits(sample, layer.flags) else ()
    pyramids = [layer.levels, *([other.levels] if other else []), *([flags] if flags else [])]
    # Narrower bins than a step between voxels are empty now and then.
    edges = even_edges(0.0, layer.cap_nm or 1.0, least=max(layer.levels[sample.level].voxel_nm))
    everywhere, at_surface = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    total = n_surface = inside = beyond = inexact = 0
    for arrays in together(sample, *pyramids):
        distance = layer.nm(arrays[0])
        total += distance.size
        inside += int((distance <= 0).sum())
        beyond += int(np.isposinf(distance).sum())
        everywhere += np.histogram(distance[(distance > 0) & np.isfinite(distance)], edges)[0]
        if other:
            at = surface(arrays[1])
            n_surface += int(at.sum())
            at_surface += np.histogram(distance[at & np.isfinite(distance)], edges)[0]
        if flags:
            inexact += int(((arrays[-1] == 0) & (distance > 0)).sum())
    to, width = one(layer.to), edges[1] - edges[0]
    outside = max(1, total - inside)
    shares = found.shares.get(layer.to, [])
    # Of two images of classes it is not known which one the distance is to.
    itself = shares[0] if len(shares) == 1 else inside / total
    series = [Bars(edges, 100 * everywhere / outside, GREY)]
    legend = [(f"tissue outside {to}", GREY)]
    if other and n_surface:
        series.append(Bars(edges, 100 * at_surface / n_surface, css(PALETTE[0]), filled=False))
        legend.append((f"surface of {other.name}", css(PALETTE[0])))
    found.figures.append(
        Figure(
            f"Distance to {to}",
            histogram(
                series,
                x="distance (nm)",
                y=f"share per {width:g} nm (%)",
                name=f"distance{len(found.figures)}",
            ),
            f"{percent(itself)} of the volume is {to} itself; "
            f"{percent(beyond / total)} lies beyond the cap of {length(layer.cap_nm)}. "
            f"Distances were counted {sample.text}"
            + (" (coarse levels blur distances)." if sample.level else "."),
            tuple(legend),
        )
    )
    if inexact:
        found.warnings.append(
            f"{percent(inexact / total)} of the volume has a distance to {to} that may be too large, because "
            f"{to} outside the volume could be nearer; striped in the pictures, 0 in the flags."
        )


MOST_COUNTED = 1 << 27
"""Voxels that are all counted for the composition: about two seconds."""


def _composition(layer: Layer, found: Findings) -> None:
    """Share of every class of a semantic volume."""
    sample = choose(layer.levels, MOST_COUNTED)
    counts: dict[int, int] = {}
    for (labels,) in together(sample, layer.levels):
        for value, n in zip(*np.unique(labels, return_counts=True), strict=True):
            counts[int(value)] = counts.get(int(value), 0) + int(n)
    finest = layer.levels[0]
    # What lies outside the region that was segmented holds no class, and counts for nothing.
    tissue, inside = tissue_um3(finest), masked_share(finest)
    total = sum(counts.values()) * finest.known.size / finest.box.size
    total *= 1.0 if math.isnan(inside) else inside
    known = {n: c for c, n in finest.classes}
    names = {n: (one(c), css(PALETTE[i % len(PALETTE)])) for i, (n, c) in enumerate(known.items())}
    for value in sorted({*counts, *names} - {0}):
        name, colour = names.get(value, (f"class {value}", GREY))
        share = counts.get(value, 0) / total
        found.shares.setdefault(known.get(value, ""), []).append(share)
        found.composition.append((name, colour, percent(share), f"{number(share * tissue)} µm³"))
    rest = max(0.0, 1 - sum(n for value, n in counts.items() if value) / total)
    found.composition.append(("none of these", "", percent(rest), f"{number(rest * tissue)} µm³"))
    found.composition_text = f"Counted in {layer.name}, {sample.text}"


def _intensity(work: Work, instances: Sequence[Stored], drawn: Pictures, found: Findings) -> None:
    """Grey values of the raw image, and mean grey values of the instances."""
    series, legend = [], []
    caption: list[str] = []
    means = next((m for t in instances if (m := t.column("intensity_mean")) is not None and len(m)), None)
    values = _raw_values(work, drawn, caption)
    whole = [v for v in (values, means) if v is not None and len(v)]
    if not whole:
        return
    low, high = (
        min(float(np.percentile(v, 0.1)) for v in whole),
        max(float(np.percentile(v, 99.9)) for v in whole),
    )
    edges = even_edges(low, high, 50)
    if values is not None and len(values):
        series.append(Bars(edges, 100 * np.histogram(values, edges)[0] / len(values), GREY))
        legend.append(("voxels of the raw image", GREY))
    if means is not None:
        series.append(
            Bars(edges, 100 * np.histogram(means, edges)[0] / len(means), css(PALETTE[0]), filled=False)
        )
        legend.append(("objects, by their mean", css(PALETTE[0])))
    found.figures.append(
        Figure(
            "Intensity",
            histogram(series, x="grey value", y=f"share per {edges[1] - edges[0]:g} (%)", name="intensity"),
            " ".join(caption),
            tuple(legend),
        )
    )


def _raw_values(work: Work, drawn: Pictures, caption: list[str]) -> Any:
    raw: Product | None = next(iter(work.of("raw")), None)
    if raw is None or not isinstance(raw.handle, Volume):
        return None
    try:
        levels = levels_of(raw.handle)
        sample = choose(levels)
        parts = [v.ravel() for (v,) in together(sample, levels)]
    except (ChunkflowLiverError, OSError):
        return None
    values = np.concatenate(parts)
    caption.append(f"Voxels {sample.text}.")
    if drawn.grey and drawn.white > drawn.black:
        caption.append(f"Pictures show {number(drawn.black)} as black and {number(drawn.white)} as white.")
    return values[np.isfinite(values)]
