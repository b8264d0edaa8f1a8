"""The run file: what a person writes in YAML, checked before anything is opened."""

from __future__ import annotations

from chunkflow_liver.config.evaluation_file import EvaluationFile, is_evaluation_file, read_evaluation_file
from chunkflow_liver.config.reading import parse, problems_of, read_parts, read_run_file
from chunkflow_liver.config.run_file import INSTANCES, LISTS, Place, RunFile
from chunkflow_liver.config.training_file import TrainingFile, is_training_file, read_training_file

__all__ = [
    "INSTANCES",
    "LISTS",
    "EvaluationFile",
    "Place",
    "RunFile",
    "TrainingFile",
    "is_evaluation_file",
    "is_training_file",
    "parse",
    "problems_of",
    "read_evaluation_file",
    "read_parts",
    "read_run_file",
    "read_training_file",
]
