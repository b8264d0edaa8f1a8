"""What makes a function an operation: its stages know it, and its docstring has the shared parameters."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec

from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.parameters import filled

P = ParamSpec("P")


def operation(function: Callable[P, Plan]) -> Callable[P, Plan]:
    """`function` as an operation.

    Parameters
    ----------
    function : callable
        Metadata in, Plan out. `{work}` and its like in the docstring become the text of `parameters.SHARED`.

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

    planned.__doc__ = filled(function.__doc__)
    return planned
