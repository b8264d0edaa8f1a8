"""Networks from TorchScript files, torch.export files and state dicts."""

from __future__ import annotations

import contextlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chunkflow_liver.errors import ModelSecurityError, SegmenterError
from chunkflow_liver.segmenters.any_torch.model import TorchModel
from chunkflow_liver.segmenters.any_torch.script import check_script
from chunkflow_liver.segmenters.any_torch.tensors import SAFE, read_tensors
from chunkflow_liver.segmenters.architecture import build_network
from chunkflow_liver.segmenters.archives import check_archive

# What torch raises for a file of another kind, or a damaged one, depending on where the damage lies.
_UNREADABLE = (EOFError, RuntimeError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError)


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
        fill(network, path, model.entry.name)
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
    fill(network, path, name)
    return network


def _scripted(path: Path, device: str) -> Any:
    import torch

    with warnings.catch_warnings():
        # torch advises torch.export to those who write files; here one is read.
        warnings.filterwarnings("ignore", r".*torch\.jit\.load.*", DeprecationWarning)
        try:
            network = torch.jit.load(path, map_location=device)
        except _UNREADABLE as err:
            raise SegmenterError(
                f"{path} is not a readable TorchScript file: {_first(err)}; write it by torch.jit.save (a "
                "state dict needs 'network: module:function' beside it)"
            ) from err
    return network.eval()


def _exported(path: Path, device: str) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            # torch reads constants from bytes of its own, which nobody writes to.
            warnings.filterwarnings("ignore", "The given buffer is not writable", UserWarning)
            program = torch.export.load(path)
    except (*_UNREADABLE, pickle.UnpicklingError, zipfile.BadZipFile) as err:
        raise SegmenterError(
            f"{path} is not a torch.export file that torch {torch.__version__} reads: {_first(err)}; write "
            "it by torch.export.save with this version"
        ) from err
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    return program.module()


def fill(network: Any, path: Path, of: str) -> None:
    """Give a network the state dict of a file.

    Raises
    ------
    SegmenterError
        If the file is not readable, does not fit the network `of`, or holds numbers that are not finite.
    ModelSecurityError
        If it asks for code.
    """
    import torch

    weights = read_tensors(path) if path.suffix == SAFE else _state_dict(path)
    try:
        network.load_state_dict(weights)
    except RuntimeError as err:
        raise SegmenterError(f"{path} does not fit the network of {of}: {err}") from err
    broken = [name for name, value in weights.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise SegmenterError(f"{path}: weight {broken[0]!r} is not finite, so every score would be NaN")


def _state_dict(path: Path) -> dict[str, Any]:
    """What torch.save wrote of a network's weights."""
    import torch

    if zipfile.is_zipfile(path):
        check_archive(path)
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as err:
        if not _is_pickled(path):
            raise SegmenterError(f"{path} is not a file that torch.save wrote") from err
        raise ModelSecurityError(
            f"{path} asks for {_asked(path)}, which is code and not weights. It was not run; save the "
            "network's state_dict() alone"
        ) from err
    except _UNREADABLE as err:
        raise SegmenterError(f"{path} is not a readable state dict: {_first(err)}") from err
    if not isinstance(weights, dict) or not all(isinstance(v, torch.Tensor) for v in weights.values()):
        found = sorted(map(str, weights))[:5] if isinstance(weights, dict) else type(weights).__name__
        raise SegmenterError(f"{path} holds {found}; wanted names and tensors, as network.state_dict() gives")
    return weights


def _is_pickled(path: Path) -> bool:
    with path.open("rb") as file:
        return zipfile.is_zipfile(path) or file.read(1) == b"\x80"


def _asked(path: Path) -> str:
    """What a file would have run."""
    import torch

    with contextlib.suppress(ValueError, RuntimeError, OSError, KeyError, pickle.UnpicklingError):
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
        if names:
            return ", ".join(map(repr, names[:3]))
    return "something that is not a tensor"


def _first(err: BaseException) -> str:
    """The first line of a message of torch, which can be pages long."""
    return (str(err).strip().splitlines() or [type(err).__name__])[0][:200]
