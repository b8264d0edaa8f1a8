"""What it costs to correct a run: 100 edits in 1e9 voxels, and their tables, against a run from scratch.

A volume of spheres (one in each cube of 64 voxels) is labelled and measured once. Then some of its objects
are merged or deleted, and what is measured on the edited instances is timed, beside the run from scratch in a
folder of its own, whose tables and images must be the same to the byte.

With `--all` skeletons and contacts are made too, which take four times as long: 1024^3 voxels are two runs of
half an hour on one core then.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import chunkflow_liver as cf
from chunkflow_liver.engine.watch.lines import read_entries
from chunkflow_liver.store.create import create, finish, new_volume

SPACING, RADIUS = 64, 15
VOXEL_NM = (16.0, 16.0, 16.0)
EDITS = 100
FEATURES = ["basic", "shape"]
COMPARED = ("tables/b-*.parquet", "results.ome.zarr/labels/edited/0/c/**/*", "b-distance*/0/c/**/*")


def phantom(path: Path, side: int) -> cf.Volume:
    """Spheres of a class, one in the middle of each cube; written slab by slab."""
    volume = new_volume(str(path), (side,) * 3, "uint8", VOXEL_NM, kind="label", block=(128, 128, 128))
    volume = replace(volume, classes=(("mitochondrion", 1),))
    create(volume)
    z, y, x = np.ogrid[:SPACING, :SPACING, :SPACING]
    ball = (z - 32) ** 2 + (y - 32) ** 2 + (x - 32) ** 2 < RADIUS**2
    tile = np.tile(ball.astype(np.uint8), (2, side // SPACING, side // SPACING))
    for start in range(0, side, 128):
        volume.write(cf.Box((start, 0, 0), (start + 128, side, side)), tile)
    finish(volume)
    return volume


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=1024, help="voxels along each axis, a multiple of 128")
    parser.add_argument("--all", action="store_true", help="skeletons and contacts, too")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(Path(folder), given.side, given.all)
    for row in rows:
        print(json.dumps(row), flush=True)
    if given.json:
        given.json.write_text("\n".join(map(json.dumps, rows)) + "\n")


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of `bench.py edits`."""
    yield from measured(folder, 1024, False)


def measured(folder: Path, side: int, everything: bool) -> list[dict[str, Any]]:
    """Seconds, CPU seconds, and how much was done again."""
    classes = phantom(folder / "classes.ome.zarr", side)

    def plans(work: Path) -> tuple[Any, Any, Any]:
        """The run before, the edits and what follows from them after it, and these alone."""
        at: dict[str, Any] = {"work": work, "block": (128, 128, 128)}
        mitos = cf.label(classes, name="mitos", **at)
        count = (side // SPACING) ** 3
        ids = np.random.default_rng(0).permutation(np.arange(1, count + 1)).tolist()
        edits: list[tuple[Any, ...]] = [
            ("merge", i, i + 1 if i % 16 else i - 1) for i in ids[: EDITS // 2 : 2]
        ]
        named = {i for row in edits for i in row[1:]}
        edits += [("delete", i) for i in ids if i not in named][: EDITS - len(edits)]
        edited = cf.edit(mitos.output, edits, name="edited", **at)

        def tables(instances: Any, name: str) -> Any:
            features = [*FEATURES, "skeleton"] if everything else FEATURES
            made = [
                cf.measure(instances, features=features, name=f"{name}-table", **at),
                cf.distance(instances, cap_nm=160, name=f"{name}-distance", **at),
            ]
            if everything:
                made.append(cf.contacts(instances, instances, gap_nm=64, name=f"{name}-self", **at))
            return reduce(add, made)

        first, after = mitos + tables(mitos.output, "a"), edited + tables(edited.output, "b")
        return first, first + after, mitos + after

    rows = []
    work = folder / "work"
    first, then, _ = plans(work)
    rows.append({"case": "the run before", **timed(first)})
    rows.append({"case": "100 edits", **timed(then), **done_again(then)})
    alone_work = folder / "alone"
    *_, whole = plans(alone_work)
    rows.append({"case": "from scratch", **timed(whole)})
    same = [
        p.read_bytes() == (alone_work / p.relative_to(work)).read_bytes()
        for pattern in COMPARED
        for p in work.glob(pattern)
        if p.is_file()
    ]
    rows.append({"case": "files compared", "files": len(same), "ok": bool(same) and all(same)})
    about = {"voxels": side**3, "cpus": psutil.cpu_count()}
    return [{"name": "edits", "tool": "chunkflow_liver", **about, **row} for row in rows]


def timed(plan: Any) -> dict[str, float]:
    start, cpu = time.monotonic(), time.process_time()
    cf.run(plan, progress=False)
    return {
        "seconds": round(time.monotonic() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "load": round(os.getloadavg()[0], 1),
    }


def done_again(plan: Any) -> dict[str, Any]:
    """Blocks that were computed, by stage of the edited instances, and their largest share for each edit."""
    taken: dict[str, int] = {}
    for entry in read_entries(plan.work):
        if "from" in entry:
            blocks = sum(end - first for first, end in entry["blocks"])
            taken[entry["stage"]] = taken.get(entry["stage"], 0) + blocks
    stages = [s for s in plan.maps if s.name.startswith(("edited", "b-"))]
    blocks = {s.name: (len(s.grid) - taken.get(s.name, 0), len(s.grid)) for s in stages}
    # All blocks are looked at for the objects that edits name; that writes nothing.
    written = {s.name for s in stages if s.outputs}
    shares = [n / of / EDITS for name, (n, of) in blocks.items() if name in written]
    computed = {name: f"{n} of {of}" for name, (n, of) in blocks.items()}
    return {"computed": computed, "touched_per_edit": round(max(shares), 5)}


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
