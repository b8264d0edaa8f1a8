"""The verb that trains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chunkflow_liver.cli.app import Cluster, MemoryGib, Scheduler, Workers, app
from chunkflow_liver.cli.jobs import carry_out


@app.command()
def train(
    run_file: Annotated[
        Path, typer.Argument(metavar="TRAINING_FILE", help="Training (YAML), see configs/train_*.yaml.")
    ],
    fine_tune: Annotated[
        Path | None, typer.Option(help="nnU-Net folder to begin with; its classes may be others.")
    ] = None,
    dry: Annotated[bool, typer.Option("--plan", help="Say what would be done; writes nothing.")] = False,
    workers: Workers = None,
    scheduler: Scheduler = None,
    cluster: Cluster = None,
    memory_gib: MemoryGib = None,
    redo: Annotated[bool, typer.Option(help="Train anew what was trained with other settings.")] = False,
) -> None:
    """Train a model on painted slices, and go on where an earlier training stopped."""
    from chunkflow_liver.config import read_training_file
    from chunkflow_liver.engine.devices import check_devices
    from chunkflow_liver.ops.train import train as plan_training

    given = read_training_file(run_file)
    arguments = given.arguments() | ({} if fine_tune is None else {"fine_tune": fine_tune})
    plan = plan_training(**arguments)
    if cluster is None:
        check_devices(plan)
    if dry:
        typer.echo(str(plan))
        return
    carry_out(
        plan,
        workers=workers,
        scheduler=scheduler,
        kind=cluster,
        memory_gib=memory_gib,
        redo=redo,
        # A training that failed fails again: what can be mended says how.
        retries=0,
    )
    typer.echo(plan.output.model)
    if given.report:
        from chunkflow_liver.reports.training import training_report

        typer.echo(training_report(plan.output.path, plan.output.runs, to=Path(plan.work) / "training.html"))
