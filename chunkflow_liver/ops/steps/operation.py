"""What makes a function an operation: its stages know it, and parameters that all share are told once."""

from __future__ import annotations

import functools
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec

from chunkflow_liver.engine.plan import Plan

P = ParamSpec("P")

SHARED = {
    "work": """
        work : path
            Work folder: gets the journal, tables and images, and is what a later run goes on from.
        """,
    "block": """
        block : Zyx, optional
            Voxels per block; by default the write unit of the output, or of the first input of tables.
        """,
    "into": """
        into : path or URL, optional
            Image group whose `labels` the result joins; the work folder's by default.
        """,
}
"""Parameters that mean one thing in all operations; in a docstring, `{work}` on a line of its own."""


def operation(function: Callable[P, Plan]) -> Callable[P, Plan]:
    """`function` as an operation.

    Parameters
    ----------
    function : callable
        Metadata in, Plan out. `{work}`, `{block}` and `{into}` in its docstring become the text of `SHARED`.

    Returns
    -------
    callable
        The same; the stages of its plans bear its name, so that two operations never make one thing.
    """

    @functools.wraps(function)
    def planned(*args: P.args, **kwargs: P.kwargs) -> Plan:
        plan = function(*args, **kwargs)
        stages = tuple(s if s.operation else replace(s, operation=function.__name__) for s in plan.stages)
        return replace(plan, stages=stages)

    planned.__doc__ = documented(function.__doc__)
    return planned


def documented(text: str | None) -> str | None:
    """A docstring with the text of shared parameters in it; None without one, as under `python -OO`."""
    if text is None:
        return None
    lines = []
    for line in inspect.cleandoc(text).split("\n"):
        key = line.strip().strip("{}")
        if line.strip() == f"{{{key}}}" and key in SHARED:
            lines.append(textwrap.dedent(SHARED[key]).strip())
        else:
            lines.append(line)
    return "\n".join(lines)
