"""A prompt, and how rows of any file become prompts or are refused, each with its line."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from chunkflow_liver.errors import InputError

MOST_TOLD = 20
"""Of the bad rows of a file so many are told."""
Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class Prompt:
    """What is known of one object on one slice; all places in nm from the volume's first corner.

    Attributes
    ----------
    object : str
        Prompts of one name are one object.
    z_nm : float
        The slice: any place within it.
    kind : str
        What the object is, '' if that is not said; see `ops.propagate.kinds`.
    start_nm, end_nm : float, optional
        First and last slice that the object may reach.
    box_nm : tuple of float, optional
        y, x of the first and of the last corner.
    points_nm : tuple of (y, x, inside)
    label : int, optional
        Its id in a label image, whose voxels on this slice are its mask.
    """

    object: str
    z_nm: float
    kind: str = ""
    start_nm: float | None = None
    end_nm: float | None = None
    box_nm: Corners | None = None
    points_nm: tuple[tuple[float, float, bool], ...] = ()
    label: int | None = None


@dataclass(frozen=True)
class Row:
    """One row of a file, its lengths in nm; `line` says where it stands."""

    line: str
    object: str
    z_nm: float
    kind: str = ""
    start_nm: float | None = None
    end_nm: float | None = None
    box_nm: Corners | None = None
    point_nm: tuple[float, float, bool] | None = None
    label: int | None = None


class Faults:
    """Every bad row of a file, told together."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.texts: list[str] = []

    def add(self, line: str, text: str) -> None:
        self.texts.append(f"{line}: {text}")

    def tell(self) -> None:
        """Raise what was found.

        Raises
        ------
        InputError
        """
        if self.texts:
            more = f"; and {len(self.texts) - MOST_TOLD} more" if len(self.texts) > MOST_TOLD else ""
            raise InputError(
                f"{self.file} has {len(self.texts)} bad row(s): {'; '.join(self.texts[:MOST_TOLD])}{more}"
            )


def gathered(rows: Iterable[Row], faults: Faults) -> tuple[Prompt, ...]:
    """Prompts of rows, in the order of first rows; what makes no sense is added to `faults`."""
    prompts: dict[tuple[str, float], Prompt] = {}
    limits: dict[str, tuple[str, float | None, float | None]] = {}
    for row in rows:
        if text := _fault(row):
            faults.add(row.line, text)
            continue
        before = limits.setdefault(row.object, (row.kind, row.start_nm, row.end_nm))
        if before != (row.kind, row.start_nm, row.end_nm):
            faults.add(
                row.line, f"{row.object!r} has another kind, start or end than in the rows before: {before}"
            )
            continue
        key = (row.object, row.z_nm)
        known = prompts.get(key)
        both = known and ((known.box_nm and row.box_nm) or (known.label and row.label))
        if both:
            faults.add(row.line, f"{row.object!r} has a second box or mask on one slice; give one")
            continue
        mixed = known and (known.label or row.label) is not None
        if mixed:
            faults.add(row.line, f"{row.object!r} has a mask and more on one slice; a mask stands alone")
            continue
        points = known.points_nm if known else ()
        prompts[key] = Prompt(
            row.object,
            row.z_nm,
            row.kind,
            row.start_nm,
            row.end_nm,
            row.box_nm or (known.box_nm if known else None),
            points if row.point_nm is None else (*points, row.point_nm),
            row.label,
        )
    for prompt in prompts.values():
        if prompt.box_nm is None and prompt.label is None and not any(own for *_, own in prompt.points_nm):
            faults.add(
                f"object {prompt.object!r}",
                f"only points outside of it at z {prompt.z_nm:g} nm; mark one inside, or a box",
            )
    if not prompts and not faults.texts:
        faults.add("the file", "holds no prompt")
    return tuple(prompts.values())


def _fault(row: Row) -> str:
    """What is wrong with a row by itself; '' if nothing is."""
    if not row.object.strip():
        return "the object has no name"
    lengths = [row.z_nm, row.start_nm, row.end_nm, *(row.box_nm or ()), *(row.point_nm or ())]
    numbers = [float(v) for v in lengths if v is not None]
    if not all(map(math.isfinite, numbers)):
        return "a place is not finite"
    if min(numbers) < 0:
        return f"a place is negative: {min(numbers):g} nm from the volume's first corner"
    if row.start_nm is not None and row.start_nm > row.z_nm:
        return f"start {row.start_nm:g} nm lies after the slice of the prompt, {row.z_nm:g} nm"
    if row.end_nm is not None and row.end_nm < row.z_nm:
        return f"end {row.end_nm:g} nm lies before the slice of the prompt, {row.z_nm:g} nm"
    if row.box_nm is not None and not (row.box_nm[0] < row.box_nm[2] and row.box_nm[1] < row.box_nm[3]):
        return f"the box is empty: y {row.box_nm[0]:g} to {row.box_nm[2]:g}, x {row.box_nm[1]:g} to " + (
            f"{row.box_nm[3]:g} nm; the first corner comes first"
        )
    if row.label is not None and row.label < 1:
        return f"label {row.label} is no object; 0 is background"
    if row.label is not None and (row.box_nm is not None or row.point_nm is not None):
        return "a mask and more; a mask stands alone"
    if row.box_nm is None and row.point_nm is None and row.label is None:
        return "neither box, nor point, nor label"
    return ""
