"""From a prompt on one slice to the whole object: masks carried through the slices by SAM2, out of core."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.pyramid import pyramid
from chunkflow_liver.engine.stage import Fold, Map, Records, Result, Stage, plain
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Block, BlockGrid, Box, Zyx
from chunkflow_liver.ops.propagate.carrying import Carrier, Way
from chunkflow_liver.ops.propagate.claims import Tracked, apply, draw, number
from chunkflow_liver.ops.propagate.options import Carrying, Setup
from chunkflow_liver.ops.propagate.placing import Placing
from chunkflow_liver.ops.propagate.reach import against_truth, meet, reach
from chunkflow_liver.ops.propagate.reading import Greys, Slices
from chunkflow_liver.ops.propagate.subjects import Subject, groups_of, subjects_of
from chunkflow_liver.ops.propagate.tables import objects, slices
from chunkflow_liver.ops.steps.levels import factor_between
from chunkflow_liver.ops.steps.numbering import id_dtype
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    WINDOWS,
    PathLike,
    arrays_at,
    checked_labels,
    label_url,
    label_version,
    refuse_part,
    same_voxels,
    table_at,
    work_folder,
)
from chunkflow_liver.segmenters.sam2 import backend_of
from chunkflow_liver.segmenters.sam2.together import places_of
from chunkflow_liver.segmenters.threads import torch_threads
from chunkflow_liver.store.images import inspect
from chunkflow_liver.store.prompts import Prompt, read_prompts
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.store.volume import Volume

SLAB_BYTES = 128 << 20
"""Of the pixels of all windows of a group so many are held at once."""
TORCH_BYTES = 900 << 20
"""torch with its libraries in memory; seen: 450-800 MiB."""
PIXEL_BYTES = 1000
"""Of activations for a pixel of the window, encoded and stepped to; seen: 290-860, for first layers 16 to 144
channels wide and windows of 256 and 512 pixels."""
STATE_BYTES = 16
"""Of a track's memory for a pixel of the window, prompts and both directions included."""


@operation
def propagate(  # noqa: PLR0913
    raw: Volume,
    prompts: PathLike | Sequence[Prompt],
    *,
    model: PathLike,
    masks: Volume | None = None,
    truth: Volume | None = None,
    prompts_level: int | None = None,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
    into: PathLike | None = None,
    **carrying: Any,
) -> Plan:
    """Plan instances that begin at prompts and are carried through the slices, each as a whole.

    Parameters
    ----------
    raw : Volume
        Image at the level that is written; labels with `guide`.
    prompts : path, or sequence of Prompt
        What is marked: a file as `read_prompts` takes it, or its prompts. Prompts of one name are one
        object.
    model : path
        Folder of a SAM2 model, as `chunkflow-liver model import` makes it.
    masks : Volume, optional
        Label image on the voxels of `raw`, for prompts that are labels.
    truth : Volume, optional
        Label image on the voxels of `raw` that the result is compared with, slice by slice.
    prompts_level : int, optional
        Level of the image whose voxels a file of prompts counts; that of `raw` if not given.
    name : str
        Name of the label image and, with '-slices', '-objects', '-reach' and '-truth', of tables.
    {work}
    {block}
    {into}
    **carrying
        Fields of `Carrying`: `direction`, `per_slice`, `patience`, `group`, `chunk`, `limits`, `guide`,
        `device`, `backend`, `engine`.

    Returns
    -------
    Plan
        Its `output` is the label volume: ids 1..n in the raster order of first voxels. A voxel that several
        objects claim is of the one whose logit is larger. The table `<name>-slices` has a row per object
        and slice (area, centroid, score, conflict, and marks where a person should look), `<name>-objects`
        one per prompted object, with its id (0 if nothing was found), `<name>-reach` one per distance from
        the prompt, with how many objects could be there and how many were. With a truth, `<name>-truth` has
        a row per object and slice that it or its true object is on: Dice, coverage, leak, and whether more
        of it is in another true object (`docs/propagate.md`).

    Raises
    ------
    ConfigError, InputError
        If options, prompts or image do not fit.
    SegmenterError
        If the model cannot be used.

    Notes
    -----
    A window is as large as the model's image; on a coarser level if the object would take more than half of
    it. It is begun anew where the mask nears its margin. Memory does not depend on the number of slices;
    an object costs the memory of its last slices. An interrupted run goes on from the last chunk of slices,
    to the same bits.
    """
    unknown = sorted(carrying.keys() - Carrying.__dataclass_fields__.keys())
    if unknown:
        raise ConfigError(f"no options {unknown}; there are {sorted(Carrying.__dataclass_fields__)}")
    refuse_part("propagate", WINDOWS, raw)
    how = Carrying(**carrying)
    greys = _greys(raw, how)
    backend = backend_of(how.backend)
    found = backend.read(model)
    fingerprint = backend.fingerprint(found)
    if masks is not None:
        masks = checked_labels(masks, "masks")
        same_voxels(raw, masks, "a mask marks voxels of the image")
    if truth is not None:
        truth = checked_labels(truth, "truth")
        same_voxels(raw, truth, "masks are compared with the truth on the same voxels")
    levels = _levels(raw)
    given = _prompts(prompts, raw, prompts_level)
    placing = Placing((raw.shape[1], raw.shape[2]), found.size)
    named, subjects = subjects_of(given, raw, placing, how, masks is not None)
    groups = groups_of(subjects, how.group)
    output = raw.like(
        label_url(work, name, into),
        dtype=id_dtype(len(named)),
        kind="label",
        block=block,
        ome_version=label_version(into),
    )
    grid = BlockGrid(output.box, block or output.write_unit)
    folder = arrays_at(work, name, "tracks").path
    tracked = Tracked(folder, how.chunk)
    files, numbers = arrays_at(work, name, "files"), arrays_at(work, name, "instances")
    kinds = sorted({n.kind or name for n in named})
    about: dict[str, Any] = {"named": named, "voxel_nm": raw.voxel_nm}
    told = {"operation": "propagate", "model": fingerprint, **plain(how)}
    drawing = {"tracked": tracked}
    depth = max(1, min(raw.write_unit[0], SLAB_BYTES // (found.size**2 * how.group)))
    setup = Setup(
        found, fingerprint, how, greys, tuple(f for _, f in levels), masks is not None, depth, folder
    )
    # What is drawn depends on where files lie only as far as they are there at all.
    shown = {"chunk": how.chunk}
    stages: tuple[Stage, ...] = (
        Map(
            f"{name}/carry",
            _carry,
            BlockGrid(Box.of((len(groups), 1, 1)), (1, 1, 1)),
            (*(v for v, _ in levels), *(() if masks is None else (masks,))),
            params={"groups": groups, "setup": setup},
            identity={"groups": groups, "model": fingerprint, "how": how, "greys": greys},
            resident=_resident(found, how, raw) + (TORCH_BYTES if how.device == "cpu" else 2 * TORCH_BYTES),
            device_bytes=0 if how.device == "cpu" else _resident(found, how, raw),
            streams=True,
            device=how.device,
            library="torch",
            notes=_notes(groups, found.size, raw, how),
        ),
        Fold(f"{name}/files", _files, f"{name}/carry", files),
        Map(
            f"{name}/draw",
            draw,
            grid,
            params=drawing | {"kinds": tuple(kinds.index(n.kind or name) + 1 for n in named)},
            identity=shown,
            artefacts={"files": files},
            working=32.0,
            resident=_chunk_bytes(found.size, how, len(named)),
        ),
        Fold(
            f"{name}/number",
            number,
            f"{name}/draw",
            numbers,
            params={"objects": len(named), "extent": output.box.size, "dtype": output.dtype, "names": kinds},
            spills=True,
        ),
        *(
            Fold(
                f"{name}/{what}",
                function,
                f"{name}/draw",
                table_at(work, f"{name}-{what}"),
                params=about,
                artefacts={"numbers": numbers},
                provenance=told,
            )
            for what, function in (("slices", slices), ("objects", objects))
        ),
        Fold(
            f"{name}/reach",
            reach,
            f"{name}/draw",
            table_at(work, f"{name}-reach"),
            params={"tracks": subjects, "voxel_nm": raw.voxel_nm},
            provenance=told,
        ),
        Map(
            f"{name}/apply",
            apply,
            grid,
            (),
            (output,),
            params=drawing,
            identity=shown,
            artefacts={"files": files, "numbers": numbers},
            working=32.0,
            resident=_chunk_bytes(found.size, how, len(named)),
        ),
        *(
            []
            if truth is None
            else _compared((output, truth), grid, name, work, about | {"tracks": subjects}, numbers)
        ),
        *pyramid(output, name),
    )
    kept = ("slices", "objects", "reach", *(() if truth is None else ("truth",)))
    products = (
        Product("raw", raw.name, raw),
        Product("instances", name, output, (("model", str(found.folder.name)), ("fingerprint", fingerprint))),
        *(
            Product(
                "propagation",
                f"{name}-{w}",
                table_at(work, f"{name}-{w}"),
                (("instances", name), ("rows", w)),
            )
            for w in kept
        ),
    )
    return Plan(stages, work_folder(work), output, products)


def _compared(
    both: tuple[Volume, Volume],
    grid: BlockGrid,
    name: str,
    work: PathLike,
    about: dict[str, Any],
    numbers: Arrays,
) -> tuple[Stage, ...]:
    """Stages that compare the result with a truth."""
    return (
        Map(f"{name}/met", meet, grid, both, working=24.0),
        Fold(
            f"{name}/truth",
            against_truth,
            f"{name}/met",
            table_at(work, f"{name}-truth"),
            params=about,
            artefacts={"numbers": numbers},
        ),
    )


def _prompts(prompts: Any, raw: Volume, level: int | None) -> tuple[Prompt, ...]:
    if not isinstance(prompts, str | os.PathLike):
        found = tuple(prompts)
        if not found:
            raise ConfigError("no prompt: give one, or a file of them")
        return found
    counted = raw
    if level is not None:
        levels = {v.level: v for v in inspect(raw.url)[1]}
        if level not in levels:
            raise ConfigError(
                f"{raw.url} has levels {sorted(levels)}, not {level}, whose voxels prompts count"
            )
        counted = levels[level]
    return read_prompts(prompts, voxel_nm=counted.voxel_nm)


def _greys(raw: Volume, how: Carrying) -> Greys:
    if how.guide is not None:
        if raw.kind != "label":
            raise InputError(f"{raw.url} holds grey values; a guide is a class of a label image")
        return Greys(number=raw.class_number(how.guide))
    if raw.kind == "label":
        raise InputError(f"{raw.url} holds labels: say which class is followed, as guide, or give the image")
    if how.limits is not None:
        return Greys(float(how.limits[0]), float(how.limits[1]))
    if raw.dtype != "uint8":
        raise ConfigError(
            f"{raw.url} holds {raw.dtype} voxels, and a model sees 256 grey values: give limits, the two "
            "values that become black and white"
        )
    return Greys()


def _levels(raw: Volume) -> list[tuple[Volume, int]]:
    """The image, and coarser levels whose slices are the same."""
    found = [(raw, 1)]
    if raw.kind == "label" or not raw.exists():
        return found
    for level in inspect(raw.url, channel=dict(raw.at).get("c"), timepoint=dict(raw.at).get("t"))[1]:
        factor = factor_between(level, raw) if level.level > raw.level else None
        if factor and factor[0] == 1 and factor[1] == factor[2] > 1 and level.dtype == raw.dtype:
            found.append((level, factor[1]))
    return found


def _resident(model: Any, how: Carrying, raw: Volume) -> int:
    pixels = model.size**2
    weights = 2 * Path(model.weights).stat().st_size
    read = (256 << 20) + min(2 * SLAB_BYTES, 2 * how.group * pixels * raw.write_unit[0])
    # Seen: 8 objects at once take 1.1 times that of one, at 128 pixels.
    batch = PIXEL_BYTES * max(1, places_of(model.size) // 4)
    return int(weights + pixels * (batch + 2 * STATE_BYTES * how.group) + read)


def _chunk_bytes(size: int, how: Carrying, count: int) -> int:
    """Bytes of the logits of a chunk of slices, of objects that take a quarter of the window."""
    return count * how.chunk * (size // 8) ** 2 * 4


def _notes(groups: Sequence[Sequence[Subject]], size: int, raw: Volume, how: Carrying) -> tuple[str, ...]:
    tracks = [s for group in groups for s in group]
    widths: dict[int, int] = {}
    for subject in tracks:
        if subject.window is not None:
            widths[subject.window.factor] = widths.get(subject.window.factor, 0) + 1
    said = ", ".join(
        f"{count} of {size * f * raw.voxel_nm[1] / 1000:g} um" for f, count in sorted(widths.items())
    )
    steps = sum(
        1 + (s.end - s.z) * (s.direction != "backward") + (s.z - s.start) * (s.direction != "forward")
        for s in tracks
    )
    first = f"{len(tracks)} tracks in {len(groups)} groups, at most {steps} object-slices"
    windows = f"windows of {size} pixels: {said or 'as large as their masks ask for'}"
    return (first, windows, f"engine of the image encoder: {how.engine} in float32")


def _carry(
    block: Block, *volumes: Volume, groups: Sequence[Sequence[Subject]], setup: Setup
) -> Iterator[Result]:
    """Carry one group; its files are the result, and the record tells which there are."""
    group, how, model = groups[block.index], setup.how, setup.model
    images = volumes[: len(setup.factors)]
    masks = volumes[-1] if setup.has_masks else None
    raw = images[0]
    # Of torch nothing is said: not every backend has a choice.
    engine = {} if how.engine == "torch" else {"engine": how.engine}
    propagator = backend_of(how.backend).load(model, setup.fingerprint, how.device, **engine)
    carrier = Carrier(
        propagator,
        Slices(list(zip(images, setup.factors, strict=True)), setup.greys, setup.depth, how.group + 1),
        Placing((raw.shape[1], raw.shape[2]), model.size),
        masks,
        how.patience,
        how.chunk,
        raw.shape[0],
    )
    seen = [v.identity() for v in volumes]
    said = plain([group, setup.fingerprint, setup.greys, how, seen, raw.shape])
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    ways = [Way(i, subject) for i, subject in enumerate(group)]
    with torch_threads(1, how.device):
        files = carrier.carry(ways, Tracked(setup.folder, how.chunk).group(block.index), digest)
    sweep, chunk = np.array(files, np.int64).reshape(-1, 2).T
    counts = {"encoded": np.array([carrier.encoded]), "steps": np.array([carrier.steps])}
    yield Result(record={"sweep": sweep, "chunk": chunk, **counts})


def _files(records: Records) -> Columns:
    """Which files there are, of which group."""
    parts = [(np.full(len(r["sweep"]), index), r["sweep"], r["chunk"]) for index, r in records if r]
    group, sweep, chunk = (np.concatenate(c) for c in zip(*parts, strict=True))
    return {"group": group, "sweep": sweep, "chunk": chunk}
