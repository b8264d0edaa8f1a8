"""What a function uses of its own package or folder, directly and through others, by module."""

from __future__ import annotations

import builtins
import hashlib
import sys
import threading
from collections.abc import Iterable
from importlib.util import resolve_name, spec_from_file_location
from typing import Any

from chunkflow_liver.engine.code.modules import OURS, Home, Source
from chunkflow_liver.engine.code.statements import Chain, Imported, Statement

DIGITS = 16
"""Of a digest, of 64 that SHA-256 has: a change is to be seen, nobody is to be kept from forging one."""

Root = tuple[str, str]
"""A module, and the name in it of what is run; '' for all of it."""

_BUILTIN = frozenset(dir(builtins))
_LOCK = threading.Lock()


def digests(roots: frozenset[Root], home: Home, file: str = "") -> dict[str, str]:
    """Digest of what is run of each module, by module.

    Parameters
    ----------
    roots : frozenset of (str, str)
        Where it begins.
    home : Home
        Whose code counts, beside that of this package; what is imported from elsewhere does not.
    file : str
        Where '__main__' is, if a root is in it.

    Raises
    ------
    StageError
        If a module was changed on the disk after this process loaded it.
    """
    # Threads may plan at the same time; each text is read once.
    with _LOCK:
        key = (roots, home, file, tuple(sys.path))
        known = _KNOWN.get(key)
        if known is not None and all(source.is_current for source in known[1]):
            return known[0]
        reach = _Reach(home, file)
        for module, name in sorted(roots):
            reach.take(module, (name,) if name else ())
        reach.finish()
        found = reach.digests()
        _KNOWN[key] = (found, reach.sources)
        return found


_KNOWN: dict[Any, tuple[dict[str, str], list[Source]]] = {}
_SOURCES: dict[tuple[str, str], Source] = {}
"""By name and file: what is our own is the same for every home."""


def _source(name: str, home: Home, file: str) -> Source | None:
    """The module of that name, if its code counts."""
    if name == "__main__" and file:
        spec = spec_from_file_location(name, file)
    else:
        spec = (Home(OURS) if name.partition(".")[0] == OURS else home).find(name)
    if spec is None:
        return None
    key = (name, spec.origin or "")
    if key not in _SOURCES or not _SOURCES[key].is_current:
        is_package = spec.submodule_search_locations is not None
        _SOURCES[key] = Source(name, name if is_package else name.rpartition(".")[0], spec)
    return _SOURCES[key]


class _Reach:
    """Follows names until nothing new is found."""

    def __init__(self, home: Home, file: str) -> None:
        self.home, self.file = home, file
        self._sources: dict[str, Source | None] = {}
        self._statements: dict[str, dict[int, Statement]] = {}
        self._compiled: dict[str, str] = {}
        self._seen: set[tuple[str, Chain]] = set()
        self._waiting: list[tuple[str, Statement]] = []

    @property
    def sources(self) -> list[Source]:
        """All modules that were looked at."""
        return [source for source in self._sources.values() if source is not None]

    def _source(self, name: str) -> Source | None:
        if name not in self._sources:
            self._sources[name] = _source(name, self.home, self.file)
        return self._sources[name]

    def take(self, module: str, chain: Chain) -> bool:
        """Follow what `chain` means in a module; False if the module's code does not count."""
        source = self._source(module)
        if source is None:
            return False
        if (module, chain) in self._seen:
            return True
        self._seen.add((module, chain))
        if module not in self._statements:
            self._statements[module] = {}
            self._begin(source)
        found = source.statements
        if found is None:
            self._compiled[module] = digest_of([source.content])
            return True
        if not chain:
            for statement in found.every:
                self._add(module, statement)
            for imports in found.imports.values():
                for imported in imports:
                    self._import(source, imported, ())
        known = False
        for name, rest in [(chain[0], chain[1:])] if chain else []:
            for statement in found.by_name.get(name, ()):
                known = True
                self._add(module, statement)
            for imported in found.imports.get(name, ()):
                known = True
                self._import(source, imported, rest)
            if not known and self.take(f"{module}.{name}", rest):
                known = True
            for imported in () if known else found.hints.get(name, ()):
                known = True
                self._import(source, imported, rest)
            if not known and name not in ("__name__", "__file__", "__doc__", "__path__", "__spec__"):
                # From a star, or made while the module is loaded: all of it may be needed.
                self.take(module, ())
        if not chain or not known:
            for star in found.stars:
                self._import(source, Imported(star), ())
        return True

    def _begin(self, source: Source) -> None:
        """What happens when a module is loaded: its effects, and those of the packages it is in."""
        if source.statements is not None:
            for statement in source.statements.effects:
                self._add(source.name, statement)
        if parent := source.name.rpartition(".")[0]:
            package = self._source(parent)
            if package is not None and parent not in self._statements:
                self._statements[parent] = {}
                self._begin(package)

    def _add(self, module: str, statement: Statement) -> None:
        known = self._statements.setdefault(module, {})
        if id(statement) not in known:
            known[id(statement)] = statement
            self._waiting.append((module, statement))

    def _import(self, source: Source, imported: Imported, rest: Chain) -> None:
        """Follow what an import binds."""
        module = imported.module
        if module.startswith("."):
            try:
                module = resolve_name(module, source.package)
            except ImportError:
                return
        if imported.name is None:
            self.take(module, rest)
        else:
            self.take(module, (imported.name, *rest))

    def finish(self) -> None:
        """Follow all that waits."""
        while self._waiting:
            module, statement = self._waiting.pop()
            source = self._source(module)
            if source is None or source.statements is None:
                continue
            local: dict[str, list[Imported]] = {}
            for name, imported in statement.imports:
                local.setdefault(name, []).append(imported)
                if name == "*":
                    self._import(source, imported, ())
            for chain in sorted(statement.used):
                for imported in local.get(chain[0], ()):
                    self._import(source, imported, chain[1:])
                if chain[0] in source.statements.by_name or chain[0] in source.statements.imports:
                    self.take(module, chain)
                elif source.statements.stars and chain[0] not in _BUILTIN:
                    for star in source.statements.stars:
                        self._import(source, Imported(star), ())
            for dotted in sorted(statement.dotted):
                name, _, member = dotted.partition(":")
                self.take(name, (member,) if member else ())

    def digests(self) -> dict[str, str]:
        """By module, without those of which nothing is run."""
        found = dict(self._compiled)
        for module, statements in self._statements.items():
            if statements:
                found[module] = digest_of(s.digest for s in statements.values())
        return found


def digest_of(parts: Iterable[bytes]) -> str:
    """Of texts in any order."""
    return hashlib.sha256(b"".join(sorted(hashlib.sha256(p).digest() for p in parts))).hexdigest()[:DIGITS]
