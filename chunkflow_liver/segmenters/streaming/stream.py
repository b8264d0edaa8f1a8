"""The sliding window over one block of a volume of any size, equal to that over the whole volume."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.geometry import Box, Zyx, zyx
from chunkflow_liver.segmenters.model import Model
from chunkflow_liver.segmenters.resampling import REACH, Resampling
from chunkflow_liver.segmenters.settings import Settings
from chunkflow_liver.segmenters.streaming import outputs
from chunkflow_liver.segmenters.streaming.forward import Forward
from chunkflow_liver.segmenters.streaming.planes import Columns, Planes, Read
from chunkflow_liver.segmenters.streaming.predict import Windows, predictions
from chunkflow_liver.segmenters.streaming.sums import Sums
from chunkflow_liver.segmenters.streaming.view import View

Inside = Callable[[Box], np.ndarray[Any, Any]]
"""Which voxels of a box are wanted, as a bool array of the box's shape."""
Pieces = Iterator[tuple[Box, tuple[np.ndarray[Any, Any], ...]]]

PIECE_PLANES = 16


@dataclass(frozen=True, eq=False)
class Member:
    """One model at work: how it sees the volume, its networks, its voxels, and its weight among others."""

    view: View
    forward: Forward
    read: Read
    weight: float = 1.0


def segment_block(
    members: Sequence[Member], shape: Zyx, block: Box, settings: Settings, inside: Inside | None = None
) -> Pieces:
    """Classes of one block, and scores and uncertainty if wanted, in pieces along the network's first axis.

    Parameters
    ----------
    members : sequence of Member
        One model, or several that are combined. `read` is asked for more than the block, but for nothing
        outside the volume.
    shape : Zyx
        Of the volume that is written, in voxels.
    block : Box
        Voxels wanted.
    settings : Settings
    inside : callable, optional
        Voxels outside are background, and windows without a voxel inside are left out.

    Yields
    ------
    Box, tuple of ndarray of the box's shape
        Pieces that tile the block: classes (uint8 or uint16), then, as uint8, the scores of every class in
        `settings.scores`, then the uncertainty.

    Notes
    -----
    The windows are those of the whole volume, each is normalised and predicted whole, and each voxel adds
    them up in the same order, so the result does not depend on the block. Windows are visited in rows along
    the network's first axis; the voxels before the next row are finished. In memory: scores of one
    window's depth over the block's area, and raw voxels over the area that the windows reach. Several
    models advance plane by plane together.
    """
    whole = Box.of(shape)
    if not whole.contains(block):
        raise SegmenterError(f"the block {block} is not inside the volume {whole}")
    first = members[0].view
    across = [first.output.order[i] for i in (1, 2)]
    along = first.output.order[0]
    planes = [_output_planes(member, block, settings, inside) for member in members]
    size = (block.shape[across[0]], block.shape[across[1]])
    for a in range(block.start[along], block.stop[along], PIECE_PLANES):
        b = min(a + PIECE_PLANES, block.stop[along])
        stack = [_plane([next(p) for p in planes], members, size, settings) for _ in range(a, b)]
        ends = (zyx([at if i == along else n for i, n in enumerate(end)]) for at, end in _ends(a, b, block))
        box = Box(*ends)
        arrays = [np.stack(found).transpose(first.output.back) for found in zip(*stack, strict=True)]
        yield box, tuple(arrays if inside is None else _only(arrays, inside(box), settings))


def working_bytes(
    model: Model,
    settings: Settings,
    block: Zyx,
    itemsize: int,
    *,
    written: Zyx | None = None,
    stored_per_voxel: tuple[float, float, float] | None = None,
) -> int:
    """Most memory that one member of `segment_block` holds for one block, without the networks' weights.

    Parameters
    ----------
    model : Model
    settings : Settings
    block : Zyx
        Voxels of the block along the stored axes, as the network sees them.
    itemsize : int
        Bytes of a raw voxel in one channel.
    written : Zyx, optional
        Voxels of the block as they are written, where scores are resampled to them.
    stored_per_voxel : tuple of float, optional
        Stored voxels per voxel of the network along the stored axes, where raw voxels are resampled.

    Returns
    -------
    int
        Bytes: sums of scores, raw planes (twice while new ones are joined, and those that are read ahead),
        one piece of labels, the windows of one batch, and 8 times the widest layer of the network for its
        activations (6.2 to 7.2 were measured). Where scores are resampled, five planes of them as they are
        written, and one head of a plane in float64; where raw voxels are, those that the planes read at
        once are made of, with the reach of the spline.
    """
    depth, *across = (block[axis] for axis in model.transpose_forward)
    window = (1, *model.window) if model.is_2d else model.window
    area = math.prod(across)
    reach = math.prod(n + 2 * (w - 1) for n, w in zip(across, window[1:], strict=True))
    per_voxel = model.heads * 4 if settings.exact else (model.heads * max(1, len(model.weights)) + 1) * 2
    planes = min(window[0], depth)
    # Kinds that torch lacks are held as float32, and so are resampled voxels.
    held = itemsize if itemsize in (1, 4) and stored_per_voxel is None else 4
    out = area if written is None else math.prod(written[axis] for axis in model.transpose_forward[1:])
    resampled = 0
    if written is not None:
        resampled += 5 * 4 * model.heads * out + 6 * 8 * out
    if stored_per_voxel is not None:
        scale = [stored_per_voxel[axis] for axis in model.transpose_forward]
        sides = (
            max(window[0], settings.planes_ahead),
            *(n + 2 * (w - 1) for n, w in zip(across, window[1:], strict=True)),
        )
        voxels = math.prod(n * s + 2 * REACH + 4 for n, s in zip(sides, scale, strict=True))
        resampled += int(voxels * (len(model.channels) * (itemsize + 8) + 24))
    raw = 2 * (window[0] + 2 * settings.planes_ahead) * reach * held * len(model.channels)
    flips = 2 ** len(model.mirror_axes) if settings.mirroring else 1
    waiting = settings.batch + flips
    network = (8 * model.width + 3 * model.heads) * settings.batch + 2 * len(model.channels) * waiting
    # One that is made, and two that wait to be written.
    pieces = 3 * PIECE_PLANES * out * (2 + len(settings.scores) + 1)
    combined = out * model.heads * 4 * 4
    return int(
        planes * area * per_voxel + resampled + pieces + combined + raw + network * math.prod(window) * 4
    )


def _ends(a: int, b: int, block: Box) -> tuple[tuple[int, Zyx], tuple[int, Zyx]]:
    return (a, block.start), (b, block.stop)


def _only(
    arrays: list[np.ndarray[Any, Any]], wanted: np.ndarray[Any, Any], settings: Settings
) -> list[np.ndarray[Any, Any]]:
    """Background outside `wanted`: class 0, surely."""
    found = []
    for i, array in enumerate(arrays):
        certain = 0 < i <= len(settings.scores) and settings.scores[i - 1] == "background"
        found.append(np.where(wanted, array, np.array(outputs.FULL if certain else 0, array.dtype)))
    return found


Plane = tuple[tuple[slice, slice], Any] | None
"""Where in the block's plane a model has scores, and these (heads, y, x); None if nowhere."""


def _plane(
    found: list[Plane], members: Sequence[Member], size: tuple[int, int], settings: Settings
) -> list[np.ndarray[Any, Any]]:
    """What is stored of one plane."""
    import torch

    model, device = members[0].view.model, settings.device
    with torch.inference_mode():
        kind = getattr(torch, model.dtype)
        labels = torch.zeros(size, dtype=kind, device=device)
        single = len(members) == 1
        if single and found[0] is not None:
            place, scores = found[0]
            labels[place] = outputs.classes(scores, model).to(kind)
        if single and not settings.scores and settings.uncertainty == "none":
            return [labels.cpu().numpy()]
        each = [outputs.background(model, size, device) for _ in found]
        for values, plane in zip(each, found, strict=True):
            if plane is not None:
                values[(slice(None), *plane[0])] = outputs.probabilities(plane[1], model)
        weights = [member.weight for member in members]
        mean = each[0]
        if not single:
            # In the order of the models, and each share rounded alike for every cut.
            mean = each[0] * (weights[0] / sum(weights))
            for values, weight in zip(each[1:], weights[1:], strict=True):
                mean += values * (weight / sum(weights))
            labels = outputs.classes(mean, model, threshold=0.5)
            if settings.combine == "vote":
                chosen = [outputs.classes(values, model, threshold=0.5) for values in each]
                labels = outputs.votes(chosen, weights, max(model.classes.values()) + 1).argmax(0)
        stored = [labels.to(kind).cpu().numpy()]
        stored += [outputs.stored(mean[head]) for head in outputs.kept_heads(model, settings)]
        if settings.uncertainty != "none":
            stored.append(outputs.stored(outputs.uncertainty(mean, model, settings.uncertainty)))
        return stored


def _output_planes(member: Member, block: Box, settings: Settings, inside: Inside | None) -> Iterator[Plane]:
    """Every plane of the block along the network's first axis, in order."""
    view = member.view
    owned = view.output.from_stored(block)
    part = owned.clip(Box.of(view.output.shape))
    scores = _scores(member, part, block, settings, inside) if part.size else iter(())
    place = part.relative_to(owned).slices[1:]
    for z in range(owned.start[0], owned.stop[0]):
        if part.size and part.start[0] <= z < part.stop[0]:
            at, found = next(scores)
            if at != z:
                raise SegmenterError(f"plane {at} of the scores came where {z} was due")
            yield place, found
        else:
            yield None


def _scores(
    member: Member, part: Box, block: Box, settings: Settings, inside: Inside | None
) -> Iterator[tuple[int, Any]]:
    """Scores (heads, y, x) of every plane of `part`, in voxels of the crop that is written."""
    view = member.view
    content = view.frame.content
    if not view.back.changes:
        for z, scores in _network_scores(member, part.shift(content.start), block, settings, inside):
            yield z - content.start[0], scores
        return
    source = view.back.need(part)
    planes = _network_scores(member, source.shift(content.start), block, settings, inside)
    moved = ((z - content.start[0], scores) for z, scores in planes)
    yield from _resampled(moved, view.back, source, part)


def _network_scores(
    member: Member, wanted: Box, block: Box, settings: Settings, inside: Inside | None
) -> Iterator[tuple[int, Any]]:
    """Scores of every plane of `wanted`, a box of the network's frame."""
    view, frame = member.view, member.view.frame
    rows = frame.meeting(0, wanted.start[0], wanted.stop[0])
    across = [frame.meeting(axis, wanted.start[axis], wanted.stop[axis]) for axis in (1, 2)]
    columns: Columns = list(itertools.product(across[0], across[1]))
    ends = (rows[0][1], rows[-1][1])
    planes = Planes.over(member.read, view, columns, ends, settings.planes_ahead, settings.device)
    sums = Sums.zeros(
        view,
        wanted,
        len(member.forward.networks),
        exact=settings.exact,
        device=settings.device,
        partial=inside is not None,
    )
    windows = _windows(planes, view, rows, columns, block, inside)
    try:
        for at, scores in predictions(windows, view.model, member.forward, settings):
            yield from sums.finish(at[0][1])
            sums.add(scores, at)
        yield from sums.finish(wanted.stop[0])
    finally:
        planes.close()


def _windows(
    planes: Planes,
    view: View,
    rows: list[tuple[int, int]],
    columns: Columns,
    block: Box,
    inside: Inside | None,
) -> Windows:
    for row in rows:
        kept = columns if inside is None else _kept(view, row[1], columns, block, inside)
        if not kept:
            continue
        planes.advance(row[1])
        for y, x in kept:
            values, constant = planes.window((row[1], y[1], x[1]))
            yield (row, y, x), values, constant


def _kept(view: View, z: int, columns: Columns, block: Box, inside: Inside) -> Columns:
    """The columns whose window, in the row at `z`, bears on a wanted voxel of the block."""
    reaches = [_written(view, (z, y, x)).clip(block) for (_, y), (_, x) in columns]
    there = [reach for reach in reaches if reach.size]
    if not there:
        return []
    ends = [
        zyx([of(end[axis] for end in found) for axis in range(3)])
        for of, found in ((min, [r.start for r in there]), (max, [r.stop for r in there]))
    ]
    slab = Box(ends[0], ends[1])
    wanted = inside(slab)
    return [
        column
        for column, reach in zip(columns, reaches, strict=True)
        if reach.size and wanted[reach.relative_to(slab).slices].any()
    ]


def _written(view: View, start: Zyx) -> Box:
    """The stored voxels that a window's scores bear on; a few more where scores are resampled."""
    window = Box(start, zyx([a + n for a, n in zip(start, view.frame.window, strict=True)]))
    content = window.clip(view.frame.content).relative_to(view.frame.content)
    if view.back.changes and content.size:
        scale = [t / s for s, t in zip(view.back.source_shape, view.back.target_shape, strict=True)]
        start = zyx([math.floor((a - 1) * f) - 1 for a, f in zip(content.start, scale, strict=True)])
        stop = zyx([math.ceil((b + 1) * f) + 1 for b, f in zip(content.stop, scale, strict=True)])
        content = Box(start, stop).clip(Box.of(view.output.shape))
    return view.output.to_stored(content)


def _resampled(
    planes: Iterator[tuple[int, Any]], back: Resampling, source: Box, part: Box
) -> Iterator[tuple[int, Any]]:
    """Planes of `source` as planes of `part`: in float64 as nnU-Net does, head by head, kept as float32."""
    import torch

    same = back.source_shape[0] == back.target_shape[0]
    index, weight = back.taps(0, part.start[0], part.stop[0])
    held: dict[int, Any] = {}
    t = 0
    for z, scores in planes:
        with torch.inference_mode():
            held[z] = torch.stack([_across(head.double(), back, source, part).float() for head in scores])
        while t < len(index) and (part.start[0] + t if same else int(index[t].max())) <= z:
            with torch.inference_mode():
                if same:
                    total = held[part.start[0] + t]
                else:
                    taps = list(zip(index[t].tolist(), weight[t].tolist(), strict=True))
                    total = torch.empty_like(held[z])
                    for head in range(len(total)):
                        total[head] = sum(held[k][head].double() * w for k, w in taps)
            yield part.start[0] + t, total
            t += 1
        for old in [k for k in held if t < len(index) and k < int(index[t].min())]:
            del held[old]


def _across(scores: Any, back: Resampling, source: Box, part: Box) -> Any:
    """One head's scores (y, x) of one plane resampled along y and x."""
    import torch

    for axis in (1, 2):
        start, stop = part.start[axis], part.stop[axis]
        if back.source_shape[axis] == back.target_shape[axis]:
            continue
        index, weight = back.taps(axis, start, stop)
        total = None
        for k in range(index.shape[1]):
            at = torch.as_tensor(index[:, k] - source.start[axis], device=scores.device)
            share = torch.as_tensor(weight[:, k], device=scores.device)
            share = share[:, None] if axis == 1 else share
            term = scores.index_select(axis - 1, at) * share
            total = term if total is None else total + term
        scores = total
    return scores
