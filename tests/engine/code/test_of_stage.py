"""The code that a stage runs is part of what a run is resumed by, and the same on every worker."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster
from payload import add, calls, forget_plan, go, plan_of, sums

import chunkflow_liver
from chunkflow_liver.engine import tasks
from chunkflow_liver.engine.code import modules, reach
from chunkflow_liver.engine.code.of_stage import check_code, code_of, code_text
from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.engine.run import run
from chunkflow_liver.engine.stage import Map, Result
from chunkflow_liver.errors import ClusterError, JournalError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.ops.distance import distance
from chunkflow_liver.ops.label import label
from chunkflow_liver.segmenters.any_torch.entry_point import EntryPoint
from chunkflow_liver.store.create import write_volume
from chunkflow_liver.store.table import read_table

BLOCKS = 3 * 3 * 4


@pytest.fixture
def edited(monkeypatch):
    """Change the text of a module as if another process had been started after an edit."""
    texts: dict[str, tuple[str, str]] = {}
    was = modules.Source.statements.func

    def statements(self):
        if self.name not in texts:
            return was(self)
        old, new = texts[self.name]
        text = self.spec.loader.get_source(self.spec.name)
        assert old in text
        return modules.read(text.replace(old, new))

    def edit(module: str, old: str, new: str) -> None:
        texts[module] = (old, new)
        reach._KNOWN.clear()
        reach._SOURCES.clear()

    cached = cached_property(statements)
    cached.__set_name__(modules.Source, "statements")
    monkeypatch.setattr(modules.Source, "statements", cached)
    yield edit
    reach._KNOWN.clear()
    reach._SOURCES.clear()


def test_changed_code_is_refused_by_name_and_done_again_where_asked(store, tmp_path, count, edited):
    both = plan_of(store, tmp_path / "w") + plan_of(store, tmp_path / "w", name="other")
    go(both)
    edited("payload", "* scale for", "* scale * 10 for")
    with pytest.raises(
        JournalError, match=r"stage 'out/total' has other code .* changed is what it runs of payload; "
    ):
        go(both)
    go(both, redo=True)
    # The maps do not run what was changed.
    assert len(calls(count)) == BLOCKS
    edited("payload", "values + np.uint16(by)", "values + np.uint16(by) * 10")
    with pytest.raises(JournalError, match="stage 'out/add' has other code"):
        go(both)
    go(both, redo=True)
    assert len(calls(count)) == 2 * BLOCKS
    assert read_table(tmp_path / "w/out.parquet")["sum"].to_pylist() == sums(store)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("payload", '"""`raw` + `by`;', '"""The sum;'),
        ("payload", "def pieces(block", "def pieces(blocks"),
        ("chunkflow_liver.kernels.contacts.areas", "def surface_areas(", "def surface_areas(ten_times, "),
        ("chunkflow_liver.engine.plan", "class Plan", "class Plans"),
    ],
)
def test_what_a_stage_does_not_run_may_change(store, tmp_path, edited, module, old, new):
    plan = plan_of(store, tmp_path / "w")
    go(plan)
    edited(module, old, new)
    go(plan)


def test_a_folder_whose_code_nobody_noted_is_refused(store, tmp_path):
    go(plan_of(store, tmp_path / "w"))
    file = tmp_path / "w/run.json"
    entries = json.loads(file.read_text())
    for entry in entries["stages"].values():
        del entry["description"]["code"]
        entry["fingerprint"] = "of an earlier state"
    file.write_text(json.dumps(entries))
    forget_plan(tmp_path / "w")
    with pytest.raises(
        JournalError, match="has no note of its code there, as nobody took one then; run in a new"
    ):
        go(plan_of(store, tmp_path / "w"))


@pytest.fixture
def labels(tmp_path):
    array = np.zeros((8, 8, 8), np.uint8)
    array[2:4, 2:4, 2:4] = 1
    at = {"voxel_nm": (8, 8, 8), "kind": "label", "classes": (("a", 1),)}
    return write_volume(tmp_path / "labels.ome.zarr", array, **at)


def test_stages_depend_on_their_kernels_and_not_on_those_of_others(labels, tmp_path, edited):
    plan = label(labels, classes=["a"], name="a", work=tmp_path / "w") + distance(
        labels, to="a", cap_nm=16, name="d", work=tmp_path / "w"
    )
    before = {stage.name: code_of(stage) for stage in plan.stages}
    kernel = "chunkflow_liver.kernels.distance.transform"
    edited(kernel, "def distance_nm(", "def distance_nm(ten_times: bool, ")
    after = {stage.name: code_of(stage) for stage in plan.stages}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"d/distance"}
    assert [m for m in after["d/distance"] if after["d/distance"][m] != before["d/distance"][m]] == [kernel]
    # What only plans, prints or hands out is nobody's code.
    for stage in plan.stages:
        assert not [
            m for m in code_of(stage) if m.startswith(("chunkflow_liver.cli", "chunkflow_liver.reports"))
        ]
        assert "chunkflow_liver.engine.run" not in code_of(stage)


def test_a_network_counts_with_what_its_code_imports_from_its_folder(tmp_path):
    (tmp_path / "net_of_tests.py").write_text(
        "import layers_of_tests\n\n\ndef make():\n    return layers_of_tests.block()\n"
    )
    layers = tmp_path / "layers_of_tests.py"
    layers.write_text("def block():\n    return 1\n")
    entry = EntryPoint("net_of_tests", "make", tmp_path / "net_of_tests.py", False, {})
    grid = BlockGrid(Box.of((1, 1, 1)), (1, 1, 1))
    stage = Map("n", add, grid, params={"network": entry})
    before = code_of(stage)
    assert {"net_of_tests", "layers_of_tests"} <= set(before)
    layers.write_text("def block():\n    return 12\n")
    after = code_of(stage)
    assert [m for m in after if after[m] != before[m]] == ["layers_of_tests"]


def test_a_worker_that_has_other_code_is_refused(store, tmp_path, monkeypatch):
    stage = plan_of(store, tmp_path / "w").maps[0]
    check_code([stage], {stage.name: code_text(stage)})
    other = json.loads(code_text(stage)) | {"payload": "0" * 16}
    with pytest.raises(
        ClusterError, match=r"a worker has other code than the process .* in payload; give both"
    ):
        check_code([stage], {stage.name: json.dumps(other, sort_keys=True)})
    monkeypatch.setattr(tasks, "code_text", lambda stage: json.dumps(other, sort_keys=True))
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address=None) as here,
        Client(here, set_as_default=False) as client,
        pytest.raises(ClusterError, match="a worker has other code"),
    ):
        run(plan_of(store, tmp_path / "w"), client, progress=False)
    assert not calls(tmp_path / "w-out-calls")


def test_a_function_of_a_script_counts_and_travels_to_workers(tmp_path):
    """As `python script.py`: the function is of '__main__', which no worker can read."""
    text = (
        "import sys, json\n"
        "from chunkflow_liver.engine.code.of_stage import code_of\n"
        "from chunkflow_liver.engine.stage import Map, Result\n"
        "from chunkflow_liver.geometry import BlockGrid, Box\n"
        "MANY = 1\n\n\n"
        "def run(block):\n    return Result(record={'n': MANY})\n\n\n"
        "stage = Map('a/b', run, BlockGrid(Box.of((1, 1, 1)), (1, 1, 1)))\n"
        "print(json.dumps([code_of(stage), code_of(stage, elsewhere=True)]))\n"
    )
    found = []
    for many in ("1", "2"):
        (tmp_path / "script.py").write_text(text.replace("MANY = 1", f"MANY = {many}"))
        said = subprocess.run([sys.executable, str(tmp_path / "script.py")], capture_output=True, check=True)
        found.append(json.loads(said.stdout))
    (one, there), (two, same) = found
    assert one["__main__"] != two["__main__"]
    assert there == same
    assert "__main__" not in there


def test_an_installed_copy_has_the_digests_of_this_one(tmp_path, labels):
    """A copy elsewhere, as a wheel lays it out, and one in a zip archive."""
    here = Path(chunkflow_liver.__file__).parent
    shutil.copytree(here, tmp_path / "site/chunkflow_liver", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.make_archive(str(tmp_path / "zipped"), "zip", tmp_path / "site")
    text = (
        "import json, sys\n"
        "import chunkflow_liver as cf\n"
        "from chunkflow_liver.engine.code.of_stage import code_of\n"
        f"labels = cf.open_volume({labels.url!r})\n"
        "plan = cf.distance(labels, to='a', cap_nm=16, name='d', work='w')\n"
        "print(json.dumps([cf.__file__, code_of(plan.stages[0])]))\n"
    )
    plan = distance(labels, to="a", cap_nm=16, name="d", work=tmp_path / "w")
    for place in ("site", "zipped.zip"):
        command = f"import sys; sys.path.insert(0, {str(tmp_path / place)!r})\n{text}"
        said = subprocess.run([sys.executable, "-B", "-c", command], capture_output=True, check=True)
        file, found = json.loads(said.stdout)
        assert file.startswith(str(tmp_path / place))
        assert found == code_of(plan.stages[0])


def nothing(block):
    return Result()


def test_to_look_at_code_costs_almost_nothing(tmp_path):
    """Of a plan of 20 stages of 1e6 blocks each, whose modules were read before."""
    grid = BlockGrid(Box.of((1_000_000, 1, 1)), (1, 1, 1))
    plan = Plan(tuple(Map(f"s{i}/a", nothing, grid) for i in range(20)), tmp_path, None)
    list(plan.descriptions())
    start = time.process_time()
    list(plan.descriptions())
    assert time.process_time() - start < 0.2
