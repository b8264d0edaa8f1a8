"""One small run for all tests of the viewer: two classes, instances, distances, contacts, tables."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from strategies import write
from view_runs import NM, tissue

import chunkflow_liver as cf
from chunkflow_liver.engine.journal import Journal


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run; not to be written into."""
    folder = tmp_path_factory.mktemp("runs")
    raw = np.random.default_rng(0).integers(40, 200, tissue().shape).astype(np.uint8)
    image = write(folder, raw, "raw", voxel_nm=NM)
    classes = write(folder, tissue(), "semantic", voxel_nm=NM)
    at = {"work": folder / "lobule", "block": (12, 24, 32)}
    mitos = cf.label(classes, classes=1, name="mitos", **at)
    plan = (
        mitos
        + cf.distance(classes, to=2, cap_nm=200, name="er-distance", **at)
        + cf.measure(mitos.output, raw=image, features=["basic"], name="mito-table", **at)
        + cf.contacts(mitos.output, classes, to=2, gap_nm=100, name="mito-er", **at)
    )
    cf.run(plan, progress=False)
    return folder / "lobule"


@pytest.fixture
def work(finished, tmp_path):
    """The same run, to be written into."""
    copy = tmp_path / "lobule"
    shutil.copytree(finished, copy)
    # As long as a folder is still where it was, a copy of it leads there.
    products = copy / "products.json"
    products.write_text(products.read_text().replace(str(finished), str(copy)))
    # Else it is taken for damaged by the next run, which forgets what it lists.
    with Journal(copy) as journal:
        journal.note("products.json")
    return copy


@pytest.fixture
def path_of():
    def found(name: str) -> Path | None:
        place = shutil.which(name)
        return Path(place) if place else None

    return found
