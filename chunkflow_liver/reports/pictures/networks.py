"""Figures of a network: its centre lines from one side, and how lengths, diameters and angles spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chunkflow_liver.geometry import NM_PER_UM
from chunkflow_liver.reports.pictures.figures import INK, Values, bare, sketch

Columns = Mapping[str, Values]
MOST_POINTS = 40_000
"""Points of centre lines that are drawn; of more, the longest branches."""
TURN_DEG, TILT_DEG = 28.0, 22.0
"""The volume is seen turned round z by the one, then tipped towards the eye by the other."""
COLOUR = "#2a6fbb"
_DPI = 140


def seen_from_aside(places: Values) -> tuple[Values, Values, Values]:
    """Right, up and towards the eye, of places (n, 3) in z, y, x; parallel: all are of one scale."""
    z, y, x = places.T
    turn, tilt = np.radians([TURN_DEG, TILT_DEG])
    right, away = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    return right, -(z * np.cos(tilt) + away * np.sin(tilt)), z * np.sin(tilt) - away * np.cos(tilt)


def lines(points: Columns, branches: Columns, nodes: Columns, *, name: str) -> str:
    """All branches as lines, as thick as wide and coloured by radius; near ones lie over far ones."""
    kept = longest(points, branches)
    branch = points["branch"][kept]
    places = np.stack([points[f"{axis}_nm"][kept] for axis in "zyx"], 1) / NM_PER_UM
    radius = points["radius_nm"][kept] / NM_PER_UM
    right, up, near = seen_from_aside(places)
    corner = right.min(initial=np.inf), up.max(initial=-np.inf)
    # From the corner of the picture on, to the right and down.
    right, down = right - corner[0], corner[1] - up
    same = branch[1:] == branch[:-1]
    flat = np.stack([right, down], 1)
    segments = np.stack([flat[:-1], flat[1:]], 1)[same]
    wide, depth = ((v[1:] + v[:-1])[same] / 2 for v in (radius, near))
    order = np.argsort(depth, kind="stable")
    many = nodes["degree"] > 2
    joints = np.stack([nodes[f"{axis}_nm"][many] for axis in "zyx"], 1) / NM_PER_UM

    def draw(figure: Any) -> None:
        from matplotlib.collections import LineCollection

        figure.set_dpi(_DPI)
        axes = figure.add_subplot()
        low, high = np.percentile(wide, [2, 98]) if len(wide) else (0, 1)
        span = np.ptp(depth) if len(depth) else 0
        shade = 0.35 + 0.65 * (depth[order] - depth.min()) / span if span else np.ones(len(order))
        thick = 0.5 + 2.5 * np.clip(wide[order] / max(high, 1e-9), 0, 1.5)
        drawn = LineCollection(list(segments[order]), cmap="viridis", linewidths=thick, alpha=shade)
        drawn.set_array(wide[order])
        drawn.set_clim(low, max(high, low + 1e-9))
        drawn.set_rasterized(True)
        axes.add_collection(drawn)
        if len(joints):
            x, y, _ = seen_from_aside(joints)
            axes.scatter(
                x - corner[0], corner[1] - y, s=3, color=INK, linewidths=0, zorder=3, rasterized=True
            )
        axes.autoscale()
        axes.invert_yaxis()
        axes.set_aspect("equal")
        axes.set_xlabel("to the right (\u00b5m)")
        axes.set_ylabel("down (\u00b5m)")
        bare(axes)
        figure.colorbar(drawn, ax=axes, label="radius (\u00b5m)", shrink=0.8)

    return sketch(draw, name=name, height_inches=4.4)


def spreads(branches: Columns, angles: Columns, *, name: str) -> str:
    """Diameters over the length that has them, lengths of branches, angles between branches."""
    length = branches["length_nm"] / NM_PER_UM
    shown = (
        (2 * branches["radius_mean_nm"] / NM_PER_UM, length, "diameter (\u00b5m)", "length (\u00b5m)"),
        (length, None, "length of a branch (\u00b5m)", "branches"),
        (angles["angle_deg"], None, "angle (degrees)", "pairs of branches"),
    )

    def draw(figure: Any) -> None:
        for axes, (values, weights, x, y) in zip(figure.subplots(1, 3), shown, strict=True):
            known = np.isfinite(values)
            if known.any():
                weight = None if weights is None else weights[known]
                bins = min(30, max(5, int(np.sqrt(known.sum()))))
                axes.hist(values[known], bins, weights=weight, color=COLOUR, alpha=0.7)
            axes.set_xlabel(x)
            axes.set_ylabel(y)
            bare(axes)

    return sketch(draw, name=name, height_inches=2.5)


def longest(points: Columns, branches: Columns) -> Values:
    """Which points are drawn: all, or those of the longest branches."""
    of = points["branch"].astype(np.int64) - 1
    many = np.bincount(of, minlength=len(branches["length_nm"]))
    order = np.argsort(-branches["length_nm"], kind="stable")
    drawn = np.zeros(len(many), bool)
    drawn[order[np.cumsum(many[order]) <= MOST_POINTS]] = True
    found: Values = drawn[of]
    return found
