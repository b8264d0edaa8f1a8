"""The run file: what a person writes in YAML, checked before anything is opened. Extra keys are refused."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.store.location import NAME, absolute, is_local

MAX_BYTES = 1 << 20
Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Nm = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Block = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


class Section(BaseModel):
    """A part of a run file: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Input(Section):
    """The image, and the level of it to work on."""

    path: str
    level: Annotated[int, Field(ge=0)] | None = None
    voxel_nm: tuple[Nm, Nm, Nm] | None = None
    channel: Annotated[int, Field(ge=0)] | None = None
    timepoint: Annotated[int, Field(ge=0)] | None = None
    unit: str | None = None
    missing_chunks: Literal["error", "fill"] = "error"


class Segment(Section):
    """A network that finds the classes."""

    name: Name = "semantic"
    segmenter: str = "nnunet"
    model: str
    configuration: str | None = None
    folds: tuple[int | str, ...] | None = None
    mirroring: bool = True
    numerics: Literal["exact", "nnunet"] = "exact"
    step: Annotated[float, Field(gt=0, le=1)] = 0.5
    device: str = "cpu"
    batch: Annotated[int, Field(ge=1)] = 1
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    accept_spacing: bool = False
    block: Block | None = None


class Semantic(Section):
    """Classes that exist already, instead of a network."""

    path: str
    level: Annotated[int, Field(ge=0)] | None = None
    classes: dict[str, Annotated[int, Field(ge=1)]] | None = None
    missing_chunks: Literal["error", "fill"] = "error"


class Label(Section):
    """Instances of one or more classes."""

    name: Name
    classes: tuple[str | int, ...] | None = None
    connectivity: Literal[6, 18, 26] = 26
    min_volume_um3: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class Measure(Section):
    """A table of instances."""

    name: Name
    instances: str
    features: tuple[str, ...] = ("basic",)


class Distance(Section):
    """A distance map to a class."""

    name: Name
    to: str | int
    cap_nm: Nm


class Contacts(Section):
    """A table of contacts: with the class `to`, or with the instances `other`."""

    name: Name
    instances: str
    to: str | int | None = None
    other: str | None = None
    gap_nm: Annotated[float, Field(ge=0, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _one_partner(self) -> Contacts:
        if (self.to is None) == (self.other is None):
            raise ValueError("give either 'to' (a class) or 'other' (the name of instances)")
        return self


class Evaluate(Section):
    """A comparison with a ground truth; with `iou`, of instances."""

    name: Name
    found: str
    truth: str
    iou: Annotated[float, Field(ge=0.5, le=1)] | None = None


class RunFile(Section):
    """A whole run; every list may be empty."""

    input: Input
    work: str
    block: Block | None = None
    into_source: bool = False
    segment: Segment | None = None
    semantic: Semantic | None = None
    label: tuple[Label, ...] = ()
    measure: tuple[Measure, ...] = ()
    distance: tuple[Distance, ...] = ()
    contacts: tuple[Contacts, ...] = ()
    evaluate: tuple[Evaluate, ...] = ()
    report: bool = True

    @model_validator(mode="after")
    def _names(self) -> RunFile:
        if (self.segment is None) == (self.semantic is None):
            raise ValueError("give either 'segment' (a network) or 'semantic' (classes that exist)")
        made = {
            "label images": [
                *([self.segment.name] if self.segment else []),
                *(entry.name for entry in self.label),
                *(f"{entry.name}-exact" for entry in self.distance),
            ],
            "distance images": [entry.name for entry in self.distance],
            "tables": [
                *(entry.name for entry in self.measure),
                *(entry.name for entry in self.contacts),
                *(entry.name for entry in self.evaluate),
            ],
        }
        for what, names in made.items():
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise ValueError(f"two {what} are called {twice[0]!r}; rename one of them")
        labels = {entry.name for entry in self.label}
        wanted = [(m.name, m.instances) for m in self.measure]
        wanted += [(c.name, i) for c in self.contacts for i in (c.instances, c.other) if i is not None]
        for name, instances in wanted:
            if instances not in labels:
                raise ValueError(f"{name!r} refers to instances {instances!r}; label makes {sorted(labels)}")
        return self


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
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"no run file at {file}")
    if file.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{file} has {file.stat().st_size} bytes; a run file has at most {MAX_BYTES}")
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, ValueError, OSError) as err:
        raise ConfigError(f"{file} is not a usable run file: {err}") from err
    except RecursionError as err:
        raise ConfigError(f"{file} is nested too deeply to be a run file") from err
    if not isinstance(content, dict):
        raise ConfigError(f"{file} must hold keys and values, got {type(content).__name__}")
    return parse(content, file.parent, str(file))


def parse(content: dict[str, Any], folder: Path, where: str) -> RunFile:
    """A run file from a mapping; relative paths are taken from `folder`."""
    try:
        found = RunFile.model_validate(content)
    except ValidationError as err:
        lines = [_problem(dict(e)) for e in err.errors()]
        raise ConfigError(f"{where} has {len(lines)} problem(s): " + "; ".join(lines)) from err
    paths: dict[str, Any] = {"work": _from(folder, found.work)}
    paths["input"] = found.input.model_copy(update={"path": _from(folder, found.input.path)})
    if found.segment:
        paths["segment"] = found.segment.model_copy(update={"model": _from(folder, found.segment.model)})
    if found.semantic:
        paths["semantic"] = found.semantic.model_copy(update={"path": _from(folder, found.semantic.path)})
    paths["evaluate"] = tuple(e.model_copy(update={"truth": _from(folder, e.truth)}) for e in found.evaluate)
    return found.model_copy(update=paths)


def _from(folder: Path, path: str) -> str:
    if not is_local(path) or Path(path).is_absolute():
        return absolute(path)
    return absolute(folder / path)


def _problem(error: dict[str, Any]) -> str:
    place = ".".join(str(p) for p in error["loc"]) or "the file"
    if error["type"] == "extra_forbidden":
        model: Any = RunFile
        for part in error["loc"][:-1]:
            field = getattr(model, "model_fields", {}).get(part)
            if field is not None:
                model = next((a for a in _models(field.annotation)), model)
        known = list(getattr(model, "model_fields", {}))
        near = difflib.get_close_matches(str(error["loc"][-1]), known, 1)
        return f"{place}: unknown key" + (f", did you mean {near[0]!r}?" if near else f"; known are {known}")
    message = f"{place}: {error['msg'].removeprefix('Value error, ')}"
    return message if isinstance(error["input"], dict) else f"{message} (got {error['input']!r:.80})"


def _models(annotation: Any) -> list[Any]:
    """pydantic models inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in getattr(annotation, "__args__", ()) for m in _models(a)]
