"""Loops over voxels that no array operation can express, compiled for the host's processor."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba
from filelock import FileLock
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher

from chunkflow_liver.errors import OutputError

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger(__name__)


class _Inner(CPUDispatcher):  # type: ignore[misc]
    """A loop that other loops call, compiled without an entrance for Python, the price of a small loop.

    Called from Python it is Python; without this the process would end there.
    """

    def __call__(self, *arguments: Any) -> Any:
        return self.py_func(*arguments)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """`function` compiled by Numba [1]_ when it is first called, and kept on disk for the next process.

    Parameters
    ----------
    function : callable
        Of NumPy arrays and numbers, not recursive. Integers wrap, a division by 0 gives inf or nan, threads
        may run it. One whose name begins with `_` is for other loops; from Python it runs uncompiled.

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
    inner = function.__name__.startswith("_")
    # No loop is handed to C or to another loop as a value.
    options = {
        "nogil": True,
        "error_model": "numpy",
        "no_cfunc_wrapper": True,
        "no_cpython_wrapper": inner,
    }
    try:
        found = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        _tell_uncached(str(Path(function.__code__.co_filename).parent))
        found = numba.njit(**options)(function)
    else:
        found.compile = _one_process_at_a_time(found, f"{function.__module__}.{function.__qualname__}")
    if inner:
        found.__class__ = _Inner
    return found


def check_kept() -> None:
    """Refuse to compile ahead where nothing that is compiled can be kept.

    Raises
    ------
    OutputError
    """
    try:
        numba.njit(cache=True)(check_kept)
    except RuntimeError as err:
        raise OutputError(
            f"neither {Path(__file__).parent} nor the user's cache folder can be written: no run would find "
            "what is compiled here; set NUMBA_CACHE_DIR to a folder that can be written, for the runs too"
        ) from err


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
        with global_compiler_lock, _uncollected(), contextlib.ExitStack() as held:
            # Some network file systems have no locks: there every process compiles for itself.
            with contextlib.suppress(OSError, NotImplementedError):
                held.enter_context(FileLock(path))
            return compile_now(signature)

    return compile_once


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage while Numba makes millions of objects that it keeps: a tenth of compiling."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
