"""Typical and extreme narrowings: the object in 3D with its width profile, and the raw image at the neck."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.geometry import Box, zyx
from chunkflow_liver.kernels.centreline.line import Branch, Centreline
from chunkflow_liver.kernels.centreline.sections import signed_nm
from chunkflow_liver.kernels.centreline.windows import Near, Track, contact_mask, surface_track
from chunkflow_liver.kernels.contacts.gaps import halo_voxels
from chunkflow_liver.ops.steps.place import arrays_at
from chunkflow_liver.reports.pictures.figures import INK, bare, sketch
from chunkflow_liver.reports.pictures.planes import PLANES, View, across, corner_nm, read_plane
from chunkflow_liver.reports.pictures.renderings import CONTACT, NECK, rendering
from chunkflow_liver.reports.pictures.samples import levels_of
from chunkflow_liver.reports.pictures.slices import Pictures, css, label_colours, raw_levels, scale_bar_nm
from chunkflow_liver.reports.pictures.thumbnails import OUTLINE, outlined
from chunkflow_liver.reports.tables import stored
from chunkflow_liver.reports.words import length, number, one, percent
from chunkflow_liver.reports.work import Work
from chunkflow_liver.store.images import open_volume
from chunkflow_liver.store.ngff.write import PALETTE
from chunkflow_liver.store.volume import Volume

MOST_VOXELS = 1 << 22
"""Voxels of the crop of an object that is drawn."""
EXAMPLES = 6
HEIGHT_INCHES = 4.0
ASPECT = 1.35
"""Width of the picture of a neck over its height, as of the figure that it fills."""
MOST_PIXELS = 320
DOUBT = 0.1
"""Planes whose slopes to the centre line differ by less than this sine are equally good: xy is taken."""

Columns = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Example:
    """One picture: its name in files, its title, what draws it into a figure, and what stands beside it."""

    name: str
    title: str
    draw: Callable[[Any], None]
    caption: str
    legend: tuple[tuple[str, str], ...]

    @property
    def svg(self) -> str:
        return sketch(self.draw, name=self.name, height_inches=HEIGHT_INCHES)


@dataclass(frozen=True)
class Images:
    """What the examples are drawn from; `to` is the class of `other` that lies near, `lines` a table."""

    instances: Volume
    other: Volume | None
    to: str
    raw: tuple[Volume, ...] | None
    drawn: Pictures
    lines: str = ""

    @property
    def number(self) -> int | None:
        """The class's number in `other`; None where everything but 0 counts."""
        return self.other.class_number(self.to) if self.other is not None and self.other.classes else None

    @property
    def colour(self) -> tuple[int, ...]:
        """The colour of the class in the pictures of planes."""
        numbers = [n for _, n in self.other.classes] if self.other is not None else []
        return tuple(PALETTE[numbers.index(self.number) % len(PALETTE) if self.number in numbers else 1])

    def holds(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Where voxels of `other` are of the class."""
        there: np.ndarray[Any, Any] = values > 0 if self.number is None else values == self.number
        return there


@dataclass(frozen=True)
class Neck:
    """A narrowing on the stored centre line of its object, in nm from the first corner of `mask`."""

    line: Centreline
    branch: int
    at_nm: float
    reach_nm: float

    @property
    def along(self) -> Branch:
        found: Branch = self.line.branches[self.branch]
        return found

    @property
    def tangent(self) -> np.ndarray[Any, Any]:
        """The direction of the centre line at the narrowing."""
        row = np.abs(self.along.position_nm - self.at_nm).argmin()
        found: np.ndarray[Any, Any] = self.along.tangents[row]
        return found


def examples(
    narrow: Columns, about: dict[str, Any], work: Work, name: str, drawn: Pictures
) -> tuple[list[Example], list[str]]:
    """Pictures of the typical and the extreme narrowings, and why others are missing."""
    volumes = {p.name: p.handle for p in work.products if isinstance(p.handle, Volume)}
    instances = volumes.get(str(about.get("instances")))
    if instances is None or about.get("axis") != "centreline":
        return [], []
    to = about.get("to", "er")
    images = Images(instances, volumes.get(str(about.get("er"))), to, raw_levels(work, []), drawn)
    lines = next((p for p in work.products if p.name == f"{name}-lines"), None)
    if lines is None:
        return [], [f"No pictures of {name!r}: the run is of an earlier version and kept no centre lines."]
    images = replace(images, lines=stored(lines).path)
    extents = arrays_at(work.path, name, "extents")
    rows = {int(label): i for i, label in enumerate(extents["label"])}
    found: list[Example] = []
    missing: list[str] = []
    for row, title in chosen(narrow, one(str(to))):
        label = int(narrow["label"][row])
        at = rows[label]
        box = Box(zyx(extents["low"][at].tolist()), zyx(extents["high"][at].tolist()))
        wide = box.grow(halo_voxels(float(about.get("gap_nm", 0.0)), instances.voxel_nm))
        wide = wide.clip(instances.known)
        if wide.size > MOST_VOXELS:
            missing.append(f"No picture of object {label}: its box has {number(wide.size)} voxels.")
            continue
        solid, neck = _solid(narrow, row, wide, about, images)
        found.append(replace(solid, title=f"Object {label}: {title}"))
        if images.raw is None:
            continue
        try:
            found.append(_plane(narrow, row, neck, images))
        except ChunkflowLiverError as err:
            missing.append(f"No picture of the raw image at the narrowing of object {label}: {err}.")
    return found, missing


def chosen(narrow: Columns, to: str) -> list[tuple[int, str]]:
    """Rows of typical and extreme narrowings, each object once, and what each stands for.

    Those that are not resolved come last where widths count: how thin they are is not known. Typical are,
    while there are any, whole objects: what the volume cuts shows less than all of itself.
    """
    ratio, unsure = narrow["width_ratio"], ~narrow["resolved"]
    middle = np.lexsort((np.abs(ratio - np.median(ratio)), narrow["touches_border"], unsure))
    wishes = [
        (int(middle[0]), "typical, its width relative to its flank is the median"),
        (int(np.lexsort((ratio, unsure))[0]), "the narrowest relative to its flank"),
        (int(np.lexsort((narrow["width_nm"], unsure))[0]), "the thinnest in nm"),
    ]
    if "near_density" in narrow:
        near, far = narrow["near_density"], narrow["far_density"]
        folds = enrichment(narrow)
        # Of those that are infinite, the one with most contact.
        order = np.lexsort((near - far, folds))
        order = order[~np.isnan(folds[order])]
        if len(order) and folds[order[-1]] > 0:
            wishes.append((int(order[-1]), f"most enriched in {to}, near over far"))
        if len(order) and folds[order[0]] < 0:
            wishes.append((int(order[0]), f"most depleted of {to}, near over far"))
    wishes += [(int(i), "its relative width is next to the median") for i in middle[1:]]
    found: list[tuple[int, str]] = []
    for row, title in wishes:
        if len(found) < EXAMPLES and all(narrow["label"][row] != narrow["label"][r] for r, _ in found):
            found.append((row, title))
    return found


def enrichment(narrow: Columns) -> np.ndarray[Any, Any]:
    """Log2 of contact density near a narrowing over that far from it; infinite where only one has any."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray[Any, Any] = np.log2(narrow["near_density"] / narrow["far_density"])
    return found


def _solid(
    narrow: Columns, row: int, wide: Box, about: dict[str, Any], images: Images
) -> tuple[Example, Neck]:
    """A rendering of one object above the width and the contact along the branch of a narrowing."""
    label, voxel_nm = int(narrow["label"][row]), images.instances.voxel_nm
    mask = np.pad(_opened(images.instances).read(wide) == label, 1)
    line = stored_line(images.lines, label, (np.array(wide.start) - 1) * voxel_nm)
    near = Near(**{k: about[k] for k in ("gap_nm", "window_nm", "window_fraction") if k in about})
    seen = None
    if images.other is not None:
        seen = np.pad(images.holds(_opened(images.other).read(wide)), 1)
    others = [] if seen is None else [seen]
    track = surface_track(mask, others, line, start_nm=np.zeros(3), voxel_nm=voxel_nm, gap_nm=near.gap_nm)
    i, at = int(narrow["branch"][row]), float(narrow["position_nm"][row])
    branch = line.branches[i]
    neck = Neck(line, i, at, near.reach_nm(branch.length_nm))
    window = (track.branch == i) & (np.abs(track.position_nm - at) <= neck.reach_nm)
    painted, touching = np.zeros(mask.shape, bool), np.zeros(mask.shape, bool)
    painted[tuple(np.array(track.at)[:, window])] = True
    if seen is not None:
        touching = contact_mask(seen, voxel_nm, near.gap_nm) & mask
    picture, pixel = rendering(signed_nm(mask, voxel_nm), touching, painted, voxel_nm)

    def draw(figure: Any) -> None:
        top, below = figure.subplots(2, 1, gridspec_kw={"height_ratios": [1.15, 1]})
        top.imshow(picture, interpolation="bilinear")
        top.set_axis_off()
        bar = 10 ** math.floor(math.log10(pixel * picture.shape[1] / 2))
        top.plot([4, 4 + bar / pixel], [picture.shape[0] - 3] * 2, color=INK, linewidth=3)
        top.annotate(length(bar), (10 + bar / pixel, picture.shape[0] - 3), va="center", fontsize=9)
        _profile(below, neck, track if seen is not None else None)

    caption = (
        f"Width {number(float(narrow['width_nm'][row]))} nm ({_voxels(narrow, row)}), "
        f"{number(float(narrow['width_ratio'][row]))} of the lower flank, at "
        f"{length(round(float(narrow['position_nm'][row])))} along its branch"
    )
    legend = [("window of the narrowing", css(NECK))]
    if seen is not None:
        caption += (
            f"; contact {percent(float(narrow['near_density'][row]))} of the surface there, "
            f"{percent(float(narrow['far_density'][row]))} on the rest of the object"
        )
        legend.append(("in contact", css(CONTACT)))
    return Example(f"object-{label}", "", draw, f"{caption}.", tuple(legend)), neck


def _voxels(narrow: Columns, row: int) -> str:
    """The width of a narrowing in voxels, and whether that says how wide it is."""
    width = f"{number(float(narrow['width_voxels'][row]), 2)} voxels across"
    return width if narrow["resolved"][row] else f"{width}, not resolved"


def _plane(narrow: Columns, row: int, neck: Neck, images: Images) -> Example:
    """The raw image in the plane that shows a neck from the side, with the object and what lies near."""
    label, frame = int(narrow["label"][row]), images.instances
    plane = side_plane(neck.tangent)
    axes, width = PLANES[plane], float(narrow["width_nm"][row])
    centre = _centre(narrow, row)
    middle = [corner_nm(frame, a) + centre[a] for a in range(3)]
    voxel = min(frame.voxel_nm[a] for a in axes)
    tall = max(3.0 * float(narrow["flank_width_nm"][row]), 2.5 * neck.reach_nm, 24 * voxel)
    size = (tall, ASPECT * tall)
    low = (middle[axes[0]] - size[0] / 2, middle[axes[1]] - size[1] / 2)
    cut = across(plane)
    view = View(plane, middle[cut], low, size, max(voxel, size[1] / MOST_PIXELS))
    over = None
    if images.other is not None:
        values, within = read_plane(levels_of(images.other), view)
        over = label_colours(
            (images.holds(values) & within).astype(np.uint8), {0: (0, 0, 0), 1: images.colour}
        )
    grey = (images.drawn.black, images.drawn.white)
    picture = outlined(levels_of(frame), images.raw, label, view, grey=grey, over=over)

    def draw(figure: Any) -> None:
        axis = figure.add_subplot()
        axis.imshow(np.rint(picture).astype(np.uint8), interpolation="none", extent=(0, size[1], size[0], 0))
        axis.set_axis_off()
        _arrows(axis, size, neck.tangent[list(axes)], width)
        bar, edge = scale_bar_nm(size[1]), 0.04 * size[0]
        axis.plot([edge, edge + bar], [size[0] - edge] * 2, color="black", linewidth=6, solid_capstyle="butt")
        axis.plot([edge, edge + bar], [size[0] - edge] * 2, color="white", linewidth=4, solid_capstyle="butt")
        behind = {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "boxstyle": "round"}
        place = (edge + bar / 2, size[0] - 1.8 * edge)
        axis.annotate(length(bar), place, ha="center", va="bottom", color="white", fontsize=9, bbox=behind)

    voxels = [int(c // v) for c, v in zip(centre, frame.voxel_nm, strict=True)]
    legend = [(f"object {label}", css(OUTLINE))]
    if images.other is not None:
        legend.append((one(str(images.to)), css(images.colour)))
    return Example(
        f"em-{label}",
        f"Object {label}: the raw image at the narrowing",
        draw,
        f"{plane} plane, slice {'zyx'[cut]} = {number(voxels[cut])}. The arrows point at the narrowing "
        f"at z, y, x = {', '.join(str(v) for v in voxels)} voxels "
        f"({', '.join(str(round(float(c))) for c in centre)} nm).",
        tuple(legend),
    )


def side_plane(tangent: np.ndarray[Any, Any]) -> str:
    """The plane of two axes that a direction (z, y, x) lies in best; xy where others are hardly better."""
    slope = np.abs(tangent)
    if slope[0] <= slope.min() + DOUBT:
        return "xy"
    return next(p for p, axes in PLANES.items() if int(slope.argmin()) not in axes)


def _arrows(axis: Any, size: tuple[float, float], along: np.ndarray[Any, Any], width_nm: float) -> None:
    """Two arrows from outside onto the sides of the neck in the middle, across its centre line."""
    from matplotlib.patheffects import withStroke

    straight = along / max(float(np.linalg.norm(along)), 1e-9)
    across = np.array([-straight[1], straight[0]])
    for side in (-1, 1):
        # As long in every picture, and off the outline however thin the neck is.
        tip, tail = (
            np.array(size) / 2 + side * across * (width_nm / 2 + share * size[0]) for share in (0.03, 0.17)
        )
        axis.annotate(
            "",
            tuple(tip[::-1]),
            tuple(tail[::-1]),
            arrowprops={
                "arrowstyle": "-|>",
                "color": "white",
                "linewidth": 2,
                "mutation_scale": 16,
                "path_effects": [withStroke(linewidth=4, foreground="black")],
            },
        )


def _centre(narrow: Columns, row: int) -> np.ndarray[Any, Any]:
    """Where a narrowing lies, in nm from the first corner of the volume."""
    return np.array([float(narrow[f"{a}_nm"][row]) for a in "zyx"])


def stored_line(path: str, label: int, corner_nm: np.ndarray[Any, Any]) -> Centreline:
    """The centre line of an object as it was measured, in nm from `corner_nm`.

    Sections are as wide as the table says; what it does not hold, spheres inside, is missing (NaN).
    """
    found = pq.read_table(path, filters=[("label", "==", label)])
    columns = {n: found.column(n).to_numpy(zero_copy_only=False) for n in found.column_names}
    branches: list[Branch] = []
    for i in range(int(columns["branch"].max(initial=-1)) + 1):
        own = columns["branch"] == i
        points, tangents = (
            np.stack([columns[name.format(a)][own] for a in "zyx"], 1) for name in ("{}_nm", "tangent_{}")
        )
        area = np.pi * (columns["width_nm"][own] / 2) ** 2
        branches.append(
            Branch(2 * i, 2 * i + 1, points - corner_nm, tangents, area, np.full(len(points), np.nan))
        )
    nodes = np.concatenate([b.points_nm[[0, -1]] for b in branches])
    return Centreline(nodes, np.ones(len(nodes), np.int64), tuple(branches))


def _opened(volume: Volume) -> Volume:
    return open_volume(volume.url, level=volume.level, missing_chunks="error" if volume.complete else "fill")


def _profile(axes: Any, neck: Neck, track: Track | None) -> None:
    """Width along a branch, the window, and the share of the surface in contact."""
    branch, at, reach = neck.along, neck.at_nm, neck.reach_nm
    if track is not None:
        edges = np.linspace(0, branch.length_nm, max(8, int(branch.length_nm / 40)) + 1)
        own = track.branch == neck.branch
        area = np.histogram(track.position_nm[own], edges, weights=track.area_nm2[own])[0]
        touched = own & track.contact.any(0)
        contact = np.histogram(track.position_nm[touched], edges, weights=track.area_nm2[touched])[0]
        share = np.divide(100 * contact, area, out=np.zeros(len(area)), where=area > 0)
        right = axes.twinx()
        right.stairs(share, edges, fill=True, color=css(CONTACT), alpha=0.6)
        right.set_ylim(0, 100)
        right.set_ylabel("in contact (%)")
        right.spines["top"].set_visible(False)
        right.patch.set_visible(False)
    axes.axvspan(max(0.0, at - reach), min(branch.length_nm, at + reach), color=css(NECK), alpha=0.18)
    axes.plot(branch.position_nm, branch.width_nm, color=INK, linewidth=1.8)
    axes.axvline(at, color=css(NECK), linewidth=1.2)
    axes.set_xlim(0, branch.length_nm)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("along the branch (nm)")
    axes.set_ylabel("width (nm)")
    bare(axes)
