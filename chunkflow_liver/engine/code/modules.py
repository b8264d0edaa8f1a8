"""Where the source of a module is, without importing it; and whether that is what this process loaded."""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import psutil

from chunkflow_liver.engine.code.statements import Statements, read
from chunkflow_liver.errors import StageError

OURS = "chunkflow_liver"
_SHARED = tuple({str(Path(sysconfig.get_path(k)).resolve()) for k in ("purelib", "platlib", "stdlib")})
"""Folders of many authors: what lies there beside a module is not its own."""


@dataclass(frozen=True)
class Home:
    """What counts as code of a function: modules of one package, or of one folder.

    Attributes
    ----------
    top : str
        Name of the package, or of the module where it is in none.
    folder : str
        Where modules beside it are looked for first; empty in a package.
    """

    top: str
    folder: str = ""

    def find(self, module: str) -> ModuleSpec | None:
        """Where a module of this home is; None of one that is none, or of another home."""
        top = module.partition(".")[0]
        if top != self.top and (not self.folder or top in sys.stdlib_module_names or top == OURS):
            return None
        places = [self.folder, *sys.path] if self.folder else None
        if top != self.top and not self._beside(_search(top, places)):
            return None
        return _search(module, places)

    def _beside(self, spec: ModuleSpec | None) -> bool:
        """Whether a module lies in the folder, or in a folder of that."""
        if spec is None:
            return False
        places = [spec.origin] if spec.has_location else list(spec.submodule_search_locations or ())
        found = [str(Path(p).resolve()) for p in places if p]
        return any(p.startswith(f"{self.folder}{os.sep}") and not _in_shared(p) for p in found)


def home_of(module: str, file: str | None) -> Home:
    """The package of a module, or the folder of one that is in no package."""
    top = module.partition(".")[0]
    if file is None or "." in module or top == OURS:
        return Home(top)
    folder = str(Path(file).resolve().parent)
    # A folder of Python's own: all that is installed lies there.
    return Home(top) if folder in _SHARED or Path(file).stem == "__init__" else Home(top, folder)


def is_shared(module: str, file: str) -> bool:
    """Whether a module is of Python itself or of an installed package that is not this one."""
    if module.partition(".")[0] == OURS:
        return False
    return not file or _in_shared(str(Path(file).resolve()))


def _in_shared(file: str) -> bool:
    return any(file.startswith(f"{place}{os.sep}") for place in _SHARED)


def _search(module: str, places: Sequence[str] | None) -> ModuleSpec | None:
    """Find a module by its folders; `importlib.util.find_spec` would import the packages it is in."""
    spec: ModuleSpec | None = None
    parts = module.split(".")
    for i in range(len(parts)):
        name = ".".join(parts[: i + 1])
        spec = getattr(sys.modules.get(name), "__spec__", None) or _found(name, places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or ())
    return spec


def _found(name: str, places: Sequence[str] | None) -> ModuleSpec | None:
    try:
        return PathFinder.find_spec(name, places)
    except KeyError:
        # A folder without __init__.py in another one: its parent would have to be imported.
        spec = ModuleSpec(name, None, is_package=True)
        folders = [os.path.join(place, name.rpartition(".")[2]) for place in places or ()]
        spec.submodule_search_locations = [folder for folder in folders if os.path.isdir(folder)]
        return spec


@dataclass
class Source:
    """A module as it is found.

    Attributes
    ----------
    name : str
    package : str
        What its relative imports begin at.
    spec : ModuleSpec
    """

    name: str
    package: str
    spec: ModuleSpec

    def __post_init__(self) -> None:
        self._mark = _mark(self.spec.origin)

    @property
    def is_current(self) -> bool:
        """Whether its file is still as it was when it was found."""
        return _mark(self.spec.origin) == self._mark

    @cached_property
    def statements(self) -> Statements | None:
        """What stands in it; None of compiled code.

        Raises
        ------
        StageError
            If its file was changed since this process loaded it: a digest would speak of other code.
        """
        if self.spec.loader is None:
            # A folder without __init__.py.
            return Statements()
        get_source = getattr(self.spec.loader, "get_source", None)
        text = None if get_source is None else get_source(self.spec.name)
        if text is None:
            return None
        loaded = sys.modules.get(self.name)
        if loaded is not None and _is_newer(self.spec.origin) and not _same(loaded, text, self.spec.origin):
            raise StageError(
                f"{self.spec.origin} was changed after this process loaded it, so what would run is not what "
                "is written there; start again"
            )
        return read(text)

    @property
    def content(self) -> bytes:
        """Bytes of the file of compiled code; nothing of a folder without code."""
        origin = self.spec.origin
        return Path(origin).read_bytes() if origin and os.path.isfile(origin) else b""


def _mark(file: str | None) -> tuple[int, int] | None:
    """What changes with a file; None of one in an archive, which nobody edits."""
    try:
        seen = os.stat(file or "")
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size


def _is_newer(file: str | None) -> bool:
    """Whether a file may have been changed since this process began."""
    try:
        seen = os.stat(file or "")
    except OSError:
        return False
    return max(seen.st_mtime, seen.st_ctime) > psutil.Process().create_time()


def _same(loaded: ModuleType, text: str, file: str | None) -> bool:
    """Whether the functions and plain constants of a loaded module are those of `text`."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return False
    codes = {code.co_qualname: code for code in _codes(compile(text, file or "", "exec", dont_inherit=True))}
    for function in _functions(loaded):
        code = codes.get(function.__code__.co_qualname)
        if code is None or _shape(code) != _shape(function.__code__):
            return False
    return all(value == vars(loaded).get(name, value) for name, value in _constants(tree))


def _codes(code: CodeType) -> Iterator[CodeType]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield inner
            yield from _codes(inner)


def _functions(loaded: ModuleType) -> Iterator[FunctionType]:
    """Functions and methods that a module defines itself, those of compiled loops included."""
    for value in list(vars(loaded).values()):
        found = list(vars(value).values()) if isinstance(value, type) else [value]
        for each in found:
            inner: Any = getattr(each, "py_func", getattr(each, "__func__", each))
            if isinstance(inner, FunctionType) and inner.__code__.co_filename == loaded.__file__:
                yield inner


def _shape(code: CodeType) -> tuple[Any, ...]:
    """What a code object does, without the places of its lines and its docstring."""
    described = bool(code.co_consts) and isinstance(code.co_consts[0], str | None)
    consts = code.co_consts[1:] if described else code.co_consts
    inner = [_shape(c) if isinstance(c, CodeType) else (type(c), repr(c)) for c in consts]
    return code.co_code, tuple(inner), code.co_names, code.co_varnames


def _constants(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    """Names at the top of a module that are bound once, to a number or text."""
    bound: dict[str, list[ast.expr | None]] = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(node, ast.Assign):
                bound.setdefault(target.id, []).append(node.value)
    for name, values in bound.items():
        if len(values) == 1 and isinstance(values[0], ast.Constant):
            yield name, values[0].value
