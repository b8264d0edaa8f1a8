"""A plan for CUDA devices is refused where they are missing or too small."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from payload import plan_of

from chunkflow_liver.engine.devices import check_devices, cuda_devices, gpu_count
from chunkflow_liver.engine.run import run
from chunkflow_liver.errors import ClusterError, MemoryBudgetError

GIB = 1 << 30


@pytest.fixture
def on_device(store, tmp_path):
    """A plan whose map runs on a device and needs 10 GiB there."""

    def make(device):
        plan = plan_of(store, tmp_path / "w")
        return replace(plan, stages=(replace(plan.maps[0], device=device, device_bytes=10 * GIB),))

    return make


def having(monkeypatch, *sizes):
    monkeypatch.setattr(sys.modules["chunkflow_liver.engine.devices"], "cuda_devices", lambda _: sizes)


def cluster_of(**devices):
    return SimpleNamespace(run=lambda _, library: devices)


def test_a_device_that_is_large_enough_is_accepted(on_device, monkeypatch):
    having(monkeypatch, 10 * GIB)
    check_devices(on_device("cuda"))
    check_devices(on_device("cuda:0"))
    check_devices(on_device("cuda:0"), cluster_of(a=(10 * GIB,), b=(80 * GIB,)))
    check_devices(on_device("cpu"), cluster_of(a=()))


def test_a_device_that_is_too_small_is_refused_before_anything_is_written(on_device, monkeypatch, tmp_path):
    having(monkeypatch, 8 * GIB)
    says = (
        "stage 'out/add' needs 10.00 GiB of device memory for blocks of (16, 16, 16), but cuda of this "
        "machine has 8.00 GiB; try a smaller block or batch, a GPU with more memory, or device 'cpu'"
    )
    with pytest.raises(MemoryBudgetError, match=re.escape(says)):
        run(on_device("cuda"), progress=False)
    assert not (tmp_path / "w").exists()


def test_the_smallest_device_of_a_cluster_counts(on_device):
    with pytest.raises(MemoryBudgetError, match=r"but cuda of b has 6\.00 GiB"):
        check_devices(on_device("cuda"), cluster_of(a=(80 * GIB,), b=(6 * GIB,)))


def test_only_the_device_that_is_used_counts(on_device, monkeypatch):
    having(monkeypatch, 4 * GIB, 80 * GIB)
    check_devices(on_device("cuda:1"))
    with pytest.raises(MemoryBudgetError, match=r"cuda:0 of this machine has 4\.00 GiB"):
        check_devices(on_device("cuda:0"))
    with pytest.raises(ClusterError, match=r"\('cuda:2'\), and this machine has none that cupy can use"):
        check_devices(on_device("cuda:2"))


def test_a_cluster_without_workers_has_no_device(on_device):
    with pytest.raises(ClusterError, match=r"\('cuda'\), and the cluster has none that cupy can use"):
        check_devices(on_device("cuda"), cluster_of())


def test_devices_are_told_by_their_memory(monkeypatch):
    torch = pytest.importorskip("torch")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    sizes = [SimpleNamespace(total_memory=5), SimpleNamespace(total_memory=7)]
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda n: sizes[n])
    assert cuda_devices("torch") == (5, 7)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cuda_devices("torch") == ()


def test_a_stage_asks_the_library_that_it_computes_with(on_device, monkeypatch):
    """With CuPy and without torch, distances run on the GPU and a network does not."""
    cupy = SimpleNamespace(
        cuda=SimpleNamespace(
            runtime=SimpleNamespace(
                getDeviceCount=lambda: 1, getDeviceProperties=lambda _: {"totalGlobalMem": 80 * GIB}
            )
        )
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "torch", None)
    plan = on_device("cuda")
    check_devices(plan)
    network = replace(plan, stages=(replace(plan.maps[0], library="torch"),))
    says = "none that torch can use; pip install 'chunkflow-liver[nnunet]'"
    with pytest.raises(ClusterError, match=re.escape(says)):
        check_devices(network)
    assert gpu_count() == 1
