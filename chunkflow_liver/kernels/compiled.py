"""Loops over voxels that no array operation can express, compiled for the host's processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """`function` compiled by Numba [1]_ when it is first called, and kept on disk for the next process.

    Parameters
    ----------
    function : callable
        Of NumPy arrays and numbers. Integers wrap, a division by 0 gives inf or nan, threads may run it.

    Returns
    -------
    callable
        Same arguments and results.

    Notes
    -----
    Modules of such loops are imported inside functions: Numba takes a second to load.

    References
    ----------
    .. [1] Lam, Pitrou and Seibert, Numba, LLVM-HPC 2015, doi:10.1145/2833157.2833162
    """
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:
        # Neither the package's folder nor the user's cache can be written: compile in every process.
        return numba.njit(**options)(function)  # type: ignore[no-any-return]
