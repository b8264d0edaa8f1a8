"""nnU-Net's sliding window over one block of a volume of any size, equal to that over the whole volume."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.geometry import Box, Zyx
from chunkflow_liver.kernels.statistics import Statistics
from chunkflow_liver.segmenters.model_folder import NnunetModel
from chunkflow_liver.segmenters.planes import Columns, Planes, Read
from chunkflow_liver.segmenters.sums import Sums
from chunkflow_liver.segmenters.windows import Frame

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Settings:
    """How to predict.

    Attributes
    ----------
    mirroring : bool
        Average over all mirrored inputs that the training allows: 8 times the work in 3D.
    step : float
        Largest distance of windows, as a share of the window.
    numerics : {"exact", "nnunet"}
        "exact": float32 sums with weights that add up to 1. "nnunet": float16 sums, rounded where
        nnU-Net rounds, to reproduce its results to the bit.
    device : str
        For torch: "cpu", "cuda", "cuda:1".
    batch : int
        Windows per forward pass; the last pass of a row is filled up, so that this number alone (and
        not the block) decides the bits.
    precision : {"auto", "float32", "bfloat16", "float16"}
        Of the network's arithmetic; sums are not touched. "auto" is what nnU-Net does: float32 on a CPU,
        float16 on a GPU. bfloat16 is several times faster on CPUs that have it (AMX, AVX512-BF16), slower
        on others, and moves scores by about 1 %.
    planes_ahead : int
        Planes to read at once at least, where the network needs fewer.
    """

    mirroring: bool = True
    step: float = 0.5
    numerics: Literal["exact", "nnunet"] = "exact"
    device: str = "cpu"
    batch: int = 1
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    planes_ahead: int = 16

    def __post_init__(self) -> None:
        if self.numerics not in ("exact", "nnunet"):
            raise SegmenterError(f"no numerics {self.numerics!r}; there are ['exact', 'nnunet']")
        if self.precision not in PRECISIONS:
            raise SegmenterError(f"no precision {self.precision!r}; there are {PRECISIONS}")
        if self.batch < 1 or self.planes_ahead < 1:
            raise SegmenterError(
                f"batch and planes_ahead are at least 1, got {self.batch} and {self.planes_ahead}"
            )


def segment_block(
    read: Read,
    shape: Zyx,
    block: Box,
    model: NnunetModel,
    networks: Sequence[Any],
    statistics: Statistics,
    settings: Settings,
) -> Iterator[tuple[Box, np.ndarray[Any, Any]]]:
    """Class numbers of one block, in pieces along the network's first axis.

    Parameters
    ----------
    read : callable
        Gives the raw voxels of a box as an ndarray of shape (C, z, y, x).
    shape : Zyx
        Of the whole volume, in voxels.
    block : Box
        Voxels wanted; `read` is asked for more, but nothing outside the volume.
    model : NnunetModel
    networks : sequence of torch.nn.Module
        What `load_networks` gave: one per fold, on the device of `settings`.
    statistics : Statistics
        Of the whole volume: the windows and the normalisation depend on it.
    settings : Settings

    Yields
    ------
    Box, ndarray of the box's shape, uint8 or uint16
        Pieces that tile the block.

    Notes
    -----
    The windows are those of the whole volume, each is normalised and predicted whole, and each voxel adds
    them up in the same order, so the result does not depend on the block. Windows are visited in rows along
    the network's first axis; the voxels before the next row are finished. In memory: scores of one
    window's depth over the block's area, and raw voxels over the area that the windows reach.
    """
    whole = Box.of(shape)
    if not whole.contains(block):
        raise SegmenterError(f"the block {block} is not inside the volume {whole}")
    frame = Frame.of(statistics.crop, model.transpose_forward, model.window, settings.step)
    owned = frame.from_stored(block)
    inside = owned.clip(frame.content)
    if inside.size == 0:
        inside = Box(owned.start, owned.start)
    first, last = inside.start[0], inside.stop[0]
    # A piece has no more planes than a window, so that background needs no more memory than the rest.
    cuts = [*range(owned.start[0], first, frame.window[0]), first]
    for a, b in itertools.pairwise(cuts):
        yield _piece(frame, owned, (a, b), model)
    if inside.size:
        for (a, b), labels in _rows(read, frame, inside, model, networks, statistics, settings):
            box, piece = _piece(frame, owned, (a, b), model)
            planes = Box((a, *inside.start[1:]), (b, *inside.stop[1:]))
            piece[frame.to_stored(planes).relative_to(box).slices] = labels.transpose(frame.back)
            yield box, piece
    cuts = [*range(last, owned.stop[0], frame.window[0]), owned.stop[0]]
    for a, b in itertools.pairwise(cuts):
        yield _piece(frame, owned, (a, b), model)


def working_bytes(model: NnunetModel, settings: Settings, block: Zyx, itemsize: int) -> int:
    """Most memory that `segment_block` holds for one block, without the networks' weights.

    Parameters
    ----------
    model : NnunetModel
    settings : Settings
    block : Zyx
        Voxels of the block along the stored axes.
    itemsize : int
        Bytes of a raw voxel in one channel.

    Returns
    -------
    int
        Bytes: sums of scores, raw planes (twice while new ones are joined), one piece of labels, and
        8 times the widest layer of the network for its activations (6.2 to 7.2 were measured).
    """
    depth, *across = (block[axis] for axis in model.transpose_forward)
    window = (1, *model.window) if model.is_2d else model.window
    area = math.prod(across)
    reach = math.prod(n + 2 * (w - 1) for n, w in zip(across, window[1:], strict=True))
    per_voxel = model.heads * 4 if settings.numerics == "exact" else (model.heads * len(model.folds) + 1) * 2
    planes = min(window[0], depth)
    raw = 2 * (window[0] + settings.planes_ahead) * reach * itemsize * len(model.channels)
    widths = model.options.get("features_per_stage", 32)
    width = widths[0] if isinstance(widths, list | tuple) else widths
    network = (8 * width + 3 * model.heads + 2 * len(model.channels)) * math.prod(window) * 4 * settings.batch
    return int(planes * area * (per_voxel + 2) + raw + network)


def _piece(
    frame: Frame, owned: Box, planes: tuple[int, int], model: NnunetModel
) -> tuple[Box, np.ndarray[Any, Any]]:
    """The stored box of some planes of the block, and zeros for it."""
    box = frame.to_stored(Box((planes[0], *owned.start[1:]), (planes[1], *owned.stop[1:])))
    return box, np.zeros(box.shape, model.dtype)


def _rows(
    read: Read,
    frame: Frame,
    inside: Box,
    model: NnunetModel,
    networks: Sequence[Any],
    statistics: Statistics,
    settings: Settings,
) -> Iterator[tuple[tuple[int, int], np.ndarray[Any, Any]]]:
    """First and one-past-last plane, and labels of `inside` in them, row of windows by row."""
    rows = frame.meeting(0, inside.start[0], inside.stop[0])
    across = [frame.meeting(axis, inside.start[axis], inside.stop[axis]) for axis in (1, 2)]
    columns: Columns = list(itertools.product(across[0], across[1]))
    planes = Planes.over(read, frame, columns, rows[-1][1] + frame.window[0], settings.planes_ahead)
    sums = Sums.zeros(
        frame, inside, model, len(networks), exact=settings.numerics == "exact", device=settings.device
    )
    done = inside.start[0]
    for i, (row, start) in enumerate(rows):
        planes.advance(start)
        for batch in _batches(columns, settings.batch):
            inputs = [planes.window((start, y, x), model, statistics) for (_, y), (_, x) in batch]
            inputs += inputs[-1:] * (settings.batch - len(inputs))
            scores = _predict(np.stack(inputs), frame, model, networks, settings)
            for slot, (y, x) in enumerate(batch):
                sums.add([fold[slot] for fold in scores], (done, *inside.start[1:]), ((row, start), y, x))
        following = rows[i + 1][1] if i + 1 < len(rows) else inside.stop[0]
        ready = min(following, inside.stop[0])
        if ready > done:
            yield (done, ready), sums.take(ready - done, model)
            done = ready


def _batches(columns: Columns, size: int) -> Iterator[Columns]:
    return (columns[i : i + size] for i in range(0, len(columns), size))


def _predict(
    inputs: np.ndarray[Any, Any],
    frame: Frame,
    model: NnunetModel,
    networks: Sequence[Any],
    settings: Settings,
) -> list[Any]:
    """Scores of a batch of windows (batch, heads, *window): per fold, or their mean if numerics are exact."""
    import torch

    exact = settings.numerics == "exact"
    axes = [axis + 2 for axis in model.mirror_axes] if settings.mirroring else []
    flips = [c for n in range(1, len(axes) + 1) for c in itertools.combinations(axes, n)]
    device = torch.device(settings.device)
    chosen = settings.precision
    if chosen == "auto":
        chosen = "float16" if device.type == "cuda" else "float32"
    mixed = (
        contextlib.nullcontext()
        if chosen == "float32"
        else torch.autocast(device.type, getattr(torch, chosen))
    )
    folds = []
    with torch.inference_mode(), mixed:
        windows = torch.from_numpy(inputs[:, :, 0] if frame.is_2d else inputs).to(device)
        for network in networks:
            scores = network(windows)
            scores = scores.float() if exact else scores
            for flip in flips:
                scores += torch.flip(network(torch.flip(windows, flip)), flip)
            if flips:
                scores /= len(flips) + 1
            folds.append(scores)
        if exact and len(folds) > 1:
            for scores in folds[1:]:
                folds[0] += scores
            folds[0] /= len(folds)
        return [scores[:, :, None] if frame.is_2d else scores for scores in (folds[:1] if exact else folds)]
