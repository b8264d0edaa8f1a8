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
from chunkflow_liver.kernels.centreline.kinds import CONSTRICTION, kinds_of, sharpness
from chunkflow_liver.kernels.centreline.line import BYTES_PER_VOXEL, Centreline, centreline
from chunkflow_liver.kernels.centreline.necks import Neck, find_narrowings, major_line, narrowest_slice
from chunkflow_liver.kernels.centreline.sections import pitch_nm
from chunkflow_liver.kernels.centreline.stacks import between_sections
from chunkflow_liver.kernels.centreline.widths import RESOLVED, voxel_across_nm, width_profile
from chunkflow_liver.kernels.centreline.windows import (
    OTHERS,
    Near,
    Track,
    along,
    surface_track,
    windows,
    within,
)
from chunkflow_liver.kernels.contacts.gaps import halo_voxels
from chunkflow_liver.kernels.distance.local_errors import reach_voxels
from chunkflow_liver.kernels.significance.boundaries import SOURCES, Boundary
from chunkflow_liver.ops.narrowing.sure import neck_errors
from chunkflow_liver.ops.narrowing.tables import CONTACT, OBJECT, PARTS, WITH, joined
from chunkflow_liver.ops.steps.crops import cut_stages, extents, is_cut, owned, owners
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    checked_labels,
    known_in_all,
    same_voxels,
    table_at,
    work_folder,
)
from chunkflow_liver.ops.steps.scored import Given, Scored, scored
from chunkflow_liver.store.table import Arrays
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.voxels.region import Known
from chunkflow_liver.xp import Array

AXES = ("centreline", "major")


@operation
def narrowing(  # noqa: PLR0913
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
    boundary: Boundary | None = None,
    scores: Given = None,
) -> Plan:
    """Plan tables of the narrowings of instances, and of contact at them and elsewhere.

    Parameters
    ----------
    instances : Volume
        Object ids, 0 is background.
    er : Volume, optional
        Where the classes `near.to` are (the ER): a semantic volume, or instances of one. Without it, and
        without `near.others`, there is no contact and there are no tests of it.
    near : Near, optional
        Partners, gap and window of the contact, and the tests' permutations and seed.
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
    boundary : Boundary, optional
        How sure the boundary of an object is: from this come `width_low_nm` and `width_high_nm`. Without it,
        and without scores, the boundary is shifted by half a voxel.
    scores : Volume or sequence of Volume, optional
        Scores of the class of the instances, or images of several folds or networks, as for `contacts`: from
        them the error round each neck is read, unless `boundary` says it.

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
        `<name>-spacing` tests whether narrowings of one branch follow each other evenly.
        With a partner there are `<name>-windows` (every window), `<name>-cells` (a row
        per partner and cell, with a test) and `<name>-tests` (over everything; q-values by Benjamini and
        Hochberg over all partners). Columns of contact with the first partner have the names above, those
        with each further one the same with its name before them (`lysosome_near_density`).
        `no_test` says why a p-value is missing: nothing to compare, no contact, or fewer than
        `significance.decisions.LEAST` objects. `kind` says what each narrowing is, and `tested` whether tests
        take it: constrictions, unless `near.all_kinds`. `-lines` then has surface and contact of every point.
        With scores narrowings have `boundary_nm`, `boundary_source` and `boundary_capped_fraction`.

    Raises
    ------
    ConfigError, InputError
        If the axis or the class does not exist, or the volumes hold no labels or do not lie on the same
        voxels, or if scores are none.
    """
    near, boundary = (near or Near()).filled(), boundary or Boundary()
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
    images, read = scored(scores, instances, "scores")
    boundary.check(len(images))
    source = boundary.source_of(len(images))
    if source == SOURCES[0]:
        images, read = (), Scored()
    inputs += images
    numbers: list[int | None] = []
    if er is not None:
        numbers = [er.class_number(one) if er.classes else None for one in near.classes]
        if 0 in numbers or len(set(numbers)) < len(numbers):
            raise ConfigError(
                f"'to' names classes of {er.name!r}, each once and not the background; got {near.to!r}"
            )
    partners = [] if er is None else [str(one) for one in near.classes]
    partners += [OTHERS] if near.others else []
    stages, objects = extents(instances, name=name, work=work, block=block)
    params = {
        "given": [er is not None, parents is not None],
        "numbers": numbers,
        "axis": axis,
        "neck": neck,
        "near": near,
        "boundary": boundary,
        "scores": read,
    }
    known = known_in_all(instances, *(() if er is None else (er,)))
    cutting, cut = cut_stages(instances, known, name=name, work=work, block=block)
    most = min(neck.crop_voxels, instances.box.size)
    found = Map(
        f"{name}/narrowings",
        _block,
        BlockGrid(instances.box, block or zyx(list(instances.write_unit))),
        tuple(inputs),
        params={**params, "known": known},
        artefacts={"objects": objects, **cut},
        per_object="objects",
        # Where other objects count, a block reads more than its own.
        owners=None if near.others else owners,
        resident=int(most * (BYTES_PER_VOXEL + sum(v.itemsize for v in inputs) + len(partners))),
        streams=True,
    )
    settings = plain(
        dataclasses.asdict(neck)
        | dataclasses.asdict(boundary)
        | (dataclasses.asdict(near) if partners else {})
    )
    settings |= {"boundary_source": source} | ({"boundary_images": list(read.names)} if images else {})
    provenance = {"operation": "narrowing", "axis": axis, "voxel_nm": list(instances.voxel_nm), **settings}
    made: tuple[Stage, ...] = (*stages, *cutting, found)
    about = (("instances", instances.name), ("axis", axis), *sorted(settings.items()))
    about += (("er", er.name),) if er is not None else ()
    # What is drawn, and said first.
    about += (("to", partners[0]), ("partners", tuple(partners))) if partners else ()
    products = []
    for part, function, kind in PARTS[: None if partners else 4]:
        table = table_at(work, f"{name}{part}")
        made = (
            *made,
            Fold(
                f"{name}/table{part}",
                function,
                found.name,
                table,
                params={"near": near, "partners": partners} | ({"source": source} if not part else {}),
                provenance=provenance,
            ),
        )
        products.append(Product(kind, f"{name}{part}", table, about))
    return Plan(made, work_folder(work), table_at(work, name), tuple(products))


def _block(  # noqa: PLR0913
    block: Block,
    instances: Volume,
    *others: Volume,
    given: tuple[bool, bool],
    numbers: list[int | None],
    axis: str,
    neck: Neck,
    near: Near,
    boundary: Boundary,
    scores: Scored,
    known: Known,
    objects: Arrays,
    cut: Arrays | None = None,
) -> Iterator[Result]:
    voxel_nm = instances.voxel_nm
    er = others[0] if given[0] else None
    parents = others[given[0]] if given[1] else None
    images = others[sum(given) :]
    most_nm = boundary.largest_nm(pitch_nm(voxel_nm))
    partners = len(numbers) + near.others
    halo = halo_voxels(near.gap_nm, voxel_nm) if partners else (0, 0, 0)
    if images:
        halo = zyx([max(pair) for pair in zip(halo, reach_voxels(most_nm, voxel_nm), strict=True)])
    tables: dict[str, list[dict[str, Array]]] = {t: [] for t in ("narrow", "object", "line", "window")}
    kinds = OBJECT | (CONTACT if partners else {})
    for label, box in owned(block, objects):
        at_border = _at_border(box, known.box) or bool(is_cut(np.array([label]), cut)[0])
        if box.size > neck.crop_voxels:
            voxels = objects["voxels"][objects["label"] == label][0]
            tables["object"].append(_too_large(label, int(voxels), at_border, kinds, partners))
            continue
        around = box.grow(halo).clip(block.volume)
        labels = instances.read(around)
        mask, hidden = labels == label, known.hidden(around)
        beside = (labels > 0) & ~mask if near.others else None
        sorts = _sorts(labels, mask, hidden) if images else None
        mask = mask if hidden is None else mask & ~hidden
        del labels
        own = mask[box.relative_to(around).slices]
        start = np.array(box.start) * voxel_nm
        line = centreline(own, voxel_nm) if axis == "centreline" else major_line(own, voxel_nm, neck.slices)
        narrow = (find_narrowings if axis == "centreline" else narrowest_slice)(line, voxel_nm, neck)
        between = between_sections(own, line, narrow, voxel_nm) & (axis == "centreline")
        narrow |= {"between_sections": between, "resolved": narrow["resolved"] & ~between}
        if sorts is not None:
            wide = around.clip(known.box)
            inner = wide.relative_to(around).slices
            seen = scores.images([image.read(wide) for image in images])
            own_nm = np.array(wide.start) * voxel_nm - start
            narrow |= neck_errors(np.ascontiguousarray(sorts[inner]), seen, narrow, own_nm, voxel_nm, most_nm)
        local = narrow.get("boundary_nm")
        off = 2 * boundary.ring_nm(narrow["width_nm"] / 2, pitch_nm(voxel_nm), local)
        narrow |= {
            "width_low_nm": np.maximum(narrow["width_nm"] - off, 0.0),
            "width_high_nm": narrow["width_nm"] + off,
        }
        kind = kinds_of(narrow, box, known.box, voxel_nm, _cuts(own, known, box))
        tested = (kind == CONSTRICTION) | near.all_kinds
        narrow |= {"sharpness": sharpness(narrow), "kind": kind, "tested": tested}
        row: dict[str, Any] = {
            "label": label,
            "cell": 0 if parents is None else _parent(parents.read(box)[own]),
            "voxels": int(own.sum()),
            "touches_border": at_border,
            "too_large": False,
            "branches": len(line.branches),
            "branch_points": line.branch_points,
            "length_nm": line.length_nm,
            "narrowings": len(narrow["branch"]),
        }
        surface: dict[str, Array] = {}
        if partners:
            wide = around.clip(known.box)
            inner = wide.relative_to(around).slices
            mask, hidden = mask[inner], None if hidden is None else hidden[inner]
            read = None if er is None else er.read(wide)
            masks = [] if read is None else [(read > 0) if n is None else (read == n) for n in numbers]
            if beside is not None:
                masks.append(beside[inner])
            masks = masks if hidden is None else [other & ~hidden for other in masks]
            at: dict[str, Any] = {"start_nm": np.array(wide.start) * voxel_nm - start, "voxel_nm": voxel_nm}
            track = surface_track(mask, masks, line, gap_nm=near.gap_nm, hidden=hidden, **at)
            tables["window"].append(_with(label, row["cell"], windows(line, track, narrow, near)))
            row |= _areas(track, narrow, line, near)
            surface = dict(zip(("area_um2", "contact_um2"), along(line, track), strict=True))
        tables["line"].append(_line(label, line, start, voxel_nm) | surface)
        for i, a in enumerate("zyx"):
            narrow[f"{a}_nm"] = narrow[f"{a}_nm"] + start[i]
        border = np.full(len(narrow["branch"]), row["touches_border"])
        tables["narrow"].append(_with(label, row["cell"], narrow | {"touches_border": border}))
        tables["object"].append({name: _cell(row[name], kind) for name, kind in kinds.items()})
    if tables["object"]:
        yield Result(record={f"{t}/{c}": v for t, parts in tables.items() for c, v in joined(parts).items()})


def _sorts(labels: Array, mask: Array, hidden: Array | None) -> Array:
    """1 in the object, 2 in others, 3 where nothing is known."""
    found = np.where(mask, np.uint8(1), 2 * (labels > 0).astype(np.uint8))
    if hidden is not None:
        found[hidden] = 3
    return found


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


def _too_large(
    label: int, voxels: int, at_border: bool, kinds: dict[str, Any], partners: int
) -> dict[str, Array]:
    """The row of an object that was not looked at: counts are 0, lengths and areas missing."""
    missing: dict[str, Any] = {name: math.nan if kind is np.float64 else 0 for name, kind in kinds.items()}
    missing |= {name: np.full(partners, math.nan) for name in kinds if name.endswith(WITH)}
    row = missing | {"label": label, "voxels": voxels, "touches_border": at_border, "too_large": True}
    return {name: _cell(row[name], kind) for name, kind in kinds.items()}


def _cell(value: Any, kind: Any) -> Array:
    """One row of a column."""
    return np.array([value], kind)


def _parent(found: Array) -> int:
    """What most voxels lie in, the smallest of equal ones, as `measure` says: 0 is no parent."""
    values, counts = np.unique(found, return_counts=True)
    return int(values[counts.argmax()])


def _at_border(box: Box, known: Box) -> bool:
    """Whether an object meets the end of what is known; across a single plane nothing can be cut off."""
    sides = zip(box.start, box.stop, known.start, known.stop, strict=True)
    return any(d - c > 1 and (a <= c or b >= d) for a, b, c, d in sides)


def _cuts(own: Array, known: Known, box: Box) -> list[Array]:
    """Planes, in voxels from the first of `box`, along each axis, in which a mask cuts an object."""
    hidden = known.hidden(box.grow((1, 1, 1)).clip(known.box))
    if hidden is None:
        return []
    around = box.grow((1, 1, 1)).clip(known.box).relative_to(box)
    found = []
    for axis in range(3):
        planes = []
        for step in (-1, 1):
            shift = [step * (a == axis) for a in range(3)]
            beside = Box(zyx([0, 0, 0]), box.shape).shift(zyx(shift))
            met = np.zeros(box.shape, bool)
            part = beside.clip(around)
            met[part.relative_to(beside).slices] = hidden[part.relative_to(around).slices]
            rest = tuple(a for a in range(3) if a != axis)
            planes.append(np.flatnonzero((met & own).any(axis=rest)) + (step > 0))
        found.append(np.concatenate(planes))
    return found


def _areas(track: Track, narrow: dict[str, Array], line: Centreline, near: Near) -> dict[str, Any]:
    inside = within(track, narrow, line, near)
    parts = (np.ones(len(inside), bool), inside, ~inside)
    return dict(zip(CONTACT, (v for part in parts for v in track.sums(part)), strict=True))
