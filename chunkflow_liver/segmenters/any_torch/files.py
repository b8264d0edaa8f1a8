"""Networks from TorchScript files, torch.export files and state dicts."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.segmenters.any_torch.model import TorchModel
from chunkflow_liver.segmenters.any_torch.script import check_script
from chunkflow_liver.segmenters.architecture import build_network
from chunkflow_liver.segmenters.weights import (
    SAFE,
    UNREADABLE,
    check_archive,
    fill,
    first_line,
    read_saved,
    read_tensors,
)

AGAIN = "save it anew from the network that was trained"


def load_torch(model: TorchModel, device: str) -> list[Any]:
    """One network per file of weights (or the one that needs none), in eval mode on `device`.

    Raises
    ------
    SegmenterError
        If a file is not readable, or does not fit the network.
    ModelSecurityError
        If a state dict asks for code.

    Notes
    -----
    A TorchScript file holds a program of torch's operations, some of which write, map and load files; a
    torch.export file can run Python while it is loaded. Both are code: see `script.check_script`. An
    exported network is what it was when it was exported: call `.eval()` before.
    """
    if model.architecture is not None:
        return [_known(path, model.architecture, model).to(device).eval() for path in model.weights]
    if model.entry is None:
        for path in model.weights:
            _check_program(path, model)
        return [_exported(p, device) if p.suffix == ".pt2" else _scripted(p, device) for p in model.weights]
    if not model.weights:
        return [model.entry.build().to(device).eval()]
    networks = []
    for path in model.weights:
        network = model.entry.build()
        fill(network, read_weights(path), path, of=f"the network of {model.entry.name}", remedy=AGAIN)
        networks.append(network.to(device).eval())
    return networks


def _check_program(path: Path, model: TorchModel) -> None:
    """Refuse a file that is damaged, or another one than when the run was planned."""
    if not zipfile.is_zipfile(path):
        kind, by = ("TorchScript", "jit") if path.suffix == ".pt" else ("torch.export", "export")
        raise SegmenterError(f"{path} is not a readable {kind} file; write it by torch.{by}.save")
    check_archive(path)
    if path.suffix == ".pt" and not model.allow_code:
        check_script(path)


def _known(path: Path, architecture: tuple[str, Mapping[str, Any]], model: TorchModel) -> Any:
    """A network of a known architecture, with the state dict of a file."""
    name, options = architecture
    network = build_network(name, options, len(model.channels), model.heads)
    fill(network, read_weights(path), path, of=f"the network of {name}", remedy=AGAIN)
    return network


def _scripted(path: Path, device: str) -> Any:
    import torch

    with warnings.catch_warnings():
        # torch advises torch.export to those who write files; here one is read.
        warnings.filterwarnings("ignore", r".*torch\.jit\.load.*", DeprecationWarning)
        try:
            network = torch.jit.load(path, map_location=device)
        except UNREADABLE as err:
            raise SegmenterError(
                f"{path} is not a readable TorchScript file: {first_line(err)}; write it by torch.jit.save "
                "(a state dict needs 'network: module:function' beside it)"
            ) from err
    return network.eval()


def _exported(path: Path, device: str) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            # torch reads constants from bytes of its own, which nobody writes to.
            warnings.filterwarnings("ignore", "The given buffer is not writable", UserWarning)
            program = torch.export.load(path)
    except (*UNREADABLE, pickle.UnpicklingError, zipfile.BadZipFile) as err:
        raise SegmenterError(
            f"{path} is not a torch.export file that torch {torch.__version__} reads: {first_line(err)}; "
            "write it by torch.export.save with this version"
        ) from err
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    network = program.module()
    # Another engine converts the program: what it became for torch cannot be traced.
    network.exported = program
    return network


def read_weights(path: Path) -> dict[str, Any]:
    """A state dict from a file of torch.save, or of safetensors.

    Raises
    ------
    SegmenterError
        If the file is not readable, or holds something else.
    ModelSecurityError
        If it asks for code.
    """
    import torch

    if path.suffix == SAFE:
        return read_tensors(path)
    weights = read_saved(path, again=AGAIN, instead="save the network's state_dict() alone", bare=True)
    if not isinstance(weights, dict) or not all(isinstance(v, torch.Tensor) for v in weights.values()):
        found = sorted(map(str, weights))[:5] if isinstance(weights, dict) else type(weights).__name__
        raise SegmenterError(f"{path} holds {found}; wanted names and tensors, as network.state_dict() gives")
    return weights
