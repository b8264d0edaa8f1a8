"""Shapes and sums come from one read of the labels, and from another of blocks that guessed wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from strategies import VOXEL_NM, done, most_resident, resumed_equals_whole, table, write

import chunkflow_liver as cf
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.features.groups import Settings
from chunkflow_liver.kernels.labels.object_runs import runs_by_object
from chunkflow_liver.ops.measure.once import doubtful, sums_once
from chunkflow_liver.store.volume import Volume

BLOCK = (4, 8, 8)


def pieces():
    """Blocks of 4 x 8 x 8: 1 ends in the first; 2 in the first and the last; 3 goes from one to another."""
    labels = np.zeros((8, 8, 16), np.uint32)
    labels[1:3, 1:3, 1:4] = 1
    labels[2, 5, 1:6] = labels[5:7, 4, 10:14] = 2
    labels[1, 2, 6:11] = 3
    return labels


def measured(folder, labels, block=BLOCK, features=("basic", "shape", "morphology")):
    cells = write(folder, labels, "cells", kind="label")
    return cf.measure(cells, features=list(features), name="t", work=Path(folder) / "work", block=block)


def test_only_blocks_with_pieces_of_torn_objects_are_read_again(tmp_path, monkeypatch):
    plan = measured(tmp_path, pieces())
    names = ["t/features", "t/objects", "t/pieces", "t/piece-sums", "t/table"]
    assert [stage.name for stage in plan.stages] == names
    read, boxes = Volume.read, []

    def counted(self, box=None):
        boxes.append(box)
        return read(self, box)

    monkeypatch.setattr(Volume, "read", counted)
    found = table(plan)
    grid = plan.stages[0].grid
    assert boxes == [*(block.read for block in grid), grid[0].read, grid[3].read]
    assert found["label"] == [1, 2, 3]
    assert found["voxels"] == [12, 13, 5]
    # From the outer face of voxel (2, 5, 1) to the one of (6, 4, 13): half a voxel more along x at both ends.
    far = np.hypot(np.hypot(4 * 4, 1 * 8), 13 * 16)
    assert found["shape_Maximum3DDiameter"][1] == pytest.approx(far / 1000)


def test_a_torn_object_has_the_row_of_an_undivided_volume(tmp_path):
    paths = []
    for n, block in enumerate([(8, 8, 16), BLOCK, (3, 3, 3)]):
        (tmp_path / str(n)).mkdir()
        paths.append(Path(done(measured(tmp_path / str(n), pieces(), block)).path))
    assert paths[0].read_bytes() == paths[1].read_bytes() == paths[2].read_bytes()


def test_guesses_are_held_against_the_boxes_of_whole_objects():
    """Of blocks of 4 x 8 x 8 voxels the last took 2 and 5 for whole; 2 begins in another one."""
    objects = {"label": np.array([2, 5], np.uint64)}
    for axis, low, high in (("z", [2, 5], [7, 8]), ("y", [4, 0], [6, 8]), ("x", [1, 8], [14, 16])):
        objects |= {f"bbox_{axis}_min": np.array(low), f"bbox_{axis}_max": np.array(high)}
    guesses = [(1, np.array([0, 0, 8]), np.zeros(0, np.uint64)), (3, np.array([4, 0, 8]), objects["label"])]
    found = doubtful(guesses, objects, BLOCK)
    assert found["doubt_block"].tolist() == [3]
    assert found["doubt_label"].tolist() == [2]
    assert doubtful([], objects, BLOCK)["doubt_block"].tolist() == []


@pytest.mark.parametrize("stage", ["t/features", "t/pieces"])
def test_a_broken_run_goes_on_to_the_same_bytes(stage, tmp_path):
    cells = write(tmp_path, pieces(), "cells", kind="label")

    def plan(work):
        return cf.measure(cells, features=["shape"], name="t", work=work, block=BLOCK)

    resumed_equals_whole(plan, tmp_path, stage, 2)


def test_a_part_of_the_runs_are_those_of_the_part():
    labels = np.random.default_rng(0).integers(0, 4, (5, 6, 7)).astype(np.uint16)
    for shape in ((5, 6, 7), (4, 5, 6), (1, 6, 3), (5, 1, 1)):
        part = runs_by_object(labels).within(shape)
        wanted = runs_by_object(labels[tuple(slice(n) for n in shape)])
        assert part.height == wanted.height
        for name in ("label", "begin", "row", "ends", "order"):
            np.testing.assert_array_equal(getattr(part, name), getattr(wanted, name))


@pytest.mark.parametrize("kind", ["noise", "balls"])
def test_one_read_keeps_to_the_memory_that_was_stated(kind, tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, (64, 64, 64)).astype(np.uint32)
    if kind == "balls":
        at = np.indices(labels.shape) // 16
        ball = ((np.indices(labels.shape) % 16 - 7.5) ** 2).sum(0) < 40
        labels = np.where(ball, 1 + at[0] * 16 + at[1] * 4 + at[2], 0).astype(np.uint32)
    plan = measured(tmp_path, labels[:2, :2, :2], (2, 2, 2), ["shape"])
    options = {"features": ["shape"], "voxel_nm": VOXEL_NM, "settings": cf.engine.stage.plain(Settings())}
    block = next(iter(BlockGrid(Box.of(labels.shape), labels.shape, (0, 0, 0), (1, 1, 1))))
    peak = most_resident(lambda: sums_once(block, labels, **options))
    assert peak <= plan.stages[0].working * labels.size + plan.stages[0].resident
