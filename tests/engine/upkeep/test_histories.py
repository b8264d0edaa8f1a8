"""Runs that are interrupted, changed, damaged, cleaned and repaired in any order end in the same bytes."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from payload import add, go, total
from strategies import contents

import chunkflow_liver as cf
from chunkflow_liver.engine.journal import Journal, read_journal
from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.pyramid import pyramid
from chunkflow_liver.engine.run import is_finished
from chunkflow_liver.engine.stage import Fold, Map, Result
from chunkflow_liver.engine.upkeep.clean import clean
from chunkflow_liver.errors import JournalError, RunIncompleteError
from chunkflow_liver.geometry import BlockGrid
from chunkflow_liver.store.create import write_volume
from chunkflow_liver.store.table import Arrays, Table

BLOCKS = 8
VOXELS = np.random.default_rng(1).integers(1, 999, (16, 16, 16), dtype=np.uint16)
RESULTS = ("out.ome.zarr", "shifted.ome.zarr", "out.parquet")


def whole(records):
    """The sum over all blocks, for the stage that follows."""
    return {"sum": np.array([sum(int(record["sum"][0]) for _, record in records)])}


def shift(block, values, *, sums):
    return Result((values[block.trim] + np.uint16(int(sums["sum"][0]) % 7),))


def plan_in(folder: Path, work: str, by: int) -> Plan:
    """A map with records, its pyramid, a table, an artefact, and a map that needs both image and artefact."""
    raw, at, block = cf.open_volume(folder / "raw.ome.zarr"), folder / work, (8, 8, 8)
    calls = folder / "calls"
    calls.mkdir(exist_ok=True)
    out = raw.like(f"{at}/out.ome.zarr", dtype="uint16", kind="image", block=block, levels=2)
    shifted = raw.like(f"{at}/shifted.ome.zarr", dtype="uint16", kind="image", block=block, levels=1)
    sums, grid = Arrays(f"{at}/artefacts/out.sums"), BlockGrid(out.box, block)
    params = {"count": str(calls), "by": by}
    stages = (
        Map("out/add", add, grid, (raw,), (out,), params=params, identity={"by": by}),
        *pyramid(out, "out"),
        Fold("out/total", total, "out/add", Table(f"{at}/out.parquet")),
        Fold("out/sums", whole, "out/add", sums),
        Map("shifted/shift", shift, grid, (out,), (shifted,), artefacts={"sums": sums}),
    )
    # What is no product is an intermediate, which may be cleaned away.
    return Plan(stages, at, shifted, (Product("raw", "out", out),))


def made(folder: Path, work: str) -> dict[str, object]:
    place = folder / work
    return {n: contents(place / n) if (place / n).is_dir() else (place / n).read_bytes() for n in RESULTS}


@cache
def undisturbed() -> dict[int, dict[str, object]]:
    """Results of runs to which nothing happens, by their setting."""
    folder = Path(tempfile.mkdtemp())
    write_volume(folder / "raw.ome.zarr", VOXELS, voxel_nm=(4, 8, 16), chunks=(8, 8, 8))
    found = {}
    for by in (1, 2):
        go(plan_in(folder, f"whole-{by}", by))
        found[by] = made(folder, f"whole-{by}")
    shutil.rmtree(folder)
    return found


class Histories(RuleBasedStateMachine):
    """One work folder, and all that may happen to it."""

    wanted: dict[int, dict[str, object]]

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        write_volume(self.folder / "raw.ome.zarr", VOXELS, voxel_nm=(4, 8, 16), chunks=(8, 8, 8))
        self.wanted = undisturbed()
        self.by, self.damaged = 1, False

    def teardown(self) -> None:
        if hasattr(self, "wanted"):
            self.repaired()
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def plan(self) -> Plan:
        return plan_in(self.folder, "w", self.by)

    @property
    def begun(self) -> bool:
        return bool(read_journal(self.folder / "w").done)

    def finished(self) -> None:
        assert is_finished(self.plan)
        assert made(self.folder, "w") == self.wanted[self.by]

    @precondition(lambda self: not self.damaged)
    @rule()
    def run(self) -> None:
        go(self.plan)
        self.finished()

    @precondition(lambda self: not self.damaged)
    @rule(after=st.integers(1, 25), written=st.booleans())
    def interrupted_at_a_line(self, after: int, written: bool) -> None:
        """The driver ends before or after a line of the journal."""
        append, count = Journal.append, 0

        def ended(journal, entry):
            nonlocal count
            count += 1
            if count == after and not written:
                raise KeyboardInterrupt
            append(journal, entry)
            if count == after:
                raise KeyboardInterrupt

        with mock.patch.object(Journal, "append", ended), contextlib.suppress(KeyboardInterrupt):
            go(self.plan)

    @precondition(lambda self: not self.damaged)
    @rule(after=st.integers(1, 60))
    def interrupted_at_a_rename(self, after: int) -> None:
        """The driver ends before something gets its name: records, tables, artefacts, the plan."""
        replace, count = os.replace, 0

        def ended(*places):
            nonlocal count
            count += 1
            # As Ctrl-C does: in a coroutine it would end zarr's own thread, and whoever waits for it hangs.
            if count >= after and threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt
            replace(*places)

        with mock.patch("os.replace", ended), contextlib.suppress(KeyboardInterrupt):
            go(self.plan)

    @precondition(lambda self: not self.damaged)
    @rule(block=st.integers(0, BLOCKS - 1))
    def failed_at_a_block(self, block: int) -> None:
        (self.folder / f"calls.fail-{block}").touch()
        with contextlib.suppress(RunIncompleteError):
            go(self.plan, retries=0)
        (self.folder / f"calls.fail-{block}").unlink()

    @precondition(lambda self: not self.damaged and self.begun)
    @rule(share=st.floats(0, 1))
    def power_cut(self, share: float) -> None:
        """The end of the journal did not reach the disk; what it was about did."""
        journal = self.folder / "w/journal.jsonl"
        journal.write_bytes(journal.read_bytes()[: int(share * journal.stat().st_size)])

    @precondition(lambda self: not self.damaged)
    @rule()
    def changed_without_a_word(self) -> None:
        """Other settings are refused, whatever state the folder is in, and nothing is touched."""
        if not self.begun:
            return
        held = (self.folder / "w/journal.jsonl").read_bytes()
        with pytest.raises(JournalError, match=r"params\.by"):
            go(plan_in(self.folder, "w", 3 - self.by))
        assert (self.folder / "w/journal.jsonl").read_bytes() == held

    @precondition(lambda self: not self.damaged)
    @rule()
    def changed_and_redone(self) -> None:
        self.by = 3 - self.by
        go(self.plan, redo=True)
        self.finished()

    @precondition(lambda self: self.begun)
    @rule(data=st.data(), how=st.sampled_from(["deleted", "cut", "flipped"]))
    def damaged_file(self, data: st.DataObject, how: str) -> None:
        place = self.folder / "w"
        files = sorted(
            p for p in place.rglob("*") if p.is_file() and p.suffix in (".npz", ".npy", ".parquet")
        )
        files += sorted(p for n in RESULTS[:2] for p in (place / n).rglob("c/*/*/*") if p.is_file())
        if not files:
            return
        path = data.draw(st.sampled_from(files))
        whole_file = path.read_bytes()
        at = len(whole_file) // 2
        if how == "deleted":
            path.unlink()
        elif how == "cut":
            path.write_bytes(whole_file[:at])
        else:
            path.write_bytes(whole_file[:at] + bytes([whole_file[at] ^ 8]) + whole_file[at + 1 :])
        self.damaged = True

    @rule()
    def repaired(self) -> None:
        if self.begun:
            cf.repair(self.plan, progress=False)
        else:
            go(self.plan)
        self.damaged = False
        assert cf.damage(self.plan, progress=False) == []
        self.finished()

    @precondition(lambda self: not self.damaged and (self.folder / "w/run.json").exists())
    @rule()
    def cleaned(self) -> None:
        if is_finished(self.plan):
            clean(self.plan)
            self.finished()


Histories.TestCase.settings = settings(
    max_examples=int(os.environ.get("HISTORIES", "6")),
    stateful_step_count=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestHistories = Histories.TestCase
