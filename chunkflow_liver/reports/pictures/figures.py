"""Figures as SVG that takes the colour of the page's text."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.reports.words import number

Values = np.ndarray[Any, Any]
INK = "#010203"
"""Stands for 'currentColor', which matplotlib does not know."""
WIDTH_INCHES, HEIGHT_INCHES = 5.4, 2.9


@dataclass(frozen=True)
class Bars:
    """Heights between edges, one series of a histogram.

    Text from a run never goes into a figure: fonts may lack its characters; it stands in the page.
    """

    edges: Values
    heights: Values
    colour: str
    filled: bool = True


def histogram(
    series: Sequence[Bars],
    *,
    x: str,
    y: str,
    log: bool = False,
    level: float | None = None,
    name: str = "figure",
) -> str:
    """An inline SVG with one step line or area per series; '' if there is nothing to draw.

    Parameters
    ----------
    series : sequence of Bars
        Drawn in order, with edges in the unit of `x`.
    x, y : str
        Labels of the axes, with units.
    log : bool
        Whether x is logarithmic.
    level : float, optional
        Height of a dashed line to compare with.
    name : str
        Keeps the ids in the SVG apart from those of other figures in one page.
    """
    series = [s for s in series if len(s.heights) and np.nansum(s.heights) > 0]
    if not series:
        return ""

    def draw(figure: Any) -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

        axes = figure.add_subplot()
        for s in series:
            axes.stairs(
                s.heights,
                s.edges,
                fill=s.filled,
                color=s.colour,
                alpha=0.75 if s.filled else 1,
                linewidth=1.8,
            )
        if log:
            axes.set_xscale("log")
            decades = np.log10(max(s.edges[-1] for s in series) / min(s.edges[0] for s in series))
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2.5 else (1,)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(min(s.edges[0] for s in series), max(s.edges[-1] for s in series))
        if level is not None:
            axes.axhline(level, color=INK, linewidth=1.4, linestyle=(0, (5, 4)))
        axes.set_ylim(bottom=0)
        if all(s.heights.dtype.kind in "iu" for s in series):
            axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        bare(axes)

    return inline(sketch(draw, name=name))


def sketch(draw: Callable[[Any], None], *, name: str, height_inches: float = HEIGHT_INCHES) -> str:
    """What `draw` does to an empty matplotlib figure, as SVG with `INK` for the colour of text.

    Parameters
    ----------
    draw : callable
        Gets the figure; nothing is drawn on the screen.
    name : str
        Keeps the ids in the SVG apart from those of other figures in one page.
    height_inches : float
        Of a figure that is `WIDTH_INCHES` wide.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": 10,
        "axes.edgecolor": INK,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
        canvas = FigureCanvasSVG(figure)
        # A white ground of matplotlib would cover a dark page.
        figure.patch.set_visible(False)
        draw(figure)
        out = io.StringIO()
        canvas.print_svg(out, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return out.getvalue()


def bare(axes: Any) -> None:
    """Axes without a frame or a ground, with faint lines at the ticks of y."""
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.8)
    axes.set_axisbelow(True)


def inline(svg: str) -> str:
    """The <svg> element by itself, in the page's colour and font, as wide as its place."""
    svg = svg[svg.index("<svg ") :].replace(INK, "currentColor")
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r'(<svg [^>]*?)width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?)height="[^"]*"', r'\1role="img"', svg, count=1)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg)
    return svg.replace("xlink:href", "href")


def single(values: Values, unit: str) -> str:
    """The one value that all finite values are, in words for the place of a histogram; '' if they differ."""
    known = np.unique(values[np.isfinite(values)])
    return f'<p class="single">{number(float(known[0]))} {unit}</p>' if len(known) == 1 else ""


def log_edges(values: Values, most: int = 40) -> Values:
    """Edges of equal steps on a logarithmic axis, from a round number to a round number."""
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return np.zeros(0)
    low, high = np.log10(values.min()), np.log10(values.max())
    step = 0.1 if high - low <= most / 10 else (high - low) / most
    first, last = np.floor(low / step), np.floor(high / step) + 1
    edges: Values = 10 ** (np.arange(first, last + 1) * step)
    # Rounding may leave the extremes a last digit outside.
    edges[0], edges[-1] = min(edges[0], values.min()), max(edges[-1], values.max())
    return edges


def even_edges(low: float, high: float, most: int = 40, *, least: float = 0.0) -> Values:
    """Edges at round numbers from `low` to `high`, at most `most` steps, of `least` or more each."""
    span = max(high - low, 1e-12)
    finest = max(span / most, least)
    power = 10.0 ** np.floor(np.log10(finest))
    step = next(f * power for f in (1, 2, 5, 10, 20) if f * power >= finest * (1 - 1e-12))
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    edges: Values = np.arange(first, max(last, first + 1) + 1) * step
    return edges
