"""One self-contained HTML page of suggested boxes: what they look like, and what speaks for each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Nm
from chunkflow_liver.reports.pictures.planes import Pixels, View, corner_nm, extent_nm, read_plane
from chunkflow_liver.reports.pictures.samples import levels_of
from chunkflow_liver.reports.pictures.slices import (
    css,
    instance_colours,
    label_colours,
    score_colours,
    score_gradient,
)
from chunkflow_liver.reports.words import by, length, one
from chunkflow_liver.reports.work import Work, exists, read_work
from chunkflow_liver.reports.writing import page_source, page_template, png, replacing
from chunkflow_liver.store.ngff.write import PALETTE
from chunkflow_liver.store.table import Table, read_table
from chunkflow_liver.store.volume import Volume

SIDE = 320
"""Pixels of a picture."""
AROUND = 2.0
"""Sides of a picture by those of its box: what lies around helps to see what it is."""
FRAME = (255, 225, 40)
MOST = 60
"""Boxes that the page shows."""


@dataclass(frozen=True)
class Layer:
    """What is drawn over the image: its levels, finest first."""

    name: str
    levels: tuple[Volume, ...]
    is_score: bool


@dataclass(frozen=True)
class Suggested:
    """One box: its row, where it lies in words, and its pictures with what they show."""

    row: Mapping[str, Any]
    place: str
    pictures: tuple[tuple[str, str], ...]


def suggestions_report(
    run: str | os.PathLike[str],
    name: str,
    *,
    to: str | os.PathLike[str],
    labels: Sequence[Volume] = (),
) -> Path:
    """Write the page of the suggested boxes `name` of a work folder, and return its path.

    Parameters
    ----------
    run : path
        Work folder that `suggest` was run in.
    name : str
        Name of the suggestions.
    to : path
        HTML file; an older one is replaced.
    labels : sequence of Volume
        Label images that are drawn besides those of the run.

    Raises
    ------
    InputError
        If there are no such suggestions, or an image cannot be read.
    OutputError
        If the page cannot be written.
    """
    work = read_work(Path(run).absolute())
    product = next((p for p in work.of("suggestions") if p.name == name and exists(p)), None)
    if product is None or not isinstance(product.handle, Table):
        raise InputError(f"{work.path} has no suggestions {name!r}; run 'suggest' first")
    about = dict(product.about)
    raw = next(p.handle for p in work.of("raw") if p.name == about["image"])
    if not isinstance(raw, Volume):
        raise InputError(f"{work.path}: the image of {name!r} is no image; run 'suggest' again")
    layers = [*_layers(work), *(Layer(v.name, levels_of(v), False) for v in labels)]
    rows = read_table(product.handle).to_pylist()
    levels, colours = levels_of(raw), _colours(layers)
    page = page_template("suggestions.html.j2").render(
        title=f"Where to paint next: {name}",
        image=about["image"],
        box=by(about["box_nm"], "nm"),
        boxes=[_suggested(row, levels, layers, colours) for row in rows[:MOST]],
        total=len(rows),
        scores=[layer.name for layer in layers if layer.is_score],
        gradient=score_gradient(),
        legend=[(one(name), css(colour)) for name, colour in colours.items()],
        style=page_source("page.css"),
    )
    target = Path(to)
    with replacing(target, "page") as partial:
        partial.write_text(page, encoding="utf-8")
    return target


def _layers(work: Work) -> list[Layer]:
    """Uncertainty and scores of the run, and its classes."""
    found = []
    for product in work.products:
        if product.kind in ("score", "semantic") and isinstance(product.handle, Volume) and exists(product):
            found.append(Layer(product.name, levels_of(product.handle), product.kind == "score"))
    return sorted(found, key=lambda layer: not layer.is_score)


def _colours(layers: Sequence[Layer]) -> dict[str, tuple[int, ...]]:
    """One colour for each class, whatever its number is in a layer."""
    names = dict.fromkeys(name for layer in layers for name, n in layer.levels[0].classes if n)
    return {name: tuple(PALETTE[i % len(PALETTE)][:3]) for i, name in enumerate(names)}


def _suggested(
    row: Mapping[str, Any],
    raw: Sequence[Volume],
    layers: Sequence[Layer],
    colours: Mapping[str, tuple[int, ...]],
) -> Suggested:
    """The middle xy plane of a box and of what lies around it."""
    finest = raw[0]
    view, scale = _view(row, finest)
    grey, inside = read_plane(raw, view)
    low, high = np.percentile(grey[inside], [0.5, 99.5])
    base = ((grey.astype(float) - low) / max(high - low, 1e-6) * 255).clip(0, 255)
    base = np.where(inside, base, 96)[..., None].repeat(3, -1)
    pictures = [("image", base)]
    for layer in layers:
        values, there = read_plane(layer.levels, view)
        rgba = (
            score_colours(values, there)
            if layer.is_score
            else _labelled(np.where(there, values, 0), layer.levels[0], colours)
        )
        strength = rgba[..., 3:] / 255
        pictures.append((layer.name, base * (1 - strength) + rgba[..., :3] * strength))
    places = [(row[f"{a}_start_nm"] / 1000, row[f"{a}_stop_nm"] / 1000) for a in "zyx"]
    place = ", ".join(f"{a} {p:.4g} to {q:.4g} µm" for a, (p, q) in zip("zyx", places, strict=True))
    at = f"{place}; the pictures are its middle slice, {length(round(view.size_nm[1]))} wide"
    framed = [(what, _framed(p, row, finest, view)) for what, p in pictures]
    drawn = tuple((what, png(pixels.repeat(scale, 0).repeat(scale, 1))) for what, pixels in framed)
    return Suggested(row, at, drawn)


def _view(row: Mapping[str, Any], raw: Volume) -> tuple[View, int]:
    """The square around a box in its middle slice, and how many times its pixels are enlarged."""
    start: Nm = tuple(row[f"{a}_start_nm"] for a in "zyx")
    stop: Nm = tuple(row[f"{a}_stop_nm"] for a in "zyx")
    side = AROUND * max(stop[1] - start[1], stop[2] - start[2])
    side = max(min(side, *extent_nm(raw)[1:]), stop[1] - start[1], stop[2] - start[2])
    pixel = max(side / SIDE, min(raw.voxel_nm[1:]))
    low = []
    for a in (1, 2):
        first = (start[a] + stop[a] - side) / 2
        low.append(corner_nm(raw, a) + max(0.0, min(first, extent_nm(raw)[a] - side)))
    middle = (row["z_start"] + row["z_stop"]) // 2 + 0.5
    at = corner_nm(raw, 0) + middle * (stop[0] - start[0]) / (row["z_stop"] - row["z_start"])
    return View("xy", at, (low[0], low[1]), (side, side), pixel), max(1, round(SIDE * pixel / side))


def _labelled(values: Pixels, labels: Volume, colours: Mapping[str, tuple[int, ...]]) -> Pixels:
    """Classes, or instances, as see-through colours with solid rims."""
    if not labels.classes:
        return label_colours(values, instance_colours(np.unique(values)))
    known = {n: colours[name] for name, n in labels.classes if n}
    shown = np.where(np.isin(values, list(known)), values, 0)
    return label_colours(shown, {0: (0, 0, 0), **known})


def _framed(picture: Pixels, row: Mapping[str, Any], raw: Volume, view: View) -> Pixels:
    """A picture with the outline of the box."""
    found = picture.copy()
    ends = []
    for axis, (name, low, n) in enumerate(zip("yx", view.low_nm, view.shape, strict=True), 1):
        corner = corner_nm(raw, axis)
        first, last = (corner + row[f"{name}_{end}_nm"] - low for end in ("start", "stop"))
        ends.append((int(first / view.pixel_nm), min(n, round(last / view.pixel_nm)) - 1))
    (top, bottom), (left, right) = ends
    found[[top, bottom], left : right + 1] = FRAME
    found[top : bottom + 1, [left, right]] = FRAME
    return found
