"""The first paragraph of the page: contact at narrowings and elsewhere, in how many objects, and p."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chunkflow_liver.kernels.centreline.windows import Near
from chunkflow_liver.kernels.significance.decisions import LEAST
from chunkflow_liver.reports.pictures.narrowing_examples import Columns
from chunkflow_liver.reports.words import between, counted, length, near_to, number, one, percent


@dataclass(frozen=True)
class Compared:
    """Shares of the surface in contact (0 to 1), as words and figure state them.

    Attributes
    ----------
    rows : ndarray of shape (n,), int64
        The narrowings that count, as rows of their table.
    near, other : ndarray of shape (n,), float64
        At each of them, and elsewhere on its object.
    here, there : float
        Means over objects of both; an object with several narrowings has their mean.
    objects : int
        How many objects that is.
    tested : bool
        Whether there is a p-value: `other` is the mean of windows of the same length then. If not, it is
        the rest of the object's surface.
    """

    rows: np.ndarray[Any, Any]
    near: np.ndarray[Any, Any]
    other: np.ndarray[Any, Any]
    here: float
    there: float
    objects: int
    tested: bool

    @property
    def where(self) -> str:
        return "elsewhere on the same objects" if self.tested else "on the rest of the same objects"


@dataclass
class Lead:
    """What is said of contact: behind the first sentence, as tiles, in the section, and as a warning."""

    answer: str
    tiles: list[tuple[str, str]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def compared(narrow: Columns, tests: Columns, *, with_cells: bool) -> Compared:
    """Narrowings and other places of the objects that are tested or, without a test, of all with contact.

    Parameters
    ----------
    narrow, tests : dict of ndarray
        The tables of narrowings and of their tests.
    with_cells : bool
        Whether some object has a cell: those without one are in no test then.
    """
    tested = bool(np.isfinite(tests["p_value"][0]))
    near, other = narrow["near_density"], narrow["control_density" if tested else "far_density"]
    known = np.isfinite(near) & np.isfinite(other)
    if tested and with_cells:
        known &= narrow["cell"] > 0
    object_of = np.unique(narrow["label"], return_inverse=True)[1]
    # An object without any contact says nothing: 0 / 0.
    known &= np.bincount(object_of, np.where(known, near + other, 0.0))[object_of] > 0
    rows = np.flatnonzero(known)
    near, other = near[rows], other[rows]
    labels, object_of = np.unique(narrow["label"][rows], return_inverse=True)
    here, there = (
        float(np.mean(np.bincount(object_of, v) / np.bincount(object_of))) if len(rows) else math.nan
        for v in (near, other)
    )
    return Compared(rows, near, other, here, there, len(labels), tested)


def lead(
    name: str, narrow: Columns, objects: Columns, tests: Columns, about: dict[str, Any], seen: Compared
) -> Lead:
    """What one table of narrowings says about contact at them; `about` holds its settings."""
    to, gap_nm = one(str(about.get("to", "er"))), float(about["gap_nm"])
    total = int((objects["narrowings"] > 0).sum())
    if not seen.objects:
        return Lead(
            f" None can be tested for {to}.",
            sentences=[
                f"No object with a narrowing, and surface elsewhere, {near_to(gap_nm, to, 'comes')}: "
                "there is nothing to test."
            ],
        )
    found = (
        f"at narrowings {percent(seen.here)} of the surface {near_to(gap_nm, to, 'lies')}, {seen.where} "
        f"{percent(seen.there)}"
    )
    # With the unit once.
    shares = f"{percent(seen.here).removesuffix('%').rstrip()} vs. {percent(seen.there)}"
    tested, left = int(tests["objects"][0]), _left(objects, tests, total, _window(about))
    behind = f" ({left})" if left else ""
    if not seen.tested:
        made = Lead(
            f" No test: {number(tested)} of {counted(total, 'object')} with a narrowing can be tested"
            f"{behind}; {LEAST} are needed. As a description only, {found} (means over "
            f"{counted(seen.objects, 'object')} with contact).",
            tiles=[
                (shares, f"of the surface near {to}, at narrowings and on the rest of the object; no test"),
                (f"{number(tested)} of {number(total)}", f"objects can be tested; {LEAST} are needed"),
            ],
            caveats=[
                "The rest of an object is no place like a narrowing: ends and thick parts are in it, and a "
                "patch of contact covers more of a thin neck than of a thick part. No p-value belongs to "
                "this difference."
            ],
        )
        made.sentences.append(made.answer.strip())
    else:
        made = _tested(found, shares, tests, about, seen)
        made.answer += f" Tested: {number(tested)} of {counted(total, 'object')} with a narrowing{behind}."
        made.tiles.append((f"{number(tested)} of {number(total)}", "objects with a narrowing are tested"))
    unpaired = int(tests["unpaired"][0])
    if 2 * unpaired > total or (unpaired and not seen.tested):
        made.warnings.append(
            f"{name}: {number(unpaired)} of {counted(total, 'object')} with a narrowing, without room for "
            f"another window of {_window(about)}, are in no test. {_remedy(narrow, about)}"
        )
    return made


def _tested(found: str, shares: str, tests: Columns, about: dict[str, Any], seen: Compared) -> Lead:
    to = one(str(about.get("to", "er")))
    first = {name: column[0] for name, column in tests.items()}
    p, ratio, low, high = (float(first[c]) for c in ("p_value", "ratio", "difference_low", "difference_high"))
    more = number(100 * (seen.here - seen.there))
    placed = _same_places(tests)
    objects, cells, missing = (int(first[c]) for c in ("objects", "cells", "missing"))
    where = f" in {counted(cells, 'cell')}" if cells > 1 else ""
    interval = f"no interval from only {counted(cells, 'cell') if cells > 1 else counted(objects, 'object')}"
    if math.isfinite(low):
        interval = f"95 % interval {between(100 * low, 100 * high)}"
        interval += "" if cells > 1 else " over objects of one cell, so not how cells differ"
    against = f"ratio {number(ratio)}" if math.isfinite(ratio) else "none at all elsewhere"
    found = found[0].upper() + found[1:]
    return Lead(
        f" {found}: {_points(seen.here - seen.there)} ({interval}; against chance in the same objects "
        f"p = {_chance(p)}{_corrected(first, about)}{placed}).",
        tiles=[
            (shares, f"of the surface near {to}, at narrowings and elsewhere"),
            (_chance(p), "p-value of that difference, two-sided"),
        ],
        sentences=[
            f"{found}: p = {_chance(p)} by {number(int(about['permutations']))} permutations of places "
            f"within {counted(objects, 'object')}."
        ],
        caveats=[
            f"The difference is {more} percentage points ({interval}; {against}).",
            f"Tested are the objects with contact, a narrowing and room for another window{where}; "
            f"{counted(missing, 'object')} without any contact left out, as they say nothing: with them the "
            f"difference is {number(100 * (seen.here - seen.there) * objects / (objects + missing))} points.",
            "A patch of contact covers more of a thin neck than of a thick part: part of a difference may be "
            "this.",
        ],
        facts=[
            (more, f"percentage points more surface near {to} at narrowings"),
            (_chance(p), "p-value, two-sided"),
        ],
    )


def _corrected(row: dict[str, Any], about: dict[str, Any]) -> str:
    """The q-value, where there are several partners."""
    many = len(about.get("partners", ()))
    return f", q = {_chance(float(row['q_value']))} over {many} partners" if many > 1 else ""


def _points(share: float) -> str:
    """A difference of shares in words."""
    return f"{number(abs(100 * share))} percentage points {'less' if share < 0 else 'more'}"


def _same_places(tests: Columns) -> str:
    """What the same places of objects without a narrowing say, where they could be compared."""
    if len(tests["p_value"]) < 3 or not math.isfinite(tests["p_value"][2]):
        return "; too few objects without a narrowing to compare the same places on"
    row = {name: column[2] for name, column in tests.items()}
    low, high = (float(row[f"difference_{end}"]) for end in ("low", "high"))
    ends = f", 95 % interval {between(100 * low, 100 * high)}" if math.isfinite(low) else ""
    return (
        f"; against the same places of objects without one {_points(float(row['difference']))}"
        f"{ends}, p = {_chance(float(row['p_value']))} by {number(int(row['narrowings']))} "
        "narrowings"
    )


def _left(objects: Columns, tests: Columns, total: int, window: str) -> str:
    """Why objects with a narrowing are in no test."""
    tested, missing, unpaired = (int(tests[c][0]) for c in ("objects", "missing", "unpaired"))
    in_none = "in no cell" if objects["cell"].any() else "without surface of their own there"
    reasons = (
        (unpaired, f"without room for another window of {window}"),
        (missing, "without contact"),
        (total - tested - missing - unpaired, in_none),
    )
    return ", ".join(f"{number(n)} {why}" for n, why in reasons if n)


def _near(about: dict[str, Any]) -> Near:
    return Near(window_nm=about.get("window_nm"), window_fraction=about.get("window_fraction"))


def _window(about: dict[str, Any]) -> str:
    """The whole length of a window."""
    near = _near(about)
    if near.window_fraction is not None:
        return f"{percent(2 * near.window_fraction)} of its branch"
    return length(2 * near.reach_nm(0.0))


def _remedy(narrow: Columns, about: dict[str, Any]) -> str:
    """The window for which about half of the objects that have no other one now would have room."""
    short = narrow["controls"] == 0
    whole, at = narrow["branch_length_nm"][short], narrow["position_nm"][short]
    # Half a window beside the place of the narrowing, and a whole one.
    reach = np.maximum(at, whole - at) / 3
    name, now, enough = "window_nm", _near(about).reach_nm(0.0), reach
    if _near(about).window_fraction is not None:
        name, now, enough = "window_fraction", float(about["window_fraction"]), reach / whole
    middle = float(np.median(enough)) if len(enough) else 0.0
    rounded = math.floor(middle / 10) * 10 if name == "window_nm" else math.floor(middle * 100) / 100
    text = f"Choose a smaller {name} (now {now:g}) before you look at the result"
    return f"{text}; at {rounded:g} about half of them would have room." if 0 < rounded < now else f"{text}."


def _chance(p: float) -> str:
    """A p-value; 0.0001 is easier to read than a power of ten."""
    return f"{p:.1g}" if 1e-4 <= p < 1e-3 else number(p, 2)
