"""Loops over voxels that no array operation can express, compiled for the host's processor."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba
from filelock import FileLock
from numba.core.compiler_lock import global_compiler_lock

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger(__name__)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """`function` compiled by Numba [1]_ when it is first called, and kept on disk for the next process.

    Parameters
    ----------
    function : callable
        Of NumPy arrays and numbers, not recursive. Integers wrap, a division by 0 gives inf or nan, threads
        may run it.

    Returns
    -------
    callable
        Same arguments and results.

    Notes
    -----
    Modules of such loops are imported inside functions: Numba takes a second to load. The processes of a
    cluster need the same functions at the same time: one of them compiles, the others wait and read.

    References
    ----------
    .. [1] Lam, Pitrou and Seibert, Numba, LLVM-HPC 2015, doi:10.1145/2833157.2833162
    """
    options = {"nogil": True, "error_model": "numpy"}
    try:
        found = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        _tell_uncached(str(Path(function.__code__.co_filename).parent))
        return numba.njit(**options)(function)
    found.compile = _one_process_at_a_time(found, f"{function.__module__}.{function.__qualname__}")
    return found


@functools.cache
def _tell_uncached(folder: str) -> None:
    """Say once what costs every process of every run tens of seconds."""
    log.warning(
        "neither %s nor the user's cache folder can be written: loops are compiled anew in every process, up "
        "to 40 CPU seconds each; set NUMBA_CACHE_DIR to a folder that can be written",
        folder,
    )


def _one_process_at_a_time(dispatcher: Any, name: str) -> Callable[[Any], Any]:
    """The dispatcher's `compile`, behind a lock that lies beside what it keeps."""
    compile_now, path = dispatcher.compile, Path(dispatcher.stats.cache_path) / f"{name}.lock"

    @functools.wraps(compile_now)
    def compile_once(signature: Any) -> Any:
        # Threads take Numba's own lock first, here as in Numba: two locks in two orders would block both.
        with global_compiler_lock, contextlib.ExitStack() as held:
            # Some network file systems have no locks: there every process compiles for itself.
            with contextlib.suppress(OSError, NotImplementedError):
                held.enter_context(FileLock(path))
            return compile_now(signature)

    return compile_once
