"""A run whose driver or workers are killed at any moment is resumed to the bytes of an unbroken run."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from model_folders import write_model_folder
from scipy.ndimage import gaussian_filter
from strategies import contents, done, write

import chunkflow_liver as cf
from chunkflow_liver.config import read_run_file
from chunkflow_liver.engine.journal import read_rows

pytestmark = [
    pytest.mark.network,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

SHAPE = (40, 72, 72)
VOXEL_NM = (4.0, 8.0, 16.0)
PATIENCE_SECONDS = 240
MADE = ("results.ome.zarr", "tables", "artefacts")


def run_file(folder: Path) -> dict[str, Any]:
    return {
        "input": {"path": str(folder / "raw.ome.zarr")},
        "block": [16, 32, 32],
        "segment": {"name": "cells", "model": str(folder / "model")},
        "label": [{"name": "objects", "classes": ["class 1"]}],
        "measure": [{"name": "object-table", "instances": "objects"}],
        "report": False,
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume, a model, and what an unbroken run makes of them in the folder 'whole'."""
    folder = tmp_path_factory.mktemp("project")
    texture = gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), (2, 2, 1))
    raw = (110 + 600 * texture).clip(1, 255).astype(np.uint8)
    write(folder, raw, "raw", voxel_nm=VOXEL_NM, chunks=(16, 16, 16))
    write_model_folder(folder / "model", spacing=VOXEL_NM)
    done(plan_in(folder, "whole"))
    return folder


def plan_in(folder: Path, work: str) -> Any:
    """The plan of the run file, with its own work folder."""
    path = folder / f"{work}.yaml"
    path.write_text(yaml.safe_dump(run_file(folder) | {"work": str(folder / work)}))
    return cf.plan_run(read_run_file(path))


@contextlib.contextmanager
def command_line(folder: Path, work: str) -> Iterator[psutil.Process]:
    """The command line at work with two workers, as a person starts it; nothing of it is left after."""
    code = "from chunkflow_liver.cli import main; main()"
    options = ["run", str(folder / f"{work}.yaml"), "--workers", "2", "--memory-gib", "3"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    driver = psutil.Popen([sys.executable, "-c", code, *options], **quiet)
    try:
        yield driver
    finally:
        left = []
        with contextlib.suppress(psutil.NoSuchProcess):
            left += [driver, *driver.children(recursive=True)]
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        driver.wait(PATIENCE_SECONDS)


def wait_for(blocks: int, work: Path, driver: psutil.Process) -> None:
    """Until so many blocks are in the journal."""
    until = time.monotonic() + PATIENCE_SECONDS
    while sum(1 for _ in read_rows(work)) < blocks:
        assert driver.poll() is None, "the run ended before it was killed"
        assert time.monotonic() < until, f"fewer than {blocks} blocks in {PATIENCE_SECONDS} s"
        time.sleep(0.02)


def workers(driver: psutil.Process) -> list[psutil.Process]:
    return [p for p in driver.children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]


def killed(project: Path, work: str, chosen: random.Random) -> list[psutil.Process]:
    """A run that loses a worker and then its driver, at random places; its workers, perhaps still at work."""
    total = sum(1 for _ in read_rows(project / "whole"))
    first, second = sorted(chosen.sample(range(2, total - 4), 2))
    with command_line(project, work) as driver:
        wait_for(first, project / work, driver)
        chosen.choice(workers(driver)).kill()
        wait_for(second, project / work, driver)
        orphans = workers(driver)
        driver.kill()
        driver.wait(PATIENCE_SECONDS)
    assert 0 < sum(1 for _ in read_rows(project / work)) < total
    return orphans


@pytest.mark.slow
def test_a_run_that_lost_a_worker_and_its_driver_goes_on_to_the_same_bytes(project):
    plan = plan_in(project, "driver")
    orphans = killed(project, "driver", random.Random(1))
    done(plan)
    same_bytes(project, "driver")
    _, alive = psutil.wait_procs(orphans, PATIENCE_SECONDS)
    assert alive == []


@pytest.mark.proof
def test_the_run_that_goes_on_may_lose_a_worker_too(project):
    work, chosen = "worker", random.Random(4)
    plan_in(project, work)
    killed(project, work, chosen)
    before = sum(1 for _ in read_rows(project / work))
    with command_line(project, work) as driver:
        wait_for(before + 1, project / work, driver)
        chosen.choice(workers(driver)).kill()
        assert driver.wait(PATIENCE_SECONDS) == 0
    same_bytes(project, work)


def same_bytes(project: Path, work: str) -> None:
    """Labels as they are stored, tables and statistics; and every block of the plan once."""
    for made in MADE:
        found, wanted = contents(project / work / made), contents(project / "whole" / made)
        assert sorted(found) == sorted(wanted)
        assert [name for name in wanted if found[name] != wanted[name]] == []
    blocks = [(stage, row["block"]) for stage, row in read_rows(project / work)]
    assert len(blocks) == len(set(blocks)) == sum(1 for _ in read_rows(project / "whole"))
    assert contents(project / "whole/results.ome.zarr")
