"""Narrowings of instances, and the contact with another class at them: tables and tests."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.stage import Fold, Map, Result, Stage, plain
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Block, BlockGrid, Box, Nm, Zyx, zyx
from chunkflow_liver.kernels.centreline.line import BYTES_PER_VOXEL, Centreline, centreline
from chunkflow_liver.kernels.centreline.necks import Neck, find_narrowings, major_line, narrowest_slice
from chunkflow_liver.kernels.centreline.stacks import between_sections
from chunkflow_liver.kernels.centreline.widths import RESOLVED, voxel_across_nm, width_profile
from chunkflow_liver.kernels.centreline.windows import Near, Track, surface_track, windows, within
from chunkflow_liver.kernels.contacts.gaps import halo_voxels
from chunkflow_liver.ops.narrowing.tables import CONTACT, OBJECT, PARTS, joined
from chunkflow_liver.ops.steps.crops import extents, owned
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    checked_labels,
    known_in_all,
    same_voxels,
    table_at,
    work_folder,
)
from chunkflow_liver.store.table import Arrays
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

AXES = ("centreline", "major")


@operation
def narrowing(
    instances: Volume,
    *,
    er: Volume | None = None,
    near: Near | None = None,
    axis: str = "centreline",
    neck: Neck | None = None,
    parents: Volume | None = None,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
) -> Plan:
    """Plan tables of the narrowings of instances, and of contact at them and elsewhere.

    Parameters
    ----------
    instances : Volume
        Object ids, 0 is background.
    er : Volume, optional
        Where the class `near.to` is (the ER): a semantic volume, or instances of it. Without it there is
        no contact and there are no tests.
    near : Near, optional
        Class, gap and window of the contact, and the tests' permutations and seed.
    axis : str
        'centreline', or 'major' for the straight axis of the liver study, with which to compare.
    neck : Neck, optional
        What counts as a narrowing.
    parents : Volume, optional
        Ids of cells (or zones) on the same voxels; an object belongs to the one with most of its voxels.
        Objects without any have cell 0 and are left out of the tests; if none has a cell, all count as of
        one.
    name : str
        Name of the table.
    {work}
    {block}

    Returns
    -------
    Plan
        Its `output` is the `Table` `<name>`, one row per narrowing, sorted by label, branch, position:
        `label, cell`, the columns of `kernels.narrowing.find_narrowings` (coordinates from the volume's
        first corner), `touches_border` and, with `er`, `near_area_um2, near_contact_um2, near_density`
        (in the window), `far_area_um2, far_contact_um2, far_density` (of the object outside all windows
        of narrowings), `controls, control_density` (windows elsewhere on the object, mean),
        `enrichment` (near over far; 0/0 is NaN, missing). `<name>-objects` has a row per object; those
        with a bounding box above `neck.crop_voxels` are `too_large`: nothing more is known of them, and
        they are in no test. `<name>-lines` has every point of the centre lines: place, direction, width.
        With `er` there are `<name>-windows` (every window), `<name>-cells` (a row
        per cell, with a test) and `<name>-tests` (over everything; q-values by Benjamini and Hochberg).
        `no_test` says why a p-value is missing: nothing to compare, no contact, or fewer than
        `significance.decisions.LEAST` objects.

    Raises
    ------
    ConfigError, InputError
        If the axis or the class does not exist, or the volumes hold no labels or do not lie on the same
        voxels.
    """
    near = (near or Near()).filled()
    neck = neck or Neck()
    # Tables state the values that were used, whether they were given or are the defaults.
    neck = dataclasses.replace(neck, min_prominence_nm=neck.least_rise_nm(instances.voxel_nm))
    if axis not in AXES:
        raise ConfigError(f"no axis {axis!r}; there are {list(AXES)}")
    instances = checked_labels(instances, "instances")
    inputs = [instances]
    for other, what in ((er, "the other class"), (parents, "parents")):
        if other is not None:
            inputs.append(checked_labels(other, what))
            same_voxels(instances, other, f"narrowing needs {what} on the same voxels")
    number = None
    if er is not None and er.classes:
        number = er.class_number(near.to)
    stages, objects = extents(instances, name=name, work=work, block=block)
    params = {
        "given": [er is not None, parents is not None],
        "number": number,
        "axis": axis,
        "neck": neck,
        "near": near,
    }
    known = known_in_all(instances, *(() if er is None else (er,)))
    most = min(neck.crop_voxels, instances.box.size)
    found = Map(
        f"{name}/narrowings",
        _block,
        BlockGrid(instances.box, block or zyx(list(instances.write_unit))),
        tuple(inputs),
        params={**params, "known": known},
        artefacts={"objects": objects},
        resident=int(most * (BYTES_PER_VOXEL + sum(v.itemsize for v in inputs))),
        streams=True,
    )
    settings = plain(dataclasses.asdict(neck) | (dataclasses.asdict(near) if er is not None else {}))
    provenance = {"operation": "narrowing", "axis": axis, "voxel_nm": list(instances.voxel_nm), **settings}
    made: tuple[Stage, ...] = (*stages, found)
    about = (("instances", instances.name), ("axis", axis), *sorted(settings.items()))
    about += (("er", er.name),) if er is not None else ()
    products = []
    for part, function, kind in PARTS[: None if er is not None else 3]:
        table = table_at(work, f"{name}{part}")
        made = (
            *made,
            Fold(
                f"{name}/table{part}",
                function,
                found.name,
                table,
                params={"near": near if er is not None else None},
                provenance=provenance,
            ),
        )
        products.append(Product(kind, f"{name}{part}", table, about))
    return Plan(made, work_folder(work), table_at(work, name), tuple(products))


def _block(
    block: Block,
    instances: Volume,
    *others: Volume,
    given: tuple[bool, bool],
    number: int | None,
    axis: str,
    neck: Neck,
    near: Near,
    known: Box,
    objects: Arrays,
) -> Iterator[Result]:
    voxel_nm = instances.voxel_nm
    er = others[0] if given[0] else None
    parents = others[-1] if given[1] else None
    halo = (0, 0, 0) if er is None else halo_voxels(near.gap_nm, voxel_nm)
    tables: dict[str, list[dict[str, Array]]] = {t: [] for t in ("narrow", "object", "line", "window")}
    kinds = OBJECT | (CONTACT if er is not None else {})
    for label, box in owned(block, objects):
        if box.size > neck.crop_voxels:
            voxels = objects["voxels"][objects["label"] == label][0]
            tables["object"].append(_too_large(label, int(voxels), _at_border(box, known), kinds))
            continue
        around = box.grow(halo).clip(block.volume)
        mask = instances.read(around) == label
        own = mask[box.relative_to(around).slices]
        start = np.array(box.start) * voxel_nm
        line = centreline(own, voxel_nm) if axis == "centreline" else major_line(own, voxel_nm, neck.slices)
        narrow = (find_narrowings if axis == "centreline" else narrowest_slice)(line, voxel_nm, neck)
        between = between_sections(own, line, narrow, voxel_nm) & (axis == "centreline")
        narrow |= {"between_sections": between, "resolved": narrow["resolved"] & ~between}
        row: dict[str, Any] = {
            "label": label,
            "cell": 0 if parents is None else _parent(parents.read(box)[own]),
            "voxels": int(own.sum()),
            "touches_border": _at_border(box, known),
            "too_large": False,
            "branches": len(line.branches),
            "branch_points": line.branch_points,
            "length_nm": line.length_nm,
            "narrowings": len(narrow["branch"]),
        }
        if er is not None:
            wide = around.clip(known)
            mask = mask[wide.relative_to(around).slices]
            other = er.read(wide)
            other = other > 0 if number is None else other == number
            corner = np.array(wide.start) * voxel_nm - start
            track = surface_track(mask, other, line, start_nm=corner, voxel_nm=voxel_nm, gap_nm=near.gap_nm)
            seen = windows(line, track, narrow, near)
            tables["window"].append(_with(label, row["cell"], seen))
            row |= _areas(track, narrow, line, near)
        tables["line"].append(_line(label, line, start, voxel_nm))
        for i, a in enumerate("zyx"):
            narrow[f"{a}_nm"] = narrow[f"{a}_nm"] + start[i]
        border = np.full(len(narrow["branch"]), row["touches_border"])
        tables["narrow"].append(_with(label, row["cell"], narrow | {"touches_border": border}))
        tables["object"].append({name: np.array([row[name]], kind) for name, kind in kinds.items()})
    if tables["object"]:
        yield Result(record={f"{t}/{c}": v for t, parts in tables.items() for c, v in joined(parts).items()})


def _with(label: int, cell: int, columns: dict[str, Array]) -> dict[str, Array]:
    n = len(columns["branch"])
    return {"label": np.full(n, label, np.uint64), "cell": np.full(n, cell, np.uint64), **columns}


def _line(label: int, line: Centreline, start: Array, voxel_nm: Nm) -> dict[str, Array]:
    """Every point of a centre line, from the volume's first corner, with the width there."""
    branches = line.branches
    sizes = [len(b.points_nm) for b in branches]
    points = np.concatenate([b.points_nm for b in branches]) + start
    tangents = np.concatenate([b.tangents for b in branches])
    width = np.concatenate([width_profile(b, line) for b in branches])
    return {
        "label": np.full(sum(sizes), label, np.uint64),
        "branch": np.repeat(np.arange(len(branches)), sizes),
        "position_nm": np.concatenate([b.position_nm for b in branches]),
        **{f"{a}_nm": points[:, i] for i, a in enumerate("zyx")},
        **{f"tangent_{a}": tangents[:, i] for i, a in enumerate("zyx")},
        "width_nm": width,
        "resolved": width >= RESOLVED * voxel_across_nm(tangents, voxel_nm),
    }


def _too_large(label: int, voxels: int, at_border: bool, kinds: dict[str, Any]) -> dict[str, Array]:
    """The row of an object that was not looked at: counts are 0, lengths and areas missing."""
    missing = {name: math.nan if kind is np.float64 else 0 for name, kind in kinds.items()}
    row = missing | {"label": label, "voxels": voxels, "touches_border": at_border, "too_large": True}
    return {name: np.array([row[name]], kind) for name, kind in kinds.items()}


def _parent(found: Array) -> int:
    """What most voxels lie in, the smallest of equal ones, as `measure` says: 0 is no parent."""
    values, counts = np.unique(found, return_counts=True)
    return int(values[counts.argmax()])


def _at_border(box: Box, known: Box) -> bool:
    """Whether an object meets the end of what is known; across a single plane nothing can be cut off."""
    sides = zip(box.start, box.stop, known.start, known.stop, strict=True)
    return any(d - c > 1 and (a <= c or b >= d) for a, b, c, d in sides)


def _areas(track: Track, narrow: dict[str, Array], line: Centreline, near: Near) -> dict[str, float]:
    inside = within(track, narrow, line, near)
    parts = (np.ones(len(inside), bool), inside, ~inside)
    return dict(zip(CONTACT, (v for part in parts for v in track.sums(part)), strict=True))
