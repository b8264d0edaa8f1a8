"""Verbs that turn results into files for other programs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from chunkflow_liver.cli.app import app
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.parameters import told


@app.command()
def export(
    source: Annotated[
        str,
        typer.Argument(
            help="OME-Zarr image or label image, a table (.parquet), or a work folder: all tables of its "
            "objects, joined."
        ),
    ],
    to: Annotated[
        Path,
        typer.Argument(
            help=told("export_to") + " Of an image also .precomputed (a folder for neuroglancer sites)."
        ),
    ],
    level: Annotated[int, typer.Option(help="Level of the pyramid, 0 the finest.")] = 0,
    of: Annotated[
        str | None, typer.Option(help="Instances whose tables are joined, if a run measured several.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="For .precomputed: table of the instances, for properties and meshes.")
    ] = None,
    mesh: Annotated[
        list[int] | None, typer.Option("--mesh", min=1, help="For .precomputed: objects with a mesh; repeat.")
    ] = None,
    meshes: Annotated[
        bool, typer.Option("--meshes", help="For .precomputed: a mesh of every object.")
    ] = False,
) -> None:
    """Write an image as a TIFF, NIfTI or precomputed volume, or a table for other programs."""
    from chunkflow_liver.ops.convert import export as write
    from chunkflow_liver.ops.joined import write_joined
    from chunkflow_liver.store.images import open_volume
    from chunkflow_liver.store.table import Table

    joins = (Path(source) / "products.json").exists()
    precomputed = to.suffix == ".precomputed" and not joins
    only = "is for an image that goes to a name in .precomputed"
    for option, given, fits, why in (
        (
            "--level",
            level,
            not (joins or precomputed or source.endswith(".parquet")),
            "is for TIFF and NIfTI",
        ),
        ("--of", of, joins, "is for a work folder"),
        ("--table", table, precomputed, only),
        ("--mesh", mesh, precomputed, only),
        ("--meshes", meshes, precomputed, only),
    ):
        if given and not fits:
            raise ConfigError(
                f"{option} {why}, and {source} goes to {to}: leave it out, or give another ending"
            )
    if mesh and meshes:
        raise ConfigError("--mesh names the objects that get a mesh, --meshes takes all: give one of them")
    if joins:
        with tempfile.TemporaryDirectory() as folder:
            joined = write_joined(source, Table(str(Path(folder) / "joined.parquet")), of)
            typer.echo(write(joined, to))
        return
    if precomputed:
        from chunkflow_liver.view.publishing import publish

        typer.echo(publish(open_volume(source), to, table=table, meshes=None if meshes else mesh or ()))
        return
    found = Table(source) if source.endswith(".parquet") else open_volume(source, level=level)
    typer.echo(write(found, to))


@app.command()
def mesh(
    labels: Annotated[str, typer.Argument(help="Label image of instances.")],
    table: Annotated[Path, typer.Argument(help=told("mesh_table"))],
    to: Annotated[Path, typer.Argument(help=told("mesh_to"))],
    label: Annotated[list[int] | None, typer.Option(help=told("ids") + " Repeat it for several.")] = None,
    ending: Annotated[str, typer.Option(help=told("ending"))] = ".ply",
) -> None:
    """Write closed surface meshes of instances, in nm."""
    from chunkflow_liver.ops.meshes import export_mesh
    from chunkflow_liver.store.images import open_volume

    for path in export_mesh(open_volume(labels), table, to, ids=label or None, ending=ending):
        typer.echo(path)


@app.command()
def properties(
    table: Annotated[Path, typer.Argument(help=told("labelled"))],
    labels: Annotated[str, typer.Argument(help="Label image of the same instances.")],
    column: Annotated[
        list[str] | None, typer.Option(help=told("columns") + " Repeat it for several.")
    ] = None,
) -> None:
    """Write measurements into the metadata of a label image, where viewers show them."""
    from chunkflow_liver.store.images import open_volume
    from chunkflow_liver.store.properties import write_properties

    typer.echo(write_properties(table, open_volume(labels), columns=column or None).url)
