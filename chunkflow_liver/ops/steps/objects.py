"""Tables with a row per object as inputs: joined by label, checked, and their units handed on."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chunkflow_liver.engine.stage import Records
from chunkflow_liver.errors import ConfigError, InputError, install
from chunkflow_liver.geometry import BlockGrid, Box, zyx
from chunkflow_liver.kernels.populations.forms import FORMS
from chunkflow_liver.store.table import Columns, Table, read_table
from chunkflow_liver.xp import Array

ONCE = BlockGrid(Box.of((1, 1, 1)), (1, 1, 1))
"""The grid of a stage that reads tables only: one task."""
OBJECT_BYTES = 4 << 10
"""Bytes that an object of a table may take while its population is described."""
UNKNOWN_OBJECTS = 100_000
"""Objects of a table that is not there yet."""
PLACE = re.compile(
    r"(.*\.)?(label|id|parent|parent_share|cell|class|touches_border|too_large|bbox_[zyx]_(min|max)"
    r"|(centroid_|major_)?[zyx](_nm)?|tangent_[zyx]|model"
    r"|form_stability|mixture|mixture_share|hdbscan|umap_[12])"
)
"""Columns that say where or whose an object is, or what a search found, not what it is like."""


@dataclass(frozen=True)
class WithUnits:
    """A table whose columns keep the units that they have in other tables."""

    table: Table
    sources: tuple[Table, ...]

    @property
    def path(self) -> str:
        return self.table.path

    def exists(self) -> bool:
        return self.table.exists()

    def write(self, columns: Columns, provenance: Mapping[str, Any] | None = None) -> None:
        known = {
            f.name: f.metadata[b"unit"].decode()
            for source in reversed(self.sources)
            for f in pq.read_schema(source.path)
            if f.metadata and b"unit" in f.metadata
        }
        # Means and the like of a column have its unit.
        units = {
            name: unit
            for name in columns
            if (unit := known.get(name) or known.get(re.sub(r"_(mean|sd)$", "", name)))
        }
        self.table.write(columns, {**(provenance or {}), "units": units})


def as_table(table: Table | str | os.PathLike[str]) -> Table:
    """A handle to a table that may be given by its path."""
    return table if isinstance(table, Table) else Table(str(Path(table).absolute()))


def check_packages(operation: str, *modules: str) -> None:
    """Refuse an operation here whose packages are not installed, not in its task.

    Raises
    ------
    ConfigError
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise ConfigError(f"{operation} needs {module!r}; {install(module)}")


def check_measured(columns: Sequence[str]) -> None:
    """Refuse columns that are no measurements of objects.

    Raises
    ------
    ConfigError
    """
    wrong = [name for name in columns if PLACE.fullmatch(name)]
    if wrong:
        raise ConfigError(
            f"columns {wrong} say where or whose an object is, not what it is like; choose measurements"
        )
    twice = sorted({name for name in columns if list(columns).count(name) > 1})
    if twice:
        raise ConfigError(f"columns {twice} are named twice; name each once")


def task_bytes(tables: Sequence[Table]) -> int:
    """Bytes that a task needs for all objects of some tables."""
    there = [pq.read_metadata(t.path).num_rows if t.exists() else UNKNOWN_OBJECTS for t in tables]
    return OBJECT_BYTES * max(there, default=0) + (256 << 20)


def side_by_side(tables: Sequence[Table]) -> dict[str, Array]:
    """Columns of tables with a row per object, joined by label: the objects are those of the first.

    Parameters
    ----------
    tables : sequence of Table
        With a column `label`; of contacts, the rows of side a.

    Returns
    -------
    dict of str to ndarray of shape (n,)
        Sorted by label; the columns of the first table by their names, those of others with the table's name
        and a point before them. Where another table lacks an object, numbers are NaN and texts ''.

    Raises
    ------
    InputError
        If a table has no labels, or one twice.
    """
    found: dict[str, Array] = {}
    for i, table in enumerate(tables):
        columns = _columns(table)
        label = columns.pop("label")
        if i == 0:
            found = {"label": label, **columns}
            continue
        at = np.minimum(np.searchsorted(label, found["label"]), max(len(label) - 1, 0))
        there = label[at] == found["label"] if len(label) else np.zeros(len(found["label"]), bool)
        for name, values in columns.items():
            found[f"{Path(table.path).stem}.{name}"] = _taken(values, at, there)
    return found


def _columns(table: Table) -> dict[str, Array]:
    read = read_table(table)
    if "label" not in read.column_names:
        raise InputError(f"{table.path} has no column 'label': it is no table with a row per object")
    if "side" in read.column_names:
        read = read.filter(pa.array([side == "a" for side in read.column("side").to_pylist()]))
    read = read.sort_by("label")
    label = read.column("label").to_numpy()
    twice = np.unique(label[:-1][label[1:] == label[:-1]])
    if len(twice):
        raise InputError(
            f"{table.path} has several rows of object {int(twice[0])}; give a table with one row per object"
        )
    return {name: read.column(name).to_numpy(zero_copy_only=False) for name in read.column_names}


def _taken(values: Array, at: Array, there: Array) -> Array:
    if values.dtype.kind not in "biuf":
        return np.where(there, values[at] if len(values) else "", "")
    taken = values[at].astype(np.float64) if len(values) else np.zeros(len(at))
    return np.where(there, taken, np.nan)


def part(records: Records, *, end: str) -> Columns:
    """Of the record of a stage's one task the table whose name ends so: a key is that end, '/', a column."""
    ((_, record),) = records
    return {key.partition("/")[2]: v for key, v in record.items() if key.partition("/")[0] == end}


def numbers(columns: Mapping[str, Array], names: Sequence[str], where: str) -> Array:
    """Some columns as floats, (n, f).

    Raises
    ------
    InputError
        If one is not there, or holds no numbers.
    """
    absent = [name for name in names if name not in columns]
    if absent:
        raise InputError(f"{where} has no columns {absent}; there are {sorted(columns)}")
    texts = [name for name in names if columns[name].dtype.kind not in "biuf"]
    if texts:
        raise InputError(f"columns {texts} of {where} hold no numbers; choose measurements")
    return np.stack([columns[name].astype(np.float64) for name in names], 1)


def with_forms(names: Sequence[str]) -> list[str]:
    """Columns of numbers: `form`, the class in a population, as a fraction of each form."""
    forms = [f"{form.removesuffix('-like')}_fraction" for form in FORMS]
    return [column for name in names for column in (forms if name == "form" else [name])]


def measurements(columns: Mapping[str, Array], names: Sequence[str], where: str) -> Array:
    """The columns that `with_forms` makes of names, as floats (n, f): 1 or 0 for each form, NaN without one.

    Raises
    ------
    InputError
        If one is not there, or holds no numbers.
    """
    found = dict(columns)
    if "form" in names:
        if "form" not in columns:
            raise InputError(f"{where} has no column 'form'; give the table of a population")
        for form, name in zip(FORMS, with_forms(["form"]), strict=True):
            found[name] = np.where(columns["form"] == "", np.nan, columns["form"] == form)
    return numbers(found, with_forms(names), where)


def bounding_boxes(table: Table | str | os.PathLike[str], ids: Sequence[int] | None) -> dict[int, Box]:
    """Bounding box of each instance that is asked for, in that order; of all without ids.

    Raises
    ------
    InputError
        If the table lacks an instance, or the columns of bounding boxes.
    """
    found = read_table(table)
    sides = [f"bbox_{a}_{end}" for end in ("min", "max") for a in "zyx"]
    missing = [c for c in ("label", *sides) if c not in found.column_names]
    if missing:
        raise InputError(f"the table has no columns {missing}: measure with the features 'basic'")
    label = found["label"].to_numpy()
    ids = label.tolist() if ids is None else ids
    wanted = np.array([i for i in ids if 0 < i < 2**64], np.uint64)
    rows = {int(label[i]): i for i in np.flatnonzero(np.isin(label, wanted)).tolist()}
    unknown = [i for i in ids if int(i) not in rows]
    if unknown:
        raise InputError(f"the table has no instances {unknown[:10]}")
    at = found.select(sides).take([rows[int(i)] for i in ids]).to_pydict()
    corners = np.array([at[c] for c in sides]).T.tolist()
    return {int(i): Box(zyx(c[:3]), zyx(c[3:])) for i, c in zip(ids, corners, strict=True)}
