"""One self-contained HTML page of the necks of a box: how many objects at each depth, and what is cut."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.ops.split.depths import Depths
from chunkflow_liver.reports.pictures.figures import INK, bare, inline, sketch
from chunkflow_liver.reports.pictures.planes import PLANES
from chunkflow_liver.reports.pictures.slices import instance_colours, label_colours
from chunkflow_liver.reports.words import length
from chunkflow_liver.reports.writing import page_source, page_template, png, replacing

MOST = 12
"""Pictures of each kind."""
AROUND = 8.0
"""Half a picture's side, by the half-width of its neck."""
LEAST_VOXELS = 10
"""The same at least, in voxels."""
PIXELS = 200
RANGE = "#1f6fb2"


@dataclass(frozen=True)
class Part:
    """Necks of one kind: what they are, and pictures of the widest ones with what they show."""

    title: str
    text: str
    total: int
    pictures: tuple[tuple[str, str], ...]


def necks_report(found: Depths, *, name: str, to: str | os.PathLike[str]) -> Path:
    """Write the page of what `depths` found, and return its path.

    Parameters
    ----------
    found : Depths
    name : str
        Of the instances.
    to : path
        HTML file; an older one is replaced.

    Raises
    ------
    OutputError
        If the page cannot be written.
    """
    box = ", ".join(f"{a} {p}:{q}" for a, p, q in zip("zyx", found.box.start, found.box.stop, strict=True))
    pitch = float(np.prod(found.voxel_nm)) ** (1 / 3)
    by_steepness = ", ".join(
        f"{n} at {s:g}" for s, n in zip(found.steepness.tolist(), found.objects_steep.tolist(), strict=True)
    )
    page = page_template("necks.html.j2").render(
        title=f"Necks of {name}",
        place=f"voxels {box}, looked at as if there were no others",
        now=settings(found),
        lead=advice(found),
        voxel=length(float(f"{pitch:.3g}")),
        by_depth=_figure(found),
        by_steepness=by_steepness,
        parts=[part for part in _parts(found) if part.total],
        style=page_source("page.css"),
    )
    target = Path(to)
    with replacing(target, "page") as partial:
        partial.write_text(page, encoding="utf-8")
    return target


def settings(found: Depths) -> str:
    """The parameters of the run file that count, in words."""
    necks = found.necks
    by = f"contact {necks.contact:g}" if necks.contact else f"steepness {necks.steepness:g}"
    return f"depth_nm {necks.depth_nm:g}, {by}, cap_nm {necks.cap_nm:g}, connectivity {necks.connectivity}"


def advice(found: Depths) -> str:
    """Which depth the box speaks for, in a sentence or two."""
    depth = found.depth_suggested_nm
    if depth is None or found.suggested_nm is None:
        return (
            "No depth is suggested: the number of objects changes all along, so it depends on depth_nm. "
            "Choose by the pictures, or let steepness decide."
        )
    low, high = (f"{v:.3g}" for v in found.suggested_nm)
    objects = int(found.objects[np.searchsorted(found.depth_nm, found.suggested_nm[0])])
    # What a person may write: two digits.
    return (
        f"depth_nm: {float(f'{depth:.2g}'):g} is suggested. From {low} to {high} nm nothing changes: "
        f"{objects} objects each time."
    )


def _figure(found: Depths) -> str:
    """Objects by depth, with the suggested range and the depth of the run file."""

    def draw(figure: Any) -> None:
        from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

        axes = figure.add_subplot()
        if found.suggested_nm is not None:
            axes.axvspan(*found.suggested_nm, color=RANGE, alpha=0.15, linewidth=0)
        axes.plot(found.depth_nm, np.maximum(found.objects, 1), color=RANGE, marker="o", markersize=3)
        axes.axvline(found.necks.depth_nm, color=INK, linewidth=1.2, linestyle=(0, (5, 4)))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        if found.objects.max() > 10 * max(1, found.objects.min()):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        else:
            axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("depth_nm (dashed: the run file's; shaded: the suggested range)")
        axes.set_ylabel("objects")
        bare(axes)

    return inline(sketch(draw, name="necks"))


def _parts(found: Depths) -> list[Part]:
    """Necks that are cut but nearly not, and those that nearly are."""
    own = found.necks
    if own.contact:
        return []
    lower = found.steepness[found.steepness < own.steepness].max(initial=-1.0)
    cut = (found.steepest >= own.steepness) & (found.deepest_nm >= own.depth_nm * (1 - 1e-9))
    sure = found.steepest > own.steepness
    parts = [
        Part(
            f"Cut, and not at a steepness above {own.steepness:g}",
            "These are cut as the run file is now, and would be the first to stay whole if it said more.",
            int((cut & ~sure).sum()),
            _pictures(found, cut & ~sure, own.steepness),
        )
    ]
    if lower >= 0:
        more = (found.steepest >= lower) & (found.steepest < own.steepness)
        parts.append(
            Part(
                f"Whole now, and cut at a steepness of {lower:g}",
                f"If most of these are two objects each, say steepness: {lower:g}; if branches, stay.",
                int(more.sum()),
                _pictures(found, more, float(lower)),
            )
        )
    parts.append(
        Part(
            "Cut at any steepness that was tried",
            "The surest ones.",
            int((cut & sure).sum()),
            _pictures(found, cut & sure, own.steepness),
        )
    )
    return parts


def _pictures(found: Depths, chosen: np.ndarray[Any, Any], steepness: float) -> tuple[tuple[str, str], ...]:
    """The widest of some necks, each in the plane in which both its sides are largest."""
    order = np.flatnonzero(chosen)[np.argsort(-found.half_nm[chosen], kind="stable")][:MOST]
    return tuple(_picture(found, int(i), found.labels[steepness]) for i in order.tolist())


def _picture(found: Depths, i: int, labels: np.ndarray[Any, Any]) -> tuple[str, str]:
    size = np.array(found.voxel_nm)
    at = np.clip((found.place_nm[i] / size).astype(int), 0, np.array(labels.shape) - 1)
    half = np.maximum(np.ceil(AROUND * found.half_nm[i] / size), LEAST_VOXELS).astype(int)
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, labels.shape)
    best: tuple[int, str, np.ndarray[Any, Any]] | None = None
    # The two objects that touch where the pass is: the most frequent in the voxels around it.
    near = labels[tuple(slice(max(0, a - 1), a + 2) for a in at)]
    ids, count = np.unique(near[near > 0], return_counts=True)
    sides = ids[np.argsort(-count, kind="stable")[:2]]
    for plane, axes in PLANES.items():
        across = ({0, 1, 2} - set(axes)).pop()
        index: list[Any] = [slice(a, b) for a, b in zip(low, high, strict=True)]
        index[across] = int(at[across])
        cut = labels[tuple(index)]
        shown = min((int((cut == s).sum()) for s in sides), default=0) if len(sides) == 2 else 0
        if best is None or shown > best[0]:
            best = shown, plane, cut
    assert best is not None
    _, plane, cut = best
    down, right = PLANES[plane]
    rgba = label_colours(cut, {0: (255, 255, 255), **instance_colours(np.unique(cut[cut > 0]))})
    strength = rgba[..., 3:] / 255
    picture = 255 * (1 - strength) + rgba[..., :3] * strength
    # Square pixels, whatever the voxels are.
    fine = min(size[down], size[right])
    times = max(1, round(PIXELS / (max(cut.shape[0] * size[down], cut.shape[1] * size[right]) / fine)))
    repeats = [max(1, round(times * size[a] / fine)) for a in (down, right)]
    picture = picture.repeat(repeats[0], 0).repeat(repeats[1], 1)
    place = ", ".join(str(a + b) for a, b in zip(found.box.start, at.tolist(), strict=True))
    deep = f", cut up to a depth of {found.deepest_nm[i]:.3g} nm" if found.deepest_nm[i] >= 0 else ""
    wide = length(round(cut.shape[1] * size[right]))
    caption = f"{2 * found.half_nm[i]:.3g} nm wide{deep}; {plane} plane, {wide} wide, at voxel {place}"
    return png(picture), caption
