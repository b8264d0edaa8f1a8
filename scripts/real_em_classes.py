"""Several classes of real EM: train on a part, and compare another part with what was painted there.

`uv run scripts/real_em_classes.py epfl WORK`, or `vnc`. The files that it writes to WORK are run by the verbs
that a person types (`train`, `evaluate`), so they can be changed and run again by hand.

- `epfl`: mouse hippocampus, FIB-SEM, voxels of 5 nm; 17 slices between 0 and 75 (z.txt), all painted. Trained
  on the lower rows of slices 0 to 48. Compared in slices 61 to 75: the upper rows (`far`, other tissue, 320
  nm away), and the same rows (`below`, 65 nm away in z: many objects go on).
- `vnc`: larva of a fruit fly, ssTEM, 45 x 4.6 x 4.6 nm, 20 slices, seen at 45 x 9.2 x 9.2 nm. Trained on the
  upper rows, compared in the lower rows of all slices (`far`, 294 nm away).

Networks see single planes: sections of `vnc` do not lie exactly above each other, those of `epfl` lie apart.
Dice is that of `evaluate`, on the voxels that the network sees. Data, models and pictures stay out of the
repository.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tifffile
from real_em import converted_slices

import chunkflow_liver as cf

DATA = Path(__file__).parents[2] / "shared" / "data"
Nm = tuple[float, float, float]
Rows = tuple[int, int]

log = logging.getLogger("chunkflow_liver.real_em_classes")


@dataclass(frozen=True)
class Set:
    """Real EM with classes, and how it is divided.

    Attributes
    ----------
    folder, raw, truth : str
        Of the data, and its files.
    voxel_nm, seen_nm : Nm
        Voxel size of the files, and of what the network sees: of one of the levels that `convert` makes.
    level : int
        That level.
    classes : dict of str to int
    trained, held : mapping of str to (range of z, rows)
        Parts: the first and last slice, and the first and one past the last row.
    window : tuple of int
        What the network sees at once, of single planes.
    batch, steps : int
    """

    folder: str
    raw: str
    truth: str
    voxel_nm: Nm
    seen_nm: Nm
    level: int
    classes: Mapping[str, int]
    trained: tuple[Rows, Rows]
    held: Mapping[str, tuple[Rows, Rows]]
    window: tuple[int, int]
    batch: int
    steps: int


SETS = {
    "epfl": Set(
        "epfl6_fibsem_multiclass", "raw_z0-75.tif", "classes_z0-75.tif", (5.0, 5.0, 5.0), (5.0, 5.0, 5.0), 0,
        {"membrane": 1, "mitochondrion": 2, "vesicle": 3, "psd": 4, "axon-sheath": 5, "mito-boundary": 6},
        ((0, 48), (320, 768)),
        {"far": ((61, 75), (0, 256)), "below": ((61, 75), (320, 768))},
        (256, 256), 4, 2000,
    ),
    "vnc": Set(
        "vnc_sstem_stack1", "raw_x0-511.tif", "classes_x0-511.tif", (45.0, 4.6, 4.6), (45.0, 9.2, 9.2), 1,
        {"membrane": 1, "mitochondrion": 2, "synapse": 3, "glia": 4},
        ((0, 19), (0, 480)),
        {"far": ((0, 19), (544, 1024))},
        (192, 192), 8, 1200,
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", choices=SETS)
    parser.add_argument("work", type=Path, help="folder for images, model, results and reports")
    parser.add_argument("--data", type=Path, default=DATA, help="folder that holds the folders of the sets")
    parser.add_argument("--steps", type=int, help="of the training")
    parser.add_argument("--slices", type=int, nargs="+", help="train on these painted slices only")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    of = SETS[given.set]
    if not (given.data / of.folder).is_dir():
        raise SystemExit(f"no data at {given.data / of.folder}: give the folder of all sets with --data")
    work = given.work.absolute()
    slices = numbers(given.data / of.folder)
    inside = [z for z in slices if of.trained[0][0] <= z <= of.trained[0][1]]
    odd = sorted(set(given.slices or ()) - set(inside))
    if odd:
        raise SystemExit(f"slices {odd} are not among those that can be trained on, {inside}")
    image, truth = part(given.data, work, of, "trained", *of.trained)
    # The images have the slices that there are, one above the other.
    painted = [inside.index(z) for z in given.slices or inside]
    training = {
        "name": given.set,
        "work": str(work / "training"),
        "sources": [{"image": image.url, "labels": truth.url, "slices": painted}],
        "voxel_nm": of.seen_nm,
        "network": {"window": of.window, "features": [16, 32, 64, 128, 192]},
        "training": {"steps": given.steps or of.steps, "batch": of.batch},
        # The parts that are compared are the test.
        "split": {"by": "none"},
    }
    minutes = {"train": typed("train", work / "train.yaml", training)}

    results: dict[str, Any] = {}
    for name, where in of.held.items():
        image, truth = part(given.data, work, of, name, *where)
        model = {"model": str(work / "training" / "models" / given.set), "mirroring": True}
        content = {
            "work": str(work / f"evaluation_{name}"),
            "truth": [{"name": name, "labels": truth.url, "image": image.url, "level": of.level}],
            "found": [{"name": "network", "segment": model}],
            "per_slice": True,
        }
        minutes[name] = typed("evaluate", work / f"evaluate_{name}.yaml", content)
        results[name] = dices(work / f"evaluation_{name}")
    load = os.getloadavg()[1]
    (work / "results.json").write_text(json.dumps(results | {"minutes": minutes, "load": load}, indent=2))
    for name, result in (results | {"CPU and wall minutes": minutes}).items():
        log.info("%s: %s", name, result)


def numbers(folder: Path) -> list[int]:
    """Numbers of the slices that a stack holds, in z.txt where they are apart."""
    listed = folder / "z.txt"
    return [int(z) for z in listed.read_text().split()] if listed.exists() else list(range(20))


def part(data: Path, work: Path, of: Set, name: str, z: Rows, rows: Rows) -> tuple[cf.Volume, cf.Volume]:
    """Image and classes of a part, as OME-Zarr."""
    kept = [i for i, n in enumerate(numbers(data / of.folder)) if z[0] <= n <= z[1]]
    made = []
    for file, classes in ((of.raw, None), (of.truth, list(of.classes.items()))):
        pages = tifffile.imread(data / of.folder / file)[kept, rows[0] : rows[1]]
        folder = work / f"{name}_{'raw' if classes is None else 'classes'}"
        made.append(converted_slices(dict(enumerate(pages)), folder, of.voxel_nm, classes))
    return made[0], made[1]


def typed(verb: str, path: Path, content: Mapping[str, Any]) -> tuple[float, float]:
    """CPU and wall minutes of `chunkflow-liver VERB FILE`."""
    path.write_text(json.dumps(content, indent=2))
    log.info("chunkflow-liver %s %s", verb, path)
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([Path(sys.executable).with_name("chunkflow-liver"), verb, path], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return round(cpu / 60, 1), round((time.monotonic() - start) / 60, 1)


def dices(work: Path) -> dict[str, float]:
    """Dice of every class that is there in the part that was compared."""
    rows = cf.read_table(work / "tables" / "network.parquet").to_pylist()
    return {row["class"]: round(row["dice"], 3) for row in rows if row["voxels_truth"]}


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
