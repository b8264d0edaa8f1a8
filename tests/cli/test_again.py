"""A second run of what is done starts nothing, and Ctrl-C is quiet at any moment."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from strategies import command, semantic, write

import chunkflow_liver as cf

CALL = (sys.executable, "-c", "from chunkflow_liver.cli import main; main()")


@pytest.fixture
def run_file(tmp_path):
    write(tmp_path, semantic((32, 48, 48), 5))
    content = {
        "work": "work",
        "block": [16, 16, 16],
        "semantic": {"path": "semantic.ome.zarr"},
        "label": [{"name": "all", "classes": ["er"]}],
        "report": False,
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_second_run_with_nothing_to_do_starts_no_cluster(run_file, monkeypatch):
    assert command("run", run_file)[0] == 0
    started = []

    def cluster(*kinds, **_):
        started.append(kinds)
        raise cf.errors.ClusterError("no cluster here")

    monkeypatch.setattr(importlib.import_module("chunkflow_liver.engine.cluster"), "cluster", cluster)
    work = run_file.parent / "work"
    before = {p: p.stat().st_mtime_ns for p in work.rglob("*")}
    code, _, told = command("run", run_file, "--workers", "2")
    assert (code, started) == (0, [])
    assert re.search(r"nothing to do: all \d stages are done in .*work", told)
    assert {p: p.stat().st_mtime_ns for p in work.rglob("*")} == before


@pytest.mark.parametrize("what", ["chunk folder", "artefact", "table", "status"])
def test_what_is_damaged_is_something_to_do(what, run_file, monkeypatch):
    assert command("run", run_file)[0] == 0
    work = run_file.parent / "work"
    image = work / "results.ome.zarr/labels/all"
    match what:
        case "chunk folder":
            shutil.rmtree(image)
        case "artefact":
            next((work / "artefacts").rglob("*.npy")).write_bytes(b"")
        case "table":
            run_file.write_text(run_file.read_text() + "measure: [{name: t, instances: all}]\n")
        case "status":
            text = (image / "zarr.json").read_text()
            (image / "zarr.json").write_text(text.replace('"complete"', '"in-progress"'))
    monkeypatch.setattr(
        importlib.import_module("chunkflow_liver.engine.cluster"), "cluster", lambda *_, **__: 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        command("run", run_file, "--workers", "2")


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("seconds", [1.0, 5.0])
def test_an_interrupt_while_a_cluster_starts_is_one_line(seconds, run_file):
    running = subprocess.Popen(
        [*CALL, "run", str(run_file), "--workers", "2"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    time.sleep(seconds)
    os.killpg(running.pid, signal.SIGINT)
    told = running.communicate(timeout=60)[1]
    if running.returncode == 0:
        return
    assert running.returncode == 130, told
    *before, last = told.splitlines()
    assert all(re.search(r" dashboard at | blocks in |: done in ", line) for line in before), told
    assert last.startswith("interrupted: ")
    assert command("run", run_file)[0] == 0
    assert np.any(cf.open_volume(Path(run_file).parent / "work/results.ome.zarr/labels/all").read())


def test_repair_beside_a_damaged_input_says_what_to_put_back_and_then_needs_one_step(tmp_path):
    write(tmp_path, semantic((16, 40, 40), 3))
    labels = [{"name": "mitos", "classes": ["mitochondrion"]}]
    content = {"semantic": {"path": "semantic.ome.zarr"}, "work": "work", "label": labels, "report": False}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    assert command("run", tmp_path / "run.yaml")[0] == 0
    source, result = (
        next((tmp_path / image / "0").rglob("c/*/*/*"))
        for image in ("semantic.ome.zarr", "work/results.ome.zarr/labels/mitos")
    )
    kept = source.read_bytes(), result.read_bytes()
    source.write_bytes(kept[0][:-3])
    result.unlink()
    for verb in ("check", "repair", "run"):
        code, _, told = command(verb, tmp_path / "run.yaml")
        assert code == 2
        assert re.search(
            r"read other voxels of \S+semantic.ome.zarr, which was changed or damaged since", told
        )
        assert "Put back what was there, and go on, by 'repair' where results are damaged too" in told
        assert not result.exists()
    assert command("validate", tmp_path / "semantic.ome.zarr", "--deep")[0] == 2
    source.write_bytes(kept[0])
    assert command("repair", tmp_path / "run.yaml")[0] == 0
    assert result.read_bytes() == kept[1]
