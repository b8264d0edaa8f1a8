"""Damage between stages, and runs that redo something: no wrong number is written, none is left standing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from labelled_project import MADE, plan_in
from payload import calls, go, plan_of, sums
from strategies import contents

import chunkflow_liver as cf
from chunkflow_liver.engine.execute import execute
from chunkflow_liver.engine.journal import Journal
from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.engine.stage import Fold
from chunkflow_liver.engine.watch.lines import read_entries
from chunkflow_liver.errors import ChunkError, DiskBudgetError, JournalError, RunIncompleteError
from chunkflow_liver.reports.work import exists, read_work
from chunkflow_liver.store.table import Arrays, Table, read_table


def stages_before(plan: Plan, artefact: int) -> tuple[Plan, Arrays]:
    """The plan up to one of its artefacts."""
    folds = [i for i, s in enumerate(plan.stages) if isinstance(s, Fold) and isinstance(s.output, Arrays)]
    at = folds[artefact % len(folds)]
    output = plan.stages[at].output
    assert isinstance(output, Arrays)
    return Plan(plan.stages[: at + 1], plan.work, output, plan.products), output


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_artefact_is_made_anew_and_the_bytes_are_the_same(project, seed):
    rng = np.random.default_rng(seed)
    work = f"damaged-{seed}"
    plan = plan_in(project, work)
    first, artefact = stages_before(plan, seed)
    go(first)
    files = sorted(Path(artefact.path).iterdir())
    path = files[rng.integers(len(files))]
    whole = path.read_bytes()
    at = int(rng.integers(len(whole)))
    match seed % 4:
        case 0:
            path.write_bytes(whole[:at])
        case 1:
            path.unlink()
        case _:
            path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << rng.integers(8))]) + whole[at + 1 :])
    go(plan)
    for made in MADE:
        assert contents(project / work / made) == contents(project / "whole" / made)


def test_damage_while_a_run_goes_on_is_refused(project, monkeypatch):
    module = sys.modules["chunkflow_liver.engine.run"]
    plan = plan_in(project, "between")
    _, artefact = stages_before(plan, 0)
    fold = module._run_fold

    def damaging(stage, *rest):
        fold(stage, *rest)
        if stage.output == artefact:
            path = sorted(Path(artefact.path).glob("*.npy"))[0]
            path.write_bytes(path.read_bytes()[:-1] + b"\x77")

    monkeypatch.setattr(module, "_run_fold", damaging)
    with pytest.raises(ChunkError, match=r"\.npy has the checksum .* was written; run again, and"):
        go(plan)
    monkeypatch.undo()
    go(plan)
    assert contents(project / "between/tables") == contents(project / "whole/tables")


def test_records_that_are_damaged_cost_their_blocks_only(store, tmp_path, count):
    plan = plan_of(store, tmp_path / "w")
    first = Plan(plan.stages[:1], plan.work, plan.output)
    go(first)
    folder = tmp_path / "w/records/out.add"
    path = sorted(folder.iterdir())[-1]
    lost = {int(key.partition(".")[0]) for key in np.load(path).files}
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(JournalError, match=rf"{path.name} cannot be read: .*'repair' does the blocks"):
        go(plan)
    path.unlink()
    go(plan)
    assert read_table(tmp_path / "w/out.parquet")["sum"].to_pylist() == sums(store)
    assert sorted(calls(count)) == sorted([*range(36), *lost])
    assert [s.done for s in read_work(tmp_path / "w").stages] == [36, 1]


@pytest.mark.parametrize("how", ["repaired", "late"])
def test_a_batch_that_begins_like_another_one_does_not_write_over_its_records(store, tmp_path, how):
    """Where the first block of a batch is done again alone: for damage, or by a worker that was given up."""
    plan = plan_of(store, tmp_path / "w")
    go(plan)
    (add,) = plan.maps
    batches = [entry["blocks"] for entry in read_entries(tmp_path / "w") if entry.get("record")]
    first = next(begin for ((begin, end),) in batches if end - begin > 1)
    if how == "late":
        execute([add], [first], Path(plan.work))
        (tmp_path / "w/out.parquet").unlink()
        go(plan)
    else:
        for key in add.outputs[0].keys(add.grid[first].write):
            Path(add.outputs[0].url, add.outputs[0].path, key).unlink()
        (tmp_path / "w/out.parquet").unlink()
        cf.repair(plan, progress=False)
    assert read_table(tmp_path / "w/out.parquet")["sum"].to_pylist() == sums(store)


def test_records_that_lie_in_the_place_of_others_are_refused_and_those_of_nobody_removed(store, tmp_path):
    plan = plan_of(store, tmp_path / "w")
    go(plan)
    one, other = sorted((tmp_path / "w/records/out.add").iterdir())[-2:]
    whole = one.read_bytes()
    one.write_bytes(other.read_bytes())
    assert {d.what.partition(": ")[2].partition(";")[0] for d in cf.damage(plan, progress=False)} == {
        "it is another file than the one that was written there"
    }
    (one.parent / "0000000003-00000000.npz").write_bytes(whole)
    cf.repair(plan, progress=False)
    assert one.read_bytes() == whole
    assert len(list(one.parent.iterdir())) == len(
        {entry["record"] for entry in read_entries(tmp_path / "w") if "record" in entry}
    )
    assert cf.damage(plan, progress=False) == []


def test_a_table_with_another_name_of_a_column_is_damaged(project):
    """Parquet has checksums of its pages, and none of its footer, where names, types and units stand."""
    work = "renamed"
    plan = plan_in(project, work)
    go(plan)
    path = next((project / work / "tables").glob("*.parquet"))
    whole = path.read_bytes()
    name = read_table(path).column_names[-1].encode()
    path.write_bytes(whole.replace(name, name[:-1] + b"?"))
    assert read_table(path).column_names[-1] == name[:-1].decode() + "?"
    (found,) = cf.damage(plan, progress=False)
    assert "its bytes are not those that were written" in str(found)
    cf.repair(plan, progress=False)
    assert path.read_bytes() == whole


def test_tables_of_stages_that_are_redone_are_set_aside_at_once(store, tmp_path, count):
    go(plan_of(store, tmp_path / "w"))
    Path(f"{count}.fail-7").touch()
    with pytest.raises(RunIncompleteError):
        go(plan_of(store, tmp_path / "w", by=2), redo=True)
    assert not (tmp_path / "w/out.parquet").exists()
    assert (tmp_path / "w/outdated/out.parquet").exists()
    Path(f"{count}.fail-7").unlink()
    go(plan_of(store, tmp_path / "w", by=2))
    assert read_table(tmp_path / "w/out.parquet")["sum"].to_pylist() == sums(store)
    assert not (tmp_path / "w/outdated").exists()


def test_what_another_plan_made_of_redone_labels_is_set_aside_too(project):
    shutil.copytree(project / "whole", project / "other")
    labels = cf.open_volume(project / "semantic.ome.zarr")
    at = {"work": project / "other", "block": (8, 16, 16)}
    mitos = cf.label(labels, classes=["mitochondrion"], min_volume_um3=1e-6, name="mitos", **at)
    go(mitos + cf.measure(mitos.output, name="more", **at))
    assert {p.name for p in (project / "other/tables").iterdir()} >= {"table.parquet", "more.parquet"}
    # Only the labels are planned, and differently: both tables are of instances that are no more.
    go(cf.label(labels, classes=["er"], min_volume_um3=1e-6, name="mitos", **at), redo=True)
    assert sorted(p.name for p in (project / "other/tables").iterdir()) == []


def test_a_report_leaves_out_what_is_not_finished(project, monkeypatch):
    go(plan_in(project, "half"))
    assert all(exists(p) for p in read_work(project / "half").products)
    labels = cf.open_volume(project / "semantic.ome.zarr")
    at = {"work": project / "half", "block": (8, 16, 16)}
    changed = cf.label(labels, classes=["mitochondrion"], min_volume_um3=1e-5, name="mitos", **at)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["chunkflow_liver.engine.run"], "_run_fold", interrupted)
    with pytest.raises(KeyboardInterrupt):
        go(changed, redo=True)
    # The image is still that of before, and so would its table be.
    found = {p.name: exists(p) for p in read_work(project / "half").products if p.kind != "semantic"}
    assert found["mitos"] is False
    assert found["table"] is False
    assert "instances 'mitos' is not written yet" in cf.report(project / "half").read_text().lower().replace(
        "&#39;", "'"
    )
    assert json.loads((project / "half/products.json").read_text())


@pytest.mark.parametrize("place", ["a block", "the table", "the journal"])
def test_a_full_disk_ends_the_run_at_once_and_keeps_what_is_done(store, tmp_path, count, monkeypatch, place):
    plan = plan_of(store, tmp_path / "w")
    kind, name = {
        "a block": (cf.Volume, "write"),
        "the table": (Table, "write"),
        "the journal": (Journal, "append"),
    }[place]
    right, written = getattr(kind, name), []

    def full(*arguments):
        written.append(1)
        if len(written) > (5 if place == "a block" else 0):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return right(*arguments)

    monkeypatch.setattr(kind, name, full)
    with pytest.raises(DiskBudgetError, match=r"a disk is full: .*No space left.*make room and run again"):
        go(plan)
    monkeypatch.undo()
    # No block was tried a second time.
    begun = calls(count)
    assert len(begun) == len(set(begun))
    go(plan)
    assert read_table(tmp_path / "w/out.parquet")["sum"].to_pylist() == sums(store)
    assert not (tmp_path / "w/failed.json").exists()
