"""A plan tells how long it takes, by what is known, and how sure that is."""

from __future__ import annotations

import re

import pytest
import yaml
from payload import go, plan_of
from strategies import command, semantic, write

from chunkflow_liver.engine.watch.estimate import duration, estimate_text
from chunkflow_liver.errors import RunIncompleteError


def test_the_time_is_that_of_the_blocks_of_this_run_or_of_one_beside_it(store, tmp_path):
    plan = plan_of(store, tmp_path / "w", seconds=0.05)
    assert estimate_text(plan).startswith("time: not known, no run in this folder or beside it")
    # A third of the blocks is done: 24 of 36 are left, each of 0.05 s, most of them small.
    failing = [(tmp_path / f"w-out-calls.fail-{n}") for n in range(12, 36)]
    for path in failing:
        path.touch()
    with pytest.raises(RunIncompleteError):
        go(plan, retries=0)
    says = r"time: about (\d+) s for one worker \((\d+) s to (\d+) s\), by blocks of this run"
    found = re.fullmatch(says, estimate_text(plan))
    assert found
    low, high = int(found[2]), int(found[3])
    assert low <= int(found[1]) <= high
    for path in failing:
        path.unlink()
    go(plan)
    assert estimate_text(plan) == "time: nothing is left to do"
    alike = plan_of(store, tmp_path / "v", seconds=0.05)
    assert re.fullmatch(r"time: about \d+ s for one worker \(\d+ s to \d+ s\), by w", estimate_text(alike))
    other = plan_of(store, tmp_path / "v", by=3)
    both = estimate_text(alike + plan_of(store, tmp_path / "v", name="more")), estimate_text(other)
    assert all(text.endswith("by w") for text in both)


def test_durations_read_like_a_person_says_them():
    assert [duration(s) for s in (0.2, 59, 100, 4000, 40_000, 400_000)] == [
        "1 s", "59 s", "1.7 min", "67 min", "11 h", "4.6 days",
    ]  # fmt: skip


def test_a_probe_tries_the_run_on_a_part_and_leaves_nothing(tmp_path, listing):
    write(tmp_path, semantic((40, 70, 70), 3))
    content = {
        "work": "work",
        "block": [16, 32, 32],
        "semantic": {"path": "semantic.ome.zarr"},
        "label": [{"name": "all", "classes": ["er"]}],
        "measure": [{"name": "t", "instances": "all"}],
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    before = listing()
    code, said, _ = command("plan", tmp_path / "run.yaml", "--probe", "--workers", "4")
    assert code == 0
    assert re.search(r"time: about [\d.]+ \w+ for 4 workers \(.* to .*\), by a probe$", said.strip())
    assert listing() == before
