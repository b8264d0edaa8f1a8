"""Semantic segmentation: a network streams over the volume, as if it had seen it whole."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.pyramid import pyramid
from chunkflow_liver.engine.stage import Fold, Map, Piece, Records, Result, Stage
from chunkflow_liver.errors import ConfigError, InputError, SegmenterError
from chunkflow_liver.geometry import Block, BlockGrid, Box, Zyx, zyx
from chunkflow_liver.kernels.statistics import block_statistics, merge_statistics, summarise
from chunkflow_liver.ops.place import PathLike, arrays_at, label_format, label_url, work_folder
from chunkflow_liver.segmenters.model_folder import NnunetModel, model_fingerprint, read_model
from chunkflow_liver.segmenters.registry import registry, segmenter
from chunkflow_liver.segmenters.stream import Settings, working_bytes
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

MOST_SPACING_RATIO = 1.5
SAME_SPACING_RATIO = 1.1
RING_BYTES = 1 << 30
TORCH_BYTES = 900 << 20
"""torch with its CUDA libraries in memory, and oneDNN's work space; seen: 450-800 MiB."""


def segment(
    raw: Volume | Sequence[Volume],
    kind: str = "nnunet",
    *,
    model: PathLike,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
    into: PathLike | None = None,
    **settings: Any,
) -> Plan:
    """Plan the class of every voxel by a trained network.

    Parameters
    ----------
    raw : Volume or sequence of Volume
        Intensities, one volume per input channel of the model.
    kind : str
        Segmenter; 'nnunet' is any trained nnU-Net v2 folder.
    model : path
        Model folder (plans.json, dataset.json, fold_*).
    name : str
        Name of the label image.
    work : path
        Work folder.
    block : Zyx, optional
        Voxels per block. Blocks are streamed along z; a large block wastes fewer windows at its
        faces. Chosen by memory if not given.
    into : path or URL, optional
        Image group whose `labels` the result joins; the work folder's by default.
    **settings
        `mirroring` (default True: average over all mirrored inputs that the training allows),
        `numerics` ('exact' or 'nnunet'), `step` (0.5), `device` ('cpu', 'cuda'), `batch` (1),
        `precision` ('auto': float32 on a CPU, float16 on a GPU; or 'bfloat16', faster on newer CPUs),
        `configuration`, `folds`, `checkpoint` (what of the folder to use), `accept_spacing` (use the
        model although its voxel size differs).

    Returns
    -------
    Plan
        Its `output` is a label volume (uint8, or uint16 above 255 classes) with the model's classes.

    Raises
    ------
    SegmenterError, ModelSecurityError
        If the folder cannot be used, or asks for code that is not on the allow-list.
    ConfigError, InputError
        If settings, channels or voxel size do not fit the model.
    """
    if kind not in registry:
        raise SegmenterError(f"no segmenter {kind!r}; there are {sorted(registry)}")
    channels = (raw,) if isinstance(raw, Volume) else tuple(raw)
    given = {k: settings.pop(k, None) for k in ("configuration", "folds", "checkpoint")}
    choice = {k: v for k, v in given.items() if v is not None}
    accept = bool(settings.pop("accept_spacing", False))
    step = settings.get("step", 0.5)
    if not 0 < step <= 1:
        raise ConfigError(f"step is a share of the window, above 0 and at most 1, got {step!r}")
    known = read_model(Path(model), **choice)
    _check_channels(channels, known)
    _check_spacing(channels[0], known, accept)
    # Building the segmenter once here refuses wrong settings while nothing is written.
    probe = summarise(merge_statistics([block_statistics(np.ones((len(channels), 1, 1, 1), np.uint8))]))
    fingerprint = model_fingerprint(known)
    segmenter(kind, model=known, statistics=probe, fingerprint=fingerprint, **settings)
    _check_device(str(settings.get("device", "cpu")))
    first = channels[0]
    classes = tuple((c, n) for c, n in known.classes.items() if n)
    url = label_url(work, name, into)
    output = first.like(
        url,
        dtype=known.dtype,
        kind="label",
        block=block,
        classes=classes,
        zarr_format=label_format(into),
    )
    grid = BlockGrid(output.box, block or _block_for(output, known))
    scan = BlockGrid(output.box, zyx(list(output.write_unit)))
    statistics = arrays_at(work, name, "statistics")
    stages: tuple[Stage, ...] = (
        Map(f"{name}/statistics", _statistics, scan, channels, working=12.0),
        Fold(f"{name}/normalisation", _merge, f"{name}/statistics", statistics),
        Map(
            f"{name}/segment",
            _segment,
            grid,
            channels,
            (output,),
            params={"kind": kind, "model": known, "fingerprint": fingerprint, "settings": settings},
            identity={
                "kind": kind,
                "model": fingerprint,
                "configuration": known.configuration,
                "settings": settings,
            },
            artefacts={"statistics": statistics},
            resident=_resident(grid, output, known, first.itemsize, Settings(**settings)),
            streams=True,
            device=str(settings.get("device", "cpu")),
        ),
        *pyramid(output, name),
    )
    about = (("classes", classes), ("model", known.configuration), ("fingerprint", fingerprint))
    products = (
        *(Product("raw", c.name, c) for c in channels),
        Product("semantic", name, output, about),
    )
    return Plan(stages, work_folder(work), output, products)


def _check_channels(channels: tuple[Volume, ...], model: NnunetModel) -> None:
    if len(channels) != len(model.channels):
        raise ConfigError(
            f"the model in {model.folder} was trained on {len(model.channels)} channel(s) {model.channels}, "
            f"got {len(channels)}; give one volume per channel"
        )
    for c in channels:
        if c.shape != channels[0].shape:
            raise InputError(f"channels differ in shape: {channels[0].shape} and {c.shape} ({c.url})")
        if c.kind == "label":
            raise InputError(f"{c.url} is a label image; a network needs the image itself")


def _check_spacing(volume: Volume, model: NnunetModel, accept: bool) -> None:
    """Refuse a voxel size that the network has never seen; axes a 2D network does not see are free."""
    wanted = model.spacing_zyx
    ratios = [max(v / w, w / v) for v, w in zip(volume.voxel_nm, wanted, strict=True) if w]
    if ratios and max(ratios) > SAME_SPACING_RATIO and not accept:
        hint = (
            "choose the level that matches, or say accept_spacing to use it all the same"
            if max(ratios) <= MOST_SPACING_RATIO
            else "that is too far for the network to see what it learned: choose another level or "
            "another model, or say accept_spacing if the spacing in plans.json is not in nm"
        )
        text = tuple(None if w is None else round(w, 3) for w in wanted)
        raise InputError(
            f"{volume.url} level {volume.level} has voxels of {volume.voxel_nm} nm, the model in "
            f"{model.folder} was trained on {text} (nm, unless its folder says otherwise); {hint}"
        )


def _check_device(device: str) -> None:
    if device != "cpu" and not re.fullmatch(r"cuda(:\d+)?", device):
        raise ConfigError(f"no device {device!r}; there are 'cpu', 'cuda' and 'cuda:0', 'cuda:1', ...")


def _block_for(output: Volume, model: NnunetModel) -> Zyx:
    """Whole slices if their sums fit, about eight windows deep; y and x are halved otherwise."""
    unit = output.write_unit
    window = model.window_zyx
    depth = min(output.shape[0], 8 * max(window[0], 8))
    sides = [-(-n // u) * u for n, u in zip((depth, *output.shape[1:]), unit, strict=True)]
    planes = max(window[0], 1)
    while model.heads * 4 * planes * sides[1] * sides[2] > RING_BYTES:
        axis = 1 if sides[1] >= sides[2] else 2
        if sides[axis] <= unit[axis]:
            break
        sides[axis] = -(-sides[axis] // 2 // unit[axis]) * unit[axis]
    return zyx(sides)


def _resident(grid: BlockGrid, output: Volume, model: NnunetModel, itemsize: int, settings: Settings) -> int:
    """Bytes of a worker: torch, what the stream holds, and the write units that are being filled."""
    sides = zyx([min(b, n) for b, n in zip(grid.block, output.shape, strict=True)])
    planes = output.write_unit[0] + max(output.write_unit[0], model.window_zyx[0])
    buffers = output.itemsize * sides[1] * sides[2] * planes
    return int(TORCH_BYTES + working_bytes(model, settings, sides, itemsize) + buffers)


def _statistics(block: Block, *channels: Array) -> Result:
    return Result(record=block_statistics(np.stack(channels), block.write.start))


def _merge(records: Records) -> Columns:
    merged = merge_statistics(record for _, record in records)
    if int(np.sum(merged.get("nonfinite", 0))):
        found = summarise(merged)
        raise InputError(
            f"the volume has {found.nonfinite} voxels that are NaN or infinite, the first at (z, y, x) = "
            f"{found.nonfinite_at}; one would blank a whole window, so replace them first"
        )
    return merged


def _segment(
    block: Block,
    *channels: Volume,
    statistics: Arrays,
    kind: str,
    model: NnunetModel,
    fingerprint: str,
    settings: dict[str, Any],
) -> Iterator[Piece]:
    found = summarise({name: np.asarray(statistics[name]) for name in statistics.names()})
    predict = segmenter(kind, model=model, statistics=found, fingerprint=fingerprint, **settings)

    def read(box: Box) -> np.ndarray[Any, Any]:
        return np.stack([c.read(box) for c in channels])

    with _one_thread(str(settings.get("device", "cpu"))):
        for box, classes in predict(read, channels[0].shape, block.write):
            yield Piece(box, (classes,))


@contextlib.contextmanager
def _one_thread(device: str) -> Iterator[None]:
    """On a CPU a worker is one thread: workers share the cores, and two threads spin on each other."""
    if device != "cpu":
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
