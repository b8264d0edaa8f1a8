"""What a finished run does not need any more is removed, no result is, and all can be made again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import block_functions as functions
import numpy as np
import pytest
import yaml
from labelled_project import MADE, plan_in
from payload import go
from strategies import command, contents, semantic, write

import chunkflow_liver as cf
from chunkflow_liver.engine.journal import Journal
from chunkflow_liver.engine.run import is_finished
from chunkflow_liver.engine.upkeep.clean import clean, intermediates
from chunkflow_liver.errors import InputError, OutputError
from chunkflow_liver.store.create import write_volume
from chunkflow_liver.store.ngff import group_attributes


@pytest.fixture
def cleaned(project):
    """A finished run in its own folder, cleaned, with what was removed."""
    shutil.rmtree(project / "cleaned", ignore_errors=True)
    plan = plan_in(project, "cleaned")
    go(plan)
    return plan, clean(plan)


def results(plan):
    return {made: contents(Path(plan.work) / made) for made in MADE}


def test_results_stay_and_the_run_stays_finished(project, cleaned):
    plan, removed = cleaned
    assert {entry.stage for entry in removed} == {"mitos/components", "table/sums"}
    assert all(entry.nbytes > 0 and not entry.path.exists() for entry in removed)
    assert results(plan) == {made: contents(project / "whole" / made) for made in MADE}
    assert is_finished(plan)
    assert cf.damage(plan, progress=False) == []
    go(plan)
    assert intermediates(plan) == []
    assert clean(plan) == []


@pytest.mark.parametrize(
    "lost", ["tables/table.parquet", "artefacts", "results.ome.zarr/labels/mitos", "tables"]
)
def test_what_was_removed_is_made_again_where_it_is_needed(project, cleaned, lost):
    plan, _ = cleaned
    place = Path(plan.work) / lost
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    go(plan)
    assert results(plan) == {made: contents(project / "whole" / made) for made in MADE}
    assert is_finished(plan)


def test_that_a_stage_was_cleaned_is_on_the_disk_before_anything_is_removed(project, monkeypatch):
    """Not only with the operating system, which loses it with the power."""
    shutil.rmtree(project / "forced", ignore_errors=True)
    plan = plan_in(project, "forced")
    go(plan)
    journal, forced, seen = Path(plan.work) / "journal.jsonl", [0], []
    fsync, rmtree = os.fsync, shutil.rmtree

    def kept(file):
        fsync(file)
        if os.path.samestat(os.fstat(file), journal.stat()):
            forced.append(journal.stat().st_size)

    def removed(path, *args, **options):
        seen.append(forced[-1] == journal.stat().st_size)
        rmtree(path, *args, **options)

    # No line is forced because a second is over.
    monkeypatch.setattr("chunkflow_liver.engine.journal.FSYNC_SECONDS", float("inf"))
    monkeypatch.setattr(os, "fsync", kept)
    monkeypatch.setattr(shutil, "rmtree", removed)
    removed_there = clean(plan)
    assert len(removed_there) == 2
    assert seen
    assert all(seen)
    assert b'"cleaned":true' in journal.read_bytes()[: forced[1]]


def test_a_later_operation_gets_what_it_needs(project, cleaned):
    plan, _ = cleaned
    at = {"work": plan.work, "block": (8, 16, 16)}
    mitos = next(p.handle for p in plan.products if p.kind == "instances")
    go(plan + cf.measure(mitos, name="second", **at))
    first, second = (cf.read_table(Path(plan.work) / f"tables/{n}.parquet") for n in ("table", "second"))
    assert first.equals(second)


def test_images_of_blocks_go_with_their_entry_in_the_list(tmp_path):
    truth = np.zeros((2, 3, 12), np.uint8)
    truth[0, 0, 1:9], truth[0, 2, 2:12] = 3, 1
    raw = write_volume(tmp_path / "raw.ome.zarr", truth, voxel_nm=(8, 8, 8))
    at = {"halo_nm": 16.0, "name": "cells", "work": tmp_path / "work", "block": (2, 3, 6)}
    plan = cf.stitch(raw, functions.components, **at)
    go(plan)
    before, labels = plan.output.read(), tmp_path / "work/results.ome.zarr/labels"
    assert "cells-blocks" in {entry.path.name for entry in clean(plan)}
    assert group_attributes(str(labels))[0]["ome"]["labels"] == ["cells"]
    go(plan)
    assert sorted(p.name for p in labels.iterdir() if p.is_dir()) == ["cells"]
    shutil.rmtree(labels / "cells")
    go(plan)
    np.testing.assert_array_equal(plan.output.read(), before)


def test_a_run_that_is_not_finished_is_refused(project, unchanged):
    with pytest.raises(InputError, match=r"nothing-yet is not finished, and what is left of it may need"):
        clean(plan_in(project, "nothing-yet"))


def test_a_folder_in_use_is_refused(project):
    plan = plan_in(project, "whole")
    before = contents(Path(plan.work))
    with Journal(Path(plan.work)), pytest.raises(OutputError, match="is in use by process"):
        clean(plan)
    assert {name for name in before if "lock" not in name} <= set(contents(Path(plan.work)))


def test_what_interrupted_runs_left_is_removed(project):
    plan = plan_in(project, "left")
    go(plan)
    for name in ("scratch", "running", "outdated"):
        (Path(plan.work) / name).mkdir()
    partial = next((Path(plan.work) / "records").iterdir()) / "0.npz.77.partial"
    partial.write_bytes(b"torn")
    clean(plan)
    assert not any((Path(plan.work) / name).exists() for name in ("scratch", "running", "outdated"))
    assert not partial.exists()


def test_the_command_lists_and_removes(tmp_path):
    write(tmp_path, semantic((16, 40, 40), 3))
    source = {"path": "semantic.ome.zarr"}
    content = {"semantic": source, "work": "work", "label": [{"name": "mitos", "classes": ["mitochondrion"]}]}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content | {"report": False}))
    assert command("run", tmp_path / "run.yaml")[0] == 0
    records = tmp_path / "work/records/mitos.components"
    assert "would be freed; results stay" in command("clean", "--dry", tmp_path / "run.yaml")[1]
    assert records.exists()
    assert "are freed; results stay" in command("clean", tmp_path / "run.yaml")[1]
    assert not records.exists()
    assert command("run", tmp_path / "run.yaml")[0] == 0
    assert not records.exists()
