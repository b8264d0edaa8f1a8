"""Classes of edited instances: those that they had, and those that edits give."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.ops.edit.lists import IN_TWO, Row, current
from chunkflow_liver.store.table import Arrays
from chunkflow_liver.xp import Array

FAR = 1_000_000
"""Ids of cuts that lie farther above the others have no class."""


def edited_classes(
    made: Arrays, last: int, rows: list[Row], whose: list[tuple[int, int]]
) -> dict[str, Array]:
    """The classes of all ids up to `last`: those that the operation which made the instances knows, edited.

    `whose` are the ids of split and divided objects, and those of their parts.

    Raises
    ------
    InputError
        If ids lie so far apart that an array of all would be too long, and edits give classes.
    """
    named = [row[3] for row in rows if row[0] == "class"]
    known = made.exists() and "value" in made.names()
    if not (known or named):
        return {}
    names: list[str] = np.asarray(made["class_name"]).tolist() if known else [""]
    numbers: list[int] = np.asarray(made["class_number"]).tolist() if known else [0]
    value = np.asarray(made["value"]).astype(np.int64) if known else np.zeros(0, np.int64)
    if last > len(value) + FAR:
        if not named:
            return {}
        raise InputError(
            f"the edits give classes to objects, and ids go up to {last}: number the instances anew with "
            "refine first"
        )
    value = np.concatenate([value, np.zeros(max(0, last - len(value)), np.int64)])
    now: dict[int, int] = {}
    for action, label, other, *rest in rows:
        here = current(now, label)
        if action == "merge":
            there = current(now, other)
            now |= {max(here, there): min(here, there)} if here != there else {}
        elif action in IN_TWO:
            value[other - 1] = value[here - 1]
        elif action == "class":
            if rest[0] not in (*names, *map(str, numbers)):
                names, numbers = [*names, rest[0]], [*numbers, max(numbers) + 1]
            at = names.index(rest[0]) if rest[0] in names else list(map(str, numbers)).index(rest[0])
            value[here - 1] = numbers[at]
    for label, part in whose:
        value[part - 1] = value[label - 1]
    return {"value": value, "class_name": np.array(names, str), "class_number": np.array(numbers, np.int64)}
