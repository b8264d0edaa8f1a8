"""Results do not depend on blocks, and a task needs no more memory than the plan says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from payload import go

import chunkflow_liver as cf
from chunkflow_liver.store.create import write_volume
from chunkflow_liver.store.table import read_table

blobs = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def semantic(rng: np.random.Generator) -> np.ndarray:
    """Classes 0, 1 and 2 in blobs of a few voxels, of a shape that no block divides."""
    from scipy.ndimage import uniform_filter

    smooth = uniform_filter(rng.random((21, 40, 37)), 3)
    return np.digitize(smooth, [0.5, 0.58]).astype(np.uint8)


def results(folder: Path, classes: np.ndarray, block) -> dict[str, np.ndarray]:
    folder.mkdir()
    options = {"voxel_nm": (4, 8, 16), "kind": "label", "classes": (("a", 1), ("b", 2))}
    labels = write_volume(folder / "seg.ome.zarr", classes, **options)
    work = {"work": folder / "w", "block": block}
    instances = cf.label(labels, name="inst", min_volume_um3=3 * 512 / 1e9, **work)
    distance = cf.distance(labels, to="a", cap_nm=60, name="dist", **work)
    table = cf.measure(instances.output, raw=labels, name="table", **work)
    go(instances + distance + table)
    frame = read_table(table.output).to_pandas()
    return {
        "instances": instances.output.read(),
        "distance": distance.output.read(),
        "table": frame.drop(columns="class").to_numpy(float),
        "class": frame["class"].to_numpy(str),
    }


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rng=blobs, block=st.tuples(*[st.sampled_from([16, 32, 48])] * 3))
def test_results_do_not_depend_on_the_blocks(tmp_path, rng, block):
    classes = semantic(rng)
    number = len(list(tmp_path.iterdir()))
    one = results(tmp_path / f"{number}", classes, (64, 64, 64))
    many = results(tmp_path / f"{number + 1}", classes, block)
    assert one["instances"].max() > 0
    for key in ("instances", "distance", "class"):
        np.testing.assert_array_equal(one[key], many[key])
    np.testing.assert_allclose(one["table"], many["table"], rtol=1e-9, atol=1e-9)


def test_an_empty_volume_has_no_instances_and_no_errors(tmp_path):
    found = results(tmp_path / "e", np.zeros((21, 40, 37), np.uint8), (16, 16, 16))
    assert found["table"].shape[0] == 0
    assert not found["instances"].any()
    assert np.isinf(found["distance"]).all()


def peak_of(code: str, *arguments: str) -> tuple[int, int]:
    """(measured peak, estimate) in bytes without the process itself, as `code` prints them."""
    out = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    ).stdout
    peak, estimate = out.split()[-2:]
    return int(float(peak)), int(float(estimate))


PEAK = """
import sys, numpy as np, chunkflow_liver as cf
from chunkflow_liver.engine.execute import peak_mib
from chunkflow_liver.engine.journal import read_rows
from chunkflow_liver.engine.stage import PROCESS_BYTES
from chunkflow_liver.kernels.instances.component_runs import find_components
# Numba and its compiler, 100 MiB, belong to the process, not to a task.
find_components(np.ones((2, 2, 2), np.uint8), classes=None, connectivity=6).labels()
labels, work, what = cf.open_volume(sys.argv[1]), sys.argv[2], sys.argv[3]
at = dict(work=work, block=(256, 256, 256))
plan = {
    "label": lambda: cf.label(labels, name="x", **at),
    "measure": lambda: cf.measure(labels, raw=labels, name="x", **at),
    "texture": lambda: cf.measure(labels, raw=labels, features=["glcm", "gldm", "ngtdm"], name="x", **at),
    "runs": lambda: cf.measure(labels, raw=labels, features=["glrlm", "glszm"], name="x", **at),
    "distance": lambda: cf.distance(labels, to="a", cap_nm=80, name="x", **at),
    "contacts": lambda: cf.contacts(labels, labels, to="b", gap_nm=30, name="x", **at),
    "link": lambda: cf.link(labels, name="x", **at),
    "fill": lambda: cf.refine(labels, shapes=cf.Shapes(fill_holes=True), name="x", **at),
    "smooth": lambda: cf.refine(labels, shapes=cf.Shapes(8, 16, 16), name="x", **at),
    "evaluate": lambda: cf.evaluate(labels, labels, name="x", **at),
}[what]()
before = peak_mib() * 2**20
cf.run(plan, progress=False)
print(max(r["peak_mib"] for _, r in read_rows(work)) * 2**20 - before, plan.task_bytes - PROCESS_BYTES)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> str:
    """256^3 voxels of classes in blobs: what label volumes look like, not what compresses best."""
    small = np.random.default_rng(0).random((32, 32, 32))
    classes = np.digitize(np.kron(small, np.ones((8, 8, 8))), [0.6, 0.8]).astype(np.uint8)
    path = tmp_path_factory.mktemp("large") / "seg.ome.zarr"
    write_volume(path, classes, voxel_nm=(8, 8, 8), kind="label", classes=(("a", 1), ("b", 2)))
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "what",
    ["label", "measure", "texture", "runs", "distance", "contacts", "evaluate", "link", "fill", "smooth"],
)
def test_a_task_needs_no_more_memory_than_the_plan_says(large, tmp_path, what):
    peak, estimate = peak_of(PEAK, large, str(tmp_path / "w"), what)
    assert peak <= estimate
