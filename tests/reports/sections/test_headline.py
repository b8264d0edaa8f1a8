"""The headline says count, size of whole objects and nearness first; medians say of which objects."""

from __future__ import annotations

import numpy as np
from report_pages import Page
from strategies import done, write

import chunkflow_liver as cf


def run(folder):
    """Three whole objects of 8, 16 and 24 voxels near the ER, and a large one that is cut."""
    classes = np.zeros((6, 20, 40), np.uint8)
    for i, (y, size) in enumerate(((2, 1), (7, 2), (12, 3))):
        classes[2:4, y : y + 2, 10 : 10 + 2 * size] = 2
        classes[3, y, 10 + 2 * size + 1 + i] = 1
    classes[1:5, 16:20, 25:40] = 2
    volume = write(folder, classes, classes=[("er", 1), ("mitochondrion", 2)])
    at = {"work": folder / "work"}
    mitos = cf.label(volume, classes=["mitochondrion"], name="mitos", **at)
    table = cf.measure(mitos.output, name="table", **at)
    near = cf.contacts(mitos.output, volume, to="er", gap_nm=40, name="mito-er", **at)
    plan = mitos + table + near
    done(plan)
    return plan


def test_count_size_and_nearness_come_first(tmp_path):
    plan = run(tmp_path)
    text = Page(cf.report(plan)).text
    lead = text[text.index("4 mitochondria in") :]
    volume = 16 * 4 * 8 * 16 / 1e9
    assert f"median volume of the 3 whole ones {volume:.2e}"[:37] in lead
    assert "Half of the 3 whole mitochondria come within 32" in lead
    assert lead.index("whole ones") < lead.index("Half of the 3 whole")
    assert "the median is that of the whole objects" in text
    found = cf.read_table(tmp_path / "work" / "tables" / "mito-er-objects.parquet").to_pydict()
    assert sorted(n for n, s in zip(found["nearest_nm"], found["side"], strict=True) if s == "a")[:3] == [
        16,
        32,
        32,
    ]
