"""Verbs that plan, run and look at work."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chunkflow_liver.cli.app import (
    Cluster,
    ClusterKind,
    ClusterOptions,
    GpusPerJob,
    Interrupted,
    MemoryGib,
    RunFilePath,
    Scheduler,
    Wait,
    Workers,
    app,
    models,
    prompts,
)
from chunkflow_liver.errors import ConfigError, OutputError
from chunkflow_liver.parameters import told

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from chunkflow_liver.engine.plan import Plan


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
    """Print stages, blocks, bytes, memory, disk, device and time of a run, and slices that look bad."""
    from chunkflow_liver.engine.devices import check_devices
    from chunkflow_liver.engine.run import worker_memory
    from chunkflow_liver.engine.unchanged.foreseen import foreseen
    from chunkflow_liver.engine.watch.estimate import estimate_text
    from chunkflow_liver.engine.watch.progress import working
    from chunkflow_liver.validation import glances

    made = planned(run_file)
    typer.echo(str(made))
    with working("what edits touch"):
        after = foreseen(made)
    if text := after.text():
        typer.echo(text)
    for warning in glances(made):
        typer.echo(f"warning: {warning}")
    if cluster is None:
        # A login node has no GPU; the nodes of the cluster are asked when the run begins.
        check_devices(made)
    made.check(memory_gib * 2**30 if memory_gib else worker_memory(None))
    if probe:
        from chunkflow_liver.probing import probed

        with working("the probe"), probed(run_file) as folder:
            typer.echo(estimate_text(made, workers, [folder], after.share))
    else:
        typer.echo(estimate_text(made, workers, share=after.share))


@app.command()
def run(
    run_file: RunFilePath,
    workers: Workers = None,
    scheduler: Scheduler = None,
    cluster: Cluster = None,
    memory_gib: MemoryGib = None,
    retries: Annotated[int, typer.Option(min=0, help=told("retries"))] = 2,
    redo: Annotated[bool, typer.Option(help=told("redo"))] = False,
    cluster_option: ClusterOptions = None,
    gpus_per_job: GpusPerJob = None,
    wait: Wait = None,
) -> None:
    """Run a run file, and go on where an earlier run stopped."""
    options = _cluster_options(cluster, workers, scheduler, cluster_option)
    if gpus_per_job is not None and cluster != ClusterKind.slurm:
        raise ConfigError(f"--gpus-per-job {gpus_per_job} is for --cluster slurm")
    if wait is not None and cluster != ClusterKind.slurm and scheduler is None:
        raise ConfigError(
            f"--wait {wait:g} is for --cluster slurm or --scheduler; nothing else makes you wait"
        )
    made = planned(run_file)
    if cluster == ClusterKind.slurm:
        options |= {"gpus_per_job": gpus_per_job, "folder": made.work / "jobs"}
    carry_out(
        made,
        workers=workers,
        scheduler=scheduler,
        kind=cluster,
        memory_gib=memory_gib,
        retries=retries,
        redo=redo,
        options=options | {"wait_s": wait},
    )
    _draw(run_file, made)


@app.command()
def verify(
    run_file: RunFilePath,
    name: Annotated[str, typer.Argument(help="Name of the instances: an entry of label or split.")],
    box: Annotated[
        tuple[int, int, int, int, int, int],
        typer.Option(metavar="Z0 Z1 Y0 Y1 X0 X1", help="Voxels to compare, half-open."),
    ],
    tilings: Annotated[
        int | None,
        typer.Option(help="Cut the box in so many ways instead, and say whether instances depend on it."),
    ] = None,
) -> None:
    """Find the instances of a box anew without blocks, and say how well the run agrees."""
    from chunkflow_liver.geometry import Box
    from chunkflow_liver.ops.tilings import tilings as cut
    from chunkflow_liver.ops.verify import verify as check

    z0, z1, y0, y1, x0, x1 = box
    at, made = Box((z0, y0, x0), (z1, y1, x1)), planned(run_file)
    found = check(made, at, name=name) if tilings is None else cut(made, at, name=name, count=tilings)
    for key, value in found.items():
        typer.echo(f"{key:18} {value:.6g}" if isinstance(value, float) else f"{key:18} {value}")


@app.command()
def check(run_file: RunFilePath) -> None:
    """Read all that a run wrote, and name what is damaged or missing; writes nothing."""
    from chunkflow_liver.engine.upkeep.repair import damage

    made = planned(run_file)
    if found := damage(made):
        for entry in found:
            typer.echo(str(entry))
        raise OutputError(
            f"damaged results in {made.work}: {len(found)}; 'repair {run_file}' makes them anew"
        )
    typer.echo(f"{made.work}: all that was written is as it was written")


@app.command()
def repair(
    run_file: RunFilePath,
    workers: Workers = None,
    scheduler: Scheduler = None,
    cluster: Cluster = None,
    memory_gib: MemoryGib = None,
    cluster_option: ClusterOptions = None,
) -> None:
    """Do what is damaged or missing of a run again, and nothing else; then go on if it was not finished."""
    from chunkflow_liver.engine.upkeep.repair import damage, forget

    options = _cluster_options(cluster, workers, scheduler, cluster_option)
    made = planned(run_file)
    found = damage(made)
    for entry in found:
        typer.echo(str(entry))
    forget(made, found)
    carry_out(
        made, workers=workers, scheduler=scheduler, kind=cluster, memory_gib=memory_gib, options=options
    )
    typer.echo(f"{made.work}: results that were damaged, and are made anew: {len(found)}")
    _draw(run_file, made)


@app.command()
def clean(
    run_file: RunFilePath,
    dry: Annotated[bool, typer.Option("--dry", help="Only list what would be removed.")] = False,
) -> None:
    """Remove what a finished run wrote for itself and nobody looks at; results stay."""
    from chunkflow_liver.engine.upkeep.clean import clean, intermediates

    made = planned(run_file)
    found = intermediates(made) if dry else clean(made)
    for entry in found:
        typer.echo(str(entry))
    freed = sum(entry.nbytes for entry in found) / 2**20
    typer.echo(f"{made.work}: {freed:.1f} MiB {'would be' if dry else 'are'} freed; results stay")


@app.command()
def status(work: Annotated[Path, typer.Argument(help="Work folder of a run.")]) -> None:
    """Say how far a run is, stage by stage."""
    from chunkflow_liver.engine.watch.status import status_text

    typer.echo(status_text(work))


@app.command()
def report(
    work: Annotated[Path, typer.Argument(help="Work folder of a run.")],
    to: Annotated[Path | None, typer.Option(help=told("page"))] = None,
) -> None:
    """Write the report of a run, finished or not, as one HTML file."""
    from chunkflow_liver.engine.watch.progress import working
    from chunkflow_liver.reports import report as write

    with working("the report"):
        written = write(work, to=to)
    typer.echo(written)


@models.command("import")
def import_(
    source: Annotated[
        Path,
        typer.Argument(
            help="Folder of an nnU-Net v2 or SAM2 model, Meta's file .pt, or description (.yaml) of "
            "another network."
        ),
    ],
    to: Annotated[Path, typer.Argument(help="Clean folder to make.")],
    units: Annotated[str, typer.Option(help=told("units"))] = "nm",
    architecture: Annotated[
        Path | None,
        typer.Option(help="For a description: file with the 'architecture' of plans.json, a known network."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="config.json of a SAM2 checkpoint that is none of the published sizes."),
    ] = None,
) -> None:
    """Copy what is needed of a model, checked: weights without pickled code, plans without foreign names."""
    if source.suffix in (".yaml", ".yml"):
        from chunkflow_liver.ops.segment.importing import import_described

        typer.echo(import_described(source, to, architecture=architecture))
        return
    if source.is_file() or (source / "config.json").is_file():
        from chunkflow_liver.segmenters.sam2 import import_sam2

        found = import_sam2(source, to, config=config)
        typer.echo(f"{to}: SAM2, windows of {found.size} pixels")
        return
    from chunkflow_liver.segmenters.nnunet.folder import import_model

    model = import_model(source, to, units=units)
    typer.echo(
        f"{to}: {model.configuration}, classes {model.classes}, window {model.window}, folds {model.folds}"
    )


@prompts.command("from-skeletons")
def from_skeletons(
    skeletons: Annotated[list[Path], typer.Argument(help="SWC files, or folders of them.")],
    to: Annotated[Path, typer.Argument(help="Table to make: .tsv, .csv or .parquet, in nm.")],
    image: Annotated[str, typer.Option(help="OME-Zarr image that the skeletons are of.")],
    unit: Annotated[str, typer.Option(help="Of the coordinates: nm, um or mm.")] = "um",
    scale: Annotated[float, typer.Option(help="What coordinates are multiplied with.")] = 1.0,
    slices: Annotated[int, typer.Option(help="On how many slices each object is prompted.")] = 1,
    kind: Annotated[str, typer.Option(help="What the objects are, such as 'bile duct'.")] = "",
) -> None:
    """Prompts of skeletons: the nodes on slices in the middle of each as points, its ends as limits."""
    from chunkflow_liver.store.images import open_volume
    from chunkflow_liver.store.prompts import prompts_from_skeletons, write_prompts

    volume = open_volume(image)
    found = prompts_from_skeletons(
        skeletons,
        voxel_nm=volume.voxel_nm,
        shape=volume.shape,
        unit=unit,
        scale=scale,
        slices=slices,
        kind=kind,
    )
    objects = len({prompt.object for prompt in found})
    typer.echo(f"{write_prompts(found, to)}: {len(found)} prompts of {objects} objects")


def _draw(run_file: Path, made: Plan) -> None:
    """The report of a run, if its file asks for one and the page there is does not show the run as it is."""
    from chunkflow_liver.config import read_run_file
    from chunkflow_liver.engine.watch.progress import working
    from chunkflow_liver.reports import is_current
    from chunkflow_liver.reports import report as write

    if not read_run_file(run_file).report:
        return
    if is_current(made.work):
        typer.echo(f"{made.work / 'report.html'} (nothing is new since; 'report' would draw it again)")
        return
    with working("the report"):
        written = [write(made), *_pages(made)]
    for page in written:
        typer.echo(page)


def _pages(made: Plan) -> list[Path]:
    """Pages of suggested boxes, written."""
    from chunkflow_liver.reports.suggestions import suggestions_report

    names = [p.name for p in made.products if p.kind == "suggestions"]
    return [suggestions_report(made.work, name, to=made.work / f"{name}.html") for name in names]


def planned(run_file: Path) -> Plan:
    from chunkflow_liver.config import read_run_file
    from chunkflow_liver.pipeline import plan_run

    return plan_run(read_run_file(run_file))


def carry_out(
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
        # Its `sync`, interrupted before its loop took the call up, stumbles over a name that is not bound
        # yet (distributed 2026.7, utils.py); the call is given up all the same.
        loops = logging.getLogger("tornado.application")
        loops.addFilter(lambda r: "sync.<locals>.cancel" not in r.getMessage())
    try:
        with started as client:
            run_plan(plan, client, **settings)
    except KeyboardInterrupt:
        raise Interrupted(saved_text(plan.work)) from None


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
