"""What lies around objects: shares of surfaces in contact, sizes of sites, distances of surfaces, shells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.reports.pictures.figures import Bars, even_edges, histogram, log_edges, single
from chunkflow_liver.reports.pictures.slices import css
from chunkflow_liver.reports.sections.findings import Figure, Findings
from chunkflow_liver.reports.tables import Stored, first_rows, stored
from chunkflow_liver.reports.words import counted, length, near_to, number, off_by, one, percent
from chunkflow_liver.reports.work import Work
from chunkflow_liver.store.ngff.write import PALETTE

COLOUR = css(PALETTE[2])
FEWEST = 3
"""Fewer values are read in the table, not in a figure."""


def surroundings(work: Work, found: Findings) -> None:
    """Add figures and first rows of contact objects, contact sites, profiles and shells."""
    for kind, show in _SHOWN.items():
        for product in work.of(kind):
            try:
                table = stored(product)
                if table.rows:
                    show(table, found)
                found.previews.append(first_rows(table))
            except ChunkflowLiverError as err:
                found.missing.append(f"{kind.capitalize()}: {err}.")


def _pair(table: Stored) -> tuple[str, str]:
    return str(table.about.get("a", "A")), one(str(table.about.get("b", "B")))


def _columns(table: Stored, *names: str) -> list[np.ndarray[Any, Any]]:
    """Columns that this version writes; their lack is said, not guessed."""
    found = [table.column(name) for name in names]
    lost = [name for name, column in zip(names, found, strict=True) if column is None]
    if lost:
        raise ChunkflowLiverError(f"table {table.product.name!r} has no column {lost[0]!r}")
    return [column for column in found if column is not None]


def _objects(table: Stored, found: Findings) -> None:
    side, share = _columns(table, "side", "contact_fraction")
    a, b = _pair(table)
    kept = (side == "a") & np.isfinite(share)
    share = share[kept]
    touching = share[share > 0]
    if len(share) < FEWEST or not len(touching):
        return
    edges = np.linspace(0, 100, 41)
    bars = Bars(edges, np.histogram(100 * touching, edges)[0], COLOUR)
    found.figures.append(
        Figure(
            f"Share of the surface in contact ({table.product.name})",
            single(100 * touching, "%")
            or histogram(
                [bars], x="share of the surface (%)", y="objects", name=f"share{len(found.figures)}"
            ),
            f"Surface of each of {a} {near_to(float(table.about['gap_nm']), b)}: "
            f"{number(len(touching))} of {counted(len(share), 'object')} with some; their median is "
            f"{percent(float(np.median(touching)))}. {_ends(table, kept, share > 0)}".strip(),
        )
    )


def _ends(table: Stored, kept: np.ndarray[Any, Any], touching: np.ndarray[Any, Any]) -> str:
    """What the median share is with boundaries that are off."""
    ends = [table.column(f"contact_{end}_fraction") for end in ("low", "high")]
    sources = {
        str(table.about[key]) for key in ("boundary_a_source", "boundary_b_source") if key in table.about
    }
    medians = [float(np.nanmedian(column[kept][touching])) for column in ends if column is not None]
    return off_by(sources, "it", " to ".join(map(percent, medians))) if len(medians) == 2 else ""


def _sites(table: Stored, found: Findings) -> None:
    (area,) = _columns(table, "area_a_um2")
    a, b = _pair(table)
    edges = log_edges(area)
    if table.rows < FEWEST or not len(edges):
        return
    bars = Bars(edges, np.histogram(area, edges)[0], COLOUR)
    found.figures.append(
        Figure(
            f"Contact sites ({table.product.name})",
            single(area, "µm²")
            or histogram([bars], x="area (µm²)", y="sites", log=True, name=f"sites{len(found.figures)}"),
            f"{number(table.rows)} connected parts of the surface of {a} near {b}; median "
            f"{number(float(np.median(area)))} µm².",
        )
    )


def _profile(table: Stored, found: Findings) -> None:
    middle, exact = _columns(table, "distance_p50_nm", "exact_fraction")
    a, b = _pair(table)
    cap = float(table.about["cap_nm"])
    near = middle[np.isfinite(middle)]
    parents = table.about.get("rows") == "parents"
    whose = f"{a} in each of {one(str(table.about.get('parents')))}" if parents else f"each of {a}"
    edges = even_edges(0.0, cap)
    bars = Bars(edges, np.histogram(near, edges)[0], COLOUR)
    found.figures.append(
        Figure(
            f"Distance of surfaces to {b} ({table.product.name})",
            histogram(
                [bars],
                x="median distance (nm)",
                y="parents" if parents else "objects",
                name=f"profile{len(found.figures)}",
            ),
            f"Median over the surface of {whose}; {number(len(middle) - len(near))} of "
            f"{number(len(middle))} lie beyond the cap of {length(cap)}. "
            f"{percent(float(np.nanmean(exact)))} of the surface is certain, whatever is outside the volume.",
        )
    )


def _shells(table: Stored, found: Findings) -> None:
    start, end, total, inside = _columns(table, "from_nm", "to_nm", "voxels", "class_voxels")
    a, b = _pair(table)
    shells = np.unique(end)
    edges = np.concatenate([np.unique(start)[:1], shells])

    def around(chosen: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        part, whole = (np.array([n[chosen & (end == e)].sum() for e in shells]) for n in (inside, total))
        share: np.ndarray[Any, Any] = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
        return 100 * share

    if table.about.get("rows") == "parents":
        _parent_shells(table, edges, around, found)
        return
    bars = Bars(edges, around(np.ones(len(end), bool)), COLOUR)
    shares = found.shares.get(str(table.about.get("b")), [])
    # Of two images of classes it is not known which one this is about.
    everywhere = shares[0] if len(shares) == 1 else None
    found.figures.append(
        Figure(
            f"{b} around {a} ({table.product.name})",
            histogram(
                [bars],
                x="distance (nm)",
                y="share of the shell (%)",
                level=None if everywhere is None else 100 * everywhere,
                name=f"shells{len(found.figures)}",
            ),
            f"Share of {b} in the voxels around all of {a}, by distance from the nearest one"
            + (
                "."
                if everywhere is None
                else f"; of the whole volume, {a} included, it is {percent(everywhere)}."
            ),
            () if everywhere is None else (("around", COLOUR), ("whole volume (dashed)", "currentColor")),
        )
    )


def _parent_shells(
    table: Stored,
    edges: np.ndarray[Any, Any],
    around: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]],
    found: Findings,
) -> None:
    """The same shells in each parent: over all of them they are the figure of the instances."""
    label, total = _columns(table, "label", "voxels")
    a, b = _pair(table)
    parents, row = np.unique(label, return_inverse=True)
    inside = parents > 0
    most = np.argsort(-np.bincount(row, total)[inside], kind="stable")[: len(PALETTE)]
    shown = np.sort(parents[inside][most])
    series = [
        Bars(edges, around(label == parent), css(PALETTE[i]), filled=False) for i, parent in enumerate(shown)
    ]
    some = "" if len(shown) == inside.sum() else f" (the {len(shown)} with most of them)"
    of = one(str(table.about.get("parents", "parents")))
    found.figures.append(
        Figure(
            f"{b} around {a}, in each of {of} ({table.product.name})",
            histogram(
                series, x="distance (nm)", y="share of the shell (%)", name=f"shells{len(found.figures)}"
            ),
            f"Share of {b} in the voxels around {a}, by distance from the nearest one, in each of "
            f"{number(int(inside.sum()))} {of}{some}.",
            tuple((f"{of} {parent}", css(PALETTE[i])) for i, parent in enumerate(shown)),
        )
    )


_SHOWN: dict[str, Callable[[Stored, Findings], None]] = {
    "contact objects": _objects,
    "contact sites": _sites,
    "profile": _profile,
    "shells": _shells,
}
