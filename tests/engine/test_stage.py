"""Stages: grids that cut write units are refused, memory and fingerprints follow from what is stated."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import payload
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_liver.engine.execute import MOST_WAITING, Assembly, Writer, execute, peak_mib, reset_peak
from chunkflow_liver.engine.stage import PROCESS_BYTES, Fold, Map, Piece, Result, describe, fingerprint, plain
from chunkflow_liver.engine.watch.done import rows_of
from chunkflow_liver.errors import BlockError, DeviceLostError, GridError, InputError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.store.create import create
from chunkflow_liver.store.table import Arrays, Table


@dataclass(frozen=True)
class Shaped:
    """An input that knows only its size."""

    shape: tuple[int, int, int]
    itemsize: int = 2

    def read(self, box: Box) -> np.ndarray:
        return np.zeros(box.shape, np.uint16)

    def identity(self) -> str:
        return "shaped"


def bare(store, work, **options) -> Map:
    output = replace(store, url=f"{work}/out.ome.zarr", levels=1)
    given_ = {"grid": BlockGrid(output.box, (16, 16, 16)), "inputs": (store,), "outputs": (output,)} | options
    return Map("s", payload.add, **given_)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("block", "says"),
    [
        (
            (16, 16, 24),
            "blocks of (16, 16, 24) cut through write units of (16, 16, 16): two tasks would write one of "
            "them and lose each other's voxels; use a multiple of (16, 16, 16) on every axis",
        ),
        ((8, 64, 64), "blocks of (8, 45, 50) cut through write units"),
        ((40, 44, 64), "blocks of (37, 44, 50) cut through write units"),
    ],
)
def test_blocks_that_cut_write_units_are_refused(store, tmp_path, block, says):
    with pytest.raises(GridError) as caught:
        bare(store, tmp_path, grid=BlockGrid(store.box, block))
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize("block", [(16, 16, 16), (32, 48, 16), (64, 64, 64), (37, 45, 50), (40, 45, 99)])
def test_blocks_of_whole_write_units_are_accepted(store, tmp_path, block):
    clipped = tuple(min(b, n) for b, n in zip(block, store.shape, strict=True))
    assert bare(store, tmp_path, grid=BlockGrid(store.box, block)).grid.block == clipped


def test_a_grid_that_does_not_cover_its_output_is_refused(store, tmp_path):
    with pytest.raises(GridError, match=r"the grid covers z 0:16, y 0:16, x 0:16, .*out.ome.zarr is z 0:37"):
        bare(store, tmp_path, grid=BlockGrid(Box.of((16, 16, 16)), (16, 16, 16)))


sides = st.tuples(*[st.integers(1, 40)] * 3)
halos = st.tuples(*[st.integers(0, 9)] * 3)


@settings(max_examples=50, deadline=None)
@given(shape=sides, block=sides, low=halos, high=halos)
def test_the_estimates_hold_for_every_block(shape, block, low, high):
    grid = BlockGrid(Box.of(shape), block, low, high)
    stage = Map("s", payload.add, grid, (Shaped(shape),), working=3.0)
    if len(grid) > 3000:
        return
    reads = [b.read.size for b in grid]
    assert stage.read_bytes == 2 * sum(reads)
    assert stage.task_bytes >= PROCESS_BYTES + 5 * max(reads)
    full = np.prod([min(n, a + b + c) for n, a, b, c in zip(shape, low, block, high, strict=True)])
    assert stage.task_bytes <= PROCESS_BYTES + 5 * full


def test_a_last_block_that_is_thin_does_not_hide_the_others():
    stage = Map(
        "s", payload.add, BlockGrid(Box.of((257, 257, 257)), (256, 256, 256)), (Shaped((257, 257, 257)),)
    )
    assert stage.task_bytes == PROCESS_BYTES + 2 * 256**3


def test_a_map_that_streams_states_its_own_memory():
    grid = BlockGrid(Box.of((99, 99, 99)), (64, 64, 64))
    assert Map("s", payload.pieces, grid, streams=True, resident=5 << 20).task_bytes == PROCESS_BYTES + (
        5 << 20
    )


def test_a_fingerprint_follows_what_the_answer_depends_on(store, tmp_path):
    stage = bare(store, tmp_path, params={"by": 1, "count": "/a"}, identity={"by": 1})

    def of(changed: Map | Fold) -> str:
        return fingerprint(describe(changed, {}, "1"))

    same = [
        replace(stage, params={"by": 1, "count": "/b"}),
        replace(stage, working=9.0, resident=5, device="cuda"),
        replace(stage, outputs=(replace(stage.outputs[0], url="/elsewhere/a.ome.zarr"),)),
    ]
    other = [
        replace(stage, identity={"by": 2}),
        replace(stage, function=payload.pieces),
        replace(stage, grid=BlockGrid(store.box, (32, 16, 16))),
        replace(stage, grid=BlockGrid(store.box, (16, 16, 16), (1, 0, 0))),
        replace(stage, inputs=(Shaped(store.shape),)),
        replace(stage, artefacts={"a": Arrays("/a")}),
        replace(stage, outputs=(replace(stage.outputs[0], dtype="uint32"),)),
    ]
    assert {of(s) for s in same} == {of(stage)}
    assert len({of(stage), *(of(s) for s in other)}) == len(other) + 1
    assert fingerprint(describe(stage, {}, "2")) != of(stage)


def test_what_an_earlier_stage_makes_is_known_by_that_stage(store, tmp_path):
    stage = bare(store, tmp_path)
    after = Map("t", payload.add, BlockGrid(store.box, (16, 16, 16)), stage.outputs)
    made = {f"{stage.outputs[0].url}/0": "print of s"}
    assert describe(after, made, "1")["inputs"] == ["print of s"]
    fold = Fold("f", payload.total, "t", Table("/t"), artefacts={"a": Arrays("/a")})
    found = describe(fold, {"t": "print of t", "/a": "print of a"}, "1")
    assert (found["over"], found["artefacts"]) == ("print of t", {"a": "print of a"})


def test_plain_values_are_what_json_holds():
    values = {
        1: (np.float32(0.5), {"b", "a"}),
        "box": Box.of((1, 2, 3)),
        "a": np.arange(2),
        "p": Path("/x"),
        "n": None,
    }
    assert plain(values) == {
        "1": [0.5, ["a", "b"]],
        "box": {"start": [0, 0, 0], "stop": [1, 2, 3]},
        "a": [0, 1],
        "p": "/x",
        "n": None,
    }


def test_equal_numbers_are_one_setting_whatever_their_type():
    typed = {"cap_nm": 500, "voxel_nm": (4, 8, 16), "most": np.int64(2), "on": True, "none": float("inf")}
    read = {"cap_nm": 500.0, "voxel_nm": (4.0, 8.0, 16.0), "most": 2.0, "on": True, "none": float("inf")}
    assert fingerprint(plain(typed)) == fingerprint(plain(read))
    assert fingerprint(plain({"cap_nm": 500.5})) != fingerprint(plain({"cap_nm": 500}))
    assert plain({"on": True})["on"] is True


def streamed(store, work, **params) -> Map:
    stage = bare(store, work, grid=BlockGrid(store.box, (32, 32, 32)), params=params, streams=True)
    stage = replace(stage, function=payload.pieces)
    create(stage.outputs[0])
    return stage


@pytest.mark.parametrize("order", [0, 1, 2])
def test_pieces_in_any_order_make_the_block(store, voxels, tmp_path, order):
    stage = streamed(store, tmp_path, order=order)
    found = execute([stage], range(len(stage.grid)), tmp_path)
    assert found["failed"] == []
    assert found["done"] == [r["block"] for r in rows_of(found["entries"][0])] == list(range(len(stage.grid)))
    np.testing.assert_array_equal(stage.outputs[0].read(), voxels + 1)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (
            "hole",
            r"BlockError: block 0: the pieces filled \d+ of 32768 voxels of .*out.ome.zarr, and",
        ),
        ("dtype", "GridError: a piece of float64 voxels of shape .* does not fit .* which holds uint16"),
        ("twice", "BlockError: block 0: the pieces filled"),
    ],
)
def test_a_block_whose_pieces_do_not_make_it_up_fails(store, tmp_path, bad, says):
    stage = streamed(store, tmp_path, order=0, bad=bad)
    (failure,) = execute([stage], [0], tmp_path)["failed"]
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(failure["error"])


def test_pieces_are_written_while_the_next_ones_are_made_and_few_wait():
    done, free = [], threading.Event()

    def slow(piece):
        free.wait(30)
        done.append(piece)

    with Writer() as writer:
        for piece in range(MOST_WAITING):
            writer.do(slow, piece)
        assert done == []
        threading.Timer(0.1, free.set).start()
        writer.do(slow, MOST_WAITING)
        assert done[:1] == [0]
    assert done == list(range(MOST_WAITING + 1))


def test_an_error_of_the_writing_thread_fails_the_block(store, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("the disk is full")

    stage = streamed(store, tmp_path, order=0)
    monkeypatch.setattr(Assembly, "add", full)
    (failure,) = execute([stage], [0], tmp_path)["failed"]
    assert "OSError: the disk is full" in failure["error"]


def test_nothing_is_written_after_a_block_failed():
    done, begun = [], threading.Event()

    def slow(piece):
        begun.set()
        time.sleep(0.1)
        done.append(piece)

    def block():
        with Writer() as writer:
            writer.do(slow, 1)
            writer.do(slow, 2)
            begun.wait(30)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block()
    assert done == [1]
    time.sleep(0.2)
    assert done == [1]


def test_a_lost_device_is_a_failed_block_where_nobody_replaces_the_process(store, tmp_path):
    def lost(*_, **__):
        raise DeviceLostError("cuda is in a state that this process cannot leave")

    stage = replace(streamed(store, tmp_path, order=0), function=lost)
    (failure,) = execute([stage], [0], tmp_path)["failed"]
    assert "DeviceLostError: cuda is in a state" in failure["error"]


def test_a_block_without_pieces_is_not_done(store, tmp_path):
    stage = streamed(store, tmp_path, order=0)
    with pytest.raises(BlockError, match="the pieces filled 0 of 32768 voxels"):
        Assembly(stage.outputs[0], 0, stage.grid[0].write).close(stage.grid[0])


def test_a_piece_of_another_shape_than_its_box_is_refused(store, tmp_path):
    stage = streamed(store, tmp_path, order=0)
    with pytest.raises(GridError, match=r"uint16 voxels of shape \(1, 1, 2\) does not fit"):
        Assembly(stage.outputs[0], 0, stage.grid[0].write).add(
            Piece(Box.of((1, 1, 1)), (np.zeros((1, 1, 2), np.uint16),))
        )


def test_a_block_that_fails_does_not_take_the_others_of_its_batch(store, tmp_path):
    """Its record comes later, alone, and must not replace the file of the others."""
    count = tmp_path / "calls"
    count.mkdir()
    stage = bare(store, tmp_path, params={"count": str(count)})
    create(stage.outputs[0])
    Path(f"{count}.fail-4").touch()
    first = execute([stage], [4, 5, 6], tmp_path)
    assert first["done"] == [5, 6]
    (failure,) = first["failed"]
    assert failure["block"] == 4
    assert failure["error"].startswith(
        "stage 's', block 4 (z 0:16, y 16:32, x 0:16): ZeroDivisionError: block 4 was told to fail"
    )
    assert "payload.py" in failure["traceback"]
    Path(f"{count}.fail-4").unlink()
    second = execute([stage], [4], tmp_path)
    assert first["entries"][0]["record"] != second["entries"][0]["record"]
    with np.load(tmp_path / "records" / "s" / first["entries"][0]["record"]) as records:
        assert sorted(records) == ["5.sum", "6.sum"]


def test_maps_without_records_leave_no_files(tmp_path):
    stage = Map("s", nothing, BlockGrid(Box.of((4, 4, 4)), (2, 4, 4)), (Shaped((4, 4, 4)),))
    found = execute([stage], [0, 1], tmp_path)
    (entry,) = found["entries"]
    assert entry["record"] == ""
    assert [(r["block"], r["read"], r["written"]) for r in rows_of(entry)] == [(0, 64, 0), (1, 64, 0)]
    assert not (tmp_path / "records").exists()


def nothing(block, values) -> Result:
    return Result()


def test_the_peak_of_a_process_can_be_measured():
    reset_peak()
    before = peak_mib()
    big = np.ones(400 << 20, np.uint8)
    assert peak_mib() - before > 300
    del big


def test_a_table_of_another_run_counts_by_its_content_and_one_of_this_plan_by_its_stage(tmp_path):
    table = Table(str(tmp_path / "objects.parquet"))
    stage = Map("s", payload.add, BlockGrid(Box.of((1, 1, 1)), (1, 1, 1)), artefacts={"table": table})
    with pytest.raises(InputError, match=r"no table at .*objects\.parquet: run its plan first"):
        describe(stage, {}, "1")
    assert describe(stage, {table.path: "made"}, "1")["artefacts"] == {"table": "made"}
    table.write({"label": np.array([1, 2])})
    first = describe(stage, {}, "1")["artefacts"]
    table.write({"label": np.array([1, 2])})
    assert describe(stage, {}, "1")["artefacts"] == first
    table.write({"label": np.array([1, 3])})
    assert describe(stage, {}, "1")["artefacts"] != first


def test_a_damaged_table_is_refused_where_a_stage_checks_it(tmp_path):
    table = Table(str(tmp_path / "objects.parquet"))
    table.write({"label": np.arange(1000)})
    table.check()
    path = Path(table.path)
    content = bytearray(path.read_bytes())
    content[40] ^= 255
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"objects\.parquet is damaged"):
        table.check()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux counts a peak anew")
def test_what_an_earlier_stage_freed_is_no_peak_of_the_next():
    """In a process of its own: what is free in this one nobody knows."""
    code = (
        "import numpy as np\n"
        "from chunkflow_liver.engine.execute import kept_memory, peak_mib, reset_peak\n"
        "with kept_memory():\n"
        "    found = []\n"
        "    for stage in ('large', 'large', 'small'):\n"
        "        reset_peak([stage])\n"
        "        parts = [np.ones(1 << 17) for _ in range(200 if stage == 'large' else 1)]\n"
        "        # The last one lies above the others, so the heap does not shrink by itself.\n"
        "        last, parts = parts[-1], None\n"
        "        found.append(peak_mib())\n"
        "print(*found)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    first, second, small = map(float, out.split())
    assert second == pytest.approx(first, rel=0.1)
    assert small < first - 100
