"""Tables as spreadsheets (.xlsx), row by row."""

from __future__ import annotations

import importlib
import math
import os
from pathlib import Path
from typing import Any

from chunkflow_liver.errors import ConfigError, OutputError
from chunkflow_liver.store.exports.images import finished, free
from chunkflow_liver.store.table import Table, read_table

PathLike = str | os.PathLike[str]

MOST_ROWS, MOST_COLUMNS = 1_048_576, 16_384
"""What a sheet holds."""
EXACT = 1 << 53
"""Whole numbers from here on are texts: spreadsheets know only doubles."""


def write_xlsx(table: Table | PathLike, to: PathLike) -> Path:
    """Write a table as a spreadsheet and return its path.

    Parameters
    ----------
    table : Table or path
    to : path
        File to make; ends in .xlsx.

    Raises
    ------
    InputError
        If the table is missing.
    OutputError
        If `to` exists, or the table has more rows or columns than a sheet holds.
    ConfigError
        If openpyxl is not installed.

    Notes
    -----
    The sheet `table` has names in its first row, which stays in sight; the sheet `columns` has the unit of
    each. Missing values are empty cells, infinite ones the texts inf and -inf, and ids beyond 2^53 texts.
    """
    found = read_table(table)
    if found.num_rows >= MOST_ROWS or found.num_columns > MOST_COLUMNS:
        raise OutputError(
            f"{to} cannot hold {found.num_rows} rows of {found.num_columns} columns: a sheet ends at "
            f"{MOST_ROWS - 1} rows below its heads and {MOST_COLUMNS} columns; export .csv, or a "
            "part of the table"
        )
    try:
        openpyxl: Any = importlib.import_module("openpyxl")
    except ImportError as err:
        raise ConfigError("writing .xlsx needs 'openpyxl'; pip install 'chunkflow-liver[tables]'") from err
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("table")
    sheet.freeze_panes = "A2"
    sheet.append(found.column_names)
    for batch in found.to_batches(max_chunksize=4096):
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            sheet.append([_cell(value) for value in row])
    units = book.create_sheet("columns")
    units.append(["column", "unit"])
    for field in found.schema:
        units.append([field.name, (field.metadata or {}).get(b"unit", b"").decode()])
    with finished(free(Path(to))) as partial:
        book.save(partial)
    return Path(to)


def _cell(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= EXACT:
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
