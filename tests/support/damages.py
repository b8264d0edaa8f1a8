"""What can be wrong with a project: functions that damage a good one."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import shutil
import unittest.mock
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
import zarr
from model_folders import write_model_folder
from numcodecs.zstd import Zstd
from strategies import write
from zarr.storage import _local

BOTH = ("validate", "plan")
PLAN = ("run file", "plan")
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
    """What is done to a project, what must be said to it, and which commands must say it with which status.

    Attributes
    ----------
    damage : callable
        Gets the folder of the project.
    says : str
        Regular expression that what is told must match.
    verbs, options : tuple of str
        Commands, each with these options.
    status : int
        Exit status. With 2 nothing at all may be changed or made, with 0 nothing by commands that only look.
    during : callable
        Makes the context in which the commands are called, of the folder.
    after : callable
        Asserts what else is so then, of the folder.
    ran : bool
        Whether the project is one of a run that is finished.
    """

    damage: Callable[[Path], object]
    says: str
    verbs: tuple[str, ...] = BOTH
    options: tuple[str, ...] = ()
    status: int = 2
    during: Callable[[Path], AbstractContextManager[object]] = contextlib.nullcontext
    after: Callable[[Path], object] = Path
    ran: bool = False


Fine = functools.partial(Bad, status=0)
"""An input that looks bad and is taken, as what it is."""


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
CHECKPOINT = "model/fold_0/checkpoint_final.pth"


def scale(*values: Any) -> Edit:
    return Edit(list(values), SCALE)


def axes(*names: str, **more: Any) -> Edit:
    return Edit([{"name": n, "type": "space", "unit": "nanometer"} | more for n in names], (*SCALES, "axes"))


def text(content: str, file: str = "zarr.json") -> Callable[[Path], object]:
    return lambda folder: (folder / IMAGE / file).write_text(content)


def run_file(**changes: Any) -> Callable[[Path], object]:
    return lambda folder: (folder / "run.yaml").write_text(yaml.safe_dump(RUN | changes))


def run_text(content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "run.yaml").write_text(content)


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


def many(*damages: Callable[[Path], object]) -> Callable[[Path], object]:
    """Several damages, one after the other."""

    def change(folder: Path) -> None:
        for damage in damages:
            damage(folder)

    return change


def and_run_file(damage: Callable[[Path], object], **changes: Any) -> Callable[[Path], object]:
    return many(damage, run_file(**changes))


def array_of(names: str, shape: tuple[int, ...], dtype: Any = "u1") -> Callable[[Path], object]:
    """Another image, of one level, with these axes; all ones where there is a one of the dtype."""

    def change(folder: Path) -> None:
        kinds = {"t": "time", "c": "channel"}
        listed = [
            {"name": n, "type": kinds[n]} if n in kinds else {"name": n, "type": "space", "unit": "nanometer"}
            for n in names
        ]
        big = np.dtype(dtype).byteorder == ">"
        group = zarr.open_group(folder / IMAGE, mode="w", zarr_format=2 if big else 3)
        array = group.create_array("0", shape=shape, chunks=shape, dtype=dtype)
        if np.dtype(dtype).kind in "ui":
            array[:] = 1
        scales = [1 if n in kinds else 8 for n in names]
        datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scales}]}]
        image = {"axes": listed, "datasets": datasets}
        if big:
            group.attrs["multiscales"] = [image | {"version": "0.4"}]
        else:
            group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}

    return change


def one_level(folder: Path) -> None:
    """Only the finest level is left."""
    Edit(lambda datasets: datasets[:1], (*SCALES, "datasets"))(folder)


def in_zarr_2(folder: Path) -> None:
    array_of("zyx", (4, 300, 8), ">u2")(folder)
    attributes = json.loads((folder / IMAGE / ".zattrs").read_text())
    attributes["multiscales"][0]["version"] = "0.5"
    (folder / IMAGE / ".zattrs").write_text(json.dumps(attributes))


def linked(what: Callable[[Path], Path], *, inside: bool = False) -> Callable[[Path], object]:
    """A file or folder of the image lies elsewhere, and a link leads there."""

    def change(folder: Path) -> None:
        place = what(folder)
        target = (folder / IMAGE if inside else folder) / "elsewhere"
        place.rename(target)
        place.symlink_to(target)

    return change


def folder_for_chunk(folder: Path) -> None:
    place = chunk(folder)
    place.unlink()
    place.mkdir()


def with_bomb(folder: Path) -> None:
    """A few kilobytes that become 64 MiB."""
    array_of("zyx", (4, 300, 8))(folder)
    place = chunk(folder)
    place.write_bytes(Zstd(level=1, checksum=True).encode(bytes(1 << 26)))


@contextlib.contextmanager
def permissions_gone(folder: Path) -> Iterator[None]:
    """A chunk may not be read, not even by root."""
    file = str(chunk(folder))

    def refusing(call: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(path: Any, *arguments: Any, **options: Any) -> Any:
            if os.fspath(path) == file:
                raise PermissionError(13, "Permission denied", file)
            return call(path, *arguments, **options)

        return refuse

    with contextlib.ExitStack() as stack:
        for name, call in (("os.open", os.open), ("zarr.storage._local._get", _local._get)):
            stack.enter_context(unittest.mock.patch(name, refusing(call)))
        yield


def with_classes(shape: tuple[int, int, int], value: int = 1) -> Callable[[Path], object]:
    """Classes of another shape, all of them `value`."""

    def change(folder: Path) -> None:
        shutil.rmtree(folder / "semantic.ome.zarr")
        write(folder, np.full(shape, value, np.uint8), voxel_nm=(8, 8, 8))

    return change


def image_of(array: np.ndarray[Any, Any]) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        shutil.rmtree(folder / IMAGE)
        write(folder, array, "raw", voxel_nm=(8, 8, 8))

    return change


def float_labels(folder: Path) -> None:
    image_of(np.ones((4, 300, 8), np.float32))(folder)
    Edit(lambda ome: ome | {"image-label": {}}, OME)(folder)


def negative_labels(folder: Path) -> None:
    image_of(np.full((4, 300, 8), -3, np.int32))(folder)
    Edit(lambda ome: ome | {"image-label": {}}, OME)(folder)


def huge_chunk(folder: Path) -> None:
    shard = ("chunk_grid", "configuration", "chunk_shape")
    for keys in (shard, ("codecs", 0, "configuration", "chunk_shape")):
        Edit([1, 10**9, 10**9], keys, ARRAY)(folder)


def with_nan(folder: Path) -> None:
    array = np.ones((4, 300, 8), np.float32)
    array[2, 7, 5], array[3, 0, 0] = math.nan, math.inf
    image_of(array)(folder)


def chunk(folder: Path) -> Path:
    return next(p for p in sorted((folder / IMAGE / "0").rglob("*")) if p.is_file() and p.name != "zarr.json")


def truncated(folder: Path) -> None:
    chunk(folder).write_bytes(chunk(folder).read_bytes()[:-9])


def flipped(folder: Path) -> None:
    data = bytearray(chunk(folder).read_bytes())
    data[len(data) // 3] ^= 16
    chunk(folder).write_bytes(data)


def nul(folder: Path) -> None:
    chunk(folder).write_bytes(bytes(chunk(folder).stat().st_size))


def with_model(**options: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        of_network = ("device", "accept_spacing", "step")
        changed = {k: v for k, v in options.items() if k in of_network}
        of_model = {k: v for k, v in options.items() if k not in of_network}
        write_model_folder(folder / "model", **{"spacing": (8.0, 8.0, 8.0)} | of_model)
        network = {"segment": {"model": "model", "name": "semantic"} | changed}
        content = {k: v for k, v in RUN.items() if k != "semantic"} | network
        content["label"] = [{"name": "mitos", "classes": ["class 1"]}]
        content["contacts"] = []
        (folder / "run.yaml").write_text(yaml.safe_dump(content))

    return change


def with_checkpoint(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """A model, and other bytes in the file of its weights."""

    def damage(folder: Path) -> None:
        with_model()(folder)
        place = folder / CHECKPOINT
        place.write_bytes(change(place.read_bytes()))

    return damage


def with_weights(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Path], object]:
    """A model, and another content of its checkpoint."""

    def damage(folder: Path) -> None:
        import torch

        with_model()(folder)
        place = folder / CHECKPOINT
        torch.save(change(torch.load(place, weights_only=False)), place)

    return damage


def model_of_others(**options: Any) -> Callable[[Path], object]:
    """A model with the weights of one that has these options."""

    def damage(folder: Path) -> None:
        with_model()(folder)
        write_model_folder(folder / "other", **options)
        shutil.copy(folder / "other/fold_0/checkpoint_final.pth", folder / CHECKPOINT)

    return damage


def malicious(folder: Path) -> None:
    with_model()(folder)
    plans = folder / "model/plans.json"
    plans.write_text(plans.read_text().replace("torch.nn.LeakyReLU", "os.system"))


def gone(path: str) -> Callable[[Path], object]:
    return lambda folder: shutil.rmtree(folder / path)


DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000
