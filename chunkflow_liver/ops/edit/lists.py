"""Lists of edits of a proofreader: read, checked, written, and as steps; for `edit` and the viewer."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.kernels.instances.edits import Cleft, Cut, Step
from chunkflow_liver.ops.steps.place import PathLike

COLUMNS = ("action", "label", "other")
POINTS = ("z_nm", "y_nm", "x_nm", "to_z_nm", "to_y_nm", "to_x_nm")
SAID = ("who", "when", "why")
HEADERS = (COLUMNS[:2], COLUMNS, COLUMNS + POINTS, COLUMNS + POINTS + SAID)
ACTIONS = ("merge", "split", "divide", "delete", "cut", "cleave", "class")
IN_TWO = ("cut", "cleave")
"""Actions with two places, that give one part of an object a new id."""
TOLD = 10
"""Ids that a message names at most."""


Row = tuple[Any, ...]
"""Action, id, the id to merge it with or of the part cut off (0 for others), and the places of a cut, or the
class that the object gets."""


@dataclass(frozen=True)
class Edit:
    """One row: an action, its id, that to merge with or of the part cut off (0 for other actions).

    `points` are the two places of a cut or cleave, (z, y, x) in nm from the volume's first corner; `said` who
    made the edit, when and why; `named` the class that an object gets, by name or number.
    """

    action: str
    label: int
    other: int = 0
    points: tuple[float, ...] = ()
    said: tuple[str, str, str] = ("", "", "")
    named: str = ""

    @property
    def row(self) -> tuple[Any, ...]:
        """What its result depends on."""
        return (self.action, self.label, self.other, *self.points, *((self.named,) if self.named else ()))

    @property
    def cells(self) -> list[Any]:
        """The row of a list with all columns."""
        points = [f"{p:.3f}" for p in self.points] or [""] * len(POINTS)
        return [self.action, self.label, self.named or self.other or "", *points, *self.said]


def whole_number(text: Any) -> int | None:
    """The number below 2^64, as ids are, that digits name; None of anything else, as of 1.9 or ²."""
    digits = str(text)
    # Python reads no number of thousands of digits.
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 20 or int(digits) >= 1 << 64:
        return None
    return int(digits)


def read_edits(path: PathLike) -> list[list[str]]:
    """Rows of a CSV file of edits, without its header.

    Raises
    ------
    InputError
        If there is no such file.
    ConfigError
        If its header is another one.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"no list of edits at {file}")
    with file.open(newline="", encoding="utf-8-sig") as opened:
        rows = [[cell.strip() for cell in row] for row in csv.reader(opened) if any(map(str.strip, row))]
    if not rows or tuple(c for c in rows[0] if c) not in HEADERS:
        raise ConfigError(
            f"{file} must begin with the line {','.join(COLUMNS)!r}, and may go on with "
            f"{','.join(POINTS + SAID)!r}, got {rows[:1]}"
        )
    return rows[1:]


def write_edits(path: Path, edits: Sequence[Edit]) -> None:
    """Write a list with all columns, under a temporary name, and rename it into place."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(HEADERS[-1])
        rows.writerows(edit.cells for edit in edits)
    os.replace(partial, path)


def checked(rows: Iterable[Sequence[Any]], where: str) -> list[Edit]:
    """The rows as edits that can be carried out one after the other.

    Raises
    ------
    ConfigError
        If a row cannot be understood, or names an object that an earlier one deleted, or that another row
        splits or divides.
    """
    found = [_understood(number, row, where) for number, row in enumerate(rows, 1)]
    if not found:
        raise ConfigError(f"{where} hold no row: there is nothing to change")
    named = [i for e in found for i in (e.label, e.other) if i]
    gone: set[int] = set()
    for edit in found:
        whole = edit.action in ("split", "divide") and named.count(edit.label) > 1
        again = gone & {edit.label, edit.other}
        if whole or again:
            raise ConfigError(
                f"{where} split, divide or delete {min(again or {edit.label})} and name it in another row as "
                "well: which comes first? Apply them one after the other, each to the result of the other"
            )
        if edit.action == "delete":
            gone.add(edit.label)
    fresh = [e.other for e in found if e.action in IN_TWO]
    for index, edit in enumerate(found):
        if edit.action in IN_TWO and (
            fresh.count(edit.other) > 1 or any(edit.other in (e.label, e.other) for e in found[:index])
        ):
            raise ConfigError(
                f"{where} give the new id {edit.other} of a {edit.action} to something else, too; take "
                "another"
            )
    return found


def _understood(number: int, row: Sequence[Any], where: str) -> Edit:
    cells = ["" if c is None else c for c in row]
    cells += [""] * (len(HEADERS[-1]) - len(cells))
    action, ids, places, said, named = cells[0], cells[1:3], cells[3:9], cells[9:12], ""
    if action == "class":
        named, ids = str(ids[1]).strip(), ids[:1]
    wanted = 2 if action in ("merge", *IN_TWO) else 1
    given = [whole_number(i) or 0 for i in ids if i != ""]
    good = action in ACTIONS and len(given) == wanted and min(given) >= 1
    good = good and bool(named) == (action == "class")
    points: list[float] = []
    if good and action in IN_TWO:
        try:
            points = [float(p) for p in places]
        except (TypeError, ValueError):
            points = [math.nan]
        good = all(map(math.isfinite, points)) and points[:3] != points[3:] and given[0] != given[1]
    if not good or len(cells) > len(HEADERS[-1]):
        raise ConfigError(
            f"row {number} of {where} is {list(row)!r}; wanted is merge,ID,ID or cut,ID,NEW_ID and two "
            f"places (z, y, x in nm), the same with cleave, class,ID,NAME, or one of {ACTIONS[1:4]} and an "
            "ID, with IDs from 1 to 2^64 - 1"
        )
    other = given[1] if wanted == 2 else 0
    return Edit(str(action), given[0], other, tuple(points), cast(Any, tuple(map(str, said))), named)


def rows_naming(rows: Sequence[Row], ids: Collection[int]) -> str:
    """Where a list names some ids first, for messages; '' where it does not."""
    found: dict[int, str] = {}
    for number, (action, *cells) in enumerate(rows, 1):
        for i in cells[:2]:
            if i in ids:
                found.setdefault(i, f"{i} (row {number}, {action})")
    texts = list(found.values())
    return ", ".join(texts[:TOLD]) + (f" and {len(texts) - TOLD} more" if len(texts) > TOLD else "")


def named_before(rows: Sequence[Row]) -> set[int]:
    """The ids of a list that the instances must have before it: all but those of parts that it cuts off."""
    fresh = {row[2] for row in rows if row[0] in IN_TWO}
    return {i for row in rows for i in row[1:3] if i} - fresh


def plain_steps(edits: Sequence[Edit]) -> list[tuple[int, int] | int]:
    """What happens to ids, in order: (old, new), or the number of a cut; without splits and divisions."""
    now: dict[int, int] = {}
    steps: list[tuple[int, int] | int] = []
    cuts = 0
    for edit in edits:
        here = current(now, edit.label)
        if edit.action in IN_TWO:
            steps.append(cuts)
            cuts += 1
        elif edit.action == "delete":
            steps.append((here, 0))
        elif edit.action == "merge" and (there := current(now, edit.other)) != here:
            now[max(here, there)] = min(here, there)
            steps.append((max(here, there), min(here, there)))
    return steps


def current(now: Mapping[int, int], label: int) -> int:
    """The id that an object has after the merges so far."""
    while label in now:
        label = now[label]
    return label


def merged_into(edits: Sequence[Edit]) -> dict[int, int]:
    """Where ids went by merging: from each that is no more, to the next one."""
    return {step[0]: step[1] for step in plain_steps(edits) if isinstance(step, tuple) and step[1]}


def with_cuts(steps: Sequence[tuple[int, int] | int], cuts: Sequence[Cut | Cleft]) -> list[Step]:
    """Steps with cuts in the place of their numbers, up to the first cut that is not known yet."""
    found: list[Step] = []
    for step in steps:
        if not isinstance(step, int):
            found.append((step[0], step[1]))
        elif step < len(cuts):
            found.append(cuts[step])
        else:
            break
    return found
