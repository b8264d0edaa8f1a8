"""CUDA devices, as the library that a stage computes with sees them: CuPy or torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from chunkflow_liver.errors import ClusterError, MemoryBudgetError, install

if TYPE_CHECKING:
    from distributed import Client

    from chunkflow_liver.engine.plan import Plan

Library = Literal["cupy", "torch"]


def cuda_devices(library: Library) -> tuple[int, ...]:
    """Bytes of memory of every CUDA device that `library` can use in this process."""
    return _COUNTED[library]()


def gpu_count() -> int:
    """CUDA devices of this machine that CuPy or torch can use."""
    return max(len(count()) for count in _COUNTED.values())


def _of_cupy() -> tuple[int, ...]:
    try:
        import cupy

        count = int(cupy.cuda.runtime.getDeviceCount())
        return tuple(int(cupy.cuda.runtime.getDeviceProperties(n)["totalGlobalMem"]) for n in range(count))
    except (ImportError, RuntimeError):  # no package; no driver, no device
        return ()


def _of_torch() -> tuple[int, ...]:
    try:
        import torch
    except ImportError:
        return ()
    if not torch.cuda.is_available():
        return ()
    numbers = range(torch.cuda.device_count())
    return tuple(int(torch.cuda.get_device_properties(n).total_memory) for n in numbers)


_COUNTED: Mapping[Library, Callable[[], tuple[int, ...]]] = {"cupy": _of_cupy, "torch": _of_torch}


def check_devices(plan: Plan, client: Client | None = None) -> None:
    """Refuse a plan whose CUDA device the workers (or this process) do not have, or that is too small.

    Raises
    ------
    ClusterError
        If the library of a stage finds no such device.
    MemoryBudgetError
        If a stage needs more memory than the smallest of them has.
    """
    stages = [stage for stage in plan.maps if stage.device.startswith("cuda")]
    have: dict[Library, Mapping[str, tuple[int, ...]]] = {}
    for library in {stage.library for stage in stages}:
        here = {"this machine": cuda_devices(library)} if client is None else None
        have[library] = here or client.run(cuda_devices, library)  # type: ignore[union-attr]
    for stage in stages:
        number = int(stage.device.partition(":")[2] or 0)
        places = have[stage.library]
        without = [str(name) for name, devices in places.items() if len(devices) <= number]
        if without or not places:
            raise ClusterError(
                f"stage {stage.name!r} needs a CUDA device ({stage.device!r}), and "
                f"{without[0] if without else 'the cluster'} has none that {stage.library} can use; "
                f"{install(stage.library)} where it is missing, choose device 'cpu', or run with --cluster "
                "cuda where there is one"
            )
        smallest, place = min((devices[number], str(name)) for name, devices in places.items())
        if stage.device_bytes > smallest:
            raise MemoryBudgetError(
                f"stage {stage.name!r} needs {stage.device_bytes / 2**30:.2f} GiB of device memory for "
                f"blocks of {stage.grid.block}, but {stage.device} of {place} has {smallest / 2**30:.2f} "
                "GiB; try a smaller block or batch, a GPU with more memory, or device 'cpu'"
            )
