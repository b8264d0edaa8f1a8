"""Slices by themselves: every point a prompt, the object their union, nothing carried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flood_propagator
import numpy as np
import pytest
from flood_propagator import flood_model

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.segmenters.sam2 import backends
from chunkflow_liver.store.prompts import Prompt, prompts_from_skeletons

VOXEL_NM = (40.0, 8.0, 8.0)
SHAPE = (6, 64, 96)


@pytest.fixture(autouse=True)
def flood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends.BACKENDS, "flood", "flood_propagator:FLOOD")
    flood_propagator.loaded.clear()


def branches() -> np.ndarray[Any, Any]:
    """Two branches of one object, and something else."""
    inside = np.zeros(SHAPE, bool)
    inside[:, 8:24, 8:24] = inside[:, 8:24, 40:56] = inside[:, 40:56, 40:56] = True
    return inside


def planned(folder: Path, prompts: Any, **options: Any) -> Any:
    grey = np.where(branches(), 200, 40).astype(np.uint8)
    place = folder / "raw.ome.zarr"
    raw = cf.open_volume(place) if place.exists() else None
    raw = raw or cf.write_volume(place, grey, voxel_nm=VOXEL_NM, chunks=(16, 32, 32))
    model = folder / "model"
    given = {"backend": "flood", "name": "cells", "per_slice": True} | options
    return cf.propagate(raw, prompts, model=model if model.exists() else flood_model(model), **given)


def node(z: int, y: int, x: int) -> tuple[float, float, float]:
    return (z + 0.5) * 40.0, y * 8.0, x * 8.0


def test_an_object_is_the_union_of_its_points_on_their_slices(tmp_path: Path) -> None:
    lines = [node(1, 16, 16), node(1, 16, 48), node(4, 16, 16)]
    text = "".join(f"{i} 0 {x} {y} {z} 1 -1\n" for i, (z, y, x) in enumerate(lines, 1))
    (tmp_path / "duct.swc").write_text(text)
    prompts = prompts_from_skeletons(
        tmp_path / "duct.swc", voxel_nm=VOXEL_NM, shape=SHAPE, unit="nm", slices=SHAPE[0]
    )
    plan = planned(tmp_path, prompts, work=tmp_path / "w")
    cf.run(plan, progress=False)
    found = plan.output.read() > 0
    assert found.any((1, 2)).tolist() == [False, True, False, False, True, False]
    # Logits have a quarter of the resolution, so a rim of a voxel or two is between inside and outside.
    assert found[1, 10:22, 10:22].all()
    assert found[1, 10:22, 42:54].all()
    assert not found[:, 32:].any()
    assert found[4, 10:22, 10:22].all()
    assert not found[4, :, 32:].any()
    table = cf.read_table(tmp_path / "w/tables/cells-objects.parquet").to_pandas()
    assert table[["object", "slices"]].values.tolist() == [["duct", 2]]


def test_no_bit_depends_on_groups_and_chunks(tmp_path: Path) -> None:
    prompts = [
        Prompt("a", 20.0, points_nm=((128.0, 128.0, True), (128.0, 384.0, True))),
        Prompt("a", 180.0, kind="", box_nm=(64.0, 64.0, 192.0, 192.0)),
        Prompt("b", 20.0, points_nm=((384.0, 384.0, True), (128.0, 128.0, False))),
    ]
    made = []
    for i, how in enumerate(({}, {"group": 1}, {"chunk": 1}, {"chunk": 1, "group": 2})):
        plan = planned(tmp_path, prompts, work=tmp_path / str(i), **how)
        cf.run(plan, progress=False)
        made.append(plan.output.read())
        np.testing.assert_array_equal(made[0], made[-1])
    assert np.unique(made[0]).tolist() == [0, 1, 2]


def test_a_direction_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="per_slice carries nothing"):
        planned(tmp_path, [Prompt("a", 20.0, label=1)], work=tmp_path / "w", direction="forward")
