"""The code that a stage runs: its function, and the functions and classes among all that it is given."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeGuard

from chunkflow_liver.engine.code.modules import Home, home_of, is_shared
from chunkflow_liver.engine.code.reach import Root, digest_of, digests
from chunkflow_liver.errors import ClusterError
from chunkflow_liver.geometry import BlockGrid

if TYPE_CHECKING:
    from chunkflow_liver.engine.stage import Stage
    from chunkflow_liver.segmenters.any_torch.entry_point import EntryPoint

MAIN = "__main__"


def code_of(stage: Stage, *, elsewhere: bool = False) -> dict[str, str]:
    """Digest of what a stage runs of each module of this package, and of its functions' own.

    Comments, docstrings, blank lines and the order of statements of a module do not count. Neither does the
    engine, which calls the function, nor a package that is imported: of those the release counts.

    Parameters
    ----------
    stage : Map or Fold
    elsewhere : bool
        Leave out functions of '__main__': they travel to a worker as they are, and it has no such file.

    Raises
    ------
    StageError
        If the text of a module is not what this process loaded.
    """
    groups: dict[tuple[Home, str], set[Root]] = {}
    for root in _roots(stage):
        if _is_entry_point(root):
            # Beside its description, or installed: the networks' code is looked for in that order too.
            home = home_of(root.module, str(root.source)) if root.installed else _beside(root)
            groups.setdefault((home, ""), set()).add((root.module, root.function))
            continue
        module, name = _place(root)
        file = getattr(sys.modules.get(module), "__file__", None) or ""
        if module == MAIN:
            if file and not elsewhere:
                groups.setdefault((home_of(module, file), file), set()).add((module, name))
        elif not (isinstance(root, type) and is_shared(module, file)):
            # A type of another package is data; what a function of it does is its own.
            groups.setdefault((home_of(module, file or None), ""), set()).add((module, name))
    parts: dict[str, set[str]] = {}
    for (home, file), roots in groups.items():
        for module, digest in digests(frozenset(roots), home, file).items():
            # Two functions may need different parts of one module.
            parts.setdefault(module, set()).add(digest)
    every = {module: digest_of(d.encode() for d in found) for module, found in sorted(parts.items())}
    return every if elsewhere else every | _typed_in(stage)


def check_code(stages: Iterable[Stage], wanted: Mapping[str, str]) -> None:
    """Refuse to do blocks here with other code than that of the process that planned them.

    Parameters
    ----------
    stages : iterable of Map or Fold
    wanted : mapping of str to str
        By the name of a stage, `code_text` of it there.

    Raises
    ------
    ClusterError
    """
    for stage in stages:
        there = wanted.get(stage.name)
        if there is None or (stage.name, there) in _CHECKED:
            continue
        here = code_text(stage)
        if here != there:
            one, other = json.loads(here), json.loads(there)
            differ = sorted(m for m in one.keys() | other.keys() if one.get(m) != other.get(m))
            raise ClusterError(
                f"stage {stage.name!r}: a worker has other code than the process that planned the run, in "
                f"{', '.join(differ[:3])}{' ...' if len(differ) > 3 else ''}; give both the same "
                "installation, and start the workers again"
            )
        _CHECKED.add((stage.name, there))


_CHECKED: set[tuple[str, str]] = set()
"""Stages that this process is known to have the code of."""


def code_text(stage: Stage) -> str:
    """`code_of` a stage as far as a worker can have it, as text to be compared."""
    return json.dumps(code_of(stage, elsewhere=True), sort_keys=True)


def _roots(stage: Stage) -> Iterator[Any]:
    """Functions and classes: what a stage is made with, and the types of what it is given."""
    seen: set[int] = set()
    handles: list[Any] = [stage.function, stage.params, stage.artefacts]
    for name in ("inputs", "outputs", "output"):
        handles.append(getattr(stage, name, ()))
    if hasattr(stage, "grid"):
        yield BlockGrid
    while handles:
        value = handles.pop()
        if isinstance(value, str | bytes | int | float | bool | None) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, functools.partial):
            handles += [value.func, value.args, value.keywords]
        elif isinstance(value, Mapping):
            handles += value.values()
        elif isinstance(value, list | tuple | set | frozenset):
            handles += value
        elif (
            isinstance(value, type)
            or _is_entry_point(value)
            or (callable(value) and hasattr(value, "__qualname__"))
        ):
            yield value
        elif not isinstance(value, ModuleType):
            yield type(value)
            if dataclasses.is_dataclass(value):
                handles += [getattr(value, f.name) for f in dataclasses.fields(value)]


def _is_entry_point(value: Any) -> TypeGuard[EntryPoint]:
    """Whether `value` names a network's code; segmenters are not loaded to tell: SciPy would be with them."""
    loaded = sys.modules.get("chunkflow_liver.segmenters.any_torch.entry_point")
    return loaded is not None and isinstance(value, loaded.EntryPoint)


def _place(value: Any) -> Root:
    """Module and name of a function or class; a method counts with its class."""
    return str(getattr(value, "__module__", "") or ""), str(value.__qualname__).partition(".")[0]


def _beside(entry: EntryPoint) -> Home:
    """Modules beside the description that names an entry point."""
    return Home(entry.module.partition(".")[0], str(entry.source.resolve().parents[entry.module.count(".")]))


def _typed_in(stage: Stage) -> dict[str, str]:
    """Digest of functions that were typed into a session, where there is no file: of their text."""
    main = sys.modules.get(MAIN)
    if getattr(main, "__file__", None):
        return {}
    waiting = [inspect.unwrap(root) for root in _roots(stage) if callable(root) and _place(root)[0] == MAIN]
    texts: dict[int, str] = {}
    while waiting:
        found = waiting.pop()
        if id(found) in texts:
            continue
        try:
            texts[id(found)] = inspect.getsource(found)
        except (OSError, TypeError):
            texts[id(found)] = found.__qualname__
        names = getattr(getattr(found, "__code__", None), "co_names", ())
        more = [vars(main).get(name) for name in names]
        waiting += [f for f in more if inspect.isfunction(f) and f.__module__ == MAIN]
    if not texts:
        return {}
    return {MAIN: digest_of(text.encode() for text in texts.values())}
