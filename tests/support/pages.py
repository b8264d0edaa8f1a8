"""What the code blocks of each page find when they are run: files in the current folder, and names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from block_functions import components
from model_folders import write_model_folder
from places import ROOT

import chunkflow_liver as cf
from chunkflow_liver.geometry import Zyx
from chunkflow_liver.segmenters.nnunet.folder import import_model

SHAPE = (32, 160, 160)
AS_PAINTED, AS_TOLD = (40.0, 16.0, 16.0), (40.0, 5.9, 5.9)
CLASSES = ("background", "mitochondrion", "er", "nucleus", "lipid_droplet", "cell_boundary")
NNUNET = Path("nnUNet_results/.../nnUNetTrainer__plans__3d_fullres")
Names = dict[str, Any]


def small_tissue(folder: Path, shape: Zyx = SHAPE) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Image and classes of a phantom."""
    plan = cf.phantom(shape=shape, voxel_nm=AS_PAINTED, seed=4, work=folder / "phantom")
    cf.run(plan, progress=False)
    raw = cf.open_volume(folder / "phantom/raw.ome.zarr")
    return raw.read(), cf.open_volume(folder / "phantom/raw.ome.zarr/labels/truth").read()


def trained(folder: Path) -> None:
    """The model of the demonstration as nnU-Net would have left it, for the voxels that pages tell of."""
    shutil.copytree(ROOT / "chunkflow_liver/models/phantom", folder)
    plans = json.loads((folder / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["spacing"] = list(AS_TOLD)
    (folder / "plans.json").write_text(json.dumps(plans))


def readme(folder: Path) -> Names:
    """Slices, masks, a trained folder, run files, and a list of edits."""
    raw, classes = small_tissue(folder)
    (folder / "my_slices").mkdir()
    for z, plane in enumerate(raw):
        tifffile.imwrite(folder / f"my_slices/slice_{z}.tif", plane)
    for name, number in (("mito", 1), ("er", 2)):
        tifffile.imwrite(folder / f"{name}.tif", (classes == number).astype(np.uint8))
    (folder / "data").mkdir()
    trained(folder / NNUNET)
    import_model(folder / NNUNET, folder / "models/organelles", units="nm")
    shutil.copytree(ROOT / "configs", folder / "configs")
    (folder / "edits.csv").write_text("action,label,other\nmerge,1,2\n")
    return {}


def before_readme(folder: Path, text: str) -> None:
    """The model that the second block imports is not there yet."""
    if "model import" in text:
        shutil.rmtree(folder / "models")


def python(folder: Path) -> Names:
    """A volume, models, labels of blocks and of slices, and arrays."""
    raw, classes = small_tissue(folder, (24, 128, 128))
    cf.write_volume(folder / "lobule.ome.zarr", raw, voxel_nm=AS_TOLD)
    trained(folder / "models/organelles")
    labels = {name: number for number, name in enumerate(CLASSES)}
    write_model_folder(folder / "models/3d", labels=labels, spacing=AS_TOLD, scheme="ZScoreNormalization")
    write_model_folder(folder / "models/2d", labels=labels, spacing=AS_TOLD[1:], window=(32, 32))
    other_network(folder / "models")
    named = {"kind": "label", "classes": [(name, n) for name, n in labels.items() if n], "voxel_nm": AS_TOLD}
    for name, moved in (("painted", 0), ("net-2d", 2), ("net-3d", 1)):
        found = np.roll(classes, moved, 2).astype(np.uint8)
        cf.write_volume(folder / f"{name}.ome.zarr", found, **named)
    tissue = (raw > 0).astype(np.uint8)
    cf.write_volume(folder / "tissue.ome.zarr", tissue, voxel_nm=AS_TOLD, kind="label")
    ids = components(classes == 1, voxel_nm=AS_TOLD).astype(np.uint32)
    cf.write_volume(folder / "by-block.ome.zarr", ids, voxel_nm=AS_TOLD, kind="label")
    planes = np.stack([components(p[None] == 1, voxel_nm=AS_TOLD)[0] for p in classes]).astype(np.uint32)
    cf.write_volume(folder / "cells-2d.ome.zarr", planes, voxel_nm=AS_TOLD, kind="label")
    wall = classes == CLASSES.index("cell_boundary")
    for name, where in (("interior", ~wall), ("boundary", wall)):
        image = np.where(where, 255, 0).astype(np.uint8)
        cf.write_volume(folder / f"{name}.ome.zarr", image, voxel_nm=AS_TOLD)
    some = np.zeros(classes.shape, np.uint32)
    some[[0, -1], :, :64], some[[0, -1], :, 64:] = 1, 2
    some[wall] = 0
    cf.write_volume(folder / "painted-cells.ome.zarr", some, voxel_nm=AS_TOLD, kind="label")
    wide = np.zeros((8, 16, 1024), np.uint32)
    wide[2:6, 4:12, 100:1000] = 1
    halves = {"one": wide[:, :, :576], "other": wide[:, :, 448:]}
    images = {
        name: cf.write_volume(folder / f"{name}.ome.zarr", half, voxel_nm=AS_TOLD, kind="label")
        for name, half in halves.items()
    }
    return {
        **images,
        "find_cells": find_cells,
        "array": raw,
        "numbers": np.where(classes == 2, 2, 0).astype(np.uint8),
        "mask": classes == 1,
    }


def find_cells(array: np.ndarray[Any, Any], *, voxel_nm: Any) -> np.ndarray[Any, Any]:
    """A function of a user: what is dark, in pieces."""
    return components(array < 80, voxel_nm=voxel_nm)


def other_network(folder: Path) -> None:
    """`other.yaml`: a TorchScript network of the same classes."""
    import torch

    network = torch.nn.Conv3d(1, len(CLASSES), 1)
    torch.jit.script(network.eval()).save(str(folder / "other.pt"))
    (folder / "other.yaml").write_text(
        json.dumps(
            {
                "weights": "other.pt",
                "classes": {name: i for i, name in enumerate(CLASSES)},
                "window": [8, 32, 32],
                "voxel_nm": list(AS_TOLD),
                "width": len(CLASSES),
            }
        )
    )


def results(folder: Path) -> Names:
    """Tables of a run as those of the demonstration."""
    _, classes = small_tissue(folder)
    named = [(name, number) for number, name in enumerate(CLASSES) if number]
    seg = cf.write_volume(
        folder / "classes.ome.zarr",
        classes.astype(np.uint8),
        voxel_nm=AS_PAINTED,
        kind="label",
        classes=named,
    )
    work = folder / "runs/demo"
    mitos = cf.label(seg, classes=["mitochondrion"], name="mitos", work=work)
    near = cf.Near(to="er", gap_nm=30, window_nm=150, permutations=99, draws=99)
    necks = cf.narrowing(mitos.output, er=seg, near=near, name="mito-necks", work=work)
    cf.run(mitos + necks + cf.measure(mitos.output, name="mito-table", work=work), progress=False)
    return {}


def population(folder: Path) -> Names:
    """Tables of two volumes and of eight animals, as `measure` makes them."""
    from chunkflow_liver.kernels.populations.standard import SHAPE
    from chunkflow_liver.store.table import Table

    (folder / "animals").mkdir()
    tables = ["mito-form", "mito-form-2", *(f"animals/{animal}" for animal in "abcdefgh")]
    for seed, name in enumerate(tables):
        rng = np.random.default_rng(seed)
        form = rng.gamma(3, size=(120, 1))
        shapes = np.exp(0.2 * form + 0.3 * rng.normal(size=(120, len(SHAPE))))
        columns = {"label": np.arange(1, 121), "parent": rng.integers(0, 5, 120)}
        Table(f"{folder}/{name}.parquet").write(columns | dict(zip(SHAPE, shapes.T, strict=True)))
    return {}


def zones(folder: Path) -> Names:
    """Cells in a row between two vessels, and a table of their organelles."""
    from chunkflow_liver.store.table import Table

    classes = np.full((4, 8, 44), 3, np.uint8)
    classes[..., :2], classes[..., -2:] = 1, 2
    named = [("portal", 1), ("central", 2), ("cytoplasm", 3)]
    at: dict[str, Any] = {"voxel_nm": (16, 16, 16), "kind": "label"}
    cf.write_volume(folder / "tissue.ome.zarr", classes, classes=named, **at)
    cells = np.where(classes == 3, 1 + np.arange(-2, 42) // 5, 0).astype(np.uint32)
    cf.write_volume(folder / "cells.ome.zarr", cells, **at)
    rng, parent = np.random.default_rng(0), np.repeat(np.arange(1, 9), 30)
    size = rng.gamma(5, size=240) * (1 + 0.1 * parent)
    Table(f"{folder}/form.parquet").write({"label": np.arange(1, 241), "parent": parent, "volume_um3": size})
    return {}


def network(folder: Path) -> Names:
    """A class image with tubes."""
    from chunkflow_liver.geometry import Box
    from chunkflow_liver.kernels.phantom.tubes import lattice, paint_tubes

    shape, voxel_nm = (60, 70, 80), (80.0, 80.0, 80.0)
    tubes = lattice(shape, voxel_nm, spacing_nm=2600, radii_nm=(250, 450), seed=2)
    mask = paint_tubes(tubes, Box.of(shape), voxel_nm).astype(np.uint8)
    about = {"voxel_nm": voxel_nm, "kind": "label", "classes": {"sinusoid": 1}}
    cf.write_volume(folder / "tissue.ome.zarr", mask, **about)
    return {}


PREPARED: dict[str, Callable[[Path], Names]] = {
    "README.md": readme,
    "docs/python.md": python,
    "docs/results.md": results,
    "docs/population.md": population,
    "docs/zones.md": zones,
    "docs/network.md": network,
}
"""By page: makes the files in a folder and gives the names that the blocks use."""
BEFORE: dict[str, Callable[[Path, str], None]] = {"README.md": before_readme}
"""By page: what else is done before a block."""
