"""Passes: stages of one volume share its read, and each of them makes what it makes alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import payload
import pytest
from hypothesis import given, settings
from payload import add_two, calls, plan_of, sums
from strategies import blocks, broken, contents, done, seeds, semantic, shapes, write

import chunkflow_liver as cf
from chunkflow_liver.engine.journal import read_rows
from chunkflow_liver.engine.passes import pass_bytes, passes
from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.errors import RunIncompleteError
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.volume import Volume


def several(classes: Volume, work, block) -> tuple[Plan, ...]:
    """Operations that read one volume with halos of different widths, and one that needs another's result."""
    at = {"work": work, "block": block}
    mitos = cf.label(classes, classes=["mitochondrion"], name="mitos", **at)
    return (
        cf.distance(classes, to="er", cap_nm=20, name="far", **at),
        cf.contacts(classes, classes, of="lipid", to="er", gap_nm=8, sites=True, name="touch", **at),
        mitos,
        cf.contacts(mitos.output, classes, to="er", gap_nm=16, name="mito-er", **at),
        cf.measure(mitos.output, features=["basic", "shape"], name="table", **at),
    )


def together(plan: Plan, memory: float | None = None) -> list[list[str]]:
    """Names of the maps that run in one pass, those with a pass of their own left out."""
    found = (p for p in passes(plan.stages, memory) if isinstance(p, tuple))
    return [[stage.name for stage in p] for p in found if len(p) > 1]


def test_what_reads_a_volume_shares_a_pass_as_far_as_its_inputs_are_made(tmp_path):
    classes = write(tmp_path, semantic((9, 9, 9), 1))
    plan = sum_of(several(classes, tmp_path / "work", (5, 5, 5)))
    first, second = together(plan)
    assert first == ["far/distance", "touch/contacts", "mitos/components"]
    assert second[0] == "mito-er/contacts"
    assert all(name.startswith("table/") for name in second[1:])
    text = "in one pass, each volume read once: far/distance, touch/contacts, mitos/components"
    assert text in str(plan).splitlines()


def test_other_blocks_other_volumes_and_little_memory_keep_stages_apart(store, tmp_path):
    one, two = plan_of(store, tmp_path / "w"), plan_of(store, tmp_path / "w", name="two")
    assert together(one + two) == [["out/add", "two/add"]]
    need = pass_bytes((one + two).maps)
    held = store.itemsize * 20 * 22 * 18
    assert need == one.maps[0].task_bytes + held
    assert together(one + two, need) == [["out/add", "two/add"]]
    assert together(one + two, need - 1) == []
    assert together(one + plan_of(store, tmp_path / "w", name="two", block=(16, 16, 32))) == []
    assert together(one + plan_of(write(tmp_path, store.read(), "b"), tmp_path / "w", name="two")) == []
    streaming = replace(two, stages=(replace(two.stages[0], streams=True),))
    assert together(one + streaming) == []


def test_a_stage_never_shares_a_pass_with_the_one_whose_result_it_reads(store, tmp_path):
    one = plan_of(store, tmp_path / "w")
    add = plan_of(store, tmp_path / "w", name="two").stages[0]
    both = replace(add, inputs=(store, one.output), function=add_two)
    assert together(one + Plan((both,), tmp_path / "w", both.outputs[0])) == []


def sum_of(plans: tuple[Plan, ...]) -> Plan:
    whole = plans[0]
    for plan in plans[1:]:
        whole += plan
    return whole


@settings(max_examples=6, deadline=None)
@given(shape=shapes, block=blocks, seed=seeds)
def test_together_every_operation_makes_the_bytes_that_it_makes_alone(tmp_path_factory, shape, block, seed):
    folder = tmp_path_factory.mktemp("passes")
    classes = write(folder, semantic(shape, seed))
    alone, whole = folder / "alone" / "work", folder / "whole" / "work"
    for plan in several(classes, alone, block):
        done(plan)
    done(sum_of(several(classes, whole, block)))
    for made in ("results.ome.zarr", "far.ome.zarr", "tables", "artefacts"):
        assert contents(whole / made) == contents(alone / made)


def test_a_volume_is_read_once_by_all_of_a_pass(tmp_path, monkeypatch):
    classes = write(tmp_path, semantic((8, 16, 16), 3))
    options = {"work": tmp_path / "work", "block": (8, 8, 8)}
    plan = cf.distance(classes, to="er", cap_nm=17, name="far", **options)
    plan += cf.contacts(classes, classes, of="lipid", to="er", gap_nm=8, name="touch", **options)
    seen: list[Box] = []
    read = Volume.read

    def counting(volume, box=None):
        seen.append(box)
        return read(volume, box)

    monkeypatch.setattr(Volume, "read", counting)
    done(plan)
    assert len(seen) == 4
    assert all(box.contains(s.grid[i].read) for s in plan.maps[:2] for i, box in enumerate(seen))
    sizes = {(stage, row["block"]): row["read"] for stage, row in read_rows(tmp_path / "work")}
    assert [sizes["far/distance", i] for i in range(4)] == [box.size for box in seen]
    assert [sizes["touch/contacts", i] for i in range(4)] == [0] * 4


def scribble(block, values, **_):
    found = values[block.trim].copy()
    values[:] = 0
    return payload.Result((found,))


@pytest.mark.parametrize("halo", [(0, 0, 0), (2, 3, 1)])
def test_a_stage_may_write_into_what_it_was_given(store, voxels, tmp_path, halo):
    plans = []
    for name in ("a", "b", "c"):
        plan = plan_of(store, tmp_path / "w", name=name, halo=halo if name != "b" else (1, 1, 1))
        plans.append(replace(plan, stages=(replace(plan.stages[0], function=scribble),)))
    plan = sum_of(tuple(plans))
    assert together(plan) == [["a/add", "b/add", "c/add"]]
    done(plan)
    for output in plan.maps:
        np.testing.assert_array_equal(output.outputs[0].read(), voxels)


def test_a_block_that_fails_in_one_stage_is_done_again_in_all(store, voxels, tmp_path):
    """What the others found of that block is not recorded: a block of a pass is done when all of it is."""
    one, two = plan_of(store, tmp_path / "w"), plan_of(store, tmp_path / "w", name="two", by=2)
    with pytest.raises(RunIncompleteError, match=r"1 of 36 blocks of stage 'two/add' failed; the first"):
        done(broken(one + two, "two/add", 7))
    rows = list(read_rows(tmp_path / "w"))
    for name in ("out/add", "two/add"):
        assert sorted(r["block"] for stage, r in rows if stage == name) == [b for b in range(36) if b != 7]
    done(one + two)
    np.testing.assert_array_equal(one.output.read(), voxels + 1)
    np.testing.assert_array_equal(two.output.read(), voxels + 2)
    assert calls(tmp_path / "w-out-calls") == sorted([*range(36), 7])


@pytest.mark.parametrize(("at", "other"), [(0, 35), (7, 7), (20, 3)])
def test_what_one_stage_did_before_it_shared_a_pass_is_not_done_again(store, voxels, tmp_path, at, other):
    work = tmp_path / "w"
    one, two = plan_of(store, work), plan_of(store, work, name="two", by=2)
    for plan, stage, block in ((one, "out/add", at), (two, "two/add", other)):
        with pytest.raises(RunIncompleteError):
            done(broken(plan, stage, block))
    before = len(calls(work.parent / "w-out-calls")), len(calls(work.parent / "w-two-calls"))
    done(one + two)
    assert len(calls(work.parent / "w-out-calls")) == before[0] + 1
    assert len(calls(work.parent / "w-two-calls")) == before[1] + 1
    np.testing.assert_array_equal(one.output.read(), voxels + 1)
    np.testing.assert_array_equal(two.output.read(), voxels + 2)
    assert cf.read_table(work / "two.parquet")["sum"].to_pylist() == sums(store)
