"""Out-of-core volume electron microscopy: OME-Zarr in; instances, measurements and a report out."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chunkflow_liver.config import read_run_file
    from chunkflow_liver.engine.cluster import cluster
    from chunkflow_liver.engine.plan import Plan
    from chunkflow_liver.engine.run import run
    from chunkflow_liver.engine.upkeep.clean import clean
    from chunkflow_liver.engine.upkeep.repair import damage, repair
    from chunkflow_liver.geometry import Box
    from chunkflow_liver.kernels.centreline.necks import Neck
    from chunkflow_liver.kernels.centreline.windows import Near
    from chunkflow_liver.kernels.contacts.placements import Chance
    from chunkflow_liver.kernels.instances.smoothing import Shapes
    from chunkflow_liver.kernels.network.tidying import Tidy
    from chunkflow_liver.kernels.populations.forms import Forms
    from chunkflow_liver.kernels.significance.boundaries import Boundary
    from chunkflow_liver.ops.calibrate import calibrate
    from chunkflow_liver.ops.cells import cells
    from chunkflow_liver.ops.compare import Sample, compare
    from chunkflow_liver.ops.contacts import contacts
    from chunkflow_liver.ops.convert import convert, export
    from chunkflow_liver.ops.distance import DistanceOptions, distance
    from chunkflow_liver.ops.domains import domains
    from chunkflow_liver.ops.duct import duct
    from chunkflow_liver.ops.edit import edit
    from chunkflow_liver.ops.evaluate import evaluate
    from chunkflow_liver.ops.fenestrae import fenestrae
    from chunkflow_liver.ops.flow import flow
    from chunkflow_liver.ops.geodesic import geodesic
    from chunkflow_liver.ops.label import label
    from chunkflow_liver.ops.link import link
    from chunkflow_liver.ops.measure import measure
    from chunkflow_liver.ops.meshes import export_mesh
    from chunkflow_liver.ops.narrowing import narrowing
    from chunkflow_liver.ops.network import network
    from chunkflow_liver.ops.phantom import phantom
    from chunkflow_liver.ops.placement import placement
    from chunkflow_liver.ops.population import population
    from chunkflow_liver.ops.population.options import Search, Select
    from chunkflow_liver.ops.profiles import profiles
    from chunkflow_liver.ops.propagate import propagate
    from chunkflow_liver.ops.protrusions import protrusions
    from chunkflow_liver.ops.refine import refine
    from chunkflow_liver.ops.refine.choosing import Keep
    from chunkflow_liver.ops.segment import segment
    from chunkflow_liver.ops.split import split
    from chunkflow_liver.ops.split.depths import Depths, depths
    from chunkflow_liver.ops.stitch import stitch
    from chunkflow_liver.ops.suggest import suggest
    from chunkflow_liver.ops.suggest.evidence import Evidence
    from chunkflow_liver.ops.tilings import tilings
    from chunkflow_liver.ops.train import train
    from chunkflow_liver.ops.verify import verify
    from chunkflow_liver.ops.zonation import zonation
    from chunkflow_liver.pipeline import plan_run
    from chunkflow_liver.reports import report
    from chunkflow_liver.reports.necks import necks_report
    from chunkflow_liver.store.create import write_volume
    from chunkflow_liver.store.images import open_volume, validate
    from chunkflow_liver.store.prompts import Prompt, read_prompts, write_prompts
    from chunkflow_liver.store.properties import write_properties
    from chunkflow_liver.store.table import read_table
    from chunkflow_liver.store.volume import Volume
    from chunkflow_liver.view.notebook import show

# Looked up on first use: the command line answers --help without loading zarr, dask or pyarrow.
_PUBLIC = {
    "Boundary": "kernels.significance.boundaries",
    "Box": "geometry",
    "Chance": "kernels.contacts.placements",
    "Depths": "ops.split.depths",
    "DistanceOptions": "ops.distance",
    "Evidence": "ops.suggest.evidence",
    "Forms": "kernels.populations.forms",
    "Keep": "ops.refine.choosing",
    "Near": "kernels.centreline.windows",
    "Neck": "kernels.centreline.necks",
    "Plan": "engine.plan",
    "Sample": "ops.compare",
    "Search": "ops.population.options",
    "Select": "ops.population.options",
    "Shapes": "kernels.instances.smoothing",
    "Tidy": "kernels.network.tidying",
    "Volume": "store.volume",
    "cells": "ops.cells",
    "calibrate": "ops.calibrate",
    "clean": "engine.upkeep.clean",
    "cluster": "engine.cluster",
    "compare": "ops.compare",
    "contacts": "ops.contacts",
    "convert": "ops.convert",
    "damage": "engine.upkeep.repair",
    "depths": "ops.split.depths",
    "distance": "ops.distance",
    "domains": "ops.domains",
    "duct": "ops.duct",
    "edit": "ops.edit",
    "evaluate": "ops.evaluate",
    "export": "ops.convert",
    "export_mesh": "ops.meshes",
    "fenestrae": "ops.fenestrae",
    "flow": "ops.flow",
    "geodesic": "ops.geodesic",
    "label": "ops.label",
    "link": "ops.link",
    "measure": "ops.measure",
    "narrowing": "ops.narrowing",
    "necks_report": "reports.necks",
    "network": "ops.network",
    "open_volume": "store.images",
    "phantom": "ops.phantom",
    "placement": "ops.placement",
    "plan_run": "pipeline",
    "population": "ops.population",
    "profiles": "ops.profiles",
    "propagate": "ops.propagate",
    "protrusions": "ops.protrusions",
    "Prompt": "store.prompts",
    "read_prompts": "store.prompts",
    "write_prompts": "store.prompts",
    "read_run_file": "config",
    "read_table": "store.table",
    "refine": "ops.refine",
    "repair": "engine.upkeep.repair",
    "report": "reports",
    "run": "engine.run",
    "segment": "ops.segment",
    "show": "view.notebook",
    "split": "ops.split",
    "stitch": "ops.stitch",
    "suggest": "ops.suggest",
    "tilings": "ops.tilings",
    "train": "ops.train",
    "validate": "store.images",
    "verify": "ops.verify",
    "zonation": "ops.zonation",
    "write_properties": "store.properties",
    "write_volume": "store.create",
}

__version__ = version("chunkflow-liver")
__all__ = [
    "Boundary",
    "Box",
    "Chance",
    "Depths",
    "DistanceOptions",
    "Evidence",
    "Forms",
    "Keep",
    "Near",
    "Neck",
    "Plan",
    "Prompt",
    "Sample",
    "Search",
    "Select",
    "Shapes",
    "Tidy",
    "Volume",
    "calibrate",
    "cells",
    "clean",
    "cluster",
    "compare",
    "contacts",
    "convert",
    "damage",
    "depths",
    "distance",
    "domains",
    "duct",
    "edit",
    "evaluate",
    "export",
    "export_mesh",
    "fenestrae",
    "flow",
    "geodesic",
    "label",
    "link",
    "measure",
    "narrowing",
    "necks_report",
    "network",
    "open_volume",
    "phantom",
    "placement",
    "plan_run",
    "population",
    "profiles",
    "propagate",
    "protrusions",
    "read_prompts",
    "read_run_file",
    "read_table",
    "refine",
    "repair",
    "report",
    "run",
    "segment",
    "show",
    "split",
    "stitch",
    "suggest",
    "tilings",
    "train",
    "validate",
    "verify",
    "write_prompts",
    "write_properties",
    "write_volume",
    "zonation",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    if name == "kernels":
        return importlib.import_module(f"{__name__}.kernels")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
