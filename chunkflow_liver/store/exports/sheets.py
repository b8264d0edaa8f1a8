"""Tables as spreadsheets (.xlsx), row by row."""

from __future__ import annotations

import importlib
import math
import os
from pathlib import Path
from typing import Any, cast

from chunkflow_liver.errors import ConfigError, OutputError
from chunkflow_liver.store.exports.images import finished, free
from chunkflow_liver.store.table import FORMULA, Table, read_table

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
    each. Missing values are empty cells, infinite ones the texts inf and -inf, and ids beyond 2^53 texts. A
    text that begins with =, +, - or @ is a text, no formula.
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
    sheet.append([_cell(sheet, name) for name in found.column_names])
    for batch in found.to_batches(max_chunksize=4096):
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            sheet.append([_cell(sheet, value) for value in row])
    units = book.create_sheet("columns")
    units.append(["column", "unit"])
    for field in found.schema:
        unit = (field.metadata or {}).get(b"unit", b"").decode()
        units.append([_cell(units, text) for text in (field.name, unit)])
    with finished(free(Path(to))) as partial:
        book.save(partial)
    return Path(to)


def _cell(sheet: Any, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, int) and abs(value) < EXACT:
        return value
    text = str(value)
    if not text.startswith((*FORMULA, "#")):
        return text
    cell = cast(Any, importlib.import_module("openpyxl.cell")).WriteOnlyCell(sheet, text)
    # openpyxl makes a formula of a text that begins with =, and an error of '#N/A'.
    cell.data_type = "s"
    # What an apostrophe before it does: it stays a text where somebody edits it.
    cell.quotePrefix = True
    return cell
