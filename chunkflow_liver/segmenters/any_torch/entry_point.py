"""Python code that makes a network: found without running anything, run only when it is called for."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from chunkflow_liver.errors import SegmenterError


@dataclass(frozen=True)
class EntryPoint:
    """A function that returns a network.

    Attributes
    ----------
    module, function : str
    source : Path
        File of the module.
    installed : bool
        Whether it is imported as an installed module, or run from its file.
    arguments : mapping
        Keyword arguments of the function.
    """

    module: str
    function: str
    source: Path
    installed: bool
    arguments: Mapping[str, Any]

    @property
    def name(self) -> str:
        """As in the description."""
        return f"{self.module}:{self.function}"

    def build(self) -> Any:
        """Run the code.

        Raises
        ------
        SegmenterError
            If it is not to be had, fails, or makes no torch.nn.Module.
        """
        import torch

        try:
            module = (
                importlib.import_module(self.module) if self.installed else _run(self.module, self.source)
            )
            network = getattr(module, self.function)(**self.arguments)
        except (
            ImportError,
            AttributeError,
            TypeError,
            ValueError,
            RuntimeError,
            LookupError,
            OSError,
        ) as err:
            raise SegmenterError(
                f"{self.name} with {dict(self.arguments)} made no network: {type(err).__name__}: {err}"
            ) from err
        if not isinstance(network, torch.nn.Module):
            raise SegmenterError(f"{self.name} returned a {type(network).__name__}; wanted a torch.nn.Module")
        return network


def find(module: str, folder: Path) -> Path | None:
    """File of a module: beside the description first, then among what is installed. Nothing is imported.

    Notes
    -----
    `importlib.util.find_spec` would import the packages that hold the module.
    """
    beside = _beside(module, folder)
    if beside.is_file():
        return beside
    places: list[str] | None = None
    parts = module.split(".")
    for i in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: i + 1]), places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or ())
    return Path(spec.origin) if spec is not None and spec.origin and Path(spec.origin).is_file() else None


def is_installed(module: str, folder: Path) -> bool:
    """Whether `find` looks for the module among what is installed."""
    return not _beside(module, folder).is_file()


def _beside(module: str, folder: Path) -> Path:
    return folder.joinpath(*module.split(".")).with_suffix(".py")


def _run(name: str, source: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, source)
    if spec is None or spec.loader is None:
        raise ImportError(f"{source} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
