"""The tables of narrowings, from the records of all blocks: objects, windows, cells and tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Kind
from chunkflow_liver.engine.stage import Records
from chunkflow_liver.kernels.centreline.kinds import KINDS
from chunkflow_liver.kernels.centreline.necks import COLUMNS
from chunkflow_liver.kernels.centreline.windows import WINDOWS, Near
from chunkflow_liver.kernels.significance.boundaries import SOURCES
from chunkflow_liver.kernels.significance.decisions import LEAST, NO_TEST, decided
from chunkflow_liver.kernels.significance.permutations import (
    EFFECT,
    Observed,
    between_objects,
    within_objects,
)
from chunkflow_liver.kernels.significance.places import Along, same_places
from chunkflow_liver.kernels.significance.spacings import TOO_FEW, evenness, spacings
from chunkflow_liver.ops.narrowing.sure import SURE, with_source
from chunkflow_liver.store.table import Columns
from chunkflow_liver.xp import Array

OBJECT = {
    "label": np.uint64,
    "cell": np.uint64,
    "voxels": np.int64,
    "touches_border": np.bool_,
    "too_large": np.bool_,
    "branches": np.int64,
    "branch_points": np.int64,
    "length_nm": np.float64,
    "narrowings": np.int64,
}
CONTACT = {
    "area_um2": np.float64,
    "contact_um2": np.float64,
    "near_area_um2": np.float64,
    "near_contact_um2": np.float64,
    "far_area_um2": np.float64,
    "far_contact_um2": np.float64,
}
TESTS = (
    "narrowings against other places of the object",
    "narrowings against objects without any",
    "narrowings against the same places of objects without any",
)


def joined(parts: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]} if parts else {}


WITH = "contact_um2"
"""How columns end that have a number for each partner, so of shape (n, p)."""


def _rows(records: Records, table: str, kinds: dict[str, Any], partners: int = 0) -> dict[str, Array]:
    """All rows of one table, sorted by label; the rows of an object stay as they are."""
    parts = [
        {k.split("/")[1]: v for k, v in record.items() if k.startswith(f"{table}/")} for _, record in records
    ]
    found = joined([p for p in parts if p]) or {
        name: np.zeros((0, partners) if name.endswith(WITH) else 0, kind) for name, kind in kinds.items()
    }
    order = np.argsort(found["label"], kind="stable")
    return {name: column[order] for name, column in found.items()}


def _with(rows: dict[str, Array], partner: int) -> dict[str, Array]:
    """The rows with the contact with one partner."""
    return {name: c[:, partner] if name.endswith(WITH) else c for name, c in rows.items()}


def _each(partners: list[str], columns: Callable[[int], dict[str, Array]]) -> dict[str, Array]:
    """Columns of contact with the first partner; of each further one, with its name before theirs."""
    found: dict[str, Array] = {}
    for i, partner in enumerate(partners):
        found |= {f"{partner}_{name}" if i else name: column for name, column in columns(i).items()}
    return found


NARROW = {
    "label": np.uint64,
    "cell": np.uint64,
    **COLUMNS,
    "between_sections": np.bool_,
    "width_low_nm": np.float64,
    "width_high_nm": np.float64,
    "sharpness": np.float64,
    "kind": np.int8,
    "tested": np.bool_,
    "touches_border": np.bool_,
}
LINE = {
    "label": np.uint64,
    "branch": np.int64,
    "position_nm": np.float64,
    **{f"{a}_nm": np.float64 for a in "zyx"},
    **{f"tangent_{a}": np.float64 for a in "zyx"},
    "width_nm": np.float64,
    "resolved": np.bool_,
}
SURFACE = {"area_um2": np.float64, "contact_um2": np.float64}
WINDOW = {"label": np.uint64, "cell": np.uint64, **WINDOWS}


def _narrowings(records: Records, *, near: Near, partners: list[str], source: str = SOURCES[-1]) -> Columns:
    kept, many = list(records), len(partners)
    local = source in SOURCES[1:3]
    found = _rows(iter(kept), "narrow", NARROW | SURE if local else NARROW)
    found = with_source(found, source) if local else found
    found["kind"] = np.array(KINDS, dtype=object)[found["kind"]]
    found["next_nm"] = _next_nm(found)
    if not many:
        return found
    seen = _rows(iter(kept), "window", WINDOW, many)
    objects = _rows(iter(kept), "object", OBJECT | CONTACT, many)
    narrow = seen["narrow"]
    of = np.searchsorted(objects["label"], found["label"])
    owner = np.searchsorted(objects["label"], seen["label"][~narrow])
    controls = np.bincount(owner, minlength=len(objects["label"]))[of]
    far_area = objects["far_area_um2"][of]

    def contact(partner: int) -> dict[str, Array]:
        windows = _dense(_with(seen, partner))
        total = np.bincount(owner, windows["density"][~narrow], len(objects["label"]))[of]
        far_contact = objects["far_contact_um2"][of, partner]
        here = {f"near_{k}": windows[k][narrow] for k in ("contact_um2", "density")}
        far = over(far_contact, far_area)
        return here | {
            "far_contact_um2": far_contact,
            "far_density": far,
            "control_density": over(total, controls),
            "enrichment": over(here["near_density"], far),
        }

    areas = {"near_area_um2": seen["area_um2"][narrow], "far_area_um2": far_area, "controls": controls}
    return {**found, **areas, **_each(partners, contact)}


def _next_nm(found: dict[str, Array]) -> Array:
    """Distance along the branch to the next narrowing on it; NaN for the last one."""
    order = np.lexsort((found["position_nm"], found["branch"], found["label"]))
    label, branch, at = (found[name][order] for name in ("label", "branch", "position_nm"))
    away = np.full(len(at), np.nan)
    same = (label[1:] == label[:-1]) & (branch[1:] == branch[:-1])
    away[:-1][same] = np.diff(at)[same]
    next_nm = np.empty(len(at))
    next_nm[order] = away
    return next_nm


def _spacing(records: Records, *, near: Near, partners: list[str]) -> Columns:
    """One row: whether narrowings of one branch follow each other evenly."""
    kept = list(records)
    narrow, objects = _rows(iter(kept), "narrow", NARROW), _rows(iter(kept), "object", OBJECT)
    # As in the other tests: where some objects have a cell, those without one do not count.
    some = (narrow["cell"] > 0) | ~objects["cell"].any()
    seen = spacings(*(narrow[c][some] for c in ("label", "branch", "position_nm", "tested")))
    found = evenness(seen, permutations=near.permutations, seed=near.seed)
    few = found["objects"] < LEAST
    p_value = np.nan if few else found.pop("p_value")
    whole = {name: np.array([int(found.pop(name))], np.int64) for name in ("objects", "rows", "spacings")}
    return {
        **whole,
        **{name: np.array([value], np.float64) for name, value in (found | {"p_value": p_value}).items()},
        "no_test": np.array([TOO_FEW if few else ""], dtype=object),
    }


def _lines(records: Records, *, near: Near, partners: list[str]) -> Columns:
    found = _rows(records, "line", LINE if not partners else LINE | SURFACE, len(partners))
    contact = found.pop(WITH, None)
    return found if contact is None else {**found, **_each(partners, lambda p: {WITH: contact[:, p]})}


def over(a: Array, b: Array) -> Array:
    """a / b, with NaN (missing) for 0 / 0, inf over 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(a / b, np.float64)


def _objects(records: Records, *, near: Near, partners: list[str]) -> Columns:
    found = _rows(records, "object", OBJECT | (CONTACT if partners else {}), len(partners))
    if not partners:
        return found

    def contact(partner: int) -> dict[str, Array]:
        one = _with(found, partner)
        areas = {name: column for name, column in one.items() if name.endswith(WITH)}
        density = {
            f"{part}density": over(one[f"{part}contact_um2"], one[f"{part}area_um2"])
            for part in ("", "near_", "far_")
        }
        return areas | density | {"enrichment": over(density["near_density"], density["far_density"])}

    shared = {name: column for name, column in found.items() if not name.endswith(WITH)}
    return {**shared, **_each(partners, contact)}


def _windows(records: Records, *, near: Near, partners: list[str]) -> Columns:
    found = _rows(records, "window", WINDOW, len(partners))

    def contact(partner: int) -> dict[str, Array]:
        one = _dense(_with(found, partner))
        return {name: one[name] for name in (WITH, "density")}

    return {**{n: c for n, c in found.items() if not n.endswith(WITH)}, **_each(partners, contact)}


def _dense(windows: dict[str, Array]) -> dict[str, Array]:
    return {**windows, "density": over(windows["contact_um2"], windows["area_um2"])}


def _observed(windows: dict[str, Array]) -> Observed:
    """The windows that are tested; where some objects have a cell, those of objects without one are not."""
    seen = _dense(windows)
    # A window without any surface of its own (in a branch point) says nothing.
    some = seen["area_um2"] > 0
    # Objects all of whose narrowings are left out have some, and are no objects without any.
    only = np.setdiff1d(seen["label"][~seen["tested"]], seen["label"][seen["narrow"] & seen["tested"]])
    some &= seen["tested"] & ~np.isin(seen["label"], only)
    # An unknown cell is neither the same as another unknown one nor a cell of its own.
    some &= (seen["cell"] > 0) | ~seen["cell"].any()
    columns = ("density", "narrow", "label", "cell", "area_um2")
    return Observed(*(seen[c][some] for c in columns))


def _cells(records: Records, *, near: Near, partners: list[str]) -> Columns:
    kept, many = list(records), len(partners)
    windows = _rows(iter(kept), "window", WINDOW, many)
    objects = _rows(iter(kept), "object", OBJECT | CONTACT, many)
    objects = {name: column[~objects["too_large"]] for name, column in objects.items()}
    cells, row = np.unique(objects["cell"], return_inverse=True)
    tests, sums = [], []
    for partner in range(many):
        seen, own = _observed(_with(windows, partner)), _with(objects, partner)
        tests += [
            within_objects(
                seen.of(seen.cell == cell),
                permutations=near.permutations,
                draws=near.draws,
                # Each cell its own permutations, whichever others there are.
                seed=(near.seed, int(cell)),
            )
            for cell in cells
        ]
        sums.append(
            {
                name: np.bincount(row, own[name], len(cells))
                for name in ("narrowings", "area_um2", "contact_um2", "near_area_um2", "near_contact_um2")
            }
        )
    of = joined(sums)
    effect = {name: np.array([t[name] for t in tests], np.float64) for name in EFFECT if name != "cells"}
    return {
        "partner": np.repeat(np.array(partners, dtype=object), len(cells)),
        "cell": np.tile(cells, many),
        "instances": np.tile(np.bincount(row, minlength=len(cells)), many),
        **(of | {"narrowings": of["narrowings"].astype(np.int64)}),
        "density": over(of["contact_um2"], of["area_um2"]),
        "near_density": over(of["near_contact_um2"], of["near_area_um2"]),
        **decided(effect, [NO_TEST[0]] * len(tests)),
    }


def _tests(records: Records, *, near: Near, partners: list[str]) -> Columns:
    kept, many = list(records), len(partners)
    windows = _rows(iter(kept), "window", WINDOW, many)
    settings = {"permutations": near.permutations, "draws": near.draws, "seed": near.seed}
    reach = (0.0, near.window_fraction) if near.window_fraction is not None else (near.reach_nm(0.0), 0.0)
    tests, narrowings = [], []
    for partner in range(many):
        # The same random numbers for each: no p depends on which other partners there are.
        seen = _observed(_with(windows, partner))
        tests += [test(seen, **settings) for test in (within_objects, between_objects)]
        tests.append(same_places(_along(kept, partner, many), reach, **settings))
        narrowings += [int(seen.narrow.sum())] * 2 + [int(tests[-1]["matched"])]
    effect = {name: np.array([t[name] for t in tests], np.float64) for name in EFFECT}
    return {
        "test": np.tile(np.array(TESTS), many),
        "partner": np.repeat(np.array(partners, dtype=object), len(TESTS)),
        "narrowings": np.array(narrowings, np.int64),
        **decided(effect, [*NO_TEST] * many),
    }


def _along(kept: list[Any], partner: int, partners: int) -> Along:
    """Surface and contact along all lines, with the narrowings that are tested and the cells that count."""
    line = _with(_rows(iter(kept), "line", LINE | SURFACE, partners), partner)
    narrow = _rows(iter(kept), "narrow", NARROW)
    objects = _rows(iter(kept), "object", OBJECT | CONTACT, partners)
    counted = ~objects["too_large"] & ((objects["cell"] > 0) | ~objects["cell"].any())
    cells = dict(zip(objects["label"][counted].tolist(), objects["cell"][counted].tolist(), strict=True))
    tested = narrow["tested"]
    return Along(
        label=line["label"],
        branch=line["branch"],
        position_nm=line["position_nm"],
        area=line["area_um2"],
        contact=line["contact_um2"],
        neck_label=narrow["label"][tested],
        neck_branch=narrow["branch"][tested],
        neck_nm=narrow["position_nm"][tested],
        barred=narrow["label"][~tested],
        cells=cells,
    )


PARTS: tuple[tuple[str, Callable[..., Any], Kind], ...] = (
    ("", _narrowings, "narrowing table"),
    ("-objects", _objects, "narrowing objects"),
    ("-lines", _lines, "narrowing lines"),
    ("-spacing", _spacing, "narrowing spacing"),
    ("-windows", _windows, "narrowing windows"),
    ("-cells", _cells, "narrowing cells"),
    ("-tests", _tests, "narrowing tests"),
)
