"""Small random volumes, blocks, and runs of plans, for the tests of operations."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import gc
import io
import logging
import re
import unittest.mock
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import ndimage

import chunkflow_liver as cf
from chunkflow_liver.engine.execute import reset_peak
from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.errors import RunIncompleteError
from chunkflow_liver.store.volume import Volume

VOXEL_NM = (4.0, 8.0, 16.0)
CLASSES = (("er", 1), ("mitochondrion", 2), ("lipid", 3))

shapes = st.tuples(*[st.integers(1, 9)] * 3)
blocks = st.tuples(*[st.integers(3, 9)] * 3)
seeds = st.integers(0, 2**20)
voxel_sizes = st.sampled_from([VOXEL_NM, (40.0, 5.9, 5.9), (8.0, 8.0, 8.0), (3.0, 0.7, 1.1)])


def semantic(shape: tuple[int, ...], seed: int, classes: int = 3) -> np.ndarray[Any, Any]:
    """Random classes, sparse or dense, uint8."""
    rng = np.random.default_rng(seed)
    filled = rng.random(shape) < rng.choice([0.1, 0.3, 0.7])
    return (filled * rng.integers(1, classes + 1, shape)).astype(np.uint8)


def write(folder: Any, array: np.ndarray[Any, Any], name: str = "semantic", **options: Any) -> Volume:
    """`array` as an image in `folder`; labels with the classes above unless said otherwise."""
    if array.dtype == np.uint8 and name == "semantic":
        options = {"kind": "label", "classes": CLASSES} | options
    return cf.write_volume(Path(folder) / f"{name}.ome.zarr", array, **{"voxel_nm": VOXEL_NM} | options)


def done(plan: Plan) -> Any:
    """The output of the plan, which has run here."""
    cf.run(plan, progress=False, retries=0)
    return plan.output


def table(plan: Plan) -> dict[str, list[Any]]:
    """The table that the plan makes, column by column."""
    return cf.read_table(done(plan)).to_pydict()


def components(classes: np.ndarray[Any, Any], connectivity: int, wanted: Any = None) -> np.ndarray[Any, Any]:
    """Components of each class by SciPy, numbered by their first voxel."""
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    labels = np.zeros(classes.shape, np.int64)
    for value in np.unique(classes[classes > 0]):
        if wanted is None or value in wanted:
            part, _ = ndimage.label(classes == value, structure)
            labels[part > 0] = part[part > 0] + labels.max()
    return numbered(labels)


def numbered(labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same objects with ids 1..n in the order of their first voxel."""
    values, first = np.unique(labels, return_index=True)
    values = values[np.argsort(first)]
    lookup = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
    lookup[values[values > 0]] = np.arange(1, (values > 0).sum() + 1)
    return lookup[labels]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under `folder`."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def broken(plan: Plan, stage: str, at: int) -> Plan:
    """The same plan, but block `at` of `stage` fails."""

    def mend(found: Any) -> Any:
        if found.name != stage:
            return found

        @functools.wraps(found.function)
        def fail(block: Any, *arrays: Any, **params: Any) -> Any:
            if block.index == at:
                raise OSError("the disk is gone")
            return found.function(block, *arrays, **params)

        return dataclasses.replace(found, function=fail)

    return dataclasses.replace(plan, stages=tuple(mend(s) for s in plan.stages))


def counted(plan: Plan, stage: str, calls: list[int]) -> Plan:
    """The same plan; `calls` lists the blocks of `stage` that were worked on."""

    def watch(found: Any) -> Any:
        if found.name != stage:
            return found

        @functools.wraps(found.function)
        def note(block: Any, *arrays: Any, **params: Any) -> Any:
            calls.append(block.index)
            return found.function(block, *arrays, **params)

        return dataclasses.replace(found, function=note)

    return dataclasses.replace(plan, stages=tuple(watch(s) for s in plan.stages))


def most_resident(call: Any) -> int:
    """Bytes of memory that `call()` takes at its most, arrays that compiled loops make included.

    `tracemalloc` does not see those; the kernel counts all pages that are touched. Threads that earlier tests
    left can only add to it (2 MiB were seen), so the smaller of two counts is taken.
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux says which memory is touched")
    # Loops are compiled, and what is kept from call to call is there.
    call()
    found = []
    for _ in range(2):
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        reset_peak()
        before = _status("VmRSS")
        call()
        found.append(_status("VmHWM") - before)
    return min(found)


def _status(key: str) -> int:
    """A number of bytes that Linux states of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{key}:"))


def resumed_equals_whole(make: Any, tmp_path: Path, stage: str, at: int) -> None:
    """A run that broke at block `at` and was run again writes what a run without a break writes."""
    whole, parts = make(tmp_path / "a" / "work"), make(tmp_path / "b" / "work")
    done(whole)
    with pytest.raises(RunIncompleteError, match="the disk is gone"):
        done(broken(parts, stage, at))
    calls: list[int] = []
    done(counted(parts, stage, calls))
    assert calls == [at]
    for made in ("results.ome.zarr", "tables", "artefacts"):
        assert contents(tmp_path / "b" / "work" / made) == contents(tmp_path / "a" / "work" / made)


def command(*arguments: object) -> tuple[int, str, str]:
    """Exit status, output and error text of the command line, called in this process as its entry point."""
    from chunkflow_liver.cli import main

    said, told = io.StringIO(), io.StringIO()
    log = logging.getLogger("chunkflow_liver")
    before = (log.handlers, log.level, log.propagate)
    code: Any = 0
    with (
        unittest.mock.patch("sys.argv", ["chunkflow-liver", *map(str, arguments)]),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(told),
    ):
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code or 0
        finally:
            log.handlers, log.level, log.propagate = before
    return code, said.getvalue(), told.getvalue()


def refused(says: str, verb: str, path: Path) -> None:
    """A verb refuses a file: status 2, one message that matches, and nothing that was not there before."""
    before = sorted(p.name for p in path.parent.iterdir())
    code, said, told = command(verb, path)
    assert (code, said) == (2, "")
    assert re.search(says, told), told
    assert "Traceback" not in told
    assert sorted(p.name for p in path.parent.iterdir()) == before


def mask_of(shape, seed):
    """Known voxels: most of the volume, without lumps, whose edges are no planes."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.0)
    return noise < np.quantile(noise, 0.75)


def away_of(known):
    """Distance of every voxel to the nearest that is not known, those outside the volume included."""
    padded = np.pad(known, [(int(n > 1),) * 2 for n in known.shape])
    if padded.all():
        return np.full(known.shape, np.inf)
    away = ndimage.distance_transform_edt(padded, sampling=VOXEL_NM)
    return away[tuple(slice(int(n > 1), int(n > 1) + n) for n in known.shape)]


def ends_of(shape):
    """Voxels at the ends of a volume, across more than one plane."""
    found = np.zeros(shape, bool)
    for axis, n in enumerate(shape):
        if n > 1:
            np.moveaxis(found, axis, 0)[[0, -1]] = True
    return found
