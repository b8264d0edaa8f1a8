"""A synthetic volume with known truth, written block by block."""

from __future__ import annotations

from typing import cast

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.pyramid import pyramid
from chunkflow_liver.engine.stage import Fold, Map, Records, Result, Stage
from chunkflow_liver.geometry import Block, BlockGrid, Nm, Zyx
from chunkflow_liver.kernels.phantom.objects import plan as objects
from chunkflow_liver.kernels.phantom.volume import CLASSES, Phantom, render, truth_table
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import PathLike, image_url, label_url, table_at, work_folder
from chunkflow_liver.store.create import new_volume
from chunkflow_liver.store.location import read_key
from chunkflow_liver.store.table import Columns
from chunkflow_liver.store.volume import Volume


@operation
def phantom(
    *,
    shape: Zyx,
    voxel_nm: Nm,
    seed: int = 0,
    scale: float = 1.0,
    mitochondria: int | None = None,
    work: PathLike,
    block: Zyx | None = None,
) -> Plan:
    """Plan an EM-like volume of liver with its truth: classes, mitochondria and their table.

    Parameters
    ----------
    shape : Zyx
        Voxels along (z, y, x).
    voxel_nm : Nm
        Voxel size along (z, y, x), in nm.
    seed : int
        The same seed gives the same voxels, whatever the blocks are.
    scale : float
        Size of cells and nuclei; 1 shows some in a small volume, 5 is a hepatocyte.
    mitochondria : int, optional
        How many mitochondria there are; as many as find room by default.
    work : path
        Work folder; gets `raw.ome.zarr` with `labels/truth` and `labels/truth-mitos`, and the table
        `truth`.
    block : Zyx, optional
        Voxels per block.

    Returns
    -------
    Plan
        Its `output` is the raw volume (uint8).

    Raises
    ------
    ConfigError
        If a number is not positive, or the mitochondria do not fit.
    """
    # Lists, as JSON gives them, are no keys of what is kept.
    shape, voxel_nm = cast(Zyx, tuple(shape)), cast(Nm, tuple(voxel_nm))
    made = Phantom(shape, voxel_nm, seed, scale, mitochondria)
    if mitochondria is not None:
        objects(made)
    url = image_url(work, "raw")
    # A second run finds the volume that the first one made, and goes on with it.
    checked = url if read_key(url, "zarr.json") is None else f"{url}.planned"
    template = new_volume(checked, shape, "uint8", voxel_nm, block=block)
    raw = Volume(**{**template.__dict__, "url": url})
    classes = tuple(CLASSES.items())
    truth = raw.like(
        label_url(work, "truth", url), dtype="uint8", kind="label", block=block, classes=_foreground(classes)
    )
    mitos = raw.like(label_url(work, "truth-mitos", url), dtype="uint32", kind="label", block=block)
    table = table_at(work, "truth")
    grid = BlockGrid(raw.box, block or raw.write_unit)
    render_stage = Map(
        "phantom/render",
        _block,
        grid,
        (),
        (raw, truth, mitos),
        params={"made": made},
        working=0.0,
        resident=2**28,
    )
    stages: tuple[Stage, ...] = (
        render_stage,
        Fold("phantom/truth", _truth, render_stage.name, table, params={"made": made}),
        *pyramid(raw, "phantom/raw"),
        *pyramid(truth, "phantom/truth"),
        *pyramid(mitos, "phantom/truth-mitos"),
    )
    return Plan(stages, work_folder(work), raw, (Product("raw", "raw", raw),))


def _foreground(classes: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    return tuple((name, number) for name, number in classes if number)


def _block(block: Block, *, made: Phantom) -> Result:
    found = render(made, block.write)
    return Result((found.raw, found.semantic, found.instances))


def _truth(records: Records, *, made: Phantom) -> Columns:
    return truth_table(made)
