"""The instance table: additive sums per instance and block, merged exactly, one row per instance."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.stage import Fold, Map, Records, Result, Stage, plain
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Block, BlockGrid, Box, Nm, Zyx, zyx
from chunkflow_liver.kernels.centreline.sections import pitch_nm
from chunkflow_liver.kernels.distance.local_errors import reach_voxels
from chunkflow_liver.kernels.features.basic import block_sums, describe, merge_sums
from chunkflow_liver.kernels.features.groups import Settings, View, runs_ahead, runs_seen
from chunkflow_liver.kernels.labels.object_runs import runs_by_object
from chunkflow_liver.kernels.significance.boundaries import SOURCES
from chunkflow_liver.ops.measure.bins import bins_told
from chunkflow_liver.ops.measure.engines import ENGINES, given_to, told_by
from chunkflow_liver.ops.measure.groups import AMONG, GROUPS, WHOLE
from chunkflow_liver.ops.measure.once import Guess, doubtful, noted, piece_stages, sums_once
from chunkflow_liver.ops.measure.parents import parent_stages
from chunkflow_liver.ops.measure.table import flat, join
from chunkflow_liver.ops.measure.whole import whole_stages
from chunkflow_liver.ops.steps.crops import cut_stages, is_cut
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    arrays_at,
    checked_labels,
    known_of,
    refuse_mask,
    same_voxels,
    table_at,
    work_folder,
)
from chunkflow_liver.ops.steps.scored import Given, Scored, scored
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.voxels.region import Known
from chunkflow_liver.xp import Array, on_device

FEATURES = ("basic", *GROUPS, *(name for name in WHOLE if name not in ENGINES), *AMONG)

SLABS = 32 << 20
"""Bytes for the intensities that are added at a time."""

AROUND = "they count what lies around objects per volume that is known, and distances to its end"
"""Why no mask goes with features among objects."""

DEVICE_SUMS = 120.0
"""Bytes of device memory per voxel for 'basic': runs as short as one voxel, 15 columns of them."""


@operation
def measure(  # noqa: PLR0913
    instances: Volume,
    *,
    raw: Volume | None = None,
    parents: Volume | None = None,
    features: Sequence[str] = ("basic",),
    settings: Mapping[str, Any] | PathLike | None = None,
    engine: str | None = None,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
    scores: Given = None,
) -> Plan:
    """Plan a table with one row per instance: size, place, extent, principal axes, intensity.

    Parameters
    ----------
    instances : Volume
        Instance ids, 0 is background.
    raw : Volume, optional
        Intensities on the same voxels; without it the intensity columns are left out.
    parents : Volume, optional
        Labels on the same voxels that the instances lie in, as mitochondria in cells: adds `parent`
        (the label that most voxels of the instance have, the smallest of equals; 0 is none) and
        `parent_share` (the part of its voxels that have it).
    features : sequence of str
        Groups of columns: 'basic'; sums over blocks: 'shape', 'firstorder', 'morphology', 'surface', 'glcm',
        'gldm', 'ngtdm'; from every object whole: 'skeleton', 'glrlm', 'glszm'; from all objects together:
        'surroundings'. Their columns stand at the functions of `ops.measure.groups`.
    settings : mapping, optional
        How grey values become bins and textures are taken, in PyRadiomics' words: `bin_width` (25) or
        `bin_count`, `distances`, `symmetrical_glcm`, `weighting_norm`, `gldm_a`; `device`, 'cuda' to sum
        'basic' and the textures that blocks count on a GPU; `radius_nm` (2000) of
        the density; `crop_voxels` (2^25), above which a group that needs whole objects refuses an
        object by name.
    engine : str, optional
        'pyradiomics': features other than 'basic' are those that the package itself gives, under its own
        names, `settings` being its parameter file (a path, or what it would hold). It names the
        features, or else `features` does; without either it gives all.
    name : str
        Name of the table.
    {work}
    {block}
    scores : Volume or sequence of Volume, optional
        Scores of the class of the instances, or images of several folds or networks, as for `contacts`: how
        far the volumes of 'surface' may be off.

    Returns
    -------
    Plan
        Its `output` is a `Table` with the columns `label, class, voxels, volume_um3, centroid_z_nm,
        centroid_y_nm, centroid_x_nm` (voxel centres, from the volume's first corner), `bbox_z_min ...
        bbox_x_max` (voxels, half-open), `axis_major_nm, axis_middle_nm, axis_minor_nm` (4 sqrt of the
        eigenvalues of the voxels' covariance), `major_z, major_y, major_x` (unit vector),
        `intensity_mean, intensity_sd, intensity_min, intensity_max`, `touches_border`; sorted by label.
        Other groups add theirs (`shape_MeshVolume`, `firstorder_Entropy`, `glcm_Contrast` ...) with
        their units in the columns' metadata.

    Raises
    ------
    ConfigError, InputError
        If features are unknown, volumes do not lie on the same voxels, or scores are none.
    """
    if engine is not None:
        features, settings = given_to(engine, features, settings)
    elif not (settings is None or isinstance(settings, Mapping)):
        raise ConfigError(f"settings must be names and values, got {settings!r}; a file is for an engine")
    check_features(features, engine)
    instances = checked_labels(instances, "instances")
    if raw is not None:
        same_voxels(raw, instances, "measure needs both on the same voxels")
    groups = {feature: GROUPS[feature] for feature in features if feature in GROUPS}
    wholes = {feature: WHOLE[feature] for feature in features if feature in WHOLE}
    imaged = [f for known in (groups, wholes) for f, group in known.items() if group.image]
    if imaged and raw is None:
        raise ConfigError(
            f"features {imaged} measure intensities: give the image as 'raw' ('input' in a run file)"
        )
    chosen = Settings.of(settings or {})
    images, read, source = _scored(scores, instances, features, chosen)
    options = plain(chosen)
    inputs = (instances,) if raw is None else (instances, raw)
    output = table_at(work, name)
    about: dict[str, Any] = {"raw": None if raw is None else raw.dtype}
    if not imaged and "basic" not in features:
        # Nobody asks for what it holds.
        inputs = (instances,)
    if set(features) & set(AMONG):
        refuse_mask(f"measure of {sorted(set(features) & set(AMONG))}", AROUND, instances)
    params: dict[str, Any] = {"voxel_nm": instances.voxel_nm, "known": instances.known}
    cutting, cut = cut_stages(instances, instances.seen, name=name, work=work, block=block)
    made = {"made": known_of(work, instances), **cut}
    provenance = {"operation": "measure", "features": list(features), **plain(params)}
    provenance |= {} if engine is None else told_by(engine)
    if parents is not None:
        provenance["parents"] = parents.name
    grid = BlockGrid(instances.box, block or zyx(list(instances.write_unit)))
    objects = arrays_at(work, name, "objects")
    first = Map(
        f"{name}/sums",
        _sums,
        grid,
        inputs,
        params={"device": chosen.device},
        working=18.0 + (0.0 if len(inputs) == 1 else inputs[1].itemsize + 5.0),
        resident=0 if len(inputs) == 1 else SLABS,
        device=chosen.device,
        device_bytes=_device_bytes(grid, chosen, DEVICE_SUMS),
        notes=() if engine is not None else bins_told(features, about["raw"], chosen),
    )
    shared = {"voxel_nm": instances.voxel_nm, "settings": options}
    # What is summed on a device is not at hand for groups that work on the host.
    once = bool(groups) and all(g.alone for g in groups.values()) and chosen.device == "cpu"
    if once:
        first = dataclasses.replace(
            first,
            name=f"{name}/features",
            function=sums_once,
            grid=BlockGrid(grid.box, grid.block, (0, 0, 0), (1, 1, 1)),
            params={**shared, "features": list(groups)},
            working=first.working + max(group.needs(chosen, "") for group in groups.values()),
        )
    folded: dict[str, Any] = {"params": params, "artefacts": made, "provenance": provenance}
    stages: tuple[Stage, ...] = (*cutting, first, Fold(f"{name}/table", _table, first.name, output, **folded))
    if groups or wholes or parents is not None or set(features) & set(AMONG):
        asked = {"features": [*groups, *wholes], "settings": options, "block": grid.block}
        checked = {**folded, "params": {**params, **asked}}
        stages = (*cutting, first, Fold(f"{name}/objects", _objects, first.name, objects, **checked))
        over, more = first.name, {"objects": objects}
        if parents is not None:
            found, more["parents"] = parent_stages(instances, parents, grid=grid, name=name, work=work)
            stages += found
        if wholes:
            described, more["whole"] = whole_stages(
                inputs,
                list(wholes),
                settings=chosen,
                grid=grid,
                over=over,
                objects=objects,
                name=name,
                work=work,
            )
            stages += described
        if once:
            mended, more["pieces"] = piece_stages(
                instances, grid=first.grid, objects=objects, params=first.params, name=name, work=work
            )
            stages += mended
        elif groups:
            reaches = [group.reads(chosen, instances.voxel_nm) for group in groups.values()]
            low, high = (zyx(np.max([reach[end] for reach in reaches], axis=0).tolist()) for end in (0, 1))
            if images:
                most_nm = chosen.boundary.largest_nm(pitch_nm(instances.voxel_nm))
                reach = reach_voxels(most_nm, instances.voxel_nm)
                low, high = (zyx([max(pair) for pair in zip(end, reach, strict=True)]) for end in (low, high))
            wide = BlockGrid(grid.box, grid.block, low, high)
            there = max(group.device for group in groups.values())
            second = Map(
                f"{name}/features",
                _features,
                wide,
                (inputs if any(group.image for group in groups.values()) else (instances,)) + images,
                params={**shared, "features": list(groups), "known": instances.seen, "scores": read},
                artefacts={"objects": objects},
                per_object="objects",
                working=max(group.needs(chosen, about["raw"] or "") for group in groups.values())
                + 8.0 * len(images),
                resident=max(group.fixed for group in groups.values()),
                device=chosen.device if there else "cpu",
                device_bytes=_device_bytes(wide, chosen, there),
            )
            stages, over = (*stages, second), second.name
        units = {column: unit for group in groups.values() for column, unit in group.units.items()}
        stated: dict[str, Any] = {"boundary_source": source} if source else {}
        stated |= {"boundary_images": list(read.names)} if images else {}
        about |= {"source": source if images else ""}
        about |= {"shape": instances.shape, "known": instances.known, "block": grid.block}
        joined = Fold(
            f"{name}/table",
            join,
            over,
            output,
            params={**shared, "features": list(features), **about},
            artefacts=more,
            provenance={**provenance, "settings": options, "units": units, **stated},
        )
        stages = (*stages, joined)
    told: tuple[tuple[str, Any], ...] = (("instances", instances.name), ("features", list(features)))
    told += (("boundary_source", source),) if source else ()
    seen = () if raw is None else (Product("raw", raw.name, raw),)
    return Plan(stages, work_folder(work), output, (*seen, Product("instance table", name, output, told)))


def check_features(features: Sequence[str], engine: str | None) -> None:
    """Refuse groups of features that there are not; an engine judges its own.

    Raises
    ------
    ConfigError
        With the name that is meant, where one is near.
    """
    unknown = [] if engine is not None else sorted(set(features) - set(FEATURES))
    if unknown:
        near = difflib.get_close_matches(unknown[0], FEATURES, 1)
        meant = f", did you mean {near[0]!r}?" if near else ";"
        raise ConfigError(f"no features {unknown}{meant} there are {list(FEATURES)}")


def _scored(
    scores: Given, instances: Volume, features: Sequence[str], chosen: Settings
) -> tuple[tuple[Volume, ...], Scored, str]:
    """Images that say how sure boundaries are, how they are read, and where errors are known from."""
    if "surface" not in features:
        if scores is not None:
            raise ConfigError("scores say how sure volumes are; ask for the features 'surface', too")
        return (), Scored(), ""
    images, read = scored(scores, instances, "scores")
    chosen.boundary.check(len(images))
    source = chosen.boundary.source_of(len(images))
    if source == SOURCES[0]:
        return (), Scored(), source
    return images, read, source


def _device_bytes(grid: BlockGrid, settings: Settings, working: float) -> int:
    """Bytes of device memory for a block of labels and image (8 bytes each at most)."""
    if settings.device == "cpu" or not working:
        return 0
    sides = zip(grid.low, grid.block, grid.high, strict=True)
    return int(math.prod(sum(side) for side in sides) * (16 + working))


def _sums(block: Block, labels: Array, raw: Array | None = None, *, device: str) -> Result:
    sums = block_sums(on_device(labels, device), None if raw is None else on_device(raw, device))
    return Result(record={**sums, "origin": np.array(block.read.start)})


def _features(
    block: Block,
    labels: Array,
    *more: Array,
    features: Sequence[str],
    voxel_nm: Nm,
    settings: Mapping[str, Any],
    known: Known,
    scores: Scored,
    objects: Arrays,
) -> Result:
    runs = runs_by_object(labels)
    if not len(runs.label):
        return Result()
    row = np.searchsorted(objects["label"], runs.label)
    rows = {name: objects[name][row] for name in objects["columns"].tolist()}
    chosen = Settings.of(settings)
    hidden = known.hidden(block.read)
    raw = more[0] if len(more) > len(scores.names) else None
    images = tuple(scores.images(more[len(more) - len(scores.names) :])) if scores.names else None
    seen: dict[str, Any] = {"region": known.box, "hidden": hidden, "images": images}
    view = there = View(block, labels, raw, rows, voxel_nm, chosen, **seen)
    view.known[runs_seen] = runs
    if view.ahead().shape == labels.shape:
        view.known[runs_ahead] = runs
    if chosen.device != "cpu" and any(GROUPS[name].device for name in features):
        image = None if raw is None else on_device(raw, chosen.device)
        there = View(block, on_device(labels, chosen.device), image, rows, voxel_nm, chosen)
    asked = {name: there if GROUPS[name].device else view for name in features}
    return Result(record=flat({name: GROUPS[name].sums(given) for name, given in asked.items()}))


def _table(records: Records, *, voxel_nm: Nm, known: Box, made: Arrays, cut: Arrays | None = None) -> Columns:
    table = describe(merge_sums(_parts(records)), voxel_nm, known.shape, known.start)
    table["touches_border"] |= is_cut(table["label"], cut)
    _refuse_nonfinite(table)
    rest = {k: v for k, v in table.items() if k != "label"}
    return {"label": table["label"], "class": _classes(table["label"], made), **rest}


def _objects(
    records: Records,
    *,
    voxel_nm: Nm,
    known: Box,
    features: Sequence[str],
    settings: Mapping[str, Any],
    block: Zyx,
    made: Arrays,
    cut: Arrays | None = None,
) -> Columns:
    guesses: list[Guess] = []
    table = dict(_table(noted(records, guesses), voxel_nm=voxel_nm, known=known, made=made, cut=cut))
    for feature in features:
        check = GROUPS[feature].check if feature in GROUPS else WHOLE[feature].check
        if check is not None:
            check(table, Settings.of(settings))
    return {**table, "columns": np.array(list(table)), **doubtful(guesses, table, block)}


def _refuse_nonfinite(table: Columns) -> None:
    """Refuse an object with NaN or infinite intensities, of which every number would be one, too."""
    bad = np.isnan(table.get("intensity_mean", np.zeros(0)))
    if bad.any():
        raise InputError(
            f"object {int(table['label'][bad][0])} holds intensities that are not finite (or above 3.4e38), "
            f"one of {int(bad.sum())} objects that do: they have no mean; fill these voxels of the image, or "
            "take them out of the objects"
        )


def _classes(label: Array, made: Arrays) -> Array:
    """Class of every instance, as the `label` operation found it; empty for foreign instances."""
    # Edits of foreign instances know no classes either.
    known_at_all = made.exists() and "value" in made.names() and len(label) > 0
    # Ids that `label` never gave: instances from elsewhere that bear the same name.
    if not known_at_all or int(label.max()) > len(made["value"]):
        return np.full(len(label), "", "U1")
    numbers, names = made["class_number"], made["class_name"]
    value = np.asarray(made["value"])[label.astype(np.int64) - 1]
    known = dict(zip(numbers.tolist(), names.tolist(), strict=True))
    return np.array([known.get(v, str(v)) for v in value.tolist()], str)


def _parts(records: Records) -> Iterator[tuple[Zyx, dict[str, Any]]]:
    for _, record in records:
        sums = {k: v for k, v in record.items() if k not in ("origin", "whole") and "/" not in k}
        yield zyx(record["origin"].tolist()), sums
