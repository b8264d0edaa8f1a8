"""Compiled loops: kept on disk, compiled by one process of several, and told of where that cannot be."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
from types import SimpleNamespace

import numba
import pytest
from filelock import FileLock

from chunkflow_liver.kernels import compiled as module

LOOPS = """
from chunkflow_liver.kernels.compiled import compiled

@compiled
def half(n):
    return n // 2

@compiled
def _above(n, least):
    return n > least

@compiled
def halvings(n):
    found = 0
    while _above(n, 1):
        n = half(n)
        found += 1
    return found
"""
CALL = (
    "import sys; sys.stdin.readline(); import loops; assert loops.halvings(1000) == 9; "
    "print(sum(f.stats.cache_misses.total() for f in (loops.half, loops._above, loops.halvings)))"
)


@pytest.fixture
def loops(tmp_path):
    (tmp_path / "loops.py").write_text(LOOPS)
    return tmp_path


def worker(loops):
    path = os.pathsep.join([str(loops), *sys.path])
    env = os.environ | {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(loops / "cache")}
    return subprocess.Popen(
        [sys.executable, "-c", CALL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    )


def begin(process):
    process.stdin.write("\n")
    process.stdin.flush()


def test_of_several_processes_one_compiles_and_the_others_read(loops):
    workers = [worker(loops) for _ in range(3)]
    for each in workers:
        begin(each)
    compiled = [int(each.communicate(timeout=120)[0]) for each in workers]
    assert sum(compiled) == 3


def test_a_process_waits_while_another_compiles(loops):
    assert int(worker(loops).communicate("\n", timeout=120)[0]) == 3
    (lock,) = loops.glob("cache/**/loops.halvings.lock")
    for kept in (*loops.glob("cache/**/*.nbi"), *loops.glob("cache/**/*.nbc")):
        kept.unlink()
    with FileLock(lock):
        waiting = worker(loops)
        begin(waiting)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=5)
        assert not list(loops.glob("cache/**/loops.halvings*.nbc"))
    assert int(waiting.communicate(timeout=120)[0]) == 3


def test_loops_that_cannot_be_kept_are_compiled_and_that_is_said_once(monkeypatch, caplog):
    njit = numba.njit

    def nowhere(*functions, cache=False, **options):
        if cache:
            raise RuntimeError("no locator available")
        return njit(*functions, **options)

    monkeypatch.setattr(numba, "njit", nowhere)
    module._tell_uncached.cache_clear()
    with caplog.at_level(logging.WARNING):
        found = [module.compiled(function) for function in (lambda n: n + 1, lambda n: n + 2)]
    assert [f(1) for f in found] == [2, 3]
    assert len(caplog.records) == 1
    assert "set NUMBA_CACHE_DIR" in caplog.text


def test_a_loop_for_other_loops_is_python_when_python_calls_it(loops, monkeypatch):
    monkeypatch.syspath_prepend(str(loops))
    import loops as made

    assert made.halvings(1000) == 9
    assert made._above.signatures
    # Of these types it is compiled, without an entrance: that ended the process.
    assert made._above(3, 1) is True
    assert made._above("b", "a") is True


def test_garbage_is_collected_again_after_compiling():
    seen = []

    def fails(signature):
        seen.append(gc.isenabled())
        raise ValueError("not compiled")

    found = module.compiled(lambda n: n)
    compile_once = module._one_process_at_a_time(SimpleNamespace(compile=fails, stats=found.stats), "fails")
    with pytest.raises(ValueError, match="not compiled"):
        compile_once(())
    assert seen == [False]
    assert gc.isenabled()
