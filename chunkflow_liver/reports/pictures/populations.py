"""Figures of a population: components, index, features and cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chunkflow_liver.kernels.populations.forms import FORMS
from chunkflow_liver.kernels.populations.index import FITTED
from chunkflow_liver.reports.pictures.figures import INK, Values, bare, sketch
from chunkflow_liver.reports.words import readable

Columns = Mapping[str, Values]
COLOURS = ("#c2571a", "#8d8d8d", "#2a6fbb")
"""Of the forms, in their order."""
MOST_POINTS = 3000
"""Objects that are drawn one by one; of more, even steps through all of them."""
VIOLINS, RIDGES = 30, 12
"""Largest cells that are drawn."""
BINS = 120
"""Columns of the heat map: objects in the order of PC1, this many groups of them."""
LEAST_INCHES = 2.2
"""Height at which the label of a scale has room beside it."""
_DPI = 130


def label(name: str) -> str:
    """A column's name as a figure's fonts can show it."""
    return readable(name.removeprefix("shape_")).encode("ascii", "replace").decode().replace("$", r"\$")


def scree(components: Columns, *, name: str) -> str:
    """Part of the variance of each component, and added up."""

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        at = components["component"]
        axes.bar(at, 100 * components["share"], color=COLOURS[2], alpha=0.75)
        axes.plot(at, 100 * components["cumulative"], color=INK, marker="o", markersize=3, linewidth=1)
        for percent in (80, 90, 95):
            axes.axhline(percent, color=INK, alpha=0.35, linewidth=0.8, linestyle="--")
        axes.set_xticks(at)
        axes.set_ylim(0, 102)
        axes.set_xlabel("component")
        axes.set_ylabel("variance (%)")
        bare(axes)

    return sketch(draw, name=name)


def distributions(objects: Columns, components: Columns, limits: tuple[float, float], *, name: str) -> str:
    """Scores on PC1 and PC2 with their fits; on PC1 the thresholds of the forms."""
    from scipy.stats import skewnorm

    def draw(figure: Any) -> None:
        for i, axes in enumerate(figure.subplots(1, 2)):
            scores = objects[f"PC{i + 1}"]
            edges = np.linspace(scores.min(), scores.max(), 61)
            axes.hist(scores, edges, density=True, color=COLOURS[2] if i else COLOURS[1], alpha=0.6)
            fit = [float(components[what][i]) for what in ("alpha", "loc", "scale")]
            if np.isfinite(fit).all():
                used = components["index_by"][i] == FITTED
                axes.plot(
                    edges, skewnorm.pdf(edges, *fit), color=INK, linewidth=1.5, linestyle="-" if used else ":"
                )
            if i == 0:
                for limit, colour in zip(limits, (COLOURS[0], COLOURS[2]), strict=True):
                    place = np.interp(limit, np.sort(objects["PC1_index"]), np.sort(scores))
                    axes.axvline(place, color=colour, linewidth=1.5)
            axes.set_xlabel(f"PC{i + 1}")
            axes.set_yticks([])
            bare(axes)

    return sketch(draw, name=name)


def plane(objects: Columns, *, name: str) -> str:
    """PC1 and PC2, by index and by form."""
    some = _some(objects)

    def draw(figure: Any) -> None:
        figure.set_dpi(_DPI)
        left, right = figure.subplots(1, 2, sharex=True, sharey=True)
        shown = _scatter(left, some, _dot(some), c=some["PC1_index"], cmap="cividis_r", vmin=0, vmax=1)
        figure.colorbar(shown, ax=left, label="index of PC1", location="bottom", shrink=0.8)
        for form, colour in zip(FORMS, COLOURS, strict=True):
            there = some["form"] == form
            _scatter(right, {n: some[n][there] for n in ("PC1", "PC2")}, _dot(some), color=colour)
        left.set_ylabel("PC2")

    return sketch(draw, name=name, height_inches=3.6)


def on_plane(objects: Columns, features: Sequence[str], *, name: str) -> str:
    """Every feature on PC1 and PC2, from its 2nd to its 98th percentile."""
    some = _some(objects)
    across = 4
    rows = -(-len(features) // across)

    def draw(figure: Any) -> None:
        figure.set_dpi(_DPI)
        grid = figure.subplots(rows, across, squeeze=False, sharex=True, sharey=True).ravel()
        for axes, feature in zip(grid, features, strict=False):
            low, high = np.percentile(some[feature], [2, 98])
            _scatter(axes, some, c=some[feature], cmap="coolwarm", vmin=low, vmax=high, s=0.5 * _dot(some))
            axes.set_title(label(feature), fontsize=6)
            axes.set_xlabel("")
        for axes in grid:
            axes.set_xticks([])
            axes.set_yticks([])
        for axes in grid[len(features) :]:
            axes.set_axis_off()

    return sketch(draw, name=name, height_inches=1.15 * rows + 0.2)


def heat_map(objects: Columns, features: Sequence[str], *, name: str) -> str:
    """Z-scores of features, ordered by Ward's clustering, over objects in the order of PC1."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    order = np.argsort(objects["PC1"], kind="stable")
    values = np.stack([objects[f] for f in features])
    values = (values - values.mean(1, keepdims=True)) / values.std(1, keepdims=True)
    groups = np.array_split(order, min(BINS, len(order)))
    means = np.stack([values[:, group].mean(1) for group in groups], 1)
    rows = leaves_list(linkage(np.corrcoef(values), "ward")).tolist()

    def draw(figure: Any) -> None:
        figure.set_dpi(_DPI)
        axes = figure.add_subplot()
        shown = axes.imshow(
            means[rows], aspect="auto", cmap="coolwarm", vmin=-2, vmax=2, interpolation="nearest"
        )
        axes.set_yticks(range(len(features)), [label(features[i]) for i in rows], fontsize=7)
        axes.set_xticks([])
        axes.set_xlabel("objects by PC1, from low to high")
        figure.colorbar(shown, ax=axes, label="z-score, mean of a group")

    return sketch(draw, name=name, height_inches=max(0.19 * len(features) + 1.0, LEAST_INCHES))


def violins(objects: Columns, cells: Columns, *, name: str) -> str:
    """PC1 in the largest cells, by their mean; the bar is the middle half, the dot the mean."""
    chosen = _largest(cells, VIOLINS)

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        parts = [objects["PC1"][objects["cell"] == cells["cell"][i]] for i in chosen]
        wide = [i for i, part in enumerate(parts) if len(part) > 2 and np.ptp(part) > 0]
        if wide:
            drawn = axes.violinplot([parts[i] for i in wide], positions=wide, widths=0.85, showextrema=False)
            for body in drawn["bodies"]:
                body.set(facecolor=COLOURS[2], alpha=0.35)
        at = np.arange(len(chosen))
        axes.vlines(at, cells["PC1_p25"][chosen], cells["PC1_p75"][chosen], color=INK, linewidth=2.5)
        axes.plot(at, cells["PC1_mean"][chosen], "o", color=COLOURS[0], markersize=3)
        axes.axhline(float(objects["PC1"].mean()), color=INK, alpha=0.4, linewidth=0.8)
        axes.set_xticks(at, cells["cell"][chosen].tolist(), rotation=90, fontsize=7)
        axes.set_xlabel("cell")
        axes.set_ylabel("PC1")
        bare(axes)

    return sketch(draw, name=name, height_inches=3.2)


def ridges(objects: Columns, cells: Columns, *, name: str) -> str:
    """Densities of PC1 of the largest cells, one above the other."""
    from scipy.stats import gaussian_kde

    chosen = [
        i for i in _largest(cells, RIDGES) if np.isfinite(cells["PC1_sd"][i]) and cells["PC1_sd"][i] > 0
    ]
    x = np.linspace(objects["PC1"].min(), objects["PC1"].max(), 150)

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for at, i in enumerate(chosen):
            density = gaussian_kde(objects["PC1"][objects["cell"] == cells["cell"][i]])(x)
            top = at + 1.6 * density / density.max()
            axes.fill_between(x, at, top, color=COLOURS[2], alpha=0.45, zorder=-at)
            axes.plot(x, top, color=INK, linewidth=0.8, zorder=-at)
        axes.set_yticks(range(len(chosen)), cells["cell"][chosen].tolist(), fontsize=7)
        axes.set_xlabel("PC1")
        axes.set_ylabel("cell")
        bare(axes)

    return sketch(draw, name=name, height_inches=3.2)


def effects(table: Columns, *, name: str) -> str:
    """Standardised differences of two conditions with 95 % intervals, and what could have been found."""
    sd = table["animal_sd"]
    rows = np.flatnonzero(np.isfinite(table["standardised"]))[::-1]

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        at = np.arange(len(rows))
        low, high = (table[f"difference_{end}"][rows] / sd[rows] for end in ("low", "high"))
        axes.hlines(at, low, high, color=INK, linewidth=1.2)
        axes.plot(table["standardised"][rows], at, "o", color=COLOURS[2], markersize=4)
        axes.axvline(0, color=INK, alpha=0.5, linewidth=0.8)
        for side in (-1, 1):
            axes.axvline(side * float(table["detectable"][0]), color=COLOURS[0], linewidth=1, linestyle="--")
        axes.set_yticks(at, [label(str(c)) for c in table["column"][rows]], fontsize=7)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlabel("difference (standard deviations of animals)")
        bare(axes)

    return sketch(draw, name=name, height_inches=0.19 * len(rows) + 0.9)


def _some(objects: Columns) -> dict[str, Values]:
    n = len(objects["PC1"])
    rows = np.unique(np.linspace(0, n - 1, min(MOST_POINTS, n)).astype(int))
    return {name: values[rows] for name, values in objects.items()}


def _dot(some: Columns) -> float:
    """Area of a dot, in points: few objects are seen as well as many."""
    return float(np.clip(2 * MOST_POINTS / max(len(some["PC1"]), 1), 2, 12))


def _scatter(axes: Any, some: Columns, s: float, **options: Any) -> Any:
    found = axes.scatter(some["PC1"], some["PC2"], s=s, linewidths=0, rasterized=True, **options)
    axes.set_xlabel("PC1")
    bare(axes)
    return found


def _largest(cells: Columns, most: int) -> Values:
    """Rows of the largest cells, by their mean."""
    rows = np.argsort(-cells["objects"], kind="stable")[:most]
    found: Values = rows[np.argsort(cells["PC1_mean"][rows], kind="stable")]
    return found
