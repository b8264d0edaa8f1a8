"""The verb that compares a result with the truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chunkflow_liver.cli.app import Workers, app
from chunkflow_liver.cli.jobs import carry_out

if TYPE_CHECKING:
    from chunkflow_liver.store.table import Table

MOST_ROWS = 40


@app.command()
def evaluate(
    found: Annotated[str, typer.Argument(help="Label image: classes or instances that were found.")],
    truth: Annotated[str, typer.Argument(help="Label image of the truth, on the same voxels.")],
    work: Annotated[Path, typer.Option(help="Work folder that gets the tables.")] = Path("runs/evaluation"),
    name: Annotated[str, typer.Option(help="Name of the tables.")] = "evaluation",
    level: Annotated[int, typer.Option(min=0, help="Level of both images.")] = 0,
    iou: Annotated[
        list[float] | None, typer.Option(help="Compare instances that match from this IoU on; repeat.")
    ] = None,
    ignore: Annotated[
        int | None, typer.Option(help="Number in the truth of voxels that are not compared.")
    ] = None,
    surfaces: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="TOLERANCE CAP", help="Compare surfaces of classes, too; both in nm."),
    ] = None,
    per_slice: Annotated[bool, typer.Option("--per-slice", help="Compare every z slice, too.")] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Do it again after an image has changed.")] = False,
    workers: Workers = None,
) -> None:
    """Compare classes or instances with a truth: overlap, objects, surfaces, slices."""
    from chunkflow_liver.ops.evaluate import evaluate as plan_evaluation
    from chunkflow_liver.store.images import open_volume
    from chunkflow_liver.store.table import Table

    plan = plan_evaluation(
        open_volume(found, level=level),
        open_volume(truth, level=level),
        iou=iou or None,
        ignore=ignore,
        surfaces_nm=surfaces,
        per_slice=per_slice,
        name=name,
        work=work,
    )
    carry_out(plan, workers=workers, redo=redo)
    for table in (p.handle for p in plan.products if isinstance(p.handle, Table)):
        typer.echo(_text(table))
        typer.echo(table.path)


def _text(table: Table) -> str:
    """The first rows of a table, in columns."""
    from chunkflow_liver.store.table import read_table

    rows = read_table(table).slice(0, MOST_ROWS).to_pylist()
    keys = list(rows[0]) if rows else []
    cells = [keys] + [[f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(keys))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells
    )
