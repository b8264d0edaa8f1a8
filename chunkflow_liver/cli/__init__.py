"""The command line: one verb per job, heavy imports only inside the verbs."""

from __future__ import annotations

from chunkflow_liver.cli import jobs, results
from chunkflow_liver.cli.app import main

__all__ = ["jobs", "main", "results"]
