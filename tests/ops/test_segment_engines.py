"""The engine of a run is chosen once, by a trial on its volume; it is kept, told, and used by every block."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import torch
from model_folders import write_model_folder
from scipy.ndimage import gaussian_filter
from strategies import done, resumed_equals_whole, write

import chunkflow_liver as cf
from chunkflow_liver.engine.journal import read_rows
from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.segmenters.engines import Engine, engine
from chunkflow_liver.segmenters.streaming import trial
from chunkflow_liver.store.table import Arrays

torch.set_num_threads(1)
SHAPE, VOXEL_NM = (16, 30, 29), (4.0, 4.0, 4.0)


@pytest.fixture
def raw(tmp_path):
    array = gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), (1, 2, 2))
    return write(tmp_path, (110 + 400 * array).clip(1, 255).astype("uint8"), "raw", voxel_nm=VOXEL_NM)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model_folder(tmp_path_factory.mktemp("model"), spacing=VOXEL_NM, mirror=None)


@pytest.fixture
def worth(monkeypatch):
    """A trial is made however short the run, and torch in float32 is the slowest."""
    monkeypatch.setattr(trial, "WORTH_SECONDS", 0.0)
    monkeypatch.setattr(trial, "LEAST_GAIN", 0.0)


def plan(raw, model, work, **how):
    return cf.segment(raw, model=model, name="cells", work=work, **how)


def choice(work):
    return Arrays(str(work / "artefacts" / "cells.engine"))


def test_a_short_run_keeps_torch_in_float32(raw, model, tmp_path):
    made = plan(raw, model, tmp_path / "work")
    assert "engine: chosen by a trial on this volume as the run begins, among torch in float32" in str(made)
    auto = done(made).read()
    plain = done(plan(raw, model, tmp_path / "plain", engine="torch", precision="float32")).read()
    np.testing.assert_array_equal(auto, plain)
    assert "too few for a trial" in str(choice(tmp_path / "work")["said"][0])
    assert not choice(tmp_path / "plain").exists()


def test_what_was_tried_is_kept_planned_and_reported(raw, model, tmp_path, worth, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(engine, "has_bfloat16", lambda: False)
    work = tmp_path / "work"
    output = done(plan(raw, model, work))
    (found,) = json.loads(str(choice(work)["trials"]))
    assert [a["engine"]["name"] for a in found["attempts"]] == ["torch", "openvino"]
    assert all(math.isfinite(a["seconds"]) for a in found["attempts"])
    assert found["attempts"][1]["equal"] >= 0.999
    assert found["windows"] >= 2
    assert "equal labels" in str(plan(raw, model, work))
    text = re.sub(r"\s+", " ", cf.report(work).read_text())
    assert "Networks of <b>cells</b> ran with" in text
    assert "chosen on" in text
    assert output.exists()


def test_openvino_gives_the_labels_of_torch_for_any_block_and_goes_on(raw, model, tmp_path):
    pytest.importorskip("openvino")
    how = {"engine": "openvino", "precision": "float32"}
    wanted = done(plan(raw, model, tmp_path / "torch", engine="torch", precision="float32")).read()
    found = [
        done(plan(raw, model, tmp_path / str(b), block=b, **how)).read()
        for b in (None, (8, 16, 29), (5, 7, 13))
    ]
    assert (found[0] == wanted).mean() > 0.999
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert "engine: openvino in float32" in str(plan(raw, model, tmp_path / "w", **how))

    def broken(work):
        return plan(raw, model, work, block=(8, 16, 29), **how)

    resumed_equals_whole(broken, tmp_path / "r", "cells/segment", 2)


def test_a_run_that_goes_on_keeps_its_engine(raw, model, tmp_path, monkeypatch):
    """Also where another trial would choose otherwise."""
    work = tmp_path / "work"
    choose = {"n": 0}

    def chosen(*_, **__):
        choose["n"] += 1
        return Engine("torch", "float32", "channels_last" if choose["n"] == 1 else "channels_first")

    monkeypatch.setattr(trial, "WORTH_SECONDS", 0.0)
    monkeypatch.setattr(trial, "_chosen", chosen)
    made = plan(raw, model, work, engine="torch", block=(8, 16, 29))
    done(made)
    before = json.loads(str(choice(work)["engines"]))
    done(plan(raw, model, work, engine="torch", block=(8, 16, 29)))
    assert choose["n"] == 1
    assert json.loads(str(choice(work)["engines"])) == before
    assert before[0]["layout"] == "channels_last"
    assert len([1 for stage, _ in read_rows(work) if stage == "cells/trial"]) == 1


@pytest.mark.parametrize("how", [{"engine": "openvino"}, {}, {"precision": "bfloat16"}], ids=str)
def test_a_plan_does_not_depend_on_the_machine_that_makes_it(raw, model, tmp_path, monkeypatch, how):
    """A run that a login node without bfloat16 planned goes on where there is bfloat16, and the other way."""
    found = []
    for has in (False, True):
        monkeypatch.setattr(engine, "has_bfloat16", lambda has=has: has)
        monkeypatch.setattr(engine, "has_openvino", lambda has=has: has)
        made = plan(raw, model, tmp_path / "work", **how)
        found.append([(stage.name, digest) for stage, _, digest in made.descriptions()])
    assert found[0] == found[1]
    assert "cells/trial" in {s.name for s in made.stages}


def test_bfloat16_that_was_asked_for_is_compared_with_float32(raw, model, tmp_path):
    """With OpenVINO, too, where one way of it would have been the only one."""
    work = tmp_path / "work"
    done(plan(raw, model, work, precision="bfloat16"))
    (found,) = json.loads(str(choice(work)["trials"]))
    assert found["engine"]["precision"] == "bfloat16"
    assert found["engine"]["tried"]
    assert found["engine"] | {"tried": False} in found["candidates"]
    assert found["windows"] >= 2
    assert len(found["attempts"]) == 1 + len(found["candidates"])


def test_nnunets_numerics_have_no_trial(raw, model, tmp_path):
    made = plan(raw, model, tmp_path / "work", numerics="nnunet")
    assert [s.name for s in made.stages if "trial" in s.name or "engine" in s.name] == []
    assert "engine: torch in float32" in str(made)
    with pytest.raises(SegmenterError, match="does not run with numerics 'nnunet'"):
        plan(raw, model, tmp_path / "work", numerics="nnunet", engine="openvino")


def test_timings_are_measured_once_on_a_machine(raw, model, tmp_path, worth, monkeypatch):
    """So that every run decides alike; labels are compared on each volume."""
    monkeypatch.setenv("CHUNKFLOW_LIVER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(engine, "has_openvino", lambda: False)
    monkeypatch.setattr(engine, "has_bfloat16", lambda: False)
    seconds = []
    for name in ("a", "b"):
        done(plan(raw, model, tmp_path / name))
        (found,) = json.loads(str(choice(tmp_path / name)["trials"]))
        seconds.append([a["seconds"] for a in found["attempts"]])
    assert seconds[0] == seconds[1]
    assert len(list((tmp_path / "cache").glob("*.json"))) == 1
