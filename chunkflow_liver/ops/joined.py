"""One row per object: what the tables of a run say of it, side by side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from chunkflow_liver.errors import InputError
from chunkflow_liver.ops.steps.place import PathLike, work_folder
from chunkflow_liver.store.table import Table, read_table

OF = {
    "instance table": "instances",
    "contact objects": "a",
    "profile": "a",
    "narrowing objects": "instances",
    "zonation": "instances",
    "domains": "instances",
    "duct cells": "instances",
}
"""Kinds of table with a row per object, and what says whose objects they are."""


def joined(work: PathLike, instances: str | None = None) -> pa.Table:
    """All measurements of a set of instances in one table, a row per object.

    Parameters
    ----------
    work : path
        Folder of a run.
    instances : str, optional
        Name of the instances; needed where the run measured several.

    Returns
    -------
    pyarrow.Table
        Sorted by label: the columns of the first instance table as they are, then those of the other tables
        with the table's name before them (`mito-er-objects.contact_um2`). An object that a table does not
        have is missing there.

    Raises
    ------
    InputError
        If the folder holds no run, no table of objects, or those of several instances.
    """
    path = work_folder(work) / "products.json"
    if not path.exists():
        raise InputError(f"{work_folder(work)} is no work folder: it has no products.json; give one of a run")
    found: dict[str, list[tuple[str, pa.Table]]] = {}
    for kind, key in OF.items():
        for entry in json.loads(path.read_text()):
            place = work_folder(work) / "tables" / f"{entry['name']}.parquet"
            of = entry["about"].get(key)
            if entry["kind"] == kind and of is not None and place.exists():
                found.setdefault(str(of), []).append((entry["name"], _own(read_table(Table(str(place))))))
    if not found:
        raise InputError(
            f"{work_folder(work)} has no table of objects yet: run measure, contacts or profiles"
        )
    if instances is None and len(found) > 1:
        raise InputError(
            f"{work_folder(work)} has tables of {sorted(found)}; say of which instances you want them joined"
        )
    name = instances or next(iter(found))
    if name not in found:
        raise InputError(f"no table of {work_folder(work)} is of {name!r}; there are {sorted(found)}")
    return _side_by_side(found[name])


def write_joined(work: PathLike, to: Table, instances: str | None = None) -> Table:
    """The same as a Parquet table."""
    Path(to.path).parent.mkdir(parents=True, exist_ok=True)
    made = joined(work, instances)
    units = {f.name: (f.metadata or {}).get(b"unit", b"").decode() for f in made.schema}
    # As they are: NumPy has no whole numbers with some missing, and would round ids to doubles.
    columns = {n: made.column(n) for n in made.column_names}
    to.write(columns, {"operation": "joined", "units": {n: u for n, u in units.items() if u}})
    return to


def _own(table: pa.Table) -> pa.Table:
    """The rows of the objects themselves: of contacts those of side a."""
    if "side" in table.column_names:
        keep = [value == "a" for value in table.column("side").to_pylist()]
        table = table.filter(pa.array(keep)).drop_columns(["side"])
    return table


def _side_by_side(tables: list[tuple[str, pa.Table]]) -> pa.Table:
    labels = np.unique(np.concatenate([t.column("label").to_numpy() for _, t in tables]))
    arrays: list[pa.ChunkedArray] = [pa.chunked_array([pa.array(labels)])]
    fields = [tables[0][1].schema.field("label")]
    for i, (name, table) in enumerate(tables):
        order = np.argsort(table.column("label").to_numpy(), kind="stable")
        own = table.column("label").to_numpy()[order]
        at = np.searchsorted(own, labels)
        there = (at < len(own)) & (np.append(own, 0)[np.minimum(at, len(own))] == labels)
        rows = pa.array(np.append(order, 0)[np.minimum(at, len(own))], mask=~there)
        for field in table.schema:
            if field.name == "label":
                continue
            arrays.append(table.column(field.name).take(rows))
            # The first table of measurements keeps its names.
            fields.append(field if i == 0 else field.with_name(f"{name}.{field.name}"))
    return pa.table(arrays, schema=pa.schema([f.with_nullable(True) for f in fields]))
