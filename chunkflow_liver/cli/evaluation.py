"""The verbs that compare a result with the truth, and objects with what they would be otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chunkflow_liver.cli.app import RunFilePath, Workers, app
from chunkflow_liver.cli.jobs import carry_out, planned
from chunkflow_liver.errors import ConfigError

if TYPE_CHECKING:
    from chunkflow_liver.engine.plan import Plan
    from chunkflow_liver.store.table import Table

MOST_ROWS = 40


@app.command()
def necks(
    run_file: RunFilePath,
    name: Annotated[str, typer.Argument(help="Name of the instances: an entry of split.")],
    box: Annotated[
        tuple[int, int, int, int, int, int],
        typer.Option(metavar="Z0 Z1 Y0 Y1 X0 X1", help="Voxels to look at, half-open."),
    ],
    to: Annotated[Path, typer.Option(help="Page that gets the figure and the pictures.")] = Path(
        "necks.html"
    ),
) -> None:
    """Count the objects of a box at each depth and steepness of split; suggest a depth, draw the necks."""
    from chunkflow_liver.geometry import Box
    from chunkflow_liver.ops.split.depths import depths
    from chunkflow_liver.reports.necks import advice, necks_report, settings

    z0, z1, y0, y1, x0, x1 = box
    found = depths(planned(run_file), Box((z0, y0, x0), (z1, y1, x1)), name=name)
    typer.echo(f"{name}: {settings(found)}")
    typer.echo(advice(found))
    for steepness, objects in zip(found.steepness.tolist(), found.objects_steep.tolist(), strict=True):
        typer.echo(f"steepness {steepness:4g}   {objects} objects")
    typer.echo(f"{necks_report(found, name=name, to=to)} shows which necks are cut")


@app.command()
def evaluate(
    found: Annotated[
        str,
        typer.Argument(
            help="Evaluation (YAML), see configs/evaluate.yaml; or a label image: classes or instances that "
            "were found."
        ),
    ],
    truth: Annotated[
        str | None, typer.Argument(help="Label image of the truth, on the same voxels; without a YAML file.")
    ] = None,
    work: Annotated[Path | None, typer.Option(help="Work folder that gets the tables.")] = None,
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
    dry: Annotated[bool, typer.Option("--plan", help="Say what would be done; writes nothing.")] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Do it again after an image has changed.")] = False,
    workers: Workers = None,
) -> None:
    """Compare classes or instances with a truth: overlap, objects, surfaces, slices."""
    from chunkflow_liver.engine.devices import check_devices
    from chunkflow_liver.store.table import Table

    if truth is None and not found.endswith((".yaml", ".yml")):
        raise ConfigError(
            f"{found} is compared with what? Give the label image of the truth after it, or one file that "
            "says all (.yaml), as configs/evaluate.yaml does"
        )
    if truth is None:
        own = {"--work": work, "--iou": iou, "--ignore": ignore, "--surfaces": surfaces}
        own |= {"--per-slice": per_slice or None, "--level": level or None}
        given = sorted(key for key, value in own.items() if value)
        if given:
            raise ConfigError(f"{', '.join(given)}: the file {found} says that; change it there")
        plan, page = _of_file(found)
    else:
        options = {"iou": iou or None, "ignore": ignore, "surfaces_nm": surfaces, "per_slice": per_slice}
        plan, page = _of_images(found, truth, level, work or Path("runs/evaluation"), name, options), False
    check_devices(plan)
    if dry:
        typer.echo(str(plan))
        return
    carry_out(plan, workers=workers, redo=redo)
    for table in (p.handle for p in plan.products if isinstance(p.handle, Table)):
        typer.echo(_text(table))
        typer.echo(table.path)
    if page:
        from chunkflow_liver.reports import report

        typer.echo(report(plan))


def _of_file(path: str) -> tuple[Plan, bool]:
    """The plan of a file, and whether it wants a page."""
    from chunkflow_liver.config import read_evaluation_file
    from chunkflow_liver.evaluation import plan_evaluation

    given = read_evaluation_file(path)
    return plan_evaluation(given), given.report


def _of_images(found: str, truth: str, level: int, work: Path, name: str, options: Mapping[str, Any]) -> Plan:
    from chunkflow_liver.ops.evaluate import evaluate as plan_evaluation
    from chunkflow_liver.store.images import open_volume

    both = (open_volume(found, level=level), open_volume(truth, level=level))
    return plan_evaluation(*both, name=name, work=work, **options)


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
