"""A work folder of another release is refused with that reason, and done again where that is asked for."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from payload import calls, forget_plan, go, plan_of, sums

from chunkflow_liver.engine import plan as planning
from chunkflow_liver.errors import JournalError
from chunkflow_liver.store.table import read_table

BLOCKS = 3 * 3 * 4


def of_an_operation(plan):
    """The plan as `cf.add` would have made it."""
    return replace(plan, stages=tuple(replace(stage, operation="add") for stage in plan.stages))


@pytest.fixture
def begun_by_010(store, tmp_path, monkeypatch):
    """A folder of release 0.1.0: functions lay in other modules, operations were not noted."""
    monkeypatch.setattr(planning, "_release", lambda: "0.1.0")
    go(of_an_operation(plan_of(store, tmp_path / "w", by=3)))
    known = tmp_path / "w" / "run.json"
    entries = json.loads(known.read_text())
    for entry in entries["stages"].values():
        assert entry["description"]["version"] == "0.1.0"
        entry["description"]["function"] = "chunkflow_liver.kernels.earlier.add"
        del entry["operation"]
    known.write_text(json.dumps(entries))
    forget_plan(tmp_path / "w")
    monkeypatch.setattr(planning, "_release", lambda: "0.2.0")
    return tmp_path / "w"


def test_a_folder_of_another_release_is_refused_with_the_reason_version(store, begun_by_010):
    says = r"has version = '0\.1\.0' there and '0\.2\.0' in this plan; run in a new work folder, or .*--redo"
    with pytest.raises(JournalError, match=says):
        go(of_an_operation(plan_of(store, begun_by_010)))


def test_a_folder_of_another_release_is_done_again_where_asked(store, begun_by_010, count):
    go(of_an_operation(plan_of(store, begun_by_010)), redo=True)
    assert len(calls(count)) == 2 * BLOCKS
    assert read_table(begun_by_010 / "out.parquet")["sum"].to_pylist() == sums(store)
    go(of_an_operation(plan_of(store, begun_by_010)))
    assert len(calls(count)) == 2 * BLOCKS


def test_the_release_is_that_of_the_package():
    from importlib.metadata import version

    assert planning._release() == version("chunkflow-liver")
