"""The verbs that train, and that say where to paint next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chunkflow_liver.cli.app import Cluster, MemoryGib, Scheduler, Workers, app
from chunkflow_liver.cli.jobs import carry_out
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.parameters import told


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


@app.command()
def suggest(
    run: Annotated[
        Path, typer.Argument(metavar="WORK", help="Work folder of a run that holds a segmentation.")
    ],
    boxes: Annotated[int, typer.Option(min=1, help="How many boxes.")] = 10,
    name: Annotated[str, typer.Option(help="Name of the table and of the empty labels.")] = "suggestions",
    training: Annotated[
        Path | None,
        typer.Option(
            metavar="TRAINING_FILE",
            help="Training (YAML): far from its sources is better, and boxes are as large as its window.",
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(help="Label image to compare with that of the run: of another fold or model; repeat."),
    ] = None,
    box_nm: Annotated[
        tuple[float, float, float] | None, typer.Option(metavar="Z Y X", help="Size of a box, in nm.")
    ] = None,
    apart_nm: Annotated[
        float | None, typer.Option(min=0, help="Least distance of the centres of two boxes, in nm.")
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(metavar="CRITERION=NUMBER", help="How much a criterion counts; repeat."),
    ] = None,
    redo: Annotated[bool, typer.Option("--redo", help=told("redo"))] = False,
    workers: Workers = None,
) -> None:
    """Say where painting helps most, with empty labels to paint in and a page of pictures."""
    from chunkflow_liver.config import read_training_file
    from chunkflow_liver.ops.suggest import Evidence
    from chunkflow_liver.ops.suggest import suggest as plan_suggestions
    from chunkflow_liver.reports.suggestions import suggestions_report
    from chunkflow_liver.store.images import open_volume
    from chunkflow_liver.store.table import read_table

    weights = dict(map(_weight, weight or ())) or None
    given = None if training is None else read_training_file(training)
    others = [open_volume(path) for path in labels or ()]
    evidence = Evidence.of_run(
        run,
        labels=others,
        painted=() if given is None else given.arguments()["sources"],
    )
    plan = plan_suggestions(
        evidence,
        boxes=boxes,
        box_nm=box_nm if given is None else box_nm or given.window_nm(),
        apart_nm=apart_nm,
        weights=weights,
        name=name,
        work=run,
    )
    carry_out(plan, workers=workers, redo=redo)
    for row in read_table(plan.output).to_pylist():
        corners = (", ".join(f"{row[f'{a}_{end}_nm']:g}" for a in "zyx") for end in ("start", "stop"))
        typer.echo(f"{row['rank']:3}  ({') to ('.join(corners)}) nm: {row['why']}")
    sheet = Path(plan.output.path).with_suffix(".tsv")
    page = suggestions_report(plan.work, name, to=plan.work / f"{name}.html", labels=others)
    for path in (plan.output.path, sheet, plan.work / f"{name}.yaml", page):
        typer.echo(path)


def _weight(text: str) -> tuple[str, float]:
    key, _, value = text.partition("=")
    try:
        return key, float(value)
    except ValueError as err:
        raise ConfigError(f"a weight is 'criterion=number', as 'uncertainty=2'; got {text!r}") from err
