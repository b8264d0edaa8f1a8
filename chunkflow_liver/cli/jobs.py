"""Verbs that plan, run and look at work."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chunkflow_liver.cli.app import (
    REFUSED,
    Cluster,
    ClusterKind,
    ClusterOptions,
    GpusPerJob,
    Interrupted,
    MemoryGib,
    RunFilePath,
    Scheduler,
    VoxelNm,
    Wait,
    Workers,
    app,
    models,
)
from chunkflow_liver.errors import ConfigError

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from chunkflow_liver.engine.plan import Plan
    from chunkflow_liver.store.volume import Volume


@app.command()
def demo(
    to: Annotated[Path, typer.Option(help="Folder for phantom, results and report.")] = Path("runs/demo"),
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
) -> None:
    """Segment a generated phantom with a known truth, and report Dice and instance F1 (CPU, minutes)."""
    from chunkflow_liver.demo import run_demo

    typer.echo(run_demo(to, workers=workers))


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
    ome_version: Annotated[str, typer.Option(help="0.5 (zarr v3, shards) or 0.4 (zarr v2).")] = "0.5",
    allow_gaps: Annotated[
        bool, typer.Option("--allow-gaps", help="Slice numbers and chunks that are missing become zeros.")
    ] = False,
    allow_overlaps: Annotated[
        bool, typer.Option("--allow-overlaps", help="Voxels in several masks get the class named first.")
    ] = False,
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
    redo: Annotated[bool, typer.Option("--redo", help="Convert anew what was converted otherwise.")] = False,
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
    _run(plan, workers=workers, redo=redo)
    if classes:
        from chunkflow_liver.store.images import classes_absent

        absent, there = classes_absent(plan.output)
        if absent:
            typer.echo(f"warning: no voxel is of {absent}; the numbers of the image are {there}", err=True)
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


@app.command()
def plan(
    run_file: RunFilePath,
    memory_gib: MemoryGib = None,
    cluster: Cluster = None,
    workers: Annotated[int, typer.Option(min=1, help="How many workers the time is told for.")] = 1,
    probe: Annotated[
        bool, typer.Option("--probe", help="Try every stage on a small part first, to tell the time.")
    ] = False,
) -> None:
    """Print stages, blocks, bytes, memory, disk, device and time of a run, and bad slices seen at a glance."""
    from chunkflow_liver.engine.devices import check_devices
    from chunkflow_liver.engine.run import worker_memory
    from chunkflow_liver.engine.watch.estimate import estimate_text
    from chunkflow_liver.engine.watch.progress import working
    from chunkflow_liver.validation import glances

    made = _plan(run_file)
    typer.echo(str(made))
    for warning in glances(made):
        typer.echo(f"warning: {warning}")
    if cluster is None:
        # A login node has no GPU; the nodes of the cluster are asked when the run begins.
        check_devices(made)
    made.check(memory_gib * 2**30 if memory_gib else worker_memory(None))
    if probe:
        from chunkflow_liver.probing import probed

        with working("the probe"), probed(run_file) as folder:
            typer.echo(estimate_text(made, workers, [folder]))
    else:
        typer.echo(estimate_text(made, workers))


@app.command()
def run(
    run_file: RunFilePath,
    workers: Workers = None,
    scheduler: Scheduler = None,
    cluster: Cluster = None,
    memory_gib: MemoryGib = None,
    retries: Annotated[int, typer.Option(min=0, help="How often a block that failed is tried again.")] = 2,
    redo: Annotated[bool, typer.Option(help="Redo stages whose parameters or inputs changed.")] = False,
    cluster_option: ClusterOptions = None,
    gpus_per_job: GpusPerJob = None,
    wait: Wait = None,
) -> None:
    """Run a run file, and go on where an earlier run stopped."""
    from chunkflow_liver.config import read_run_file

    options = _cluster_options(cluster, workers, scheduler, cluster_option)
    if gpus_per_job is not None and cluster != ClusterKind.slurm:
        raise ConfigError(f"--gpus-per-job {gpus_per_job} is for --cluster slurm")
    if wait is not None and cluster != ClusterKind.slurm and scheduler is None:
        raise ConfigError(
            f"--wait {wait:g} is for --cluster slurm or --scheduler; nothing else makes you wait"
        )
    made = _plan(run_file)
    if cluster == ClusterKind.slurm:
        options |= {"gpus_per_job": gpus_per_job, "folder": made.work / "jobs"}
    _run(
        made,
        workers=workers,
        scheduler=scheduler,
        kind=cluster,
        memory_gib=memory_gib,
        retries=retries,
        redo=redo,
        options=options | {"wait_s": wait},
    )
    if read_run_file(run_file).report:
        from chunkflow_liver.engine.watch.progress import working
        from chunkflow_liver.reports import is_current
        from chunkflow_liver.reports import report as write

        if is_current(made.work):
            typer.echo(f"{made.work / 'report.html'} (nothing is new since; 'report' would draw it again)")
        else:
            with working("the report"):
                written = write(made)
            typer.echo(written)


@app.command()
def verify(
    run_file: RunFilePath,
    name: Annotated[str, typer.Argument(help="Name of the instances: an entry of label or split.")],
    box: Annotated[
        tuple[int, int, int, int, int, int],
        typer.Option(metavar="Z0 Z1 Y0 Y1 X0 X1", help="Voxels to compare, half-open."),
    ],
) -> None:
    """Find the instances of a box anew without blocks, and say how well the run agrees."""
    from chunkflow_liver.geometry import Box
    from chunkflow_liver.ops.verify import verify as check

    z0, z1, y0, y1, x0, x1 = box
    for key, value in check(_plan(run_file), Box((z0, y0, x0), (z1, y1, x1)), name=name).items():
        typer.echo(f"{key:18} {value:.6g}" if isinstance(value, float) else f"{key:18} {value}")


@app.command()
def status(work: Annotated[Path, typer.Argument(help="Work folder of a run.")]) -> None:
    """Say how far a run is, stage by stage."""
    from chunkflow_liver.engine.watch.status import status_text

    typer.echo(status_text(work))


@app.command()
def report(
    work: Annotated[Path, typer.Argument(help="Work folder of a run.")],
    to: Annotated[
        Path | None, typer.Option(help="HTML file; report.html in the work folder by default.")
    ] = None,
) -> None:
    """Write the report of a run, finished or not, as one HTML file."""
    from chunkflow_liver.engine.watch.progress import working
    from chunkflow_liver.reports import report as write

    with working("the report"):
        written = write(work, to=to)
    typer.echo(written)


@app.command()
def edit(
    image: Annotated[str, typer.Argument(help="Label image with the instances.")],
    edits: Annotated[Path, typer.Option(help="CSV file: action,label,other (merge, split, divide, delete).")],
    name: Annotated[str, typer.Option(help="Name of the corrected label image.")],
    work: Annotated[Path, typer.Option(help="Work folder that gets the result and the log of edits.")],
    pieces: Annotated[str | None, typer.Option(help="Label image with finer objects, for 'divide'.")] = None,
    redo: Annotated[bool, typer.Option("--redo", help="Do it again after the list has changed.")] = False,
    workers: Workers = None,
) -> None:
    """Apply a proofreader's list of merges and splits to instances; goes on where it was interrupted."""
    from chunkflow_liver.ops.edit import edit as plan_edit
    from chunkflow_liver.store.images import open_volume

    finer = None if pieces is None else open_volume(pieces)
    plan = plan_edit(open_volume(image), edits, pieces=finer, name=name, work=work)
    _run(plan, workers=workers, redo=redo)
    typer.echo(plan.output.url)


@models.command("import")
def import_(
    source: Annotated[
        Path,
        typer.Argument(help="Folder of an nnU-Net v2 model, or description (.yaml) of another."),
    ],
    to: Annotated[Path, typer.Argument(help="Clean folder to make.")],
    units: Annotated[
        str, typer.Option(help="Unit of the spacing in plans.json: nm, um, mm, m, or voxel to ignore it.")
    ] = "nm",
    architecture: Annotated[
        Path | None,
        typer.Option(help="For a description: file with the 'architecture' of plans.json, a known network."),
    ] = None,
) -> None:
    """Copy what is needed of a model, checked: weights without pickled code, plans without foreign names."""
    if source.suffix in (".yaml", ".yml"):
        from chunkflow_liver.ops.segment.safe_form import import_described

        typer.echo(import_described(source, to, architecture=architecture))
        return
    from chunkflow_liver.segmenters.nnunet.folder import import_model

    model = import_model(source, to, units=units)
    typer.echo(
        f"{to}: {model.configuration}, classes {model.classes}, window {model.window}, folds {model.folds}"
    )


def _plan(run_file: Path) -> Plan:
    from chunkflow_liver.config import read_run_file
    from chunkflow_liver.pipeline import plan_run

    return plan_run(read_run_file(run_file))


def _run(
    plan: Plan,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    kind: ClusterKind | None = None,
    memory_gib: float | None = None,
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> None:
    from chunkflow_liver.engine.cluster import cluster
    from chunkflow_liver.engine.run import is_finished
    from chunkflow_liver.engine.run import run as run_plan
    from chunkflow_liver.engine.watch.status import saved_text

    here = workers is None and scheduler is None and kind is None
    if not here:
        # A cluster takes seconds to start, and hours where jobs queue.
        plan.check(memory_gib * 2**30 if memory_gib else None)
        if is_finished(plan, redo=bool(settings.get("redo"))):
            log.info("nothing to do: all %d stages are done in %s", len(plan.stages), plan.work)
            return
    chosen = {"workers": workers, "scheduler": scheduler, **(options or {})}
    started = (
        contextlib.nullcontext() if here else cluster(str(kind or "local"), memory_gib=memory_gib, **chosen)
    )
    if here:
        settings["memory_gib"] = memory_gib
    else:
        # dask sets its level when it is imported.
        import distributed  # noqa: F401

        # It tells of every worker that takes its time to close; what fails, fails as an error of ours.
        logging.getLogger("distributed").setLevel(logging.ERROR)
    try:
        with started as client:
            run_plan(plan, client, **settings)
    except KeyboardInterrupt:
        raise Interrupted(saved_text(plan.work)) from None


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise ConfigError(f"expected NAME=VALUE, got {text!r}")
    return key, value


def _cluster_options(
    kind: ClusterKind | None, workers: int | None, scheduler: str | None, texts: Sequence[str] | None
) -> dict[str, Any]:
    """Options of the cluster that is asked for, checked before anything is read."""
    from chunkflow_liver.engine.options import read_options

    if not texts:
        return {}
    if scheduler is not None or (kind is None and workers is None):
        raise ConfigError(
            f"--cluster-option {texts[0]} needs a cluster that is started: --cluster slurm, local or cuda"
        )
    return read_options(str(kind or "local"), texts)


def _numbered(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, int]]:
    found = []
    for name, number in pairs:
        if not (number.isascii() and number.isdigit()) or int(number) == 0:
            raise ConfigError(f"class {name!r} needs a number from 1, got {number!r}")
        found.append((name, int(number)))
    return found
