"""Axes and places of the levels of an image, as each version of OME-Zarr states them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chunkflow_liver.store.ngff.transforms import CURVED, RESAMPLE, Aligned, flat, parse
from chunkflow_liver.store.ngff.versions import SPACE, Version

KNOWN_AXES = ("t", "c", *SPACE)
MOST_AXES = 5


@dataclass(frozen=True)
class Frame:
    """The coordinate system of an image, and where its levels lie in it.

    Attributes
    ----------
    axes, units : tuple
        Names and stated units of the axes of the system.
    datasets : tuple of (path, Aligned, text)
        Array of a level, its place, and how a message calls it.
    order : tuple of int
        Axis of the arrays that each axis of the system is.
    """

    axes: tuple[str, ...] = ()
    units: tuple[object, ...] = ()
    datasets: tuple[tuple[str, Aligned, str], ...] = ()
    order: tuple[int, ...] = ()

    @property
    def array_axes(self) -> tuple[str, ...]:
        """Names of the axes of the arrays, in their order."""
        names = {at: name for at, name in zip(self.order, self.axes, strict=True)}
        return tuple(names[i] for i in range(len(names)))


def frame_of(image: dict[str, Any], version: Version, problems: list[str]) -> Frame:
    """Axes and levels of a 'multiscales' entry of `version`; what is wrong is added to `problems`."""
    system = _intrinsic(image, problems) if version.systems else ""
    stated = _system_axes(image, system, problems) if version.systems else image.get("axes", version.axes)
    axes, units = _axes(stated, problems)
    if version.systems:
        _check_other_systems(image, problems)
    alone = version.systems or not axes
    shared = Aligned.identity(len(axes)) if alone else _shared(image, len(axes), problems)
    placed: list[tuple[str, Aligned, str]] = []
    for path, given, where in _datasets(image, problems):
        if not axes:
            own = shared
        elif version.systems:
            own = _single(given, len(axes), where, path, system, problems)
        elif not given and not version.sized:
            own = Aligned.identity(len(axes))
            if not placed:
                problems.append(_unsized(version, where))
        else:
            scaled = any(t.get("type") in ("scale", "sequence") for t in _transforms(image))
            own = flat(given or [], len(axes), where, problems, scaled=scaled)
        placed.append((path, own.then(shared), where))
    orders = {p.source for _, p, _ in placed} or {tuple(range(len(axes)))}
    if len(orders) > 1:
        problems.append(f"levels order their axes differently: {sorted(orders)}")
    return Frame(axes, units, tuple(placed), min(orders))


def _unsized(version: Version, where: str) -> str:
    return (
        f"{where} states no scale, as OME-Zarr {version.name} cannot: make an image that states one, with "
        "chunkflow-liver convert IMAGE NEW --voxel-nm Z Y X"
    )


def _datasets(image: dict[str, Any], problems: list[str]) -> list[tuple[str, object, str]]:
    """Path and transformations of each level, and how a message calls it."""
    datasets = image.get("datasets")
    if not isinstance(datasets, list) or not datasets:
        problems.append("'datasets' is empty: the image has no levels")
        return []
    found = []
    for i, dataset in enumerate(datasets):
        entry = dataset if isinstance(dataset, dict) else {}
        path = entry.get("path")
        if not isinstance(path, str) or not path:
            problems.append(f"level {i} has no path")
        elif path.startswith("/") or ".." in path.split("/"):
            problems.append(f"level {i} points outside the image: path {path!r}")
        else:
            found.append((path, entry.get("coordinateTransformations"), f"level {i} ({path!r})"))
    return found


def _axes(stated: object, problems: list[str]) -> tuple[tuple[str, ...], tuple[object, ...]]:
    """Names of the axes in order, and what they say of their units."""
    entries = list(stated) if isinstance(stated, list | tuple) else []
    if not 2 <= len(entries) <= MOST_AXES:
        problems.append(f"'axes' must list 2 to {MOST_AXES} axes, got {stated!r}")
        return (), ()
    axes: list[dict[str, Any]] = [axis if isinstance(axis, dict) else {"name": axis} for axis in entries]
    names = [str(axis.get("name", "")).strip().lower() for axis in axes]
    if len(set(names)) != len(names):
        problems.append(f"axis names repeat: {names}")
    for name, axis in zip(names, axes, strict=True):
        if name in SPACE and axis.get("type") not in (None, "space"):
            problems.append(f"axis {name} is of type {axis['type']!r}, not 'space'")
    if not {"y", "x"} <= set(names):
        problems.append(f"axes {names} lack y or x")
    return tuple(names), tuple(axis.get("unit") for axis in axes)


def axis_problems(axes: tuple[str, ...], shape: tuple[int, ...]) -> list[str]:
    """Axes that cannot be placed: unknown ones, and others than space behind it, longer than 1."""
    problems = []
    for i, (name, n) in enumerate(zip(axes, shape, strict=True)):
        if name not in KNOWN_AXES and n > 1:
            problems.append(f"axis {i} is named {name!r}; known are {', '.join(KNOWN_AXES)}")
    rank = {"t": 0, "c": 1}
    order = [rank.get(a, 2) for a, n in zip(axes, shape, strict=True) if n > 1 or a in SPACE]
    if order != sorted(order):
        problems.append(f"axes {list(axes)} are out of order: time, then channel, then space")
    return problems


def _shared(image: dict[str, Any], ndim: int, problems: list[str]) -> Aligned:
    """The transformation of all levels, up to 0.5: a list to be applied, or SpatialData's to one system."""
    stated = image.get("coordinateTransformations")
    named = isinstance(stated, list) and stated and isinstance(stated[0], dict) and "output" in stated[0]
    if not named:
        return flat(stated, ndim, "the image", problems, scaled=True)
    systems = {_name(entry.get("output")): entry for entry in _transforms(image)}
    chosen = systems.get("global") or next(iter(systems.values()))
    where = f"the transformation to {_name(chosen.get('output'))!r}"
    return parse(chosen, ndim, where, problems) or Aligned.identity(ndim)


def _name(reference: object) -> str | None:
    """Name of a coordinate system or array that a transformation refers to."""
    if isinstance(reference, dict):
        reference = reference.get("name", reference.get("path"))
    return reference if isinstance(reference, str) else None


def _transforms(dataset: object) -> list[dict[str, Any]]:
    stated = dataset.get("coordinateTransformations") if isinstance(dataset, dict) else None
    return [t for t in stated if isinstance(t, dict)] if isinstance(stated, list) else []


def _intrinsic(image: dict[str, Any], problems: list[str]) -> str:
    """Name of the coordinate system that levels are placed in."""
    datasets = image.get("datasets")
    given = [t for d in (datasets if isinstance(datasets, list) else []) for t in _transforms(d)]
    names = list(dict.fromkeys(n for t in given if (n := _name(t.get("output"))) is not None))
    if len(names) > 1:
        problems.append(f"levels are placed in different coordinate systems: {names}")
    return names[0] if names else ""


def _system_axes(image: dict[str, Any], system: str, problems: list[str]) -> object:
    stated = image.get("coordinateSystems")
    systems = [s for s in stated if isinstance(s, dict)] if isinstance(stated, list) else []
    if not systems:
        problems.append(f"'coordinateSystems' must list at least one system, got {stated!r}")
        return []
    names = [s.get("name") for s in systems]
    if len(set(map(str, names))) != len(names):
        problems.append(f"names of coordinate systems repeat: {names}")
    if system and system not in names:
        problems.append(f"levels are placed in the coordinate system {system!r}; there are {names}")
    if system not in names:
        return systems[0].get("axes")
    return systems[names.index(system)].get("axes")


def _single(given: object, ndim: int, where: str, path: str, system: str, problems: list[str]) -> Aligned:
    """The one transformation of a level as of 0.6."""
    if not isinstance(given, list) or len(given) != 1:
        many = len(given) if isinstance(given, list) else given
        problems.append(f"{where} must have one transformation to {system!r}, got {many!r}")
        return Aligned.identity(ndim)
    entry = given[0] if isinstance(given[0], dict) else {}
    if (source := _name(entry.get("input"))) not in (path, None):
        problems.append(f"{where}: its transformation is that of {source!r}")
    steps = entry.get("transformations") if entry.get("type") == "sequence" else None
    kinds = [s.get("type") for s in steps if isinstance(s, dict)] if isinstance(steps, list) else []
    for kind in ("scale", "translation"):
        if kinds.count(kind) > 1:
            problems.append(f"{where}: {kinds.count(kind)} transformations are a {kind}; there may be one")
    if kinds[:1] == ["translation"] and "scale" in kinds:
        problems.append(f"{where}: translation before scale; the scale comes first")
    return parse(entry, ndim, where, problems) or Aligned.identity(ndim)


def _check_other_systems(image: dict[str, Any], problems: list[str]) -> None:
    """Refuse an image that other coordinate systems than that of its levels turn or bend.

    What only scales or moves it there changes no size in its own system, which is the one that is read.
    """
    for entry in _transforms(image):
        if not all(_name(entry.get(side)) for side in ("input", "output")):
            problems.append(f"a transformation of the image names no input or no output: {entry!r}")
        curved = [kind for kind in _kinds(entry) if kind in CURVED]
        if curved:
            problems.append(
                f"the transformation to {_name(entry.get('output'))!r} is one of type {curved[0]!r}, which "
                f"is not supported: {RESAMPLE}"
            )


def _kinds(entry: object) -> list[object]:
    """Types of a transformation and of all inside it."""
    if isinstance(entry, list):
        return [kind for part in entry for kind in _kinds(part)]
    if not isinstance(entry, dict):
        return []
    inside = [entry.get(k) for k in ("transformations", "transformation", "forward")]
    return [entry.get("type"), *(kind for part in inside for kind in _kinds(part))]
