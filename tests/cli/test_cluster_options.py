"""Clusters on the command line: options are checked before anything is read, and handed on as meant."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from strategies import command, semantic, write


@pytest.fixture
def run_file(tmp_path):
    """A run file whose classes exist already."""
    array = semantic((10, 12, 9), 3)
    write(tmp_path, array.astype(np.uint16), "raw")
    write(tmp_path, array)
    path = tmp_path / "run.yaml"
    wanted = {
        "input": {"path": "raw.ome.zarr"},
        "work": "work",
        "block": [5, 12, 9],
        "semantic": {"path": "semantic.ome.zarr"},
        "label": [{"name": "mitos", "classes": ["mitochondrion"]}],
        "report": False,
    }
    path.write_text(yaml.safe_dump(wanted))
    return path


@pytest.fixture
def asked(monkeypatch):
    """What clusters are asked for; runs then stay in this process."""
    found = []

    def cluster(kind, **options):
        found.append((kind, options))
        return contextlib.nullcontext()

    monkeypatch.setattr(sys.modules["chunkflow_liver.engine.cluster"], "cluster", cluster)
    return found


def test_options_of_slurm_are_handed_on_as_they_are_meant(run_file, asked):
    words = (
        "queue=gpu",
        "walltime=12:00:00",
        "job_extra_directives=--qos=long",
        "job_extra_directives=--exclusive",
    )
    options = [part for word in words for part in ("--cluster-option", word)]
    given = ("--cluster", "slurm", "--workers", 3, "--gpus-per-job", 2, "--wait", 90, "--memory-gib", 8)
    code, _, told = command("run", run_file, *given, *options)
    assert code == 0, told
    assert asked == [
        (
            "slurm",
            {
                "queue": "gpu",
                "walltime": "12:00:00",
                "job_extra_directives": ["--qos=long", "--exclusive"],
                "workers": 3,
                "gpus_per_job": 2,
                "wait_s": 90,
                "memory_gib": 8,
                "folder": Path(run_file.parent / "work/jobs"),
                "scheduler": None,
            },
        )
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--cluster", "slurm", "--cluster-option", "waltime=1"), "did you mean 'walltime'?"),
        (("--workers", 2, "--cluster-option", "local_dir=x"), "did you mean 'local_directory'?"),
        (("--cluster-option", "queue=gpu"), "--cluster-option queue=gpu needs a cluster that is started"),
        (("--scheduler", "tcp://h:1", "--cluster-option", "queue=gpu"), "needs a cluster that is started"),
        (("--gpus-per-job", 2), "--gpus-per-job 2 is for --cluster slurm"),
        (("--workers", 2, "--wait", 5), "--wait 5 is for --cluster slurm or --scheduler"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(asked, tmp_path, words, says):
    code, _, told = command("run", tmp_path / "nowhere.yaml", *words)
    assert code == 2
    assert told.startswith("error: ")
    assert says in told
    assert told.count("\n") == 1
    assert asked == []
