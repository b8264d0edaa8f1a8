"""The command line: one verb per job, heavy imports only inside the verbs."""

from __future__ import annotations

from chunkflow_liver.cli import evaluation, images, jobs, results, training
from chunkflow_liver.cli.app import main

__all__ = ["evaluation", "images", "jobs", "main", "results", "training"]
