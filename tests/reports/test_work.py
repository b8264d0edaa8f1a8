"""What a report reads of a work folder, and which folders it refuses."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
from report_pages import Page, make_run

from chunkflow_liver.errors import InputError, OutputError
from chunkflow_liver.reports import report
from chunkflow_liver.reports.sections.provenance import provenance
from chunkflow_liver.reports.work import read_work


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return Path(make_run(tmp_path_factory.mktemp("report")).work)


def journal_line(entry) -> bytes:
    text = json.dumps(entry).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def test_stages_add_up_what_the_journal_says(tmp_path):
    description = {"box": [[0, 0, 0], [8, 8, 8]], "block": [8, 8, 4], "params": {"cap_nm": 5}}
    (tmp_path / "run.json").write_text(
        json.dumps(
            {"stages": {"a": {"description": description, "fingerprint": "f00"}, "b": {"description": {}}}}
        )
    )
    row = {"seconds": 2.0, "cpu": 1.0, "read": 100, "written": 50, "peak_mib": 10.0}
    lines = [
        {"stage": "a", "rows": [row | {"block": 0}], "record": ""},
        {"stage": "a", "reset": True},
        {"stage": "a", "rows": [row | {"block": 0}, row | {"block": 1, "peak_mib": 12.0, "seconds": 3.0}]},
        {"stage": "a", "finished": True},
        {"stage": "b", "finished": True, "seconds": 0.5},
    ]
    torn = journal_line({"stage": "a", "rows": [row | {"block": 7}]})[:-4]
    (tmp_path / "journal.jsonl").write_bytes(b"".join(journal_line(e) for e in lines) + torn)
    a, b = read_work(tmp_path).stages
    assert (a.done, a.blocks, a.finished, a.seconds, a.cpu, a.read, a.written) == (
        2,
        2,
        True,
        5.0,
        2.0,
        200,
        100,
    )
    assert (a.peak_mib, a.voxels, sorted(a.slowest)) == (12.0, 512, [(2.0, 0), (3.0, 1)])
    assert (b.done, b.finished, b.seconds, b.grid) == (1, True, 0.5, None)
    (tmp_path / "plan.json").write_text(
        json.dumps({"workers": 3, "stages": [{"stage": "b"}, {"stage": "a", "task_bytes": 11 * 2**20}]})
    )
    assert [s.name for s in read_work(tmp_path).stages] == ["b", "a"]
    page = Page(report(tmp_path))
    assert any("over" in (a.get("class") or "") for a in page.all("td"))
    assert "z 0:8, y 0:8, x 4:8" in page.text


def test_a_peak_kept_from_an_earlier_stage_is_not_above_the_plan(tmp_path):
    sizes = {"small": (10, 5), "large": (100, 90), "after": (10, 80), "above": (10, 101)}
    (tmp_path / "run.json").write_text(json.dumps({"stages": {n: {"description": {}} for n in sizes}}))
    stages = [{"stage": n, "task_bytes": planned * 2**20} for n, (planned, _) in sizes.items()]
    (tmp_path / "plan.json").write_text(json.dumps({"stages": stages}))
    row = {"block": 0, "seconds": 1.0}
    rows = [{"stage": n, "rows": [row | {"peak_mib": peak}]} for n, (_, peak) in sizes.items()]
    (tmp_path / "journal.jsonl").write_bytes(b"".join(journal_line(e) for e in rows))
    lines = provenance(read_work(tmp_path)).lines
    assert {line.name: line.over for line in lines} == dict.fromkeys(sizes, False) | {"above": True}


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"is no work folder: it has neither run\.json nor products\.json"):
        report(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[{", "cannot be read"),
        ("{}", "holds a dict, wanted a list"),
        ('[{"kind": "raw"}]', "an entry that is no product"),
        (
            '[{"kind": "raw", "name": "r", "type": "Volume", "handle": {"url": "x"}, "about": {}}]',
            "no product",
        ),
    ],
)
def test_damaged_files_of_a_run_are_named(tmp_path, text, says):
    (tmp_path / "products.json").write_text(text)
    with pytest.raises(InputError, match=rf"products\.json.*{says}"):
        report(tmp_path)


def test_a_place_that_cannot_be_written_is_refused(finished, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write the report to"):
        report(finished, to=tmp_path / "file" / "report.html")
