"""All common operations on a small phantom, so that the loops they run are compiled before the first run."""

from __future__ import annotations

import functools
import operator
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.engine.run import run
from chunkflow_liver.kernels.compiled import check_kept
from chunkflow_liver.kernels.contacts.placements import Chance
from chunkflow_liver.kernels.distance.lines import along_axis
from chunkflow_liver.kernels.distance.squares import spread
from chunkflow_liver.kernels.images.downsample import mode
from chunkflow_liver.kernels.labels.object_runs import runs_by_object
from chunkflow_liver.kernels.labels.runs import find_runs
from chunkflow_liver.ops.contacts import contacts
from chunkflow_liver.ops.distance import distance
from chunkflow_liver.ops.label import label
from chunkflow_liver.ops.measure import measure
from chunkflow_liver.ops.measure.groups import GROUPS, WHOLE
from chunkflow_liver.ops.narrowing import narrowing
from chunkflow_liver.ops.network import network
from chunkflow_liver.ops.phantom import phantom
from chunkflow_liver.ops.placement import placement
from chunkflow_liver.ops.profiles import profiles
from chunkflow_liver.ops.split import split
from chunkflow_liver.store.images import open_volume
from chunkflow_liver.store.volume import Volume

SHAPE = (64, 128, 128)
BLOCK = (64, 64, 64)
VOXEL_NM = (16.0, 16.0, 16.0)
SEED = 1
"""Of a phantom in which every loop has something to do: contacts, necks, objects of several blocks."""
LABELS = ("uint8", "uint16", "uint32", "uint64")
"""What classes and objects of others are stored in."""
SQUARES = ("uint16", "uint32", "uint64")
"""The smallest that holds squared distances is taken: it depends on voxel sizes, and their ratios."""
GREYS = ("uint8", "uint16")


def compile_loops() -> None:
    """Compile the loops of instances, distances, contacts, profiles, tables, narrowings and networks.

    Notes
    -----
    What is compiled is kept where Numba keeps it: beside the modules, in the user's cache folder where
    those cannot be written to, or in `NUMBA_CACHE_DIR`. It is for the processor of this machine, and for the
    files of this installation as they are: Numba looks at the time at which they were written.

    Raises
    ------
    OutputError
        If nothing can be kept.
    """
    check_kept()
    from chunkflow_liver.kernels.intensity.neighbour_loops import gathered

    with tempfile.TemporaryDirectory(prefix="chunkflow-liver-") as folder:
        work = Path(folder)
        made = phantom(shape=SHAPE, voxel_nm=VOXEL_NM, seed=SEED, work=work / "phantom", block=BLOCK)
        run(made, progress=False)
        raw = made.output.url
        plan = _plan(open_volume(raw), open_volume(f"{raw}/labels/truth"), work / "run")
        run(plan, progress=False)
    for dtype in LABELS:
        labels = np.ones((2, 2, 2), dtype)
        find_runs(labels)
        runs_by_object(labels)
        mode(labels, (2, 2, 2))
    for dtype in SQUARES:
        squares = np.zeros((2, 2, 2), dtype)
        spread(squares, ((1,), (1,), (1,)), 2, (slice(None),) * 3)
        if dtype != SQUARES[0]:
            along_axis(squares, 0, 1)
    for dtype in GREYS:
        gathered(np.zeros((1, 1, 1), dtype), np.zeros((0, 4), np.int64), np.zeros(0))


def _plan(raw: Volume, classes: Volume, work: Path) -> Plan:
    """Operations with loops, and distances up to a cap and without one, which are other loops."""
    at: dict[str, Any] = {"work": work, "block": BLOCK}
    mito = ["mitochondrion"]
    mitos = label(classes, classes=mito, name="mitos", **at)
    groups = sorted({"basic", *GROUPS, *WHOLE} - {"pyradiomics"})
    return functools.reduce(
        operator.add,
        (
            mitos,
            label(classes, name="all", connectivity=26, dtype="uint32", min_volume_um3=0.001, **at),
            label(classes, classes=mito, name="many", dtype="uint64", **at),
            split(classes, classes=mito, depth_nm=32, cap_nm=320, name="parts", **at),
            distance(classes, to="er", cap_nm=200, name="near-er", **at),
            distance(classes, to="er", cap_nm=None, name="from-er", **at),
            contacts(mitos.output, classes, to="er", gap_nm=40, sites=True, name="mito-er", **at),
            contacts(mitos.output, mitos.output, gap_nm=40, sites=True, name="mito-mito", **at),
            profiles(mitos.output, classes, to="er", cap_nm=200, shells_nm=(50.0, 100.0), name="er", **at),
            measure(mitos.output, raw=raw, features=groups, name="features", **at),
            narrowing(mitos.output, er=classes, name="necks", **at),
            network(classes, classes="er", widest_nm=200, name="er-network", **at),
            placement(mitos.output, classes, to="er", chance=Chance(placements=2), name="chance", **at),
        ),
    )
