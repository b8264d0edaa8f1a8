"""Whether conditions differ: several runs, cells within animals, the animal as the unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.stage import Fold, Map, Result, plain
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Block
from chunkflow_liver.kernels.significance.groups import Nested, between_animals
from chunkflow_liver.ops.steps.objects import (
    ONCE,
    PLACE,
    WithUnits,
    as_table,
    check_measured,
    measurements,
    numbers,
    part,
    side_by_side,
    task_bytes,
    with_forms,
)
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import PathLike, table_at, work_folder
from chunkflow_liver.store.table import Columns, Table
from chunkflow_liver.xp import Array

LEVELS = ("conditions", "animals", "cells", "objects")
FROM_MODEL = ("PC", "form")
"""How the columns begin that mean the same only if one model gave them."""


@dataclass(frozen=True)
class Sample:
    """A table with a row per object, of one animal.

    Attributes
    ----------
    table : Table or path
        As `measure` or `population` makes it.
    animal : str
        Several samples may be of one animal.
    condition : str
        What was done to the animal, or what it is; one per animal.
    """

    table: Table | PathLike
    animal: str
    condition: str


@operation
def compare(
    samples: Sequence[Sample],
    *,
    columns: Sequence[str] | None = None,
    cell: str | None = None,
    level: float = 0.05,
    permutations: int = 9999,
    seed: int = 0,
    name: str,
    work: PathLike,
) -> Plan:
    """Plan a table of how conditions differ in columns of objects, with animals as the units of the test.

    Parameters
    ----------
    samples : sequence of Sample
        The tables of all animals; the first animal's condition is the one that others are compared with.
    columns : sequence of str, optional
        Measurements; by default all that all tables have. `form` stands for the fractions of the classes
        of a population. Components, indices and classes need one model in all tables: make the populations of
        the others with `model`.
    cell : str, optional
        Column with the cell of each object; objects without one (0) are left out. By default an animal is
        one cell.
    level : float
        Of the tests: where no arrangement of the animals could be below it, there is no test.
    permutations : int
        All arrangements of animals in conditions are taken if there are not more, else so many by chance.
    seed : int
        Of the arrangements by chance.
    name : str
        Name of the table.
    {work}

    Returns
    -------
    Plan
        Its `output` is a `Table` with a row per column: `animals`, `objects`, the means of conditions, the
        difference (or part of the sum of squares) with its interval, what the design could have found,
        p- and q-values over all columns, why there is no test (see
        `kernels.significance.groups.between_animals`), and `<level>_share`, the parts of the sum of squares
        between conditions, animals, cells and objects.
        `<name>-animals` has a row per animal. An animal counts by the mean of the means of its cells.

    Raises
    ------
    ConfigError
        If there are fewer than two conditions, an animal has two, or columns are no measurements.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1, got {level!r}")
    if permutations < 1:
        raise ConfigError(f"permutations must be 1 or more, got {permutations!r}")
    of: dict[str, str] = {}
    for sample in samples:
        if of.setdefault(sample.animal, sample.condition) != sample.condition:
            both = sorted({of[sample.animal], sample.condition})
            raise ConfigError(
                f"animal {sample.animal!r} has the conditions {both}; animals are the units: give each one, "
                "or take the differences within animals"
            )
    if len(set(of.values())) < 2:
        raise ConfigError(f"compare needs two conditions or more, got {sorted(set(of.values()))}")
    if columns is not None:
        check_measured([c for c in columns if c != "form"])
    sources = tuple(as_table(sample.table) for sample in samples)
    params: dict[str, Any] = {
        "animals": [sample.animal for sample in samples],
        "conditions": of,
        "columns": None if columns is None else list(columns),
        "cell": cell,
        "level": level,
        "permutations": permutations,
        "seed": seed,
    }
    artefacts = {f"table{i}": table for i, table in enumerate(sources)}
    needs = task_bytes(sources) * max(1, len(sources))
    found = Map(f"{name}/compared", _compared, ONCE, params=params, artefacts=artefacts, resident=needs)
    stages: list[Map | Fold] = [found]
    about = (("tables", [Path(t.path).stem for t in sources]), *sorted(plain(params).items()))
    products = []
    for end, kind in (("", "comparison"), ("-animals", "comparison animals")):
        table = table_at(work, f"{name}{end}")
        kept = WithUnits(table, sources) if end else table
        provenance = {"operation": "compare", **dict(about)}
        stages.append(
            Fold(f"{name}/table{end}", part, found.name, kept, params={"end": end}, provenance=provenance)
        )
        products.append(Product(kind, f"{name}{end}", table, about))  # type: ignore[arg-type]
    return Plan(tuple(stages), work_folder(work), table_at(work, name), tuple(products))


def _compared(
    block: Block,
    *,
    animals: Sequence[str],
    conditions: dict[str, str],
    columns: Sequence[str] | None,
    cell: str | None,
    level: float,
    permutations: int,
    seed: int,
    **tables: Table,
) -> Result:
    given = [tables[f"table{i}"] for i in range(len(animals))]
    read = [side_by_side([table]) for table in given]
    names = _names(read, columns)
    _check_model(read, names, given)
    values, of, cells, lost = [], [], [], np.zeros(len(conditions), np.int64)
    order = {animal: i for i, animal in enumerate(conditions)}
    for i, (known, animal, table) in enumerate(zip(read, animals, given, strict=True)):
        own = measurements(known, names, table.path)
        inside = np.ones(len(own), np.int64) if cell is None else _inside(known, cell, table.path)
        used = np.isfinite(own).all(1) & (inside > 0) & (known.get("left_out", np.full(len(own), "")) == "")
        lost[order[animal]] += int((~used).sum())
        values.append(own[used])
        of.append(np.full(int(used.sum()), order[animal]))
        # A cell of another sample is another cell, whatever its number.
        cells.append(inside[used] * len(animals) + i)
    value, animal_of = np.concatenate(values), np.concatenate(of)
    counts = np.bincount(animal_of, minlength=len(order))
    empty = [animal for animal, i in order.items() if not counts[i]]
    if empty:
        raise InputError(f"animals {empty} have no object with all of the columns {names}; leave them out")
    kinds = list(dict.fromkeys(conditions.values()))
    condition = np.array([kinds.index(kind) for kind in conditions.values()])
    nested = Nested(animal_of, np.concatenate(cells), condition)
    means = nested.means(value)
    tested = between_animals(means, condition, permutations=permutations, level=level, seed=seed)
    expanded = with_forms(names)
    rows: Columns = {
        "column": np.array(expanded),
        "animals": np.full(len(expanded), len(order)),
        "objects": np.full(len(expanded), len(value)),
        **{f"{kind}_mean": means[condition == k].mean(0) for k, kind in enumerate(kinds)},
        **tested,
        **{f"{what}_share": part for what, part in zip(LEVELS, nested.shares(value), strict=True)},
    }
    number = np.unique(np.stack([animal_of, nested.cell]), axis=1)[0]
    by_animal: Columns = {
        "animal": np.array(list(conditions)),
        "condition": np.array(list(conditions.values())),
        "cells": np.bincount(number, minlength=len(order)),
        "objects": counts,
        "left_out": lost,
        **{f"{column}_mean": means[:, i] for i, column in enumerate(expanded)},
    }
    parts = {"": rows, "-animals": by_animal}
    return Result(record={f"{end}/{k}": v for end, part in parts.items() for k, v in part.items()})


def _names(read: Sequence[Columns], columns: Sequence[str] | None) -> list[str]:
    if columns is not None:
        return list(columns)
    shared = [n for n in read[0] if all(n in known and known[n].dtype.kind in "iuf" for known in read)]
    found = [n for n in shared if not PLACE.fullmatch(n)]
    found += ["form"] if all("form" in known for known in read) else []
    if not found:
        raise InputError("the tables share no column of numbers; name some in 'columns'")
    return found


def _inside(known: Columns, cell: str, path: str) -> Array:
    of = numbers(known, [cell], path)[:, 0]
    return np.where(np.isfinite(of), of, 0).astype(np.int64)


def _check_model(read: Sequence[Columns], names: Sequence[str], given: Sequence[Table]) -> None:
    wanted = [name for name in names if name.startswith(FROM_MODEL)]
    models = {
        str(m): table.path
        for known, table in zip(read, given, strict=True)
        for m in set(known.get("model", ()))
    }
    if wanted and len(models) > 1:
        raise InputError(
            f"columns {wanted} of {' and '.join(list(models.values())[:2])} are of different models and mean "
            "different things; make all populations but one with 'model', the '<name>-model' of that one"
        )
