"""Verbs that make images and look at them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chunkflow_liver.cli.app import REFUSED, VoxelNm, Workers, app
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.parameters import told

if TYPE_CHECKING:
    from chunkflow_liver.store.volume import Volume

FEW_VALUES = 12
"""So many different values at most, in a whole chunk, are numbers of classes rather than grey values."""


@app.command()
def demo(
    to: Annotated[Path, typer.Option(help="Folder for phantom, results and report.")] = Path("runs/demo"),
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    carry: Annotated[
        bool,
        typer.Option("--carry", help="Carry three cells and a vessel from a box each, by SAM2, instead."),
    ] = False,
) -> None:
    """Segment a generated phantom with a known truth, and report Dice and instance F1 (CPU, minutes)."""
    from chunkflow_liver.demo import run_carrying, run_demo

    typer.echo((run_carrying if carry else run_demo)(to, workers=workers))


@app.command("compile")
def compile_() -> None:
    """Compile the loops of the common operations now, so that no first run has to (a minute or two, once)."""
    from chunkflow_liver.compiling import compile_loops
    from chunkflow_liver.engine.watch.progress import working

    start = time.monotonic()
    with working("compiling"):
        compile_loops()
    typer.echo(
        f"loops compiled in {time.monotonic() - start:.0f} s; runs on processors of this kind read them, "
        "until this installation changes"
    )


@app.command()
def convert(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="[SOURCE] TO",
            help="SOURCE: folder of slices; TIFF, MRC, NIfTI, HDF5, NRRD, MetaImage, DM3/DM4, EMD or NumPy "
            "file; "
            "N5, precomputed or zarr; stack.h5::volumes/raw for one volume of several; left out where "
            "every --class has its file. TO: OME-Zarr image to "
            "make, for example raw.ome.zarr.",
        ),
    ],
    voxel_nm: VoxelNm = None,
    labels: Annotated[bool, typer.Option("--labels", help="The voxels are labels, not intensities.")] = False,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="NAME=NUMBER|FILE",
            help="Class of a label image: its number in SOURCE, or a file with its mask; repeat.",
        ),
    ] = None,
    ome_version: Annotated[str, typer.Option(help=told("ome_version"))] = "0.5",
    allow_gaps: Annotated[bool, typer.Option("--allow-gaps", help=told("allow_gaps"))] = False,
    allow_overlaps: Annotated[bool, typer.Option("--allow-overlaps", help=told("allow_overlaps"))] = False,
    allow_constant: Annotated[
        bool,
        typer.Option("--allow-constant", help="One value only, or labels that are nowhere 0, are right."),
    ] = False,
    axes: Annotated[
        str | None,
        typer.Option(
            metavar="ZYX",
            help="Order of the axes in the file, slowest first; wins over what it says of axes, "
            "orientation and "
            "place.",
        ),
    ] = None,
    stored_values: Annotated[
        bool, typer.Option("--stored-values", help="Numbers as stored: no scale, offset or sign applied.")
    ] = False,
    redo: Annotated[bool, typer.Option("--redo", help=told("redo"))] = False,
    workers: Workers = None,
) -> None:
    """Turn slices or a volume file into OME-Zarr with a pyramid; goes on where it was interrupted."""
    from chunkflow_liver.ops.convert import convert as plan_convert

    *sources, to = paths
    given = [_pair(text) for text in classes or []]
    if len(sources) > 1 or not (sources or given):
        raise ConfigError(
            "convert makes one image TO of one SOURCE, or of masks that are given as --class NAME=FILE; got "
            f"{paths}"
        )
    masks = dict(given)
    if not sources and len(masks) < len(given):
        raise ConfigError(f"two masks have the same class; got {[name for name, _ in given]}")
    plan = plan_convert(
        sources[0] if sources else masks,
        to,
        voxel_nm=voxel_nm,
        kind="label" if labels or classes else "image",
        classes=_numbered(given) if sources else (),
        ome_version=ome_version,
        allow_gaps=allow_gaps,
        allow_overlaps=allow_overlaps,
        allow_constant=allow_constant,
        axes=axes,
        stored_values=stored_values,
    )
    from chunkflow_liver.cli.jobs import carry_out

    carry_out(plan, workers=workers, redo=redo)
    if classes:
        from chunkflow_liver.store.images import classes_absent

        absent, there = classes_absent(plan.output)
        if absent:
            typer.echo(f"warning: no voxel is of {absent}; the numbers of the image are {there}", err=True)
    elif not labels and (why := _like_labels(plan.output)):
        typer.echo(
            f"note: these look like labels ({why}), and are written as an image: --labels, with --redo, "
            "makes labels of them",
            err=True,
        )
    typer.echo(plan.output.url)


@app.command()
def validate(
    path: Annotated[str, typer.Argument(help="OME-Zarr image, or a run file (.yaml).")],
    deep: Annotated[
        bool, typer.Option(help="Also read every chunk, and look for classes that no voxel has.")
    ] = False,
) -> None:
    """List every problem of an image or a run file; writes nothing."""
    from chunkflow_liver.engine.watch.progress import working

    if path.endswith((".yaml", ".yml")):
        from chunkflow_liver.validation import validate_run

        with working(path):
            found = validate_run(path, deep=deep)
        _tell(found.problems)
        sizes = dict.fromkeys(f"{v.shape} voxels of {v.voxel_nm} nm" for v in found.sources)
        typer.echo(f"{path}: {found.stages} stages on {' and '.join(sizes)}, no problem found")
        return
    from chunkflow_liver.store.images import numbers_absent, open_volume
    from chunkflow_liver.store.images import validate as problems_of

    with working(path):
        problems = problems_of(path, deep=deep)
    _tell(problems)
    volume = open_volume(path)
    what = volume.kind if volume.kind == "image" else f"label image, {_numbers(volume, deep)}"
    absent = numbers_absent(volume, dict(volume.classes).values())[0] if deep else set()
    empty = [name for name, number in volume.classes if number in absent]
    typer.echo(
        f"{path}: {what}, {volume.shape} voxels of {volume.voxel_nm} nm, {volume.dtype}, "
        f"{volume.levels} level(s), {f'no voxel of {empty}, ' if empty else ''}no problem found"
    )


def _like_labels(image: Volume) -> str:
    """Why the voxels of an image may be labels, as its type and the chunks in its middle show; '' if not."""
    import numpy as np

    from chunkflow_liver.geometry import Box, zyx

    if image.dtype in ("bool", "int32", "uint32"):
        return f"{image.dtype}, as ids are"
    if image.dtype.startswith("float"):
        return ""
    middle = zyx([n // 2 // u * u for n, u in zip(image.shape, image.write_unit, strict=True)])
    stop = zyx([m + u for m, u in zip(middle, image.write_unit, strict=True)])
    box = Box(middle, stop).clip(image.box)
    there = np.unique(image.read(box)).tolist()
    few = 1 < len(there) <= FEW_VALUES < box.size
    return f"the values in its middle are {', '.join(map(str, there))}" if few else ""


def _numbers(volume: Volume, deep: bool) -> str:
    """What the numbers of a label image are: named classes, else, if `deep`, those that voxels have."""
    from chunkflow_liver.store.images import MOST_NUMBERS, numbers_in

    if any(number for _, number in volume.classes):
        return f"classes {dict(volume.classes)}"
    if not deep:
        return "instances or classes without names"
    there = numbers_in(volume)
    if len(there) > MOST_NUMBERS:
        return f"{len(there)} ids, largest {int(there[-1])}"
    return f"{len(there)} ids or class numbers: {', '.join(str(int(n)) for n in there) or 'none'}"


def _tell(problems: Sequence[str]) -> None:
    """Every problem on a line of its own, and the status of a refusal if there are any."""
    for problem in problems:
        typer.echo(f"problem: {problem}", err=True)
    if problems:
        raise typer.Exit(REFUSED)


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise ConfigError(f"expected NAME=VALUE, got {text!r}")
    return key, value


def _numbered(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, int]]:
    found = []
    for name, number in pairs:
        if not (number.isascii() and number.isdigit()) or int(number) == 0:
            raise ConfigError(f"class {name!r} needs a number from 1, got {number!r}")
        found.append((name, int(number)))
    return found
