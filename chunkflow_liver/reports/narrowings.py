"""What was found at narrowings: tests in words, near against far, and objects with their width profiles."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from chunkflow_liver.engine.plan import Product
from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.geometry import Box, zyx
from chunkflow_liver.kernels.centreline import Centreline, centreline
from chunkflow_liver.kernels.contacts import halo_voxels
from chunkflow_liver.kernels.narrowing import width_profile
from chunkflow_liver.kernels.sections import signed_nm
from chunkflow_liver.kernels.windows import Near, Track, contact_mask, surface_track
from chunkflow_liver.ops.place import arrays_at
from chunkflow_liver.reports.figures import INK, bare, even_edges, inline, sketch
from chunkflow_liver.reports.findings import Figure
from chunkflow_liver.reports.renderings import CONTACT, NECK, rendering
from chunkflow_liver.reports.slices import css
from chunkflow_liver.reports.tables import Shown, first_rows, stored
from chunkflow_liver.reports.words import length, number, one, percent
from chunkflow_liver.reports.work import Work
from chunkflow_liver.store.images import open_volume
from chunkflow_liver.store.volume import Volume

MOST_LINES = 150
"""Pairs that are drawn one by one; of more, even steps through all of them."""
MOST_VOXELS = 1 << 22
"""Voxels of the crop of an object that is drawn."""
EXAMPLES = 6
GREY = "#9aa3ad"

Columns = dict[str, np.ndarray[Any, Any]]


@dataclass
class Narrowed:
    """One table of narrowings, as the page shows it; `files` are SVGs by name."""

    name: str
    sentences: list[str] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[Shown] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def add(self, name: str, title: str, svg: str, caption: str, *legend: tuple[str, str]) -> None:
        """A figure for the page, and as a file of its own."""
        self.files[f"{self.name}-{name}.svg"] = svg.replace(INK, "#1c2329")
        self.figures.append(Figure(title, inline(svg), caption, legend))


def narrowings(work: Work) -> list[Narrowed]:
    """Every table of narrowings of a run; what cannot be shown is listed as missing."""
    found = []
    for product in work.of("narrowing table"):
        made = Narrowed(product.name)
        found.append(made)
        try:
            _narrowings(product, work, made)
        except ChunkflowLiverError as err:
            made.missing.append(f"Narrowings {product.name!r}: {err}.")
    return found


def _columns(work: Work, name: str) -> Columns:
    product = next(p for p in work.products if p.name == name and p.kind.startswith("narrowing"))
    table = pq.read_table(stored(product).path)
    return {n: table.column(n).to_numpy(zero_copy_only=False) for n in table.column_names}


def _narrowings(product: Product, work: Work, made: Narrowed) -> None:
    about = dict(product.about)
    narrow, objects = (_columns(work, product.name + part) for part in ("", "-objects"))
    total, with_any = len(objects["label"]), int((objects["narrowings"] > 0).sum())
    made.sentences.append(
        f"{number(len(narrow['label']))} narrowings in {number(with_any)} of {number(total)} objects "
        f"({percent(with_any / total) if total else '–'})."
    )
    made.facts += [
        (number(len(narrow["label"])), "narrowings"),
        (percent(with_any / total) if total else "–", "of the objects have one"),
    ]
    if len(narrow["label"]):
        made.facts.append((length(round(float(np.median(narrow["width_nm"])))), "median width there"))
        _widths(narrow, made)
    if "near_density" in narrow:
        tests = _columns(work, f"{product.name}-tests")
        _tests(tests, about, made)
        _paired(narrow, about, made)
        _enrichment(narrow, about, made)
        for part in ("-tests", "-cells"):
            table = next(p for p in work.products if p.name == product.name + part)
            made.tables.append(first_rows(stored(table)))
    made.tables.append(first_rows(stored(product)))
    if len(narrow["label"]):
        _examples(narrow, about, work, made)


def _tests(tests: Columns, about: dict[str, Any], made: Narrowed) -> None:
    to, gap = one(str(about.get("to", "er"))), length(float(about["gap_nm"]))
    p, ratio = float(tests["p_value"][0]), float(tests["ratio"][0])
    if not math.isfinite(p):
        made.sentences.append(
            f"No object with a narrowing and room for another window comes within {gap} of {to}: there is "
            "nothing to test."
        )
        return
    here, there = (float(tests[c][0]) for c in ("mean_narrow", "mean_control"))
    low, high = (float(tests[c][0]) for c in ("difference_low", "difference_high"))
    more = number(100 * (here - there))
    objects, cells, missing = (int(tests[c][0]) for c in ("objects", "cells", "missing"))
    where = f" in {number(cells)} cells" if cells > 1 else ""
    interval = "no interval from so few"
    if math.isfinite(low):
        interval = f"95 % interval {number(100 * low)} to {number(100 * high)}"
        interval += "" if cells > 1 else ", of objects in one cell: how cells differ is not in it"
    against = f"ratio {number(ratio)}" if math.isfinite(ratio) else "none at all elsewhere"
    made.sentences.append(
        f"At narrowings {percent(here)} of the surface lies within {gap} of {to}, elsewhere on the same "
        f"objects {percent(there)}: a difference of {more} percentage points ({interval}; {against}), "
        f"p = {number(p, 2)} by {number(int(about['permutations']))} permutations of places within "
        f"{number(objects)} objects. These are the objects with contact, a narrowing and room for another "
        f"window{where}; {number(missing)} objects without any contact say nothing and are left out: over "
        f"them as well the difference is {number(100 * (here - there) * objects / (objects + missing))} "
        "points. A patch of contact covers more of a thin neck than of a thick part: part of a difference "
        "may be this."
    )
    made.facts += [
        (more, f"percentage points more surface near {to} at narrowings"),
        (number(p, 2), "p-value, two-sided"),
    ]


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
    with np.errstate(divide="ignore", invalid="ignore"):
        folds = np.log2(narrow["near_density"] / narrow["far_density"])
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


def _examples(narrow: Columns, about: dict[str, Any], work: Work, made: Narrowed) -> None:
    """The typical and the extreme narrowings, with pictures of their objects."""
    volumes = {p.name: p.handle for p in work.products if isinstance(p.handle, Volume)}
    instances = volumes.get(str(about.get("instances")))
    if instances is None or about.get("axis") != "centreline":
        return
    other = volumes.get(str(about.get("er")))
    extents = arrays_at(work.path, made.name, "extents")
    rows = {int(label): i for i, label in enumerate(extents["label"])}
    for row, title in _chosen(narrow):
        label = int(narrow["label"][row])
        at = rows[label]
        box = Box(zyx(extents["low"][at].tolist()), zyx(extents["high"][at].tolist()))
        halo = halo_voxels(float(about.get("gap_nm", 0.0)), instances.voxel_nm)
        wide = box.grow(halo).clip(instances.known)
        if wide.size > MOST_VOXELS:
            made.missing.append(f"No picture of object {label}: its box has {number(wide.size)} voxels.")
            continue
        svg = _example(narrow, row, (label, wide), about, instances, other)
        made.add(
            f"object-{label}",
            f"Object {label}: {title}",
            svg,
            f"Width {number(float(narrow['width_nm'][row]))} nm, "
            f"{number(float(narrow['width_ratio'][row]))} of the lower flank, at "
            f"{length(round(float(narrow['position_nm'][row])))} along its branch"
            + (
                f"; contact {percent(float(narrow['near_density'][row]))} of the surface there, "
                f"{percent(float(narrow['far_density'][row]))} on the rest of the object."
                if other is not None
                else "."
            ),
            ("window of the narrowing", css(NECK)),
            *((("in contact", css(CONTACT)),) if other is not None else ()),
        )


def _chosen(narrow: Columns) -> list[tuple[int, str]]:
    """Rows of typical and extreme narrowings, each object once."""
    ratio = narrow["width_ratio"]
    middle = np.argsort(np.abs(ratio - np.median(ratio)), kind="stable")
    wishes = [(int(middle[0]), "a typical narrowing"), (int(np.argmin(ratio)), "the narrowest")]
    wishes.append((int(np.argmin(narrow["width_nm"])), "the thinnest"))
    if "near_density" in narrow:
        known = np.nan_to_num(narrow["near_density"] - narrow["far_density"])
        wishes += [(int(np.argmax(known)), "most enriched"), (int(np.argmin(known)), "most depleted")]
    wishes += [(int(i), "another typical one") for i in middle[1:]]
    found: list[tuple[int, str]] = []
    for row, title in wishes:
        if len(found) < EXAMPLES and all(narrow["label"][row] != narrow["label"][r] for r, _ in found):
            found.append((row, title))
    return found


def _example(
    narrow: Columns,
    row: int,
    which: tuple[int, Box],
    about: dict[str, Any],
    instances: Volume,
    other: Volume | None,
) -> str:
    """A rendering of one object above the width and the contact along the branch of a narrowing."""
    label, wide = which
    voxel_nm = instances.voxel_nm
    mask = np.pad(_opened(instances).read(wide) == label, 1)
    line = centreline(mask, voxel_nm)
    near = Near(**{k: about[k] for k in ("gap_nm", "window_nm", "window_fraction") if k in about})
    seen = None
    if other is not None:
        values = _opened(other).read(wide)
        number_ = other.class_number(about["to"]) if other.classes else None
        seen = np.pad(values > 0 if number_ is None else values == number_, 1)
    track = surface_track(mask, seen, line, start_nm=np.zeros(3), voxel_nm=voxel_nm, gap_nm=near.gap_nm)
    corner = (np.array(wide.start) - 1) * voxel_nm
    centre = np.array([narrow[f"{a}_nm"][row] for a in "zyx"]) - corner
    i = min(range(len(line.branches)), key=lambda b: _gap(line, b, centre))
    branch = line.branches[i]
    at = float(branch.position_nm[np.linalg.norm(branch.points_nm - centre, axis=1).argmin()])
    reach = near.reach_nm(branch.length_nm)
    painted = np.zeros(mask.shape, bool)
    painted[tuple(np.array(track.at)[:, (track.branch == i) & (np.abs(track.position_nm - at) <= reach)])] = (
        True
    )
    touching = (
        np.zeros(mask.shape, bool) if seen is None else contact_mask(seen, voxel_nm, near.gap_nm) & mask
    )
    picture, pixel = rendering(signed_nm(mask, voxel_nm), touching, painted, voxel_nm)

    def draw(figure: Any) -> None:
        top, below = figure.subplots(2, 1, gridspec_kw={"height_ratios": [1.15, 1]})
        top.imshow(picture, interpolation="bilinear")
        top.set_axis_off()
        bar = 10 ** math.floor(math.log10(pixel * picture.shape[1] / 2))
        top.plot([4, 4 + bar / pixel], [picture.shape[0] - 3] * 2, color=INK, linewidth=3)
        top.annotate(length(bar), (6 + bar / pixel, picture.shape[0] - 3), va="center", fontsize=9)
        _profile(below, line, i, track if seen is not None else None, (at, reach))

    return sketch(draw, name=f"o{label}", height_inches=4.0)


def _gap(line: Centreline, branch: int, point: Any) -> float:
    return float(np.linalg.norm(line.branches[branch].points_nm - point, axis=1).min())


def _opened(volume: Volume) -> Volume:
    return open_volume(volume.url, level=volume.level, missing_chunks="error" if volume.complete else "fill")


def _profile(axes: Any, line: Centreline, i: int, track: Track | None, window: tuple[float, float]) -> None:
    """Width along a branch, the window, and the share of the surface in contact."""
    branch = line.branches[i]
    at, reach = window
    if track is not None:
        edges = np.linspace(0, branch.length_nm, max(8, int(branch.length_nm / 40)) + 1)
        own = track.branch == i
        area = np.histogram(track.position_nm[own], edges, weights=track.area_nm2[own])[0]
        touched = own & track.contact
        contact = np.histogram(track.position_nm[touched], edges, weights=track.area_nm2[touched])[0]
        share = np.divide(100 * contact, area, out=np.zeros(len(area)), where=area > 0)
        right = axes.twinx()
        right.stairs(share, edges, fill=True, color=css(CONTACT), alpha=0.6)
        right.set_ylim(0, 100)
        right.set_ylabel("in contact (%)")
        right.spines["top"].set_visible(False)
        right.patch.set_visible(False)
    axes.axvspan(max(0.0, at - reach), min(branch.length_nm, at + reach), color=css(NECK), alpha=0.18)
    axes.plot(branch.position_nm, width_profile(branch, line), color=INK, linewidth=1.8)
    axes.axvline(at, color=css(NECK), linewidth=1.2)
    axes.set_xlim(0, branch.length_nm)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("along the branch (nm)")
    axes.set_ylabel("width (nm)")
    bare(axes)
