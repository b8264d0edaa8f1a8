"""A spreadsheet holds the table: names, numbers, units; ids beyond doubles as texts."""

from __future__ import annotations

import numpy as np
import pytest

from chunkflow_liver.errors import ConfigError, InputError, OutputError
from chunkflow_liver.ops.convert import export
from chunkflow_liver.store.exports import sheets
from chunkflow_liver.store.table import Table


def table(folder):
    made = Table(str(folder / "t.parquet"))
    made.write(
        {
            "label": np.array([1, 2**60 + 1], np.uint64),
            "volume_um3": np.array([0.5, np.nan]),
            "gap_nm": np.array([np.inf, -np.inf]),
            "cut": np.array([True, False]),
            "class": np.array(["a", "b"], object),
        }
    )
    return made


def test_a_sheet_reads_as_the_table(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.load_workbook(export(table(tmp_path), tmp_path / "t.xlsx"))
    rows = list(book["table"].values)
    assert rows == [
        ("label", "volume_um3", "gap_nm", "cut", "class"),
        (1, 0.5, "inf", True, "a"),
        (str(2**60 + 1), None, "-inf", False, "b"),
    ]
    assert ("volume_um3", "micrometer^3") in list(book["columns"].values)


FORMULAS = ['=HYPERLINK("http://x","er")', "+1", "-1", "@SUM(A1)", "#N/A", "er"]


def test_no_text_of_a_sheet_is_a_formula(tmp_path):
    """The type of a cell is what a spreadsheet goes by; a quote prefix keeps it a text where it is edited."""
    openpyxl = pytest.importorskip("openpyxl")
    made = Table(str(tmp_path / "t.parquet"))
    made.write({"label": np.arange(1, 7, dtype=np.uint64), "class": np.array(FORMULAS), "=1+1": np.zeros(6)})
    book = openpyxl.load_workbook(export(made, tmp_path / "t.xlsx"))
    cells = [row[1] for row in book["table"].iter_rows(min_row=2)]
    assert [(c.value, c.data_type) for c in cells] == [(text, "s") for text in FORMULAS]
    assert [c.quotePrefix for c in cells] == [True] * 5 + [False]
    for sheet, where in (("table", "C1"), ("columns", "A4")):
        assert (book[sheet][where].value, book[sheet][where].data_type) == ("=1+1", "s")


def test_what_a_sheet_cannot_hold_is_refused(tmp_path, monkeypatch):
    made = table(tmp_path)
    monkeypatch.setattr(sheets, "MOST_ROWS", 2)
    with pytest.raises(OutputError, match=r"cannot hold 2 rows of 5 columns: .* export \.csv"):
        sheets.write_xlsx(made, tmp_path / "t.xlsx")
    with pytest.raises(InputError):
        sheets.write_xlsx(tmp_path / "none.parquet", tmp_path / "t.xlsx")


def test_without_openpyxl_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(ConfigError, match=r"needs 'openpyxl'; pip install 'chunkflow-liver\[tables\]'"):
        sheets.write_xlsx(table(tmp_path), tmp_path / "t.xlsx")
