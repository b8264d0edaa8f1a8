"""Semantic segmentation: networks stream over the volume, as if they had seen it whole."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.pyramid import pyramid
from chunkflow_liver.engine.stage import Fold, Map, Piece, Records, Result, Stage
from chunkflow_liver.errors import ConfigError, InputError, SegmenterError
from chunkflow_liver.geometry import Block, BlockGrid, Box, Nm, Zyx, zyx
from chunkflow_liver.kernels.images.plane_extremes import block_extremes, merge_extremes
from chunkflow_liver.kernels.images.statistics import block_statistics, merge_statistics, summarise
from chunkflow_liver.ops.segment.engines import ARTEFACT, chosen, engine_note, trial_stages
from chunkflow_liver.ops.segment.models import ModelEntry, called, check_images, read_sources
from chunkflow_liver.ops.segment.region import Region, region_of
from chunkflow_liver.ops.segment.seeing import seeing
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    arrays_at,
    image_url,
    label_url,
    label_version,
    work_folder,
)
from chunkflow_liver.segmenters import Network, Source
from chunkflow_liver.segmenters.engines import Engine, settled
from chunkflow_liver.segmenters.settings import Settings
from chunkflow_liver.segmenters.streaming.forward import sticky
from chunkflow_liver.segmenters.streaming.spacing import plane_axis
from chunkflow_liver.segmenters.streaming.stream import working_bytes
from chunkflow_liver.segmenters.streaming.windows import Frame
from chunkflow_liver.segmenters.threads import torch_threads
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array, checked_device

RING_BYTES = 1 << 30
TORCH_BYTES = 900 << 20
"""torch with its CUDA libraries in memory, and oneDNN's work space; seen: 450-800 MiB."""
CHOICES = ("configuration", "folds", "checkpoint", "spacing_units", "accept_spacing")


@operation
def segment(
    raw: Volume | Sequence[Volume],
    kind: str = "nnunet",
    *,
    model: ModelEntry | Sequence[ModelEntry],
    name: str,
    work: PathLike,
    block: Zyx | None = None,
    into: PathLike | None = None,
    within: tuple[Nm, Nm] | Volume | None = None,
    **settings: Any,
) -> Plan:
    """Plan the class of every voxel by one or several trained networks.

    Parameters
    ----------
    raw : Volume or sequence of Volume
        Intensities at the level that is written, one volume per input channel of the model. A channel
        may lie on a coarser level; its voxels are then repeated.
    kind : str
        Segmenter; 'nnunet' is any trained nnU-Net v2 folder, 'torch' any other network.
    model : path, mapping, or sequence of these
        Model folder (plans.json, dataset.json, fold_*), or YAML description of another network. Several
        are combined; a mapping has `model`, and if wanted `weight`, `configuration`, `folds`.
    name : str
        Name of the label image.
    {work}
    block : Zyx, optional
        Voxels per block. Blocks are streamed along z; a large block wastes fewer windows at its
        faces. Chosen by memory if not given.
    {into}
    within : pair of corners or Volume, optional
        Where work is wanted: first and opposite corner (z, y, x) in nm, or a mask that is not 0 there, on
        any level. Labels inside are those of the whole run; outside is background. To tell what it saves,
        the plan looks at the coarsest level of a mask; it reads no other voxel.
    **settings
        Fields of `Settings` (`mirroring`, `numerics`, `step`, `device`, `engine`, `batch`, `precision`,
        `layout`, `compile`, `combine`, `scores`: classes whose probabilities are kept, `uncertainty`), and
        `configuration`, `folds`, `checkpoint` (what of the folder to use), `spacing_units` (of plans.json:
        'nm', 'um', 'mm', 'm', or 'voxel' to ignore it), `accept_spacing` (resample voxels that are more
        than 1.5 times off).

    Returns
    -------
    Plan
        Its `output` is a label volume (uint8, or uint16 above 255 classes) with the model's classes, on
        the voxels of `raw`. The network sees the level nearest to the voxel size it was trained on,
        resampled where that differs by more than 1 %. Scores are images `<name>-score-<class>` and
        uncertainty `<name>-uncertainty`, uint8, 255 for 1.

    Raises
    ------
    SegmenterError, ModelSecurityError
        If a model cannot be used, or asks for code that is not on the allow-list.
    ConfigError, InputError
        If settings, channels, region or voxel size do not fit.
    """
    channels = (raw,) if isinstance(raw, Volume) else tuple(raw)
    check_images(channels)
    chosen = {k: settings.pop(k) for k in CHOICES if k in settings}
    how = _settings(settings)
    several = isinstance(model, Sequence) and not isinstance(model, str)
    entries = cast(Sequence[ModelEntry], model if several else [model])
    if not entries:
        raise ConfigError("no model: give one, or several to be combined")
    # A network sees what lies around: labels inside are those of the whole run.
    first, channels = channels[0], tuple(replace(c, region=None, mask=None, blank=False) for c in channels)
    sources, seen = read_sources(entries, kind, channels, chosen)
    network, known = Network(sources, how), sources[0].model
    classes = tuple((c, n) for c, n in known.classes.items() if n)
    output = first.like(
        label_url(work, name, into),
        dtype=known.dtype,
        kind="label",
        block=block,
        classes=classes,
        ome_version=label_version(into),
    )
    grid = BlockGrid(output.box, block or _block_for(output, sources))
    kept = {
        f"{name}-{what}": first.like(
            image_url(work, f"{name}-{what}"), dtype="uint8", kind="image", block=grid.block
        )
        for what in _kept(how)
    }
    region = region_of(output, within)
    mask = None
    if region is not None:
        mask = region.mask
        box = None if region.box == output.box else region.box
        output = replace(output, region=box, mask=mask)
        kept = {k: replace(image, region=box, mask=mask) for k, image in kept.items()}
    scans, found, keys = _scans(name, work, sources, seen)
    inputs = tuple(dict.fromkeys(v for group in seen for v in group)) + (() if mask is None else (mask,))
    resident = _resident(grid, (output, *kept.values()), sources, how, [group[0].itemsize for group in seen])
    segmentation = Map(
        f"{name}/segment",
        _segment,
        grid,
        inputs,
        (output, *kept.values()),
        params={"network": network, "seen": seen, "keys": keys, "region": region},
        identity={
            "sources": [[s.kind, s.fingerprint, s.model.name, s.fit, s.factor, s.weight] for s in sources],
            "settings": how,
            "region": None if region is None else region.box,
        },
        artefacts=found,
        resident=TORCH_BYTES + (resident if how.device == "cpu" else resident // 4),
        device_bytes=0 if how.device == "cpu" else resident,
        streams=True,
        device=how.device,
        library="torch",
    )
    trial, choice = trial_stages(name, work, segmentation, how)
    stages: tuple[Stage, ...] = (
        *scans,
        *trial,
        replace(
            segmentation,
            artefacts=found | choice,
            notes=(*_notes(sources, grid, how, region), engine_note(how, choice)),
        ),
        *(stage for n, v in ((name, output), *kept.items()) for stage in pyramid(v, n)),
    )
    about = (
        ("classes", classes),
        ("model", ", ".join(called(sources))),
        ("fingerprint", ", ".join(s.fingerprint for s in sources)),
        *((("engine", str(settled(how))),) if not choice else ()),
    )
    products = (
        *(Product("raw", c.name, c) for c in channels),
        Product("semantic", name, output, about),
        *(Product("score", n, v) for n, v in kept.items()),
    )
    return Plan(stages, work_folder(work), output, products)


def _settings(given: Mapping[str, Any]) -> Settings:
    """Settings from keywords; scores may be one name, and are kept in the order given."""
    unknown = sorted(given.keys() - Settings.__dataclass_fields__.keys())
    if unknown:
        raise SegmenterError(
            f"a segmentation has no setting {unknown}; there are {sorted(Settings.__dataclass_fields__)}"
        )
    scores = given.get("scores", ())
    scores = (scores,) if isinstance(scores, str) else tuple(scores)
    if len(set(scores)) < len(scores):
        raise ConfigError(f"a class is named twice in scores: {list(scores)}")
    found = Settings(**{**given, "scores": scores})
    checked_device(found.device)
    return found


def _kept(how: Settings) -> list[str]:
    """Ends of the names of the images beside the labels, in the order of a piece's arrays."""
    names = [f"score-{re.sub('[^A-Za-z0-9_.-]+', '-', score)}" for score in how.scores]
    if len(set(names)) < len(names):
        raise ConfigError(f"classes {list(how.scores)} would have images of one name; keep one of them")
    return names + (["uncertainty"] if how.uncertainty != "none" else [])


def _scans(
    name: str, work: PathLike, sources: Sequence[Source], seen: Sequence[tuple[Any, ...]]
) -> tuple[list[Stage], dict[str, Arrays], list[str]]:
    """Stages that find the statistics of what each model reads, where they are kept, and which is whose."""
    stages: list[Stage] = []
    found: dict[str, Arrays] = {}
    keys = []
    for source, channels in zip(sources, seen, strict=True):
        axis = plane_axis(source.fit, source.model)
        keys.append(f"level_{source.fit.level}" + ("" if axis is None else f"_planes_{'zyx'[axis]}"))
        if keys[-1] in found:
            continue
        end = "" if not found else f"-{keys[-1]}"
        found[keys[-1]] = arrays_at(work, name, f"statistics{end}")
        grid = BlockGrid(Box.of(channels[0].shape), zyx(list(channels[0].write_unit)))
        scan = f"{name}/statistics{end}"
        stages.append(Map(scan, _statistics, grid, channels, params={"axis": axis}, working=14.0))
        stages.append(Fold(f"{name}/normalisation{end}", _merge, scan, found[keys[-1]]))
    return stages, found, keys


def _block_for(output: Volume, sources: Sequence[Source]) -> Zyx:
    """Whole slices if their sums fit, about eight windows deep; y and x are halved otherwise."""
    unit = output.write_unit
    window = [max(s.model.window_zyx[a] * s.factor[a] for s in sources) for a in range(3)]
    depth = min(output.shape[0], 8 * max(window[0], 8))
    sides = [-(-n // u) * u for n, u in zip((depth, *output.shape[1:]), unit, strict=True)]
    planes = sum(s.model.heads * 4 * max(s.model.window_zyx[0], 1) for s in sources)
    while planes * sides[1] * sides[2] > RING_BYTES:
        axis = 1 if sides[1] >= sides[2] else 2
        if sides[axis] <= unit[axis]:
            break
        sides[axis] = -(-sides[axis] // 2 // unit[axis]) * unit[axis]
    return zyx(sides)


def _network_block(block: Zyx, source: Source) -> Zyx:
    """About how many voxels a network is given for a block."""
    fit = source.fit
    scale = [v / n / f for v, n, f in zip(fit.voxel_nm, fit.network_nm, source.factor, strict=True)]
    return zyx([max(1, math.ceil(n * s)) for n, s in zip(block, scale, strict=True)])


def _resident(
    grid: BlockGrid,
    outputs: Sequence[Volume],
    sources: Sequence[Source],
    how: Settings,
    itemsizes: Sequence[int],
) -> int:
    """Bytes that the streams hold, with the networks' weights and the write units that are being filled."""
    sides = zyx([min(b, n) for b, n in zip(grid.block, grid.box.shape, strict=True)])
    total = 0
    for source, itemsize in zip(sources, itemsizes, strict=True):
        fit, block = source.fit, _network_block(sides, source)
        scale = tuple(n / v for n, v in zip(fit.network_nm, fit.voxel_nm, strict=True))
        total += 2 * source.weights_bytes + working_bytes(
            source.model,
            how,
            block,
            itemsize,
            written=sides if fit.resamples or source.factor != (1, 1, 1) else None,
            stored_per_voxel=cast(Nm, scale) if fit.resamples else None,
        )
    deepest = max(s.model.window_zyx[0] * s.factor[0] for s in sources)
    planes = max(o.write_unit[0] + max(o.write_unit[0], deepest) for o in outputs)
    buffers = sum(o.itemsize for o in outputs) * sides[1] * sides[2] * planes
    return int(total + buffers)


def _notes(
    sources: Sequence[Source], grid: BlockGrid, how: Settings, region: Region | None
) -> tuple[str, ...]:
    """What was taken of the models, and how much work the blocks make of it."""
    notes = []
    for source, name in zip(sources, called(sources), strict=True):
        model, order = source.model, source.model.transpose_forward
        whole = _network_block(grid.box.shape, source)
        frame = Frame.of(zyx([whole[axis] for axis in order]), model.window, how.step)
        computed = 1
        for i, axis in enumerate(order):
            scale = whole[axis] / grid.box.shape[axis]
            cuts = range(0, grid.box.shape[axis], grid.block[axis])
            computed *= sum(
                len(frame.meeting(i, round(a * scale) + frame.content.start[i],
                                  round(min(a + grid.block[axis], grid.box.shape[axis]) * scale)
                                  + frame.content.start[i]))
                for a in cuts
            )  # fmt: skip
        text = f"{name}: {source.fit}"
        if len(sources) > 1:
            text += f", weight {source.weight:g}"
        if source.factor != (1, 1, 1):
            text += f", written {source.factor} times finer"
        notes.append(text)
        said = "x".join(map(str, model.window))
        efficiency = frame.windows / max(1, computed)
        notes.append(
            f"{name}: {computed} windows of {said}, {computed / frame.windows:.3f} times those of the "
            f"whole volume (efficiency of the cut {efficiency:.0%})"
        )
        if region is not None:
            back = [order.index(axis) for axis in range(3)]
            stored = Frame(
                zyx([frame.window[i] for i in back]),
                Box(zyx([frame.content.start[i] for i in back]), zyx([frame.content.stop[i] for i in back])),
                cast(Any, tuple(frame.starts[i] for i in back)),
                frame.is_2d,
            )
            share = region.share(stored, source.fit.network_nm)
            notes.append(f"{name}: about {share:.0%} of the windows lie in what is wanted")
    if region is not None and region.mask is not None:
        notes.append(
            "what lies outside the mask is unknown to later operations: objects that it cuts are marked "
            "(touches_border) and have no surface there, and distances that its edge leaves open are flagged"
        )
    return tuple(notes)


def _statistics(block: Block, *channels: Array, axis: int | None) -> Result:
    stack = np.stack(channels)
    record = block_statistics(stack, block.write.start)
    return Result(record=record if axis is None else record | block_extremes(stack, axis, block.write.start))


def _merge(records: Records) -> Columns:
    merged: dict[str, Any] = {}
    planes: dict[str, Any] = {}
    for _, record in records:
        if "plane_at" in record:
            planes = merge_extremes([p for p in (planes, record) if p])
        merged = merge_statistics([p for p in (merged, record) if p])
    if int(np.sum(merged.get("nonfinite", 0))):
        found = summarise(merged)
        raise InputError(
            f"the volume has {found.nonfinite} voxels that are NaN or infinite, the first at (z, y, x) = "
            f"{found.nonfinite_at}; one would blank a whole window, so replace them first"
        )
    return {k: v for k, v in merged.items() if not k.startswith("plane_")} | planes


def _segment(
    block: Block,
    *inputs: Any,
    network: Network,
    seen: Sequence[tuple[Any, ...]],
    keys: Sequence[str],
    region: Region | None,
    **artefacts: Arrays,
) -> Iterator[Piece | Result]:
    engines: list[Engine | None] = [None] * len(network.sources)
    if (kept := artefacts.pop(ARTEFACT, None)) is not None:
        engines = [*chosen(kept)]
    reads, found = seeing(network, seen, keys, artefacts)
    whole = block.volume.shape
    with torch_threads(1, network.settings.device), sticky(network.settings.device):
        for box, arrays in network(reads, found, whole, block.write, region, engines):
            yield Piece(box, arrays)
    used = [network.forward(*which) for which in zip(network.sources, engines, strict=True)]
    if any(forward.halved for forward in used):
        # Kept with the block: with other batches the last bits of its scores may differ.
        yield Result(record={"windows_at_once": np.array([forward.most for forward in used])})
