"""The statements of a module by the names they bind; comments and docstrings do not count."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Chain = tuple[str, ...]
"""A name and the attributes asked of it: `np.linalg.norm` is ('np', 'linalg', 'norm')."""

_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+(?::[A-Za-z_]\w*)?")
_LONGEST_DOTTED = 200
_PLACES = ("annotation", "returns")
"""What is said of types counts as text, but what it names is not run."""


@dataclass(frozen=True)
class Imported:
    """What an import binds: `name` of `module`, or the module itself; `module` may begin with dots."""

    module: str
    name: str | None = None


class Statement:
    """A statement at the top of a module, read when it is first asked for.

    Attributes
    ----------
    digest : bytes
        The same for two statements that do the same: of the names of nodes and their content, without places.
    used : set of tuple of str
        Names that it reads, with the attributes that it asks of them.
    imports : list of (str, Imported)
        Imports that it holds, with the names they bind.
    dotted : set of str
        Texts in it that look like the name of a module, 'a.b' or 'a.b:c'.
    """

    def __init__(self, node: ast.stmt) -> None:
        self._node: ast.stmt | None = node

    def __getattr__(self, name: str) -> Any:
        if self._node is None or name not in ("digest", "used", "imports", "dotted"):
            raise AttributeError(name)
        reader = _Reader()
        reader.put(self._node)
        text = " ".join(reader.parts).encode("utf-8", "surrogatepass")
        self.digest = hashlib.sha256(text).digest()
        self.used, self.imports, self.dotted = reader.used, reader.imports, reader.dotted
        # A tree takes some hundred times the bytes of its text.
        self._node = None
        return getattr(self, name)


@dataclass
class Statements:
    """A module: its statements by the names they bind, and those that only have an effect.

    `imports` are those at its top, `hints` those for type checkers only, `stars` the modules of 'import *'.
    """

    by_name: dict[str, list[Statement]] = field(default_factory=dict)
    imports: dict[str, list[Imported]] = field(default_factory=dict)
    hints: dict[str, list[Imported]] = field(default_factory=dict)
    effects: list[Statement] = field(default_factory=list)
    stars: list[str] = field(default_factory=list)

    @property
    def every(self) -> list[Statement]:
        """All of them once, in the order of names."""
        found = {id(s): s for name in sorted(self.by_name) for s in self.by_name[name]}
        return [*found.values(), *self.effects]


def read(source: str | bytes) -> Statements:
    """The statements of a module with this text; a SyntaxError if it is not Python."""
    found = Statements()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name, imported in _imported(node):
                if name == "*":
                    found.stars.append(imported.module)
                else:
                    found.imports.setdefault(name, []).append(imported)
        elif isinstance(node, ast.If) and _is_for_types(node):
            # A package that looks its names up on first use says here where they are.
            for inner in node.body:
                if isinstance(inner, ast.Import | ast.ImportFrom):
                    for name, imported in _imported(inner):
                        found.hints.setdefault(name, []).append(imported)
        elif not (_is_text(node) or _is_program(node)):
            _take(found, node)
    return found


def _take(found: Statements, node: ast.stmt) -> None:
    """Enter a statement that is no import, with the imports inside of an `if` or `try`."""
    statement = Statement(node)
    names: set[str] = set()
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        names.add(node.name)
    else:
        for inner in _at_top(node):
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(inner.name)
            elif isinstance(inner, ast.Import | ast.ImportFrom):
                for name, imported in _imported(inner):
                    found.imports.setdefault(name, []).append(imported)
                    names.add(name)
            elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                names.add(inner.id)
    for name in names:
        found.by_name.setdefault(name, []).append(statement)
    if not names:
        found.effects.append(statement)


def _at_top(node: ast.AST) -> Iterator[ast.AST]:
    """A node and what is in it, but nothing inside of functions and classes."""
    yield node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        for inner in ast.iter_child_nodes(node):
            yield from _at_top(inner)


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a text alone, which describes and does nothing."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_for_types(node: ast.If) -> bool:
    return not node.orelse and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _is_program(node: ast.stmt) -> bool:
    """Whether a statement is for a module that is started as a program."""
    return isinstance(node, ast.If) and ast.unparse(node.test).startswith("__name__ == ")


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Imported]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.asname is None:
                # `import a.b` binds a; that a.b was loaded is found by the attributes asked of a.
                yield alias.name.partition(".")[0], Imported(alias.name.partition(".")[0])
            else:
                yield alias.asname, Imported(alias.name)
        return
    module = "." * node.level + (node.module or "")
    for alias in node.names:
        yield alias.asname or alias.name, Imported(module, None if alias.name == "*" else alias.name)


class _Reader:
    """Walks through a statement once, for its text and for what it uses."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.used: set[Chain] = set()
        self.imports: list[tuple[str, Imported]] = []
        self.dotted: set[str] = set()
        self._follows = True

    def put(self, node: ast.AST) -> None:
        kind = type(node)
        # Releases of Python differ in fields that are empty, so those are left out.
        if isinstance(node, ast.Attribute | ast.Name) and (chain := _chain(node)) is not None:
            self.parts.append(".".join(chain))
            if self._follows:
                self.used.add(chain)
            return
        self.parts.append(f"({kind.__name__}")
        if kind is ast.Import or kind is ast.ImportFrom:
            self.imports += _imported(node)  # type: ignore[arg-type]
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None and kind is not ast.Constant:
                continue
            if name in _PLACES:
                follows, self._follows = self._follows, False
                self._field(name, value)
                self._follows = follows
            elif name != "ctx" and name != "kind" and name != "type_comment":
                self._field(name, value)
        self.parts.append(")")

    def _field(self, name: str, value: Any) -> None:
        if isinstance(value, ast.AST):
            self.parts.append(name)
            self.put(value)
        elif isinstance(value, list):
            if value:
                self.parts.append(name)
                for item in value:
                    if isinstance(item, ast.AST):
                        if not _is_text(item):
                            self.put(item)
                    else:
                        self.parts.append(repr(item))
        else:
            self.parts.append(f"{name}={value!r}")
            if isinstance(value, str) and len(value) < _LONGEST_DOTTED and _DOTTED.fullmatch(value):
                self.dotted.add(value)


def _chain(node: ast.expr) -> Chain | None:
    """The names of 'a.b.c'; None where an attribute is asked of anything but names."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else None
