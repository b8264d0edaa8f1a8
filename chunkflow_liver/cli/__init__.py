"""The command line: one verb per job, heavy imports only inside the verbs."""

from __future__ import annotations

import sys

try:
    from chunkflow_liver.cli import evaluation, images, jobs, results, training, viewing
    from chunkflow_liver.cli.app import main
except KeyboardInterrupt:
    # On a slow disk a person may be quicker than the imports; nothing was begun.
    sys.stderr.write("interrupted: nothing was begun\n")
    sys.exit(130)

__all__ = ["evaluation", "images", "jobs", "main", "results", "training", "viewing"]
