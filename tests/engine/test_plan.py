"""Plans: they can be printed, added and refused before a voxel is read or a file is made."""

from __future__ import annotations

import inspect
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import payload
import pytest

import chunkflow_liver as cf
from chunkflow_liver.engine import plan as plan_module
from chunkflow_liver.engine.plan import Plan, Product, nearest_folder, size
from chunkflow_liver.engine.stage import PROCESS_BYTES, Map
from chunkflow_liver.errors import ConfigError, DiskBudgetError, MemoryBudgetError, OutputError, StageError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.store.create import new_volume
from chunkflow_liver.store.volume import Volume


def huge(work, sides=(1024, 2048, 2048)) -> Volume:
    return replace(
        new_volume(f"{work}/none.ome.zarr", sides, "uint8", (8, 8, 8), kind="label"), classes=(("er", 1),)
    )


def test_planning_reads_no_voxels_and_makes_no_files(store, tmp_path, monkeypatch, listing):
    before = listing()
    monkeypatch.setattr(Volume, "read", lambda *_: pytest.fail("voxels were read"))
    labels = replace(store, kind="label", classes=(("er", 1),))
    work = tmp_path / "work"
    block = (16, 16, 16)
    plan = (
        cf.label(labels, name="mitos", work=work, block=block)
        + cf.distance(labels, to="er", cap_nm=50, name="er-distance", work=work, block=block)
        + cf.measure(labels, raw=store, name="table", work=work)
    )
    plan.check(2**40)
    assert "mitos/components" in str(plan)
    assert len(list(plan.descriptions())) == len(plan.stages)
    assert listing() == before


def test_a_printed_plan_states_blocks_bytes_and_memory(tmp_path):
    plan = cf.distance(
        huge(tmp_path), to="er", cap_nm=80, name="er-distance", work=tmp_path, block=(256, 256, 256)
    )
    lines = str(plan).splitlines()
    assert lines[0].split() == [
        "stage",
        "blocks",
        "block",
        "halo",
        "reads",
        "writes",
        "memory/task",
        "device",
    ]
    row = next(line for line in lines if line.startswith("er-distance/distance")).split()
    assert row[1:4] == ["256", "256x256x256", "10x10x10"]
    assert row[6:8] == ["20.0", "GiB"]
    assert lines[-1].endswith(f"work folder {tmp_path}")


def test_plans_of_one_folder_are_added_and_shared_stages_run_once(store, tmp_path):
    first, second = (
        payload.plan_of(store, tmp_path / "w"),
        payload.plan_of(store, tmp_path / "w", name="other"),
    )
    both = first + second + first
    assert [s.name for s in both.stages] == ["out/add", "out/total", "other/add", "other/total"]
    assert both.output == first.output


def test_plans_of_two_folders_are_not_added(store, tmp_path):
    with pytest.raises(ConfigError, match="plans of two work folders cannot be added"):
        payload.plan_of(store, tmp_path / "a") + payload.plan_of(store, tmp_path / "b")


def test_two_operations_of_one_name_are_refused(store, tmp_path):
    with pytest.raises(ConfigError, match=r"have the same name: \['out/add'\]; rename one of them"):
        payload.plan_of(store, tmp_path / "w") + payload.plan_of(store, tmp_path / "w", by=2)


def test_products_are_kept_once(store, tmp_path):
    product = Product("raw", "raw", store)
    plan = Plan((), tmp_path, store, (product,))
    assert (plan + plan).products == (product,)


@pytest.mark.parametrize("have_gib", [0.5, 0.75, 1.0, 1.9])
@pytest.mark.parametrize("cap_nm", [16, 400])
def test_too_little_memory_is_refused_with_a_block_that_is_accepted(tmp_path, have_gib, cap_nm):
    def planned(block):
        return cf.distance(huge(tmp_path), to="er", cap_nm=cap_nm, name="d", work=tmp_path / "w", block=block)

    block = (512, 512, 512)
    with pytest.raises(MemoryBudgetError) as caught:
        planned(block).check(have_gib * 2**30)
    text = str(caught.value)
    assert text.startswith("stage 'd/distance' needs ")
    assert f"for blocks of {block} with halo" in text
    assert f"but a worker has {have_gib:.2f} GiB; try a block of about (" in text
    advised = re.search(r"try a block of about \((\d+), (\d+), (\d+)\)", text)
    assert advised is not None
    smaller = tuple(int(n) for n in advised.groups())
    planned(smaller).check(have_gib * 2**30)
    assert np.prod(smaller) < np.prod(block)


def test_a_default_block_that_is_too_large_is_refused_with_a_smaller_one(tmp_path):
    plan = cf.label(huge(tmp_path), name="mitos", work=tmp_path)
    need = plan.maps[0].task_bytes
    with pytest.raises(MemoryBudgetError, match=r"try a block of about \((\d+), (\d+), (\d+)\)") as caught:
        plan.check(need - 1)
    smaller = tuple(int(n) for n in re.findall(r"about \((.*?)\)", str(caught.value))[0].split(", "))
    assert cf.label(huge(tmp_path), name="mitos", work=tmp_path, block=smaller).maps[0].task_bytes < need
    assert smaller != (256, 256, 256)


def test_memory_that_no_block_fits_is_said_to_be_so(tmp_path):
    plan = cf.label(huge(tmp_path), name="mitos", work=tmp_path)
    with pytest.raises(
        MemoryBudgetError, match="no smaller block fits: take fewer workers with more memory each"
    ):
        plan.check(PROCESS_BYTES)


def test_too_little_disk_is_refused(tmp_path, monkeypatch):
    plan = cf.label(huge(tmp_path), name="mitos", work=tmp_path / "not/yet/there")
    plan.check()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    with pytest.raises(
        DiskBudgetError, match=rf"the outputs need about 4\.\d\d GiB in .*, but {tmp_path} has 1.00 GiB free"
    ):
        plan.check()


def test_a_work_folder_below_a_file_is_refused(store, tmp_path):
    (tmp_path / "file").touch()
    plan = payload.plan_of(store, tmp_path / "w")
    with pytest.raises(DiskBudgetError, match=f"cannot write to {tmp_path}/file, where the work folder"):
        replace(plan, work=tmp_path / "file/work").check()
    assert nearest_folder(tmp_path / "a/b/c") == tmp_path


def test_a_plan_of_a_petavoxel_volume_takes_no_time(tmp_path):
    grid = BlockGrid(Box.of((10**5, 10**5, 10**5)), (64, 64, 64), (1, 1, 1), (1, 1, 1))
    stage = Map("a", payload.add, grid, (huge(tmp_path),), params={"count": ""})
    plan = Plan((stage,), tmp_path, None)
    assert plan.rows()[0]["blocks"] == 1563**3
    assert plan.rows()[0]["read_bytes"] == (10**5 + 2 * 1562) ** 3


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 2**30, "5.0 GiB"), (2**52, "4096.0 TiB")],
)
def test_bytes_are_printed_as_a_person_reads_them(n, text):
    assert size(n) == text


def test_the_size_of_gibibytes_is_right():
    assert plan_module.GIB == 1024**3


def test_a_plan_refuses_to_write_over_an_image_that_it_reads(tmp_path):
    mask = np.zeros((4, 8, 8), np.uint8)
    source = cf.write_volume(tmp_path / "labels" / "mitos", mask, voxel_nm=(4, 8, 16), kind="label")
    with pytest.raises(ConfigError, match=r"'mitos/apply' would write over .*mitos, which the plan reads"):
        cf.label(source, name="mitos", work=tmp_path / "run", into=tmp_path)


def test_the_result_of_another_work_folder_is_not_replaced(tmp_path):
    mask = np.ones((4, 8, 8), np.uint8)
    raw = cf.write_volume(tmp_path / "raw.ome.zarr", mask, voxel_nm=(4, 8, 16))
    semantic = cf.write_volume(
        tmp_path / "s.ome.zarr", mask, voxel_nm=(4, 8, 16), kind="label", classes=[("mito", 1)]
    )
    first = cf.label(semantic, name="mitos", work=tmp_path / "one", into=raw.url)
    cf.run(first)
    with pytest.raises(OutputError, match=r"mitos exists, and this work folder .* did not make it"):
        cf.run(cf.label(semantic, name="mitos", work=tmp_path / "two", into=raw.url))
    assert (first.output.read() == 1).all()


def test_a_plan_refuses_to_write_over_the_image_that_holds_what_it_reads(tmp_path):
    """As with a phantom: making raw.ome.zarr anew would empty the folder of its label images."""
    work, mask = tmp_path / "run", np.ones((4, 8, 8), np.uint8)
    cf.write_volume(work / "raw.ome.zarr", mask, voxel_nm=(4, 8, 16))
    truth = cf.write_volume(
        work / "raw.ome.zarr/labels/truth", mask, voxel_nm=(4, 8, 16), kind="label", classes=[("er", 1)]
    )
    with pytest.raises(ConfigError, match=r"'raw/distance' would write over .*raw\.ome\.zarr"):
        cf.distance(truth, to="er", cap_nm=20, name="raw", work=work)
    np.testing.assert_array_equal(truth.read(), mask)
    # An image beside it, whose name begins in the same way, is no part of it.
    assert cf.distance(truth, to="er", cap_nm=20, name="raw.ome.zarr-d", work=work).output


def test_the_result_of_another_operation_of_a_work_folder_is_not_replaced(tmp_path):
    mask = np.ones((4, 8, 8), np.uint8)
    semantic = cf.write_volume(
        tmp_path / "s.ome.zarr", mask, voxel_nm=(4, 8, 16), kind="label", classes=[("mito", 1)]
    )
    work = tmp_path / "run"
    first = cf.label(semantic, name="d-exact", work=work)
    cf.run(first, progress=False)
    second = cf.distance(semantic, to="mito", cap_nm=20, name="d", work=work)
    assert second.maps[0].outputs[1].url == first.output.url
    for redo in (False, True):
        with pytest.raises(OutputError, match="d-exact"):
            cf.run(second, redo=redo, progress=False)
    assert first.output.dtype == "uint32"
    assert cf.open_volume(first.output.url).dtype == "uint32"
    assert (first.output.read() == 1).all()


def test_two_makers_of_one_table_are_refused_in_one_plan(store, tmp_path):
    """`contacts` makes 'x-objects': a measurement of that name would replace it."""
    labels = replace(store, kind="label", classes=(("er", 1),))
    at = dict(work=tmp_path / "work", block=(16, 16, 16))
    contacts = cf.contacts(labels, labels, of="er", to="er", gap_nm=8, name="x", **at)
    table = cf.measure(labels, name="x-objects", **at)
    says = r"operation 'x-objects' .* and operation 'x' .* would both write .*x-objects.parquet; rename"
    with pytest.raises(ConfigError, match=says):
        contacts + table


def test_two_makers_of_one_table_are_refused_in_two_runs(tmp_path):
    labels = cf.write_volume(
        tmp_path / "l.ome.zarr", np.ones((4, 4, 4), np.uint8), voxel_nm=(4, 8, 16), kind="label"
    )
    at = dict(work=tmp_path / "work", block=(4, 4, 4))
    payload.go(cf.measure(labels, name="x-objects", **at))
    table = tmp_path / "work/tables/x-objects.parquet"
    before = table.read_bytes()
    contacts = cf.contacts(labels, labels, of=1, to=1, gap_nm=8, name="x", **at)
    with pytest.raises(OutputError, match=r"x-objects.parquet is a result of this .* 'x' would write"):
        payload.go(contacts)
    with pytest.raises(OutputError, match="choose another name"):
        payload.go(contacts, redo=True)
    assert table.read_bytes() == before


def test_stages_know_the_operation_that_planned_them(store, tmp_path):
    labels = replace(store, kind="label", classes=(("er", 1),))
    at = dict(work=tmp_path, block=(16, 16, 16))
    plan = cf.label(labels, name="a", **at) + cf.measure(labels, name="b", **at)
    assert {(s.name.partition("/")[0], s.operation) for s in plan.stages} == {
        ("a", "label"),
        ("b", "measure"),
    }


def test_parameters_that_a_function_does_not_take_are_refused_when_planned(store, tmp_path):
    plan = payload.plan_of(store, tmp_path / "w")
    add, total = plan.stages
    says = {
        r"'out/add': payload.add\(block.* a required (keyword-only )?argument: 'count'": replace(
            add, params={"by": 1}
        ),
        "an unexpected keyword argument 'bye'": replace(add, params={**add.params, "bye": 1}),
        "too many positional arguments; give it 2 inputs": replace(add, inputs=(store, store)),
        "'out/total'.* an unexpected keyword argument 'scratch'": replace(total, spills=True),
    }
    for text, stage in says.items():
        with pytest.raises(StageError, match=text):
            replace(plan, stages=(stage,))


@pytest.mark.parametrize("name", sorted(n for n in cf.__all__ if hasattr(getattr(cf, n), "__wrapped__")))
def test_operations_explain_each_of_their_parameters(name):
    function = getattr(cf, name)
    text = function.__doc__
    if "Plan" not in str(inspect.signature(function).return_annotation):
        return
    assert not re.search(r"^\s*{\w+}$", text, re.M)
    parameters = inspect.signature(function).parameters.values()
    for parameter in parameters:
        word = {parameter.VAR_KEYWORD: r"\*\*"}.get(parameter.kind, "") + parameter.name
        assert re.search(rf"^(\w+, )*{word}(, \w+)* ?:?", text, re.M), parameter
