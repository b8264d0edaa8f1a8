"""The run file: what a person writes in YAML, checked before anything is opened."""

from __future__ import annotations

from chunkflow_liver.config.reading import parse, read_run_file
from chunkflow_liver.config.run_file import RunFile

__all__ = ["RunFile", "parse", "read_run_file"]
