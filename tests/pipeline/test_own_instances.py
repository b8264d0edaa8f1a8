"""Instances and cells of another program in a run file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from run_files import SHAPE, planned
from strategies import components, done, write

import chunkflow_liver as cf


@pytest.fixture
def own(tmp_path, array):
    """Instances and cells of another program, and a run file without an image and without classes."""
    ids = components(array, 26, [2]).astype(np.uint64) * 17 + np.where(array == 2, 2**40, 0).astype(np.uint64)
    cells = np.indices(SHAPE, np.uint16)[1] // 6 * 10 + 10
    write(tmp_path, ids, "found", kind="label")
    write(tmp_path, cells.astype(np.uint16), "walls", kind="label")
    return {
        "work": "work",
        "block": [5, 7, 3],
        "existing": [
            {"name": "mitos", "path": "found.ome.zarr"},
            {"name": "cells", "path": "walls.ome.zarr"},
        ],
        "measure": [{"name": "t", "instances": "mitos", "parents": "cells", "features": ["basic", "shape"]}],
        "contacts": [{"name": "c", "instances": "mitos", "other": "cells", "gap_nm": 10}],
        "narrowing": [{"name": "n", "instances": "mitos", "parents": "cells"}],
    }


def test_own_instances_in_own_cells_need_no_image(own, tmp_path):
    """Their tables are those of the operations, and the report shows them under their names."""
    done(planned(tmp_path, own))
    mitos, cells = (cf.open_volume(tmp_path / f"{name}.ome.zarr") for name in ("found", "walls"))
    at = {"work": tmp_path / "alone"}
    plans = [
        cf.measure(mitos, parents=cells, features=["basic", "shape"], name="t", **at),
        cf.contacts(mitos, cells, gap_nm=10, name="c", **at),
        cf.narrowing(mitos, parents=cells, name="n", **at),
    ]
    for plan in plans:
        done(plan)
    tables = sorted((tmp_path / "alone/tables").glob("*.parquet"))
    assert len(tables) > 4
    for path in tables:
        alone, found = cf.read_table(path), cf.read_table(tmp_path / "work/tables" / path.name)
        assert repr(found.to_pydict()) == repr(alone.to_pydict()), path.name  # NaN for NaN
    found = cf.read_table(tmp_path / "work/tables/t.parquet").to_pydict()
    assert min(found["label"]) > 2**40
    assert set(found["parent"]) <= {10, 20}
    assert "intensity_mean" not in found
    page = cf.report(tmp_path / "work").read_text()
    assert "mitos" in page
    assert "found" not in {p["name"] for p in json.loads((tmp_path / "work/products.json").read_text())}


def test_own_instances_are_refined_and_compared(own, tmp_path):
    own |= {"refine": [{"name": "large", "instances": "mitos", "min_volume_um3": 1e-5}], "narrowing": []}
    own["measure"][0]["instances"] = "large"
    own["evaluate"] = [{"name": "e", "found": "large", "truth": "found.ome.zarr", "iou": 0.5}]
    done(planned(tmp_path, own))
    tables = {p.stem: cf.read_table(p).to_pydict() for p in (tmp_path / "work/tables").glob("*.parquet")}
    assert tables["e"]["precision"] == [1.0]
    assert min(tables["large-ids"]["label"]) > 2**40
    assert len(tables["t"]["label"]) == tables["e"]["found"][0] > 0


def test_labels_without_a_mark_are_taken_where_the_entry_says_so(own, project, array, tmp_path):
    """Ids of 32 bits are no grey values; numbers that are given to classes state that there are some."""
    write(tmp_path, array, "unmarked")
    write(tmp_path, array.astype(np.uint32), "ids")
    own["existing"] = [
        {"name": "mitos", "path": "unmarked.ome.zarr", "labels": True},
        {"name": "cells", "path": "ids.ome.zarr"},
    ]
    project |= {"evaluate": []}
    numbers = {"er": 1, "mitochondrion": 2}
    found = [
        planned(tmp_path, own),
        planned(tmp_path, project | {"semantic": {"path": "unmarked.ome.zarr", "classes": numbers}}),
        planned(tmp_path, own | {"semantic": {"path": "unmarked.ome.zarr", "labels": True}}),
    ]
    kinds = [p.handle.kind for plan in found for p in plan.products if p.kind in ("instances", "semantic")]
    assert len(kinds) > 5
    assert set(kinds) == {"label"}
