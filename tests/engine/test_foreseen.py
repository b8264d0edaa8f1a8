"""What a plan says of a run that follows edits, against what that run then computes."""

from __future__ import annotations

import shutil
import tempfile
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import done, seeds, write
from typer.testing import CliRunner

import chunkflow_liver as cf
from chunkflow_liver.cli.app import app
from chunkflow_liver.engine.unchanged.foreseen import foreseen
from chunkflow_liver.engine.watch.lines import read_entries
from chunkflow_liver.ops.edit import ahead

BLOCK = (4, 8, 16)


def operations(instances, classes, name, at):
    """Sums, halos, images, levels and whole objects of instances."""
    return [
        cf.measure(instances, features=["basic", "shape", "skeleton"], name=f"{name}-table", **at),
        cf.distance(instances, cap_nm=20, name=f"{name}-distance", **at),
        cf.contacts(instances, classes, to="er", gap_nm=12, sites=True, name=f"{name}-er", **at),
        cf.narrowing(instances, er=classes, near=cf.Near(to="er"), name=f"{name}-narrow", **at),
    ]


def plans(classes, at, edits, table=None):
    """A run, and the same with edited instances beside it."""
    mitos = cf.label(classes, classes=["mitochondrion"], name="mitos", **at)
    first = reduce(add, operations(mitos.output, classes, "a", at), mitos)
    edited = cf.edit(mitos.output, edits, table=table, name="edited", **at)
    return first, first + reduce(add, operations(edited.output, classes, "b", at), edited)


def computed(work, since=0):
    """Blocks that were computed, and not taken over, by stage; by the journal after some entries."""
    found = {}
    for entry in list(read_entries(work))[since:]:
        if "from" not in entry and "blocks" in entry:
            blocks = sum(end - first for first, end in entry["blocks"])
            found[entry["stage"]] = found.get(entry["stage"], 0) + blocks
    return found


def agrees(plan, *, redo=False):
    """Run the plan; each of its foreseen stages must compute as many blocks as was said."""
    told, before = foreseen(plan), len(list(read_entries(plan.work)))
    assert not told.unknown
    cf.run(plan, progress=False, redo=redo)
    now = computed(plan.work, before)
    for one in told.stages:
        assert one.least <= now.get(one.stage, 0) <= one.most, (one, now)
    assert {name for name in now if name.startswith(("edited", "b-"))} <= {one.stage for one in told.stages}
    assert foreseen(plan).text() == ""
    return {one.stage: one for one in told.stages}


def far_apart(folder, shape=(4, 8, 96), at=(12, 66, 90)):
    """Three objects of a class, in the first, fifth and last of six blocks of 16 voxels along x."""
    classes = np.zeros(shape, np.uint8)
    for x in at:
        classes[1:3, 2:6, x : x + 4] = 2
    classes[0, 0, ::7] = 1
    return write(folder, classes), {"work": f"{folder}/work", "block": BLOCK}


@settings(max_examples=4, deadline=None)
@given(seed=seeds, block=st.tuples(*[st.sampled_from((5, 7, 14))] * 3), merges=st.booleans())
def test_as_many_blocks_are_computed_as_the_plan_says(seed, block, merges):
    """All kinds of edits that leave objects whole: every stage but those of numbers made anew is exact."""
    rng = np.random.default_rng(seed)
    classes = np.where(rng.random((10, 14, 14)) < 0.05, 1, 0).astype(np.uint8)
    for _ in range(14):
        z, y, x = (int(rng.integers(0, n - 3)) for n in classes.shape)
        classes[z : z + 3, y : y + 4, x : x + 3] = 2
    with tempfile.TemporaryDirectory() as folder:
        at = {"work": f"{folder}/work", "block": block}
        source = write(folder, classes)
        ids = done(cf.label(source, classes=["mitochondrion"], name="ids", work=f"{folder}/ids")).read()
        some = rng.permutation(np.unique(ids[ids > 0])).tolist()
        edits = [("delete", some[0]), ("class", some[-1], "lysosome")] if len(some) > 1 else [("delete", 1)]
        edits += [("merge", *some[1:3])] if merges and len(some) > 3 else []
        first, then = plans(source, at, edits)
        done(first)
        told = agrees(then)
    exact = [one for one in told.values() if one.least == one.most]
    assert {one.stage for one in told.values()} - {one.stage for one in exact} <= {"b-er/apply"}


def test_the_counts_of_one_edit_are_those_of_its_blocks(tmp_path):
    """Hand-worked as in test_unchanged: object 1, at the end of block 0 of 6, is deleted."""
    classes, at = far_apart(tmp_path)
    first, then = plans(classes, at, [("delete", 1)])
    done(first)
    found = agrees(then)
    assert [found[n].most for n in ("edited/find", "edited/apply", "b-table/features")] == [6, 1, 1]
    assert found["b-distance/distance"].least == found["b-er/contacts"].most == 2
    assert found["b-table/whole"].most == found["b-narrow/narrowings"].most == 1
    text = foreseen(plans(classes, at, [("delete", 1), ("delete", 3)])[1]).text()
    assert "edited/apply 2 of 6 computed, 4 kept from mitos" in " ".join(text.split())


@pytest.mark.parametrize("edits", [[("split", 1)], [("split", 1), ("merge", 2, 3)]])
def test_of_objects_that_are_parted_the_range_holds_what_is_computed(tmp_path, edits):
    classes, at = far_apart(tmp_path, at=(2, 66, 90))
    array = classes.read()
    array[1:3, 6:8, 6:40] = 2
    classes.write(classes.box, array)
    first, then = plans(classes, at, edits)
    done(first)
    found = agrees(then)
    assert found["b-table/features"].least == found["b-table/features"].most < 6


def test_cuts_are_foreseen_with_the_table_that_they_need(tmp_path):
    classes, at = far_apart(tmp_path)
    first, _ = plans(classes, at, [("delete", 1)])
    done(first)
    places = (16.0, 32.0, 196.0, 16.0, 32.0, 252.0)
    table = tmp_path / "work/tables/a-table.parquet"
    _, then = plans(classes, at, [("cut", 1, 9, *places)], table)
    found = agrees(then)
    assert (found["edited/cut-1"].most, found["edited/apply"].most) == (1, 1)


def test_a_longer_list_is_counted_against_what_was_before_all_edits(tmp_path):
    classes, at = far_apart(tmp_path)
    first, then = plans(classes, at, [("delete", 1)])
    done(first)
    agrees(then)
    found = agrees(plans(classes, at, [("delete", 1), ("delete", 3)])[1], redo=True)
    assert found["edited/apply"].most == 2


def test_blocks_that_are_done_are_no_more_to_do(tmp_path):
    classes, at = far_apart(tmp_path)
    first, then = plans(classes, at, [("delete", 1)])
    done(first)
    mitos = next(p.handle for p in first.products if p.name == "mitos")
    short = first + cf.edit(mitos, [("delete", 1)], name="edited", **at)
    done(short)
    found = agrees(then)
    assert found["edited/apply"].most == 0
    assert found["edited/apply"].done == 6
    assert found["b-table/features"].most == 1


def test_why_it_is_not_told_is_said(tmp_path, monkeypatch):
    classes, at = far_apart(tmp_path)
    mitos = cf.label(classes, classes=["mitochondrion"], name="mitos", **at)
    edited = cf.edit(mitos.output, [("delete", 1)], name="edited", **at)
    assert "'mitos' is to be made first" in foreseen(mitos + edited).text()
    done(mitos)
    assert "no table of them is there" in foreseen(mitos + edited).text()
    table = cf.measure(mitos.output, features=["basic"], name="a-table", **at)
    done(mitos + table)
    assert foreseen(mitos + table + edited).unknown == ""
    monkeypatch.setattr(ahead, "MOST_READ", 100)
    assert "at most 100 are looked at" in foreseen(mitos + table + edited).text()
    assert foreseen(mitos + table).text() == ""
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "work/results.ome.zarr/labels/mitos/0/c")
    assert "cannot read chunk" in foreseen(mitos + table + edited).unknown


def test_the_command_says_it(tmp_path):
    classes, at = far_apart(tmp_path)
    (tmp_path / "edits.csv").write_text("action,label\ndelete,1\n")
    text = f"""work: {at["work"]}
block: [4, 8, 16]
semantic: {{path: {classes.url}}}
report: false
label: [{{name: mitos, classes: [mitochondrion]}}]
measure: [{{name: a, instances: mitos, features: [basic]}}]
"""
    more = text.replace("[basic]}", "[basic]}, {name: b, instances: edited, features: [basic]}")
    more += f"edit: [{{name: edited, instances: mitos, edits: {tmp_path / 'edits.csv'}}}]\n"
    (tmp_path / "run.yaml").write_text(text)
    (tmp_path / "more.yaml").write_text(more)
    assert CliRunner().invoke(app, ["run", str(tmp_path / "run.yaml")]).exit_code == 0
    told = CliRunner().invoke(app, ["plan", str(tmp_path / "more.yaml")]).output
    assert "b/sums 1 of 6 computed, 5 kept from a/sums" in " ".join(told.split())
    assert CliRunner().invoke(app, ["run", str(tmp_path / "more.yaml")]).exit_code == 0
    assert computed(Path(at["work"]))["b/sums"] == 1
