"""Figures of positions between two structures, and of what changes there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chunkflow_liver.reports.pictures.figures import INK, Values, bare, sketch
from chunkflow_liver.reports.pictures.populations import COLOURS, label
from chunkflow_liver.reports.words import heading

MOST_COLUMNS = 8
"""Columns whose zones are drawn."""
BARS = 40
FACED = ("#009e73", "#d55e00", "#cc79a7", "#8a6d00", "#56b4e9", "#5c5c5c", "#8d8d8d", "#2a6fbb")
"""Colours of what surfaces face."""
RADIUS, WALL = "#2a6fbb", "#c2571a"
CELLS = 60
"""Cells that are drawn, those with the largest surface."""


def positions(position: Values, zone: Values, ends: Sequence[float], *, name: str) -> str:
    """How many objects lie where, from 0 to 1, and where zones end."""

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        edges = np.linspace(0, 1, BARS + 1)
        axes.hist(position, edges, color=COLOURS[2], alpha=0.75)
        for end in ends:
            axes.axvline(end, color=INK, linewidth=1, linestyle="--")
        axes.set_xlim(0, 1)
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("position")
        axes.set_ylabel("objects")
        bare(axes)

    return sketch(draw, name=name, height_inches=2.4)


def by_zone(zones: Mapping[str, Values], columns: Sequence[str], *, name: str) -> str:
    """Mean of each zone over cells with its interval, a column beside the other."""
    across = min(4, max(1, len(columns)))
    rows = -(-len(columns) // across)

    def draw(figure: Any) -> None:
        grid = figure.subplots(rows, across, squeeze=False).ravel()
        for axes, column in zip(grid, columns, strict=False):
            here = zones["column"] == column
            at, mean = zones["zone"][here], zones["mean"][here]
            low, high = zones["low"][here], zones["high"][here]
            axes.vlines(at, low, high, color=INK, linewidth=1.2)
            axes.plot(at, mean, "o-", color=COLOURS[2], markersize=4, linewidth=1)
            axes.set_xticks(at)
            axes.set_xlim(at.min() - 0.5, at.max() + 0.5)
            what, unit = heading(column)
            axes.set_title(f"{label(what)} ({unit})" if unit else label(what), fontsize=7)
            axes.tick_params(labelsize=7)
            axes.locator_params(axis="y", nbins=4)
            bare(axes)
        for axes in grid[len(columns) :]:
            axes.set_axis_off()
        figure.supxlabel("zone", fontsize=8)

    return sketch(draw, name=name, height_inches=1.5 * rows + 0.4)


def shares(cells: Mapping[str, Values], faced: Sequence[str], *, name: str) -> str:
    """What the surface of every cell faces, stacked, sorted by the first part."""
    chosen = np.argsort(-cells["surface_um2"], kind="stable")[:CELLS]
    order = chosen[np.argsort(-cells[f"{faced[0]}_fraction"][chosen], kind="stable")]

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        bottom = np.zeros(len(order))
        for i, what in enumerate(faced):
            part = 100 * cells[f"{what}_fraction"][order]
            axes.bar(np.arange(len(order)), part, 0.9, bottom, color=FACED[i % len(FACED)], alpha=0.85)
            bottom += part
        axes.set_xticks([])
        axes.set_ylim(0, 100)
        axes.set_xlabel("cells")
        axes.set_ylabel("share of the surface (%)")
        bare(axes)

    return sketch(draw, name=name)


def diameters(values: Values, *, name: str) -> str:
    """How many fenestrae are how wide."""

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.hist(values, min(BARS, max(5, len(values) // 4)), color=COLOURS[2], alpha=0.75)
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("diameter (nm)")
        axes.set_ylabel("fenestrae")
        bare(axes)

    return sketch(draw, name=name, height_inches=2.4)


def along_duct(sections: Mapping[str, Values], *, name: str) -> str:
    """Radius of the lumen and thickness of the wall along a duct."""

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        at = (sections["from_nm"] + sections["to_nm"]) / 2000
        for what, colour in (("radius", RADIUS), ("thickness", WALL)):
            axes.plot(at, sections[f"{what}_nm"] / 1000, "o-", color=colour, markersize=3, linewidth=1.2)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("along the duct (\u00b5m)")
        axes.set_ylabel("\u00b5m")
        bare(axes)

    return sketch(draw, name=name, height_inches=2.4)
