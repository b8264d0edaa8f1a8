"""The journal: what is done is known after any crash, and nothing is believed that cannot be read."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from payload import forget_plan

from chunkflow_liver.engine.journal import Journal, read_rows
from chunkflow_liver.engine.watch.changes import difference
from chunkflow_liver.engine.watch.lines import read_entries
from chunkflow_liver.engine.watch.records import _array, record_folder
from chunkflow_liver.errors import JournalError, OutputError
from chunkflow_liver.store.scratch.sealed import sealing


def rows(*blocks: int) -> list[dict[str, float]]:
    return [{"block": b, "seconds": 0.5} for b in blocks]


def filled(work) -> None:
    with Journal(work) as journal:
        journal.append({"stage": "a/map", "record": "0.npz", "rows": rows(0, 1)})
        journal.append({"stage": "a/map", "record": "", "rows": rows(2)})
        journal.append({"stage": "a/map", "finished": True})
        journal.append({"stage": "b/map", "record": "1.npz", "rows": rows(7)})


def test_what_was_appended_is_known_again(tmp_path):
    filled(tmp_path)
    with Journal(tmp_path) as journal:
        assert journal.stage("a/map").records == {0: "0.npz", 1: "0.npz", 2: ""}
        assert journal.stage("a/map").finished
        assert not journal.stage("b/map").finished
        assert journal.stage("c").records == {}
    assert [(s, r["block"]) for s, r in read_rows(tmp_path)] == [
        ("a/map", 0),
        ("a/map", 1),
        ("a/map", 2),
        ("b/map", 7),
    ]


def test_a_reset_forgets_a_stage_and_only_that(tmp_path):
    filled(tmp_path)
    with Journal(tmp_path) as journal:
        journal.append({"stage": "a/map", "reset": True})
        journal.append({"stage": "a/map", "record": "9.npz", "rows": rows(1)})
    with Journal(tmp_path) as journal:
        assert journal.stage("a/map").records == {1: "9.npz"}
        assert not journal.stage("a/map").finished
        assert journal.stage("b/map").records == {7: "1.npz"}


def test_a_line_is_with_the_operating_system_as_soon_as_it_is_appended(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from chunkflow_liver.engine.journal import Journal\n"
        "with Journal(Path(sys.argv[1])) as journal:\n"
        "    for i in range(3): journal.append({'stage': 'a', 'record': '', 'rows': [{'block': i}]})\n"
        "    os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    with Journal(tmp_path) as journal:
        assert sorted(journal.stage("a").records) == [0, 1, 2]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_torn_tail_costs_only_its_line(tmp_path, data):
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    filled(tmp_path)
    good = path.read_bytes()
    keep = data.draw(st.integers(0, len(good)))
    tail = data.draw(st.sampled_from([b"", b"\0" * 40, b"deadbeef {", b"x"]))
    path.write_bytes(good[:keep] + tail)
    lines = good[:keep].count(b"\n")
    with Journal(tmp_path) as journal:
        known = journal.stage("a/map")
        assert sorted(known.records) == [[], [0, 1], [0, 1, 2], [0, 1, 2], [0, 1, 2]][lines]
        assert known.finished == (lines >= 3)
        journal.append({"stage": "z", "record": "", "rows": rows(5)})
    assert path.read_bytes().startswith(good[:keep][: good[:keep].rfind(b"\n") + 1])
    with Journal(tmp_path) as journal:
        assert sorted(journal.stage("z").records) == [5]


@pytest.mark.parametrize("at", [3, 30, 90])
def test_a_damaged_middle_is_refused_and_the_lock_given_back(tmp_path, at):
    filled(tmp_path)
    path = tmp_path / "journal.jsonl"
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    data[at + 1] ^= 6
    path.write_bytes(data)
    for _ in range(2):
        with (
            pytest.raises(
                JournalError, match=r"journal.jsonl is damaged at byte \d+; delete this file to do all again"
            ),
            Journal(tmp_path),
        ):
            pass
    assert path.read_bytes() == bytes(data)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_is_put_right(tmp_path, caplog, data):
    """Any bit of any line but a torn one, ends of lines too; who only reads leaves the file as it is."""
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    filled(tmp_path)
    good, known = path.read_bytes(), list(read_entries(tmp_path))
    # Without its end the last line is one that is still being written.
    at = data.draw(st.integers(0, len(good) - 2))
    flipped = bytearray(good)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(flipped)
    assert list(read_entries(tmp_path)) == known
    assert path.read_bytes() == bytes(flipped)
    caplog.clear()
    with Journal(tmp_path) as journal:
        assert journal.stage("a/map").finished
    assert path.read_bytes() == good
    assert "a bit near byte" in caplog.text


def test_a_second_driver_is_refused_and_told_who_holds_the_folder(tmp_path):
    with Journal(tmp_path):
        with (
            pytest.raises(OutputError, match=rf"is in use by process {os.getpid()} of .+ on .+; wait for it"),
            Journal(tmp_path),
        ):
            pass
        # The refused one must not have taken the holder's name away.
        with pytest.raises(OutputError, match=f"process {os.getpid()}"), Journal(tmp_path):
            pass
    with Journal(tmp_path):
        pass


def test_records_come_back_in_the_order_of_blocks(tmp_path):
    folder = record_folder(tmp_path, "a/map")
    folder.mkdir(parents=True)
    assert folder.name == "a.map"
    with sealing(folder / "5.npz") as file:
        np.savez(file, **{"5.sum": np.array([5]), "6.sum": np.array([6]), "6.a.b": np.eye(2)})
    with sealing(folder / "0.npz") as file:
        np.savez(file, **{"0.sum": np.array([0])})
    with Journal(tmp_path) as journal:
        journal.append({"stage": "a/map", "record": "5.npz", "rows": rows(5, 6)})
        journal.append({"stage": "a/map", "record": "", "rows": rows(3)})
        journal.append({"stage": "a/map", "record": "0.npz", "rows": rows(0)})
        found = list(journal.records("a/map"))
    assert [index for index, _ in found] == [0, 3, 5, 6]
    assert [list(record) for _, record in found] == [["sum"], [], ["sum"], ["sum", "a.b"]]


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 torn"], ids=["absent", "empty", "torn"])
def test_records_that_cannot_be_read_are_named(tmp_path, content):
    folder = record_folder(tmp_path, "a")
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "0.npz").write_bytes(content)
    with Journal(tmp_path) as journal:
        journal.append({"stage": "a", "record": "0.npz", "rows": rows(0)})
        with pytest.raises(JournalError, match=r"the records of stage 'a' in .*0.npz cannot be read"):
            list(journal.records("a"))


def adopted(work, redo=False, **stages: str) -> Journal:
    with Journal(work) as journal:
        described = {n: (digest, {"params": {"by": digest}, "block": [1]}) for n, digest in stages.items()}
        journal.adopt(described, redo=redo)
        for name in stages:
            if name not in journal.done:
                journal.append({"stage": name, "record": "", "rows": rows(0)})
    return journal


def test_a_changed_parameter_is_refused_and_named(tmp_path):
    adopted(tmp_path, a="one", b="two")
    adopted(tmp_path, a="one", b="two", c="three")
    says = r"different plan: stage 'b' has params.by = 'two' there and 'other' in this plan; run in .*--redo"
    with pytest.raises(JournalError, match=says):
        adopted(tmp_path, a="one", b="other")


def test_what_would_be_redone_is_told(tmp_path):
    """Also stages of other plans that read what changes; of many the first eight."""
    adopted(tmp_path, a="one", b="two")
    with Journal(tmp_path) as journal:
        journal.adopt({"of a": ("three", {"inputs": ["one"]})}, redo=False)
        journal.append({"stage": "of a", "record": "", "rows": rows(0)})
    with pytest.raises(JournalError, match=r"\(--redo\)\. Redone would be a, of a$"):
        adopted(tmp_path, a="other", b="two")
    names = [f"s{i}" for i in range(12)]
    adopted(tmp_path / "many", **dict.fromkeys(names, "one"))
    with pytest.raises(JournalError, match=r"Redone would be s0, s1, .*s7 and 4 more$"):
        adopted(tmp_path / "many", **dict.fromkeys(names, "two"))


def test_redo_forgets_what_changed_and_keeps_the_rest(tmp_path):
    adopted(tmp_path, a="one", b="two")
    with Journal(tmp_path) as journal:
        journal.adopt({"a": ("one", {}), "b": ("other", {})}, redo=True)
        assert sorted(journal.done) == ["a"]
    adopted(tmp_path, a="one", b="other")


def test_a_stage_without_finished_work_may_change(tmp_path):
    with Journal(tmp_path) as journal:
        journal.adopt({"a": ("one", {"x": 1})}, redo=False)
        journal.adopt({"a": ("two", {"x": 2})}, redo=False)


@pytest.mark.parametrize("content", [None, "{", "{}"], ids=["absent", "torn", "without stages"])
def test_finished_work_of_an_unknown_plan_is_refused(tmp_path, content):
    adopted(tmp_path, a="one")
    forget_plan(tmp_path)
    (tmp_path / "run.json").unlink()
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(JournalError, match=r"written by a different plan|run.json cannot be read"):
        adopted(tmp_path, a="one")


@pytest.mark.parametrize(
    ("was", "now", "says"),
    [
        ({"a": 1}, {"a": 2}, "a = 1 there and 2 in this plan"),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, "a.b.c = 1 there and 2 in this plan"),
        ({"a": 1}, {}, "a = 1 there and None in this plan"),
        ({"a": 1}, {"a": 1}, "no difference"),
        (
            {
                "outputs": [{"unit": [16, 256, 256], "dtype": "u1", "voxel_nm": [40, 8, 8]}],
                "block": [1, 1, 1],
            },
            {"outputs": [{"unit": [60, 256, 64], "dtype": "u2", "voxel_nm": [8, 8, 40]}], "block": [2, 2, 2]},
            "outputs[0].voxel_nm = [40, 8, 8] there and [8, 8, 40] in this plan",
        ),
    ],
)
def test_a_difference_is_named_by_its_key(was, now, says):
    assert difference(was, now) == says


def test_the_run_file_is_json_of_the_stages(tmp_path):
    adopted(tmp_path, a="one")
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["stages"]["a"]["fingerprint"] == "one"


@pytest.mark.parametrize(
    "values",
    [
        np.array(3, np.uint64),
        np.zeros((0, 3)),
        np.array(["ä", "bc"]),
        np.array(["", ""]),
        np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
        np.array([True, False]),
        np.array([(1, 2.5)], [("a", "<i4"), ("b", "<f8")]),
    ],
    ids=lambda v: f"{v.dtype}-{v.shape}",
)
def test_arrays_of_records_are_those_that_numpy_wrote(values):
    file = io.BytesIO()
    np.save(file, values)
    found = _array(file.getvalue())
    assert (found.dtype, found.shape) == (values.dtype, values.shape)
    np.testing.assert_array_equal(found, values)
    assert found.flags.writeable
    for damaged in (file.getvalue()[:-1], file.getvalue()[:40]):
        if values.nbytes:
            with pytest.raises((ValueError, EOFError)):
                _array(damaged)
