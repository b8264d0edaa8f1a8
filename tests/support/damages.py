"""What can be wrong with a project: functions that damage a good one."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
import zarr
from model_folders import write_model_folder
from strategies import write

BOTH = ("validate", "plan")
IMAGE = "raw.ome.zarr"
RUN = {
    "input": {"path": IMAGE},
    "work": "work",
    "block": [4, 96, 8],
    "semantic": {"path": "semantic.ome.zarr"},
    "label": [{"name": "mitos", "classes": ["mitochondrion"]}],
    "contacts": [{"name": "mito-er", "instances": "mitos", "to": "er", "gap_nm": 10}],
    "report": False,
}


@dataclass(frozen=True)
class Bad:
    """What is done to a good project, what the message must say, and which commands must say it."""

    damage: Callable[[Path], object]
    says: str
    verbs: tuple[str, ...] = BOTH
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Edit:
    """Sets one value in the metadata of the image; a function gets the value that was there."""

    value: Any
    keys: tuple[Any, ...] = ()
    file: str = "zarr.json"
    missing: bool = field(default=False)

    def __call__(self, folder: Path) -> None:
        path = folder / IMAGE / self.file
        content = at = json.loads(path.read_text())
        for key in self.keys[:-1]:
            at = at[key]
        if self.missing:
            del at[self.keys[-1]]
        else:
            at[self.keys[-1]] = self.value(at[self.keys[-1]]) if callable(self.value) else self.value
        path.write_text(json.dumps(content))


OME = ("attributes", "ome")
SCALES = (*OME, "multiscales", 0)
SCALE = (*SCALES, "datasets", 0, "coordinateTransformations", 0, "scale")
ARRAY = "0/zarr.json"


def scale(*values: Any) -> Edit:
    return Edit(list(values), SCALE)


def axes(*names: str, **more: Any) -> Edit:
    return Edit([{"name": n, "type": "space", "unit": "nanometer"} | more for n in names], (*SCALES, "axes"))


def text(content: str, file: str = "zarr.json") -> Callable[[Path], object]:
    return lambda folder: (folder / IMAGE / file).write_text(content)


def run_file(**changes: Any) -> Callable[[Path], object]:
    return lambda folder: (folder / "run.yaml").write_text(yaml.safe_dump(RUN | changes))


def in_run_file(old: str, new: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        before = (folder / "run.yaml").read_text()
        assert old in before
        (folder / "run.yaml").write_text(before.replace(old, new, 1))

    return change


def instead(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        shutil.rmtree(folder / IMAGE)
        make(folder / IMAGE)

    return change


def many_times(folder: Path) -> None:
    """A second time point, as the metadata and the array state it."""
    names = [{"name": "t", "type": "time"}] + [
        {"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"
    ]
    group = zarr.open_group(folder / IMAGE, mode="w")
    group.create_array("0", shape=(2, 4, 8, 8), chunks=(1, 4, 8, 8), dtype="u1")
    transforms = [{"type": "scale", "scale": [1, 8, 8, 8]}]
    datasets = [{"path": "0", "coordinateTransformations": transforms}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": names, "datasets": datasets}]}


def image_of(array: np.ndarray[Any, Any]) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        shutil.rmtree(folder / IMAGE)
        write(folder, array, "raw", voxel_nm=(8, 8, 8))

    return change


def complex_voxels(folder: Path) -> None:
    shutil.rmtree(folder / IMAGE / "0")
    group = zarr.open_group(folder / IMAGE, mode="r+")
    group.create_array("0", shape=(4, 300, 8), chunks=(4, 64, 8), dtype="complex64")


def float_labels(folder: Path) -> None:
    image_of(np.ones((4, 300, 8), np.float32))(folder)
    Edit(lambda ome: ome | {"image-label": {}}, OME)(folder)


def huge_chunk(folder: Path) -> None:
    shard = ("chunk_grid", "configuration", "chunk_shape")
    for keys in (shard, ("codecs", 0, "configuration", "chunk_shape")):
        Edit([1, 10**9, 10**9], keys, ARRAY)(folder)


def with_nan(folder: Path) -> None:
    array = np.ones((4, 300, 8), np.float32)
    array[2, 7, 5] = math.nan
    image_of(array)(folder)


def chunk(folder: Path) -> Path:
    return next(p for p in sorted((folder / IMAGE / "0").rglob("*")) if p.is_file() and p.name != "zarr.json")


def truncated(folder: Path) -> None:
    chunk(folder).write_bytes(chunk(folder).read_bytes()[:-9])


def with_model(**options: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        changed = {k: options.pop(k) for k in ("device", "accept_spacing") if k in options}
        write_model_folder(folder / "model", **{"spacing": (8.0, 8.0, 8.0)} | options)
        network = {"segment": {"model": "model", "name": "semantic"} | changed}
        content = {k: v for k, v in RUN.items() if k != "semantic"} | network
        content["label"] = [{"name": "mitos", "classes": ["class 1"]}]
        content["contacts"] = []
        (folder / "run.yaml").write_text(yaml.safe_dump(content))

    return change


def malicious(folder: Path) -> None:
    with_model()(folder)
    plans = folder / "model/plans.json"
    plans.write_text(plans.read_text().replace("torch.nn.LeakyReLU", "os.system"))


def gone(path: str) -> Callable[[Path], object]:
    return lambda folder: shutil.rmtree(folder / path)


DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000
