"""Entries of a run file on tissue, its cells, vessels and zones, become plans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from chunkflow_liver.config.lobule import Domains, Duct, Fenestrae, Geodesic, Zonation
from chunkflow_liver.config.tissue import Cells, Flow, Network, Protrusions
from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.kernels.network.tidying import Tidy
from chunkflow_liver.ops.cells import cells
from chunkflow_liver.ops.domains import domains
from chunkflow_liver.ops.duct import duct
from chunkflow_liver.ops.fenestrae import fenestrae
from chunkflow_liver.ops.flow import flow
from chunkflow_liver.ops.geodesic import geodesic
from chunkflow_liver.ops.network import network
from chunkflow_liver.ops.protrusions import protrusions
from chunkflow_liver.ops.steps.levels import coarser_level
from chunkflow_liver.ops.steps.place import PathLike, table_at
from chunkflow_liver.ops.zonation import zonation
from chunkflow_liver.planning import Made, options_of
from chunkflow_liver.store.table import Table
from chunkflow_liver.store.volume import Volume


def _geodesic(entry: Geodesic, made: Made) -> Plan:
    labels, classes = made.instances(entry.instances), made.semantic

    def at_level(volume: Volume) -> Volume:
        if entry.level is None or entry.level == volume.level:
            return volume
        return replace(coarser_level(volume, entry.level), classes=volume.classes, kind=volume.kind)

    return geodesic(
        at_level(labels),
        None if entry.instances is None else at_level(classes),
        into=made.into if entry.level is None else None,
        **entry.model_dump(include={"to", "inside", "gap_nm", "name"}),
        **made.at,
    )


def _domains(entry: Domains, made: Made) -> Plan:
    options = entry.model_dump(exclude={"instances"})
    return domains(made.instances(entry.instances), made.semantic, **options, **made.at)


def _duct(entry: Duct, made: Made) -> Plan:
    cells = made.instances(entry.instances)
    along, away = (made.maps_of(name, entry.name) for name in (entry.along, entry.away))
    options = entry.model_dump(include={"lumen", "step_nm", "name"})
    return duct(cells, made.semantic, along, away, **options, **made.at)


def _fenestrae(entry: Fenestrae, made: Made) -> Plan:
    return fenestrae(made.semantic, **entry.model_dump(), **made.at)


def _zonation(entry: Zonation, made: Made) -> Plan:
    options = entry.model_dump(exclude={"instances", "maps", "tables", "files"})
    maps = [made.maps_of(name, entry.name) for name in entry.maps]
    tables: list[Table | PathLike] = [
        *(table_at(made.run_file.work, table) for table in entry.tables),
        *entry.files,
    ]
    return zonation(made.instances(entry.instances), maps, tables=tables, **options, **made.at)


def _flow(entry: Flow, made: Made) -> Plan:
    options = entry.model_dump(exclude={"block"})
    return flow(made.raw, work=made.run_file.work, block=entry.block, **options)


def _cells(entry: Cells, made: Made) -> Plan:
    # What is not said is the operation's to say, by mode.
    options = entry.model_dump(
        exclude_unset=True, exclude={"interior", "inside", "painted", "boundary", "block"}
    )
    maps: dict[str, Any] = {
        what: None if path is None else made.on_voxels(path, None, entry.name)
        for what, path in (("painted", entry.painted), ("boundary", entry.boundary))
    }
    interior = _interior(entry, made, options)
    raw = made.raw if entry.needs_image() else None
    at = made.at | {"block": entry.block or made.run_file.block}
    return cells(interior, raw=raw, into=made.into, **maps, **options, **at)


def _protrusions(entry: Protrusions, made: Made) -> Plan:
    options = entry.model_dump(exclude={"cells", "interior", "inside", "block"})
    interior, whole = _interior(entry, made, options), made.instances(entry.cells)
    at = made.at | {"block": entry.block}
    return protrusions(whole, interior, into=made.into, **options, **at)


def _interior(entry: Cells | Protrusions, made: Made, options: dict[str, Any]) -> Volume:
    """The map of the interior, or the classes, of which the options then name one."""
    if entry.interior is not None:
        return made.on_voxels(entry.interior, None, entry.name)
    options["classes"] = entry.inside
    return made.semantic


def _network(entry: Network, made: Made) -> Plan:
    at = made.at | {"block": entry.block or made.run_file.block}
    asked: dict[str, Any] = entry.model_dump(include={"name", "widest_nm"})
    asked |= {"classes": entry.classes or entry.ids, "tidy": options_of(entry, Tidy)}
    return network(made.instances(entry.instances), **asked, **at)


PLANNERS: Mapping[str, Callable[[Any, Made], Plan]] = {
    "flow": _flow,
    "cells": _cells,
    "protrusions": _protrusions,
    "network": _network,
    "geodesic": _geodesic,
    "domains": _domains,
    "duct": _duct,
    "fenestrae": _fenestrae,
    "zonation": _zonation,
}
"""What plans an entry, by the key that it stands under."""
