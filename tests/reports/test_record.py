"""A page knows the run it shows and the figures it wrote: it is drawn again where something is new."""

from __future__ import annotations

import html
import json
import shutil
from pathlib import Path

import pytest
from report_pages import make_run

from chunkflow_liver.reports import is_current, record, report
from chunkflow_liver.reports.record import Record, forget, recorded


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    work = Path(make_run(tmp_path_factory.mktemp("report")).work)
    report(work)
    return work


@pytest.fixture
def work(finished, tmp_path) -> Path:
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def page_with(folder: Path, figures: dict[str, str]) -> Path:
    """A page that says of itself that it wrote these figures."""
    made = record.remembered(folder, figures)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, svg in figures.items():
        (folder / "figures" / name).write_bytes(svg.encode())
    page = folder / "report.html"
    page.write_text(f'<meta name="record" content="{html.escape(made.text)}">')
    return page


def test_a_page_is_current_until_the_run_goes_on(work):
    assert is_current(work)
    with (work / "journal.jsonl").open("a") as file:
        file.write("\n")
    assert not is_current(work)
    report(work)
    assert is_current(work)
    (work / "failed.json").write_text('{"stage": "a", "blocks": []}')
    assert not is_current(work)


def test_a_page_that_another_version_drew_is_not_current(work, monkeypatch):
    monkeypatch.setattr(record, "version", lambda _: "0.0.1")
    assert not is_current(work)


@pytest.mark.parametrize(
    "text", ["", "<html>", '<meta name="record" content="{">', '<meta name="record" content="[1]">']
)
def test_a_page_without_a_record_is_not_current(text, work):
    (work / "report.html").write_text(text)
    assert recorded(work / "report.html") == Record()
    assert not is_current(work)
    (work / "report.html").unlink()
    assert not is_current(work)


def test_a_page_whose_figure_is_lost_is_not_current(tmp_path):
    page_with(tmp_path, {"a.svg": "<svg/>"})
    assert is_current(tmp_path)
    (tmp_path / "figures/a.svg").unlink()
    assert not is_current(tmp_path)


def test_figures_that_are_no_longer_shown_go_and_all_others_stay(tmp_path):
    page = page_with(tmp_path, {"old.svg": "<svg/>", "mine now.svg": "<svg/>", "new.svg": "<svg/>"})
    (tmp_path / "figures/mine now.svg").write_text("<svg>drawn over by hand</svg>")
    (tmp_path / "figures/never ours.svg").write_text("<svg/>")
    forget(page, {"new.svg": "<svg/>"})
    left = {p.name for p in (tmp_path / "figures").iterdir()}
    assert left == {"mine now.svg", "new.svg", "never ours.svg"}


def test_a_page_from_a_stranger_removes_nothing_outside_its_folder(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "kept.svg").write_bytes(b"<svg/>")
    page = page_with(tmp_path / "run", {"a.svg": "<svg/>"})
    digest = recorded(page).figures["a.svg"]
    made = json.dumps(
        {"state": "", "figures": {"../../kept.svg": digest, str(tmp_path / "kept.svg"): digest}}
    )
    page.write_text(f'<meta name="record" content="{html.escape(made)}">')
    forget(page, {})
    assert (tmp_path / "kept.svg").exists()
