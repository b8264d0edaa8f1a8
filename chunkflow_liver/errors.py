"""Every error that chunkflow_liver raises on purpose: what, where, got, wanted, what to do."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

OTHER_NAMES = {
    "cupy": "cupy-cuda13x",
    "cucim": "cucim-cu13",
    "radiomics": "pyradiomics",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
    # The project of that name on PyPI is not of SAM2's authors.
    "sam2": "'sam2 @ git+https://github.com/facebookresearch/sam2'",
}
"""Packages whose modules have another name."""


def install(module: str) -> str:
    """How to get the optional package that `module` is of: by the first extra of ours that declares it."""
    package = OTHER_NAMES.get(module.partition(".")[0], module.partition(".")[0])
    try:
        declared = requires("chunkflow-liver") or []
    except PackageNotFoundError:
        declared = []
    for line in declared:
        found = re.match(r"""([\w.-]+).*\bextra == ["']([\w-]+)["']""", line)
        if found and re.sub(r"[-_.]+", "-", found[1]) == re.sub(r"[-_.]+", "-", package):
            return f"pip install 'chunkflow-liver[{found[2]}]'"
    return f"pip install {package}"


class ChunkflowLiverError(Exception):
    """Root of all errors raised by chunkflow_liver."""


class ConfigError(ChunkflowLiverError, ValueError):
    """A run file or an argument is not usable; `problems` lists what is wrong where it is more than one."""

    def __init__(self, text: str = "", problems: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.problems = problems


class InputError(ChunkflowLiverError, ValueError):
    """An input image, label volume or its metadata is not usable."""


class GridError(ChunkflowLiverError, ValueError):
    """A block grid does not fit the volume that it cuts."""


class StageError(ChunkflowLiverError, TypeError):
    """A stage's function does not take what the stage gives it."""


class ChunkError(ChunkflowLiverError, OSError):
    """A stored chunk is missing or corrupt."""


class ChunkSizeError(ChunkError):
    """A stored chunk would become far more than its voxels, and was not decoded."""


class OutputError(ChunkflowLiverError, FileExistsError):
    """An output exists already, is locked, or cannot be written."""


class SegmenterError(ChunkflowLiverError, ValueError):
    """A segmenter or its model folder is not usable."""


class ModelSecurityError(SegmenterError):
    """A model folder asks for code that is not on the allow-list."""


class MemoryBudgetError(ChunkflowLiverError, MemoryError):
    """A stage needs more memory per task than a worker has."""


class DiskBudgetError(ChunkflowLiverError, OSError):
    """The outputs of a plan do not fit the free disk space."""


class TrainingError(ChunkflowLiverError, ArithmeticError):
    """A training has lost its way: its loss or its weights are not numbers any more."""


class DeviceLostError(ChunkflowLiverError, RuntimeError):
    """A GPU is in a state that this process cannot leave; another process can."""


class JournalError(ChunkflowLiverError, RuntimeError):
    """A work folder belongs to another plan, or its journal cannot be read."""


class ClusterError(ChunkflowLiverError, RuntimeError):
    """No dask cluster of the kind asked for can be had."""


class BlockError(ChunkflowLiverError, RuntimeError):
    """A block failed; says which stage, block and box."""


class RunIncompleteError(ChunkflowLiverError, RuntimeError):
    """A run ended with failed blocks; everything else was written and is kept."""
