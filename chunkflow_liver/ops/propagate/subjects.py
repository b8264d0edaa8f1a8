"""Prompts on an image: in its voxels, with the rules of their kind, and gathered into groups."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from chunkflow_liver.errors import InputError
from chunkflow_liver.kernels.images.windows import Window
from chunkflow_liver.ops.propagate.kinds import Direction, kind_of
from chunkflow_liver.ops.propagate.options import Carrying
from chunkflow_liver.ops.propagate.placing import Corners, Placing
from chunkflow_liver.store.prompts import Prompt
from chunkflow_liver.store.volume import Volume

MOST_TOLD = 20


@dataclass(frozen=True)
class Subject:
    """One track: an object begun from one slice. Places are in voxels of the image.

    Attributes
    ----------
    object : int
        1, 2, ... in the order of the prompts.
    z, start, end : int
        Slice that it is begun from; first and last slice that it may reach.
    direction : {'both', 'forward', 'backward'}
    box : tuple of float, optional
    points : tuple of (y, x, inside)
    label : int, optional
        Id in the label image of masks.
    window : Window, optional
        Where it begins; found from the mask where there is a label.
    """

    object: int
    z: int
    start: int
    end: int
    direction: Direction
    box: Corners | None
    points: tuple[tuple[float, float, bool], ...]
    label: int | None
    window: Window | None


@dataclass(frozen=True)
class Named:
    """An object as a person knows it."""

    name: str
    kind: str


def subjects_of(
    prompts: Sequence[Prompt], image: Volume, placing: Placing, how: Carrying, masks: bool
) -> tuple[tuple[Named, ...], tuple[Subject, ...]]:
    """Objects in the order of their first prompts, and their tracks.

    Raises
    ------
    InputError
        If prompts lie outside the image, are of no known kind, or name masks and there are none.
    """
    vz, vy, vx = image.voxel_nm
    direction = "forward" if how.per_slice else how.direction
    objects: dict[str, Named] = {}
    subjects: list[Subject] = []
    faults: list[str] = []
    for prompt in _alone(prompts) if how.per_slice else prompts:
        where = f"object {prompt.object!r} at z {prompt.z_nm:g} nm"
        if prompt.object not in objects:
            objects[prompt.object] = Named(prompt.object, prompt.kind)
        elif not kind_of(prompt.kind).every and direction is None:
            continue
        number = list(objects).index(prompt.object) + 1
        kind = kind_of(prompt.kind)
        box = prompt.box_nm and (
            prompt.box_nm[0] / vy,
            prompt.box_nm[1] / vx,
            prompt.box_nm[2] / vy,
            prompt.box_nm[3] / vx,
        )
        points = tuple((y / vy, x / vx, own) for y, x, own in prompt.points_nm)
        z = math.floor(prompt.z_nm / vz)
        start = 0 if prompt.start_nm is None else math.floor(prompt.start_nm / vz)
        end = image.shape[0] - 1 if prompt.end_nm is None else math.floor(prompt.end_nm / vz)
        if how.per_slice:
            start = end = z
        corners = [*([(box[0], box[1]), (box[2], box[3])] if box else []), *((y, x) for y, x, _ in points)]
        if z >= image.shape[0] or any(y > image.shape[1] or x > image.shape[2] for y, x in corners):
            ends = tuple(n * v for n, v in zip(image.shape, image.voxel_nm, strict=True))
            faults.append(f"{where} lies outside the image, which ends at {ends} nm (z, y, x)")
            continue
        if prompt.label is not None and not masks:
            faults.append(f"{where} is a mask, label {prompt.label}: give the label image as masks")
            continue
        window = None
        if box is not None:
            window = placing.around(box)
        elif points:
            y, x = (sum(p[i] for p in points if p[2]) / sum(p[2] for p in points) for i in (0, 1))
            spread = 2 * max(max(abs(p[0] - y), abs(p[1] - x)) for p in points)
            window = placing.centred(y, x, max(kind.crop_nm / min(vy, vx), spread))
        subjects.append(
            Subject(
                number,
                z,
                max(0, start),
                min(end, image.shape[0] - 1),
                direction or kind.direction,
                box,
                points,
                prompt.label,
                window,
            )
        )
    if faults:
        more = f"; and {len(faults) - MOST_TOLD} more" if len(faults) > MOST_TOLD else ""
        raise InputError(f"{len(faults)} prompt(s) cannot be used: {'; '.join(faults[:MOST_TOLD])}{more}")
    return tuple(objects.values()), tuple(subjects)


def _alone(prompts: Sequence[Prompt]) -> Iterator[Prompt]:
    """Prompts with at most one point inside; those with several become one of each."""
    for prompt in prompts:
        inside = [p for p in prompt.points_nm if p[2]]
        outside = tuple(p for p in prompt.points_nm if not p[2])
        if len(inside) < 2 or prompt.box_nm is not None:
            yield prompt
            continue
        for point in inside:
            yield replace(prompt, points_nm=(point, *outside))


def groups_of(subjects: Sequence[Subject], size: int) -> tuple[tuple[Subject, ...], ...]:
    """Groups of tracks that are carried together: those whose windows are the same or near."""

    def place(subject: Subject) -> tuple[int, ...]:
        w = subject.window
        first = (0, 0, 0, 0) if w is None else (1, w.factor, w.y, w.x)
        return (*first, subject.z, subject.object)

    order = sorted(subjects, key=place)
    return tuple(tuple(order[i : i + size]) for i in range(0, len(order), size))
