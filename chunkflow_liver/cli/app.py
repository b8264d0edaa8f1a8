"""The application: options of every verb, and errors as messages and exit statuses."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from chunkflow_liver.errors import ChunkflowLiverError, RunIncompleteError
from chunkflow_liver.parameters import told

REFUSED, INCOMPLETE, INTERRUPTED = 2, 6, 130
GO_ON = "what is done is kept, run the same command again to go on"

app = typer.Typer(
    name="chunkflow-liver",
    help="Volume electron microscopy out of core: OME-Zarr in; instances, measurements and a report out.",
    no_args_is_help=True,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
models = typer.Typer(help="Model folders.", no_args_is_help=True)
app.add_typer(models, name="model")
prompts = typer.Typer(help="Prompts of objects, for propagate.", no_args_is_help=True)
app.add_typer(prompts, name="prompts")


class ClusterKind(StrEnum):
    local = "local"
    cuda = "cuda"
    slurm = "slurm"


RunFilePath = Annotated[Path, typer.Argument(metavar="RUN_FILE", help="Run file (YAML), see configs/.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, help="Worker processes; without it (and without --cluster) the run stays in this process."
    ),
]
Scheduler = Annotated[str | None, typer.Option(help=told("scheduler"))]
Cluster = Annotated[
    ClusterKind | None, typer.Option(help="Start a cluster: CPU processes, GPUs or SLURM jobs.")
]
ClusterOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--cluster-option",
        metavar="KEY=VALUE",
        help="Option of the cluster class (SLURM: queue, account, walltime, interface, ...); repeat, also "
        "for further entries of a list: job_extra_directives=--qos=long.",
    ),
]
GpusPerJob = Annotated[
    int | None, typer.Option(min=1, help="GPUs of each SLURM job; it runs one worker for each.")
]
Wait = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Longest wait for the first SLURM job, or worker of --scheduler; else as long as it takes.",
    ),
]
MemoryGib = Annotated[float | None, typer.Option(min=0.01, help=told("worker_gib"))]
VoxelNm = Annotated[
    tuple[float, float, float] | None, typer.Option("--voxel-nm", metavar="Z Y X", help=told("file_voxel_nm"))
]


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
    debug: Annotated[bool, typer.Option(help="Show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Say which version this is.")] = False,
) -> None:
    """Set up logging: our own messages on stderr, results on stdout."""
    if version:
        from importlib.metadata import version as version_of

        typer.echo(version_of("chunkflow-liver"))
        raise typer.Exit
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log = logging.getLogger("chunkflow_liver")
    log.handlers = [handler]
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
    log.propagate = False
    if debug:
        global _debug
        _debug = True


_debug = False


class Interrupted(Exception):
    """Ctrl-C during a run; the text says what is kept."""


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Errors as one message and an exit status, not as a traceback."""
    try:
        yield
    except ChunkflowLiverError as err:
        if _debug:
            raise
        several = getattr(err, "problems", ())
        sys.stderr.write("".join(f"error: {text}\n" for text in several or (err,)))
        sys.exit(INCOMPLETE if isinstance(err, RunIncompleteError) else REFUSED)
    except Interrupted as stopped:
        sys.stderr.write(f"interrupted: {stopped}; {GO_ON}\n")
        sys.exit(INTERRUPTED)
    except SystemExit as leaving:
        # typer makes a status of Ctrl-C, and says nothing.
        if leaving.code == INTERRUPTED:
            sys.stderr.write(f"interrupted: {GO_ON}\n")
        raise


def main() -> None:
    """Entry point of `chunkflow-liver`."""
    with _told():
        app(standalone_mode=True)
