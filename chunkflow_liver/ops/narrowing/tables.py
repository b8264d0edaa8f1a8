"""The tables of narrowings, from the records of all blocks: objects, windows, cells and tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Kind
from chunkflow_liver.engine.stage import Records
from chunkflow_liver.kernels.centreline.necks import COLUMNS
from chunkflow_liver.kernels.centreline.windows import WINDOWS, Near
from chunkflow_liver.kernels.significance.decisions import NO_TEST, decided
from chunkflow_liver.kernels.significance.permutations import (
    EFFECT,
    Observed,
    between_objects,
    within_objects,
)
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
TESTS = ("narrowings against other places of the object", "narrowings against objects without any")


def joined(parts: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]} if parts else {}


def _rows(records: Records, table: str, kinds: dict[str, Any]) -> dict[str, Array]:
    """All rows of one table, sorted by label; the rows of an object stay as they are."""
    parts = [
        {k.split("/")[1]: v for k, v in record.items() if k.startswith(f"{table}/")} for _, record in records
    ]
    found = joined([p for p in parts if p]) or {name: np.zeros(0, kind) for name, kind in kinds.items()}
    order = np.argsort(found["label"], kind="stable")
    return {name: column[order] for name, column in found.items()}


NARROW = {
    "label": np.uint64,
    "cell": np.uint64,
    **COLUMNS,
    "between_sections": np.bool_,
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
WINDOW = {"label": np.uint64, "cell": np.uint64, **WINDOWS}


def _narrowings(records: Records, *, near: Near | None) -> Columns:
    kept = list(records)
    found = _rows(iter(kept), "narrow", NARROW)
    if near is None:
        return found
    seen = _windows(iter(kept), near=near)
    objects = _rows(iter(kept), "object", OBJECT | CONTACT)
    narrow = seen["narrow"]
    of = np.searchsorted(objects["label"], found["label"])
    owner = np.searchsorted(objects["label"], seen["label"][~narrow])
    controls = np.bincount(owner, minlength=len(objects["label"]))[of]
    total = np.bincount(owner, seen["density"][~narrow], len(objects["label"]))[of]
    far_area, far_contact = objects["far_area_um2"][of], objects["far_contact_um2"][of]
    here = {f"near_{k}": seen[k][narrow] for k in ("area_um2", "contact_um2", "density")}
    far = over(far_contact, far_area)
    return {
        **found,
        **here,
        "far_area_um2": far_area,
        "far_contact_um2": far_contact,
        "far_density": far,
        "controls": controls,
        "control_density": over(total, controls),
        "enrichment": over(here["near_density"], far),
    }


def _lines(records: Records, *, near: Near | None) -> Columns:
    return _rows(records, "line", LINE)


def over(a: Array, b: Array) -> Array:
    """a / b, with NaN (missing) for 0 / 0, inf over 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(a / b, np.float64)


def _objects(records: Records, *, near: Near | None) -> Columns:
    found = _rows(records, "object", OBJECT | (CONTACT if near is not None else {}))
    if near is None:
        return found
    density = {
        f"{part}density": over(found[f"{part}contact_um2"], found[f"{part}area_um2"])
        for part in ("", "near_", "far_")
    }
    return {**found, **density, "enrichment": over(density["near_density"], density["far_density"])}


def _windows(records: Records, *, near: Near | None) -> dict[str, Array]:
    found = _rows(records, "window", WINDOW)
    return {**found, "density": over(found["contact_um2"], found["area_um2"])}


def _observed(records: Records) -> Observed:
    """The windows that are tested; where some objects have a cell, those of objects without one are not."""
    seen = _windows(records, near=None)
    # A window without any surface of its own (in a branch point) says nothing.
    some = seen["area_um2"] > 0
    # An unknown cell is neither the same as another unknown one nor a cell of its own.
    some &= (seen["cell"] > 0) | ~seen["cell"].any()
    columns = ("density", "narrow", "label", "cell", "area_um2")
    return Observed(*(seen[c][some] for c in columns))


def _cells(records: Records, *, near: Near) -> Columns:
    kept = list(records)
    seen = _observed(iter(kept))
    objects = _rows(iter(kept), "object", OBJECT | CONTACT)
    objects = {name: column[~objects["too_large"]] for name, column in objects.items()}
    cells, row = np.unique(objects["cell"], return_inverse=True)
    tests = [
        within_objects(
            seen.of(seen.cell == cell),
            permutations=near.permutations,
            draws=near.draws,
            # Each cell its own permutations, whichever others there are.
            seed=(near.seed, int(cell)),
        )
        for cell in cells
    ]
    sums = {
        name: np.bincount(row, objects[name], len(cells))
        for name in ("narrowings", "area_um2", "contact_um2", "near_area_um2", "near_contact_um2")
    }
    effect = {name: np.array([t[name] for t in tests], np.float64) for name in EFFECT if name != "cells"}
    return {
        "cell": cells,
        "instances": np.bincount(row, minlength=len(cells)),
        **(sums | {"narrowings": sums["narrowings"].astype(np.int64)}),
        "density": over(sums["contact_um2"], sums["area_um2"]),
        "near_density": over(sums["near_contact_um2"], sums["near_area_um2"]),
        **decided(effect, [NO_TEST[0]] * len(cells)),
    }


def _tests(records: Records, *, near: Near) -> Columns:
    seen = _observed(records)
    settings = {"permutations": near.permutations, "draws": near.draws, "seed": near.seed}
    tests = [test(seen, **settings) for test in (within_objects, between_objects)]
    effect = {name: np.array([t[name] for t in tests], np.float64) for name in EFFECT}
    return {"test": np.array(TESTS), **decided(effect, list(NO_TEST))}


PARTS: tuple[tuple[str, Callable[..., Any], Kind], ...] = (
    ("", _narrowings, "narrowing table"),
    ("-objects", _objects, "narrowing objects"),
    ("-lines", _lines, "narrowing lines"),
    ("-windows", _windows, "narrowing windows"),
    ("-cells", _cells, "narrowing cells"),
    ("-tests", _tests, "narrowing tests"),
)
