"""What several test files share: the real data, an empty folder's listing, a small volume."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from places import DATA

from chunkflow_liver.store.create import write_volume
from chunkflow_liver.store.location import open_store
from chunkflow_liver.store.volume import Volume

# A check of a commit must not depend on luck; people who run the tests by hand look for new examples.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("new", deadline=None)
settings.load_profile("same" if os.environ.get("CI") else "new")

VOXEL_NM = (4.0, 8.0, 16.0)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What is kept for later runs on this machine lies in a folder of these tests, for workers too."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHUNKFLOW_LIVER_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def fresh_log() -> None:
    """A command sets the log of its process up; what comes after it finds the log as a library leaves it.

    So do libraries: setuptools sets the level of the root, Alembic's template switches all loggers off.
    """
    logging.disable(logging.NOTSET)
    logging.getLogger().setLevel(logging.WARNING)
    for name, known in logging.root.manager.loggerDict.items():
        if name.startswith("chunkflow_liver") and isinstance(known, logging.Logger):
            known.disabled = False
    log = logging.getLogger("chunkflow_liver")
    log.handlers, log.propagate = [], True
    log.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def em_data() -> Path:
    """Folder of real EM volumes; absent in a plain checkout."""
    if not DATA.is_dir():
        pytest.skip(f"the EM data are not at {DATA}")
    return DATA


@pytest.fixture
def listing(tmp_path: Path) -> Callable[[], list[str]]:
    """Lists every file and folder under the test's own folder."""
    return lambda: sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*"))


@pytest.fixture
def unchanged(listing: Callable[[], list[str]]) -> Iterator[None]:
    """Fails a test that leaves other files behind than it found."""
    before = listing()
    yield
    assert listing() == before


@pytest.fixture
def voxels() -> np.ndarray[Any, Any]:
    """Random voxels of a shape that no block size divides, uint16."""
    return np.random.default_rng(3).integers(1, 60000, (37, 45, 50), dtype=np.uint16)


@pytest.fixture
def store(tmp_path: Path, voxels: np.ndarray[Any, Any]) -> Volume:
    """An OME-Zarr 0.5 image in chunks of 16 voxels, anisotropic: (4, 8, 16) nm."""
    return write_volume(tmp_path / "raw.ome.zarr", voxels, voxel_nm=VOXEL_NM, chunks=(16, 16, 16))


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers on this machine are reached directly."""
    for name in [n for n in os.environ if n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def count(tmp_path: Path) -> Path:
    """Folder in which the calls of `payload.add` are counted, for the work folder 'w'."""
    return tmp_path / "w-out-calls"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An S3 server on this machine with one empty bucket, found through the environment."""
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("moto")
    from moto.server import ThreadedMotoServer

    kept = dict(os.environ)
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    for name in [n for n in os.environ if n.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ |= {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    open_store.cache_clear()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port)
    server.start()
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="em-data")
    yield "s3://em-data"
    server.stop()
    open_store.cache_clear()
    os.environ.clear()
    os.environ.update(kept)
