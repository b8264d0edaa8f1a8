"""Verbs that show a run, and correct it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chunkflow_liver.cli.app import Workers, app
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.parameters import told

LOOPBACK = "127.0.0.1"


@app.command()
def view(
    work: Annotated[Path, typer.Argument(metavar="RUN", help="Work folder of a run, finished or not.")],
    at: Annotated[
        str | None,
        typer.Option(metavar="Z,Y,X", help="Open at a place, in nm from the volume's first corner."),
    ] = None,
    label: Annotated[
        int | None, typer.Option("--object", min=1, help="Open at an object, by its id.")
    ] = None,
    of: Annotated[
        str | None, typer.Option("--in", help="Whose object: name of the instances, or a table.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where to listen; other machines reach only another one.")
    ] = LOOPBACK,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0 for any free one; 8137, or any, without it.")
    ] = None,
    who: Annotated[str | None, typer.Option(help="Who edits, for the list of edits.")] = None,
    edits: Annotated[
        Path | None, typer.Option(help="Folder of the lists of edits, instead of RUN/proofreading.")
    ] = None,
    pieces: Annotated[
        str | None,
        typer.Option(help="Label image shown beside the run, along which objects can be cleft."),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the browser.")] = True,
    napari: Annotated[bool, typer.Option("--napari", help="In napari instead (extra 'napari').")] = False,
) -> None:
    """Show a run in the browser: image, labels, distances, places, tables; edits are kept as a list."""
    import getpass

    if label is None and of is not None:
        raise ConfigError("--in says whose object: give the id by --object, too")
    if label is not None and at is not None:
        raise ConfigError("--at and --object are two places: give one of them")
    if napari:
        others = {"--at": at, "--object": label, "--port": port}
        given = [option for option, value in others.items() if value is not None]
        given += ["--host"] if host != LOOPBACK else []
        if given:
            raise ConfigError(
                f"{', '.join(given)}: of the viewer in the browser; napari takes none, leave it out"
            )
        from chunkflow_liver.view.in_napari.keys import open_in_napari

        open_in_napari(work, who or getpass.getuser(), edits, pieces)
        return
    from chunkflow_liver.view.answers import Run
    from chunkflow_liver.view.server import serve_until_stopped

    place = {k: v for k, v in (("at", at), ("object", label), ("in", of)) if v is not None}
    run = Run(work.absolute(), who or getpass.getuser(), edits, pieces)
    if place:
        # Told now, not in the browser.
        run.asked("go", {k: str(v) for k, v in place.items()})
    serve_until_stopped(run, host=host, port=port, place=place, browser=browser, told=typer.echo)


@app.command()
def edit(
    image: Annotated[str, typer.Argument(help="Label image with the instances.")],
    edits: Annotated[
        Path,
        typer.Option(help="CSV file: action,label,other (merge, split, divide, delete, cut, cleave, class)."),
    ],
    name: Annotated[str, typer.Option(help="Name of the corrected label image.")],
    work: Annotated[Path, typer.Option(help=told("work"))],
    pieces: Annotated[str | None, typer.Option(help=told("pieces"))] = None,
    table: Annotated[
        Path | None, typer.Option(help="Table of the instances (features 'basic'), for cut and cleave.")
    ] = None,
    block: Annotated[tuple[int, int, int] | None, typer.Option(metavar="Z Y X", help=told("block"))] = None,
    redo: Annotated[bool, typer.Option("--redo", help=told("redo"))] = False,
    workers: Workers = None,
) -> None:
    """Apply a list of edits to instances; goes on where interrupted."""
    from chunkflow_liver.cli.jobs import carry_out
    from chunkflow_liver.ops.edit import edit as plan_edit
    from chunkflow_liver.store.images import open_volume

    finer = None if pieces is None else open_volume(pieces)
    plan = plan_edit(open_volume(image), edits, pieces=finer, table=table, name=name, work=work, block=block)
    carry_out(plan, workers=workers, redo=redo)
    typer.echo(plan.output.url)
