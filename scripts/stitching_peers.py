"""`python stitching_peers.py TOOL FOLDER BLOCK`: one tool stitches the objects that each block finds.

Every tool runs in a process of its own, in the environment that has it, on `truth.npy` and `about.json` of
FOLDER, leaves `TOOL-BLOCK.npy` there, and prints one line of JSON: seconds, CPU seconds, bytes of scratch,
version. What a block finds is `redrawn`, with the same halo for every tool.

ngio 1.1 reads grown tiles, keeps each in a scratch array, and joins what overlaps in them. BiaPy 3.7 joins
what meets at the faces of chunks; its network and watershed are left out: chunks lie in its Zarr as they
would behind them, and its phase `instance_merging` does the rest.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def redrawn(labels: Array, *, voxel_nm: Any, nm: float) -> Array:
    """The labels with walls drawn anew for every block, off by about `nm`, and ids of its own."""
    from scipy import ndimage

    rng = np.random.default_rng(zlib.crc32(labels.tobytes()))
    at = np.indices(labels.shape).astype(np.float32)
    for axis, (side, v) in enumerate(zip(labels.shape, voxel_nm, strict=True)):
        shift = ndimage.gaussian_filter(rng.standard_normal(labels.shape).astype(np.float32), 2.0)
        at[axis] += shift * np.float32(nm / v / max(float(shift.std()), 1e-6))
        np.clip(at[axis], 0, side - 1, out=at[axis])
    z, y, x = np.rint(at).astype(np.intp)
    found = labels[z, y, x]
    ids, member = np.unique(found, return_inverse=True)
    new = rng.permutation(len(ids)) + 1
    new[ids == 0] = 0
    return new[member].reshape(labels.shape)


def bytes_below(folder: Path) -> int:
    """Of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def ours(truth: Array, about: dict[str, Any], block: int, folder: Path) -> tuple[Array, int, Any]:
    """`cf.stitch`; scratch is what lies in the work folder beside labels and tables."""
    # A function of a stage goes by the name of its module.
    from stitching_peers import redrawn

    import chunkflow_liver as cf

    nm = tuple(about["voxel_nm"])
    volume = cf.write_volume(folder / "truth.ome.zarr", truth, voxel_nm=nm, kind="label")
    plan = cf.stitch(
        volume, redrawn, params={"nm": about["nm"]}, name="found", work=folder / "work",
        halo_nm=about["halo"] * nm[0], block=(block,) * 3, branches=about["branches"],
    )  # fmt: skip
    start = clock()
    cf.run(plan, progress=False)
    spent = since(start)
    kept = sum(bytes_below(folder / "work" / name) for name in ("labels", "tables"))
    return plan.output.read(), bytes_below(folder / "work") - kept, spent


def ngio(truth: Array, about: dict[str, Any], block: int, folder: Path) -> tuple[Array, int, Any]:
    """Its `SegmentationIterator` with a halo and the default stitching."""
    from ngio import create_ome_zarr_from_array
    from ngio.iterators import SegmentationIterator, StitchConfig

    container = create_ome_zarr_from_array(
        folder / "ngio.zarr", truth.astype(np.uint32), pixelsize=about["voxel_nm"][1],
        z_spacing=about["voxel_nm"][0], levels=1, axes_names=("z", "y", "x"), chunks=(block,) * 3,
    )  # fmt: skip
    label = container.derive_label("found", dtype="uint32")
    halo = {axis: about["halo"] for axis in "xyz"}
    scratch = folder / "scratch.zarr"
    tiles = (
        SegmentationIterator(container.get_image(), label)
        .by_grid(**{f"size_{axis}": block for axis in "xyz"})
        .with_halo(**halo)
        .with_stitch(StitchConfig(block_size=100_000, scratch_store=scratch))
    )

    def segment(patch: Array) -> Array:
        return redrawn(patch, voxel_nm=about["voxel_nm"], nm=about["nm"]).astype(np.uint32)

    start = clock()
    tiles.map(segment)
    spent = since(start)
    return np.asarray(label.get_as_numpy()), bytes_below(scratch), spent


def biapy(truth: Array, about: dict[str, Any], block: int, folder: Path) -> tuple[Array, int, Any]:
    """Its merging of chunks; no scratch: the labels themselves are written three times."""
    import contextlib

    import zarr
    from biapy.config.config import Config
    from biapy.engine.instance_seg import Instance_Segmentation_Workflow as Workflow

    config = Config(str(folder), "found")._C
    config.defrost()
    config.TEST.BY_CHUNKS.WORKFLOW_PROCESS.TYPE = "chunk_by_chunk"
    config.TEST.BY_CHUNKS.PHASES = ["instance_merging"]
    config.TEST.BY_CHUNKS.SAVE_OUT_TIF = False
    config.DATA.PATCH_SIZE = (block + 2 * about["halo"],) * 3 + (1,)
    config.DATA.TEST.PADDING = (about["halo"],) * 3
    config.DATA.TEST.INPUT_IMG_AXES_ORDER = "ZYX"
    config.PATHS.RESULT_DIR.PER_IMAGE_INSTANCES = str(folder)
    stored = zarr.create_array(
        folder / "found.zarr", shape=(*truth.shape, 1), chunks=(block,) * 3 + (1,), dtype="uint64",
        zarr_format=3, overwrite=True,
    )  # fmt: skip
    start = clock()
    for write, read, inner in cut(truth.shape, block, about["halo"]):
        found = redrawn(truth[read], voxel_nm=about["voxel_nm"], nm=about["nm"])
        stored[write] = found[inner][..., None].astype(np.uint64)
    of = SimpleNamespace(
        cfg=config, current_sample={"X_filename": "found.tif"}, save_to_disk=False,
        process_chunks_on_the_fly=lambda: False, _compute_global_id_remap=Workflow._compute_global_id_remap,
        _apply_id_remap=Workflow._apply_id_remap,
    )  # fmt: skip
    with contextlib.redirect_stdout(sys.stderr):
        Workflow.after_all_chunk_prediction_workflow_process(of)
    spent = since(start)
    return np.asarray(zarr.open_array(folder / "found.zarr", mode="r")[..., 0]), 0, spent


def cut(shape: Any, block: int, halo: int) -> Iterator[tuple[Any, Any, Any]]:
    """What every chunk writes and reads, and the first within the second."""
    for corner in np.ndindex(*(-(-n // block) for n in shape)):
        write = [(c * block, min((c + 1) * block, n)) for c, n in zip(corner, shape, strict=True)]
        read = [(max(0, a - halo), min(n, b + halo)) for (a, b), n in zip(write, shape, strict=True)]
        inner = [slice(a - c, b - c) for (a, b), (c, _) in zip(write, read, strict=True)]
        yield tuple(slice(*w) for w in write), tuple(slice(*r) for r in read), tuple(inner)


def clock() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def since(start: tuple[float, float]) -> tuple[float, float]:
    now = clock()
    return now[0] - start[0], now[1] - start[1]


TOOLS: dict[str, tuple[str, Callable[..., tuple[Array, int, Any]], str]] = {
    "chunkflow_liver": ("chunkflow-liver", ours, "chunkflow_liver"),
    "ngio": ("ngio", ngio, "ngio.iterators"),
    "biapy": ("biapy", biapy, "biapy.engine.instance_seg"),
}


def main() -> None:
    """Run one tool; what it takes to import it is not counted."""
    tool, folder, block = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    package, function, module = TOOLS[tool]
    importlib.import_module(module)
    truth = np.load(folder / "truth.npy")
    about = json.loads((folder / "about.json").read_text())
    own = folder / f"{tool}-{block}-{os.getpid()}"
    own.mkdir()
    found, scratch, (seconds, cpu) = function(truth, about, block, own)
    np.save(folder / f"{tool}-{block}.npy", found)
    print(json.dumps([seconds, cpu, scratch, version(package)]))


if __name__ == "__main__":
    main()
