"""From YAML to a checked run file, with every problem named by its place."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from chunkflow_liver.config.declaring import Refers, Section
from chunkflow_liver.config.mending import Mended, mended
from chunkflow_liver.config.run_file import LISTS, Place, RunFile, placed
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.store.location import absolute, is_local

MAX_BYTES = 1 << 20
S = TypeVar("S", bound=Section)
_KINDS = {dict: "keys and values", str: "a text", bool: "true or false", int: "a number", float: "a number"}


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: no duplicate keys, no anchors."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"line {line}: anchors and aliases are not allowed in a run file")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key in (k for k, _ in node.value if isinstance(k, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: the key {key.value!r} appears twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_run_file(path: str | Path) -> RunFile:
    """The run file at `path`, with relative paths taken from its folder.

    Raises
    ------
    ConfigError
        If it cannot be read; lists every problem with its place in the file.
    """
    return _whole(str(path), *read_parts(path))


def read_parts(path: str | Path) -> tuple[RunFile | None, list[str]]:
    """What is right in the run file at `path`, as far as it can be told, and every problem with its place.

    Raises
    ------
    ConfigError
        If it holds no keys and values.
    """
    content, lines = read_content(path)
    if "sources" in content and "input" not in content:
        raise ConfigError(f"{path} is a training, not a run: 'chunkflow-liver train {path}' is for it")
    if "truth" in content and "input" not in content:
        raise ConfigError(f"{path} is an evaluation, not a run: 'chunkflow-liver evaluate {path}' is for it")
    return _parts(content, Path(path).parent, str(path), lines)


def read_content(path: str | Path) -> tuple[dict[str, Any], dict[Place, int]]:
    """Keys and values of a YAML file, and the line of each.

    Raises
    ------
    ConfigError
        If it holds none.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"no run file at {file}")
    if file.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{file} has {file.stat().st_size} bytes; a run file has at most {MAX_BYTES}")
    try:
        loader = _Loader(file.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        content = None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, OSError) as err:
        raise ConfigError(f"{file} is not a usable run file: {err}") from err
    except RecursionError as err:
        raise ConfigError(f"{file} is nested too deeply to be a run file") from err
    if not isinstance(content, dict):
        raise ConfigError(f"{file} must hold keys and values, got {type(content).__name__}")
    return content, dict(_lines(node))


def parse(
    content: dict[str, Any], folder: Path, where: str, lines: Mapping[Place, int] | None = None
) -> RunFile:
    """A run file from a mapping; relative paths are taken from `folder`, `lines` say where values stand."""
    return _whole(where, *_parts(content, folder, where, lines or {}))


def _whole(where: str, found: RunFile | None, problems: Sequence[str]) -> RunFile:
    if found is None or problems:
        raise problems_of(where, problems)
    return found


def _parts(
    content: dict[str, Any], folder: Path, where: str, lines: Mapping[Place, int]
) -> tuple[RunFile | None, list[str]]:
    content, problems = _listed(content, lines)
    left: Mended | None = Mended(content)
    try:
        found = RunFile.model_validate(content)
    except ValidationError as err:
        problems += [placed(*problem(dict(e), RunFile), lines) for e in err.errors()]
        left = mended(content, [e["loc"] for e in err.errors()])
        try:
            found = RunFile.model_validate(None if left is None else left.content)
        except ValidationError:
            return None, problems
    assert left is not None
    found = with_paths(found, folder)
    found.remember(where, lines)
    found.stand_in(left.quiet, left.moved, complete=left.complete)
    problems += [found.at(p, text) for p, text in found.name_problems() if not found.is_quiet(p)]
    if problems:
        # What the whole file would be told follows from what is told already.
        found.stand_in(left.quiet | {()}, left.moved, complete=left.complete)
    return found, problems


def _listed(content: dict[str, Any], lines: Mapping[Place, int]) -> tuple[dict[str, Any], list[str]]:
    """The file with one entry, where a list of them is wanted, as the only one; and what is told of it."""
    single = [key for key in LISTS if isinstance(content.get(key), dict)]
    texts = []
    for key in single:
        first = next(iter(content[key]), "name")
        text = f"a list of entries is wanted, got one entry; write '- ' before it, as in '- {first}: ...'"
        texts.append(placed((key,), text, lines))
    return {**content, **{key: [content[key]] for key in single}}, texts


def validated(kind: type[S], content: dict[str, Any], lines: Mapping[Place, int], path: str | Path) -> S:
    """The content of the file at `path` as a section, with relative paths taken from its folder.

    Raises
    ------
    ConfigError
        Lists every problem with its place in the file.
    """
    try:
        found = kind.model_validate(content)
    except ValidationError as err:
        texts = [placed(*problem(dict(e), kind), lines) for e in err.errors()]
        raise problems_of(str(path), texts) from err
    return with_paths(found, Path(path).parent)


def with_paths(section: S, folder: Path) -> S:
    """A section with relative paths taken from `folder`."""
    changed: dict[str, Any] = {}
    file, files = (section.fields_that(refer) for refer in (Refers.FILE, Refers.FILES))
    for key in type(section).model_fields:
        value = getattr(section, key)
        if isinstance(value, str) and key in (*file, *files):
            changed[key] = from_folder(folder, value)
        elif isinstance(value, dict) and key in files:
            changed[key] = {name: from_folder(folder, path) for name, path in value.items()}
        elif isinstance(value, tuple) and key in files:
            changed[key] = tuple(from_folder(folder, path) for path in value)
        elif isinstance(value, Section):
            changed[key] = with_paths(value, folder)
        elif isinstance(value, tuple):
            changed[key] = tuple(with_paths(v, folder) if isinstance(v, Section) else v for v in value)
    # What stays as it is stays unsaid, where it was: some operations have other defaults for each mode.
    changed = {key: value for key, value in changed.items() if value != getattr(section, key)}
    return section.model_copy(update=changed)


def problems_of(where: str, texts: Sequence[str]) -> ConfigError:
    """The error that tells all problems of a run file at once."""
    return ConfigError(f"{where} has {len(texts)} problem(s): " + "; ".join(texts), tuple(texts))


def _lines(node: Any, place: Place = ()) -> Iterator[tuple[Place, int]]:
    """The line of every key and entry below a YAML node."""
    entries: list[tuple[Any, Any, Any]] = []
    if isinstance(node, yaml.MappingNode):
        entries = [(key.value, key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        entries = [(i, value, value) for i, value in enumerate(node.value)]
    for key, mark, value in entries:
        yield (*place, key), mark.start_mark.line + 1
        yield from _lines(value, (*place, key))


def from_folder(folder: Path, path: str) -> str:
    """A path or URL of a file, relative ones taken from the file's folder."""
    if is_local(path) and path.startswith("~"):
        path = os.path.expanduser(path)
    if not is_local(path) or Path(path).is_absolute():
        return absolute(path)
    return absolute(folder / path)


def problem(error: dict[str, Any], whole: type[BaseModel]) -> tuple[Place, str]:
    """Place and text of one of pydantic's errors; `whole` is what the file was to be."""
    place: Place = error["loc"]
    if error["type"] == "extra_forbidden":
        model: Any = whole
        for part in place[:-1]:
            field = getattr(model, "model_fields", {}).get(part)
            if field is not None:
                model = next((a for a in _models(field.annotation)), model)
        known = list(getattr(model, "model_fields", {}))
        near = difflib.get_close_matches(str(place[-1]), known, 1)
        return place, "unknown key" + (f", did you mean {near[0]!r}?" if near else f"; known are {known}")
    given = error["input"]
    if error["type"] == "tuple_type":
        three = " of three numbers, z, y, x" if place[-1] in ("block", "voxel_nm") else ""
        kind = next((n for t, n in _KINDS.items() if isinstance(given, t)), type(given).__name__)
        shown = "" if isinstance(given, dict) else f" ({given!r:.60})"
        return place, f"a list in brackets{three} is wanted, got {kind}{shown}"
    message = error["msg"].removeprefix("Value error, ") + _hint(
        error["type"], place[-1] if place else "", given
    )
    return place, message if isinstance(given, dict) else f"{message} (got {given!r:.80})"


def _hint(kind: str, key: str | int, given: Any) -> str:
    """What to write instead, where that can be told."""
    number = re.fullmatch(r"([0-9.]+) *(nm|um3?|µm3?|%)", given) if isinstance(given, str) else None
    if kind == "float_parsing" and number is not None and str(key).endswith(f"_{number[2]}"):
        return f", write {number[1]}"
    return ""


def _models(annotation: Any) -> list[Any]:
    """pydantic models inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in getattr(annotation, "__args__", ()) for m in _models(a)]
