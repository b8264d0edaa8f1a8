"""What is done of a stage: as a dict would know it, in a few bytes per block."""

from __future__ import annotations

import json

import heaps
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_liver.engine.journal import Journal, read_rows
from chunkflow_liver.engine.watch.done import Blocks, Done, batch, rows_of, seconds_of

NUMBERS = st.integers(0, 40)
RUNS = st.lists(st.tuples(NUMBERS, st.integers(1, 9)).map(lambda r: (r[0], r[0] + r[1])), max_size=3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), RUNS, st.sampled_from(["", "0.npz", "7.npz"])),
        st.tuples(st.just("forget"), st.lists(NUMBERS, max_size=5), st.just("")),
    ),
    max_size=12,
)


@given(STEPS)
def test_blocks_are_known_as_a_dict_would_know_them(steps):
    found, model = Blocks(), {}
    for what, values, file in steps:
        if what == "set":
            found.set(values, file)
            model |= {block: file for first, end in values for block in range(first, end)}
        else:
            assert found.forget(values) == len(set(values) & set(model))
            model = {block: name for block, name in model.items() if block not in values}
        assert len(found) == len(model)
        assert dict(found) == dict(sorted(model.items()))
        assert list(found) == sorted(model)
    assert [block in found for block in range(-2, 60)] == [block in model for block in range(-2, 60)]
    for total in (0, 7, 60):
        assert found.mask(total).tolist() == [block in model for block in range(total)]


def row(block: int, seconds: float = 0.5, read: int = 100) -> dict[str, float]:
    return {
        "block": block,
        "seconds": seconds,
        "cpu": seconds / 2,
        "read": read,
        "written": 7,
        "peak_mib": 99.5,
    }


@given(
    st.lists(
        st.tuples(NUMBERS, st.sampled_from([0.25, 0.5]), st.integers(0, 2)),
        min_size=1,
        unique_by=lambda r: r[0],
    )
)
def test_a_line_says_of_every_block_what_its_row_said(values):
    rows = [row(*each) for each in values]
    entry = json.loads(json.dumps(batch("a", "0.npz", rows)))
    assert list(rows_of(entry)) == rows
    assert seconds_of(entry) == sum(r["seconds"] for r in rows)
    done = Done()
    done.apply(entry)
    assert dict(done.records) == {r["block"]: "0.npz" for r in sorted(rows, key=lambda r: r["block"])}
    assert done.seconds == sum(r["seconds"] for r in rows)


def test_sums_of_blocks_are_those_of_their_last_line():
    """Also where that says nothing of them: what lay there before says nothing of what lies there now."""
    done = Done()
    rows = [row(block) | {"sum": 2**64 - 1 - block} for block in range(6)]
    done.apply(json.loads(json.dumps(batch("a", "", rows))))
    done.apply({"stage": "a", "forget": [2, 3]})
    done.apply(batch("a", "", [row(2), row(3) | {"sum": 7}, row(9)]))
    done.apply(batch("a", "", [row(4)]))
    assert [done.sums.get(b) for b in (0, 1, 2, 3, 4, 5, 9, 99)] == [
        2**64 - 1,
        2**64 - 2,
        0,
        7,
        0,
        2**64 - 6,
        0,
        0,
    ]
    done.apply({"stage": "a", "finished": True, "ended_ns": 5})
    assert done.ended_ns == 5


def test_lines_as_they_were_before_there_were_columns_are_read():
    entry = {"stage": "a", "record": "3.npz", "rows": [row(3), row(5, 1.5)]}
    assert list(rows_of(entry)) == entry["rows"]
    assert list(rows_of({"stage": "a", "finished": True})) == []
    done = Done(set_aside={5: "it ends workers", 6: "this one too"})
    done.apply(entry)
    assert (dict(done.records), done.seconds) == ({3: "3.npz", 5: "3.npz"}, 2.0)
    assert done.set_aside == {6: "this one too"}


def test_what_forgotten_blocks_took_is_taken_as_the_mean():
    done = Done()
    done.apply(batch("a", "", [row(block, 0.5) for block in range(8)]))
    done.apply({"stage": "a", "finished": True})
    done.apply({"stage": "a", "forget": [1, 2, 99]})
    assert (len(done.records), done.seconds, done.finished) == (6, pytest.approx(3.0), False)


def test_many_blocks_are_known_again_in_little_memory(tmp_path):
    with Journal(tmp_path) as journal:
        for first in range(0, 200_000, 4000):
            rows = [row(block, 0.5 + block % 3) for block in range(first, first + 4000)]
            journal.append(batch("a", f"{first:010d}.npz", rows))
    assert (tmp_path / "journal.jsonl").stat().st_size < 3.2e6
    with heaps.peak() as highest, Journal(tmp_path) as journal:
        assert len(journal.stage("a").records) == 200_000
        assert journal.stage("a").records[199_999] == "0000196000.npz"
    assert highest[0] < 2.4e6
    assert next(read_rows(tmp_path)) == ("a", row(0))
