"""A torch network as an OpenVINO one: converted in memory, run on one thread."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from chunkflow_liver.errors import SegmenterError, install
from chunkflow_liver.segmenters.engines import cache

NAMES = {"float32": "f32", "bfloat16": "bf16"}
"""OpenVINO's names of precisions."""
OTHERWISE = "take engine: torch"
REFUSALS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a network raises that cannot be traced, beside the refusals of OpenVINO."""


@dataclass
class Converted:
    """A compiled network: inputs to scores, like the torch module that it was.

    What a call returns is overwritten by the next one.
    """

    request: Any

    def __call__(self, inputs: Any) -> Any:
        import torch

        given = np.ascontiguousarray(inputs.numpy())
        found = self.request.infer([given], share_inputs=True, share_outputs=True)
        outputs = [torch.from_numpy(found[i]) for i in range(len(found))]
        return outputs[0] if len(outputs) == 1 else outputs


def converted(network: Any, shape: Sequence[int], precision: str, name: str) -> Converted:
    """A network for inputs of one shape; the conversion is kept under `name` for the next process.

    Parameters
    ----------
    network : torch.nn.Module
        In eval mode on the CPU.
    shape : sequence of int
        Of the inputs, the batch included.
    precision : {"float32", "bfloat16"}
    name : str
        Of the weights, such as their fingerprint; "" keeps nothing.

    Raises
    ------
    SegmenterError
        If OpenVINO is not installed, cannot convert the network, or does not compute in that precision here.

    Notes
    -----
    One thread, because a worker is one; not tied to a core, because each of several workers on a machine
    would be tied to the first.
    """
    openvino = silent()
    if precision not in NAMES:
        raise SegmenterError(f"OpenVINO does not run in {precision} here; take one of {sorted(NAMES)}")
    core = openvino.Core()
    found = _kept(core, name, shape) if name else None
    if found is None:
        found = _convert(network, shape)
        if name:
            _keep(found, name, shape)
    how = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": NAMES[precision],
    }
    try:
        compiled = core.compile_model(found, "CPU", how)
        runs = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    except RuntimeError as err:
        raise SegmenterError(f"OpenVINO cannot compile the network: {_first(err)}; {OTHERWISE}") from err
    if runs != NAMES[precision]:
        raise SegmenterError(
            f"OpenVINO computes in {runs} where {precision} was asked for: this processor has no "
            "instructions for it; take precision: float32"
        )
    return Converted(compiled.create_infer_request())


def silent() -> Any:
    """The package `openvino`, which does not report to its makers.

    By itself it does so while it is imported and for every conversion, through a package of its own, unless
    a file in the home folder says no. That package is hidden from it; it has a stub for where it is absent.

    Raises
    ------
    SegmenterError
        If it is not installed.
    """
    hidden = "openvino_telemetry" not in sys.modules
    if hidden:
        sys.modules["openvino_telemetry"] = cast(Any, None)
    try:
        import openvino
        import openvino.tools.ovc
    except ModuleNotFoundError as err:
        raise SegmenterError(f"engine 'openvino' needs {err.name!r}; {install('openvino')}") from err
    finally:
        if hidden:
            del sys.modules["openvino_telemetry"]
    return openvino


def _convert(network: Any, shape: Sequence[int]) -> Any:
    import torch

    openvino, given = silent(), torch.zeros(tuple(shape))
    from openvino import frontend
    from openvino.tools.ovc.error import Error

    # Its own refusals have no class in common below Exception.
    failures = (Error, *(v for k, v in vars(frontend).items() if k.endswith("Failure")))
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            # torch warns of numbers that a trace keeps; the result is compared with the network's.
            warnings.simplefilter("ignore")
            program = getattr(network, "exported", None)
            if isinstance(program, torch.export.ExportedProgram):
                return openvino.convert_model(program, input=[list(shape)])
            return openvino.convert_model(network, example_input=given, input=[list(shape)])
    except (*REFUSALS, *failures) as err:
        raise SegmenterError(
            f"OpenVINO cannot convert the network: {type(err).__name__}: {_first(err)}; {OTHERWISE}"
        ) from err


def _path(name: str, shape: Sequence[int]) -> Any:
    return cache.folder() / f"network-{cache.key(name, list(shape))}.xml"


def _kept(core: Any, name: str, shape: Sequence[int]) -> Any:
    """What an earlier process converted; None if there is nothing that can be read."""
    path = _path(name, shape)
    if not path.is_file():
        return None
    try:
        return core.read_model(path)
    except RuntimeError:
        return None


def _keep(found: Any, name: str, shape: Sequence[int]) -> None:
    """Under a name of this process first, so that no other reads half of it."""
    path = _path(name, shape)
    partial = path.with_suffix(f".{os.getpid()}.xml")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        silent().save_model(found, partial, compress_to_fp16=False)
        # The weights first: a description without them is not read.
        os.replace(partial.with_suffix(".bin"), path.with_suffix(".bin"))
        os.replace(partial, path)
    except (OSError, RuntimeError):
        return
    cache.forget_old("network-*.xml")


def _first(err: BaseException) -> str:
    return (str(err).strip().splitlines() or ["nothing was said"])[0][:300]
