"""The operation with SAM2 itself, of small random weights: the same bits however a run is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sam2_models import model_folder, need_transformers, planes

import chunkflow_liver as cf
from chunkflow_liver.store.prompts import Prompt

need_transformers()
VOXEL_NM = (40.0, 8.0, 8.0)
SHAPE = (26, 96, 96)
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def raw(tmp_path: Path) -> Any:
    grey = planes(SHAPE[0], SHAPE[1])
    return cf.write_volume(tmp_path / "raw.ome.zarr", grey, voxel_nm=VOXEL_NM, chunks=(16, 32, 32))


def prompts() -> list[Prompt]:
    boxes = {"a": (9, 20, 20, 44, 44), "b": (4, 50, 50, 80, 70), "c": (12, 10, 60, 30, 90)}
    return [
        Prompt(name, (z + 0.5) * 40, box_nm=(8.0 * y0, 8.0 * x0, 8.0 * y1, 8.0 * x1))
        for name, (z, y0, x0, y1, x1) in boxes.items()
    ]


def carried(raw: Any, work: Path, model: Path, **options: Any) -> Array:
    kind = {"chunk": 6} | options
    plan = cf.propagate(raw, prompts(), model=model, name="cells", work=work, **kind)
    cf.run(plan, progress=False)
    return plan.output.read()


def test_no_bit_depends_on_chunks_and_groups_nor_on_a_kill(
    raw: Any, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chunkflow_liver.segmenters.sam2.tracker import Sam2Propagator

    wanted = carried(raw, tmp_path / "whole", model, chunk=100)
    assert wanted.any()
    np.testing.assert_array_equal(carried(raw, tmp_path / "alone", model, group=1), wanted)

    class Killed(BaseException):
        pass

    step, left = Sam2Propagator.step, iter(range(20))

    def stops(self: Any, tracks: Any, seen: Any, z: int, *, reverse: bool = False) -> Any:
        if next(left, None) is None:
            raise Killed
        return step(self, tracks, seen, z, reverse=reverse)

    monkeypatch.setattr(Sam2Propagator, "step", stops)
    with pytest.raises(Killed):
        carried(raw, tmp_path / "cut", model)
    monkeypatch.setattr(Sam2Propagator, "step", step)
    np.testing.assert_array_equal(carried(raw, tmp_path / "cut", model), wanted)


def test_a_changed_model_is_not_gone_on_with(raw: Any, tmp_path: Path) -> None:
    from chunkflow_liver.errors import JournalError

    carried(raw, tmp_path / "w", model_folder(tmp_path / "one"))
    with pytest.raises(JournalError, match="model"):
        carried(raw, tmp_path / "w", model_folder(tmp_path / "two", seed=5))


@pytest.mark.slow
def test_another_engine_is_told_and_not_gone_on_with(
    raw: Any, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chunkflow_liver.errors import JournalError

    pytest.importorskip("openvino", reason="openvino is not installed: chunkflow-liver[openvino]")
    monkeypatch.setenv("CHUNKFLOW_LIVER_CACHE", str(tmp_path / "cache"))
    how: dict[str, Any] = {"model": model, "name": "cells", "engine": "openvino"}
    assert "openvino in float32" in str(cf.propagate(raw, prompts(), work=tmp_path / "plan", **how))
    wanted = carried(raw, tmp_path / "w", model)
    assert (carried(raw, tmp_path / "other", model, engine="openvino") == wanted).mean() >= 0.999
    assert len(list((tmp_path / "cache").glob("network-*.xml"))) == 1
    with pytest.raises(JournalError, match="engine"):
        carried(raw, tmp_path / "w", model, engine="openvino")


@pytest.mark.network
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_bit_depends_on_the_number_of_workers(raw: Any, tmp_path: Path, model: Path) -> None:
    import torch

    # Sums of two threads have other last bits, and a worker is one thread.
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        wanted = carried(raw, tmp_path / "here", model, group=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    plan = cf.propagate(raw, prompts(), model=model, name="cells", work=tmp_path / "w", chunk=6, group=1)
    with cf.cluster(workers=2, memory_gib=4) as client:
        cf.run(plan, client, progress=False)
    np.testing.assert_array_equal(plan.output.read(), wanted)
