"""Weights in files: read as data, never as a program, and given to a network only if they fit it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from chunkflow_liver.errors import ModelSecurityError, SegmenterError

READ_AT_ONCE = 1 << 22
SAFE = ".safetensors"
SUM = "sha256"
"""Where the checksum of all names and numbers stands; safetensors itself has none."""
UNREADABLE = (EOFError, RuntimeError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError)
"""What torch raises for a file of another kind, or a damaged one, depending on where the damage lies."""


def read_saved(
    path: Path,
    *,
    again: str,
    instead: str,
    harmless: Sequence[Any] = (),
    known: Collection[str] = (),
    bare: bool = False,
) -> Any:
    """What torch.save wrote, if that is tensors and plain values; they stay on the disk until they are used.

    Parameters
    ----------
    path : Path
    again : str
        How to come by the file anew, for messages.
    instead : str
        What to do with a file that asks for code, for messages.
    harmless : sequence
        Classes and functions that may be asked for.
    known : collection of str
        Their names, which a message does not blame.
    bare : bool
        Whether files of torch before 1.6, which are no archives, are read, too.

    Raises
    ------
    ModelSecurityError
        If the file asks for anything else. It was not run.
    SegmenterError
        If it is missing, damaged, or another file.
    """
    import torch

    if not path.is_file():
        raise SegmenterError(f"there is no checkpoint {path}")
    size = path.stat().st_size
    archive = zipfile.is_zipfile(path)
    if archive:
        check_archive(path)
    else:
        with path.open("rb") as file:
            pickled = file.read(1) == b"\x80"
        if not pickled:
            raise SegmenterError(f"{path} ({size} bytes) is not a file that torch.save wrote; {again}")
        if not bare:
            raise ModelSecurityError(
                f"{path} is a bare pickle, which is a program and not weights. It was not run; {again}"
            )
    try:
        with torch.serialization.safe_globals(list(harmless)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except pickle.UnpicklingError as err:
        raise ModelSecurityError(
            f"{path} asks for {_asked(path, known)}, which is code and not weights. It was not run; {instead}"
        ) from err
    except UNREADABLE as err:
        raise SegmenterError(
            f"{path} ({size} bytes) cannot be read by torch: {first_line(err)}; {again}"
        ) from err


def check_archive(path: Path) -> None:
    """Refuse an archive that is not as it was written, or of which two readers may see different files.

    Raises
    ------
    SegmenterError
        If a file in it does not have the checksum that the archive says, or two have one name.

    Notes
    -----
    Reads everything once. torch maps the file into memory and takes what is there: a flipped bit is a
    flipped weight.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # torch finds files whatever the case of their names.
            names = Counter(info.filename.lower() for info in archive.infolist())
            if names and (most := names.most_common(1)[0])[1] > 1:
                raise SegmenterError(f"{path} holds {most[0]!r} twice, so that it can be read in two ways")
            for info in archive.infolist():
                with archive.open(info) as file:
                    while file.read(READ_AT_ONCE):
                        pass
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as err:
        raise SegmenterError(
            f"{path} is damaged: {err}; copy it again from where it was trained (if it was written with "
            "torch.serialization.set_crc32_options(False), save it anew without that)"
        ) from err


def write_tensors(weights: Mapping[str, Any], to: Path) -> None:
    """Write tensors by name, with a checksum, under a temporary name, and rename the file into place."""
    from safetensors.torch import save_file

    # Weights that share memory are written each for itself.
    plain = {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}
    partial = to.with_name(f"{to.name}.partial")
    save_file(plain, partial, metadata={"format": "pt", SUM: _checksum(plain)})
    os.replace(partial, to)


def read_tensors(path: Path) -> dict[str, Any]:
    """Tensors of a .safetensors file by name.

    Raises
    ------
    SegmenterError
        If the file is not readable, or is not as it was written.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError as err:
        raise SegmenterError(f"{path} needs 'safetensors'; pip install 'chunkflow-liver[nnunet]'") from err
    try:
        with safe_open(path, "pt") as file:
            said = (file.metadata() or {}).get(SUM)
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as err:
        raise SegmenterError(f"{path} is not a readable file of tensors: {first_line(err)}") from err
    if said is not None and said != _checksum(found):
        raise SegmenterError(f"{path} is damaged: its numbers are not those that were written; copy it again")
    return found


def fill(network: Any, weights: Mapping[str, Any], where: Path, *, of: str, remedy: str) -> None:
    """Give a network its weights; parameters and errors as `check_fit`."""
    check_fit(network, weights, where, of=of, remedy=remedy)
    network.load_state_dict(dict(weights))


def check_fit(network: Any, weights: Mapping[str, Any], where: Path, *, of: str, remedy: str) -> None:
    """Refuse weights that are not those of a network.

    Parameters
    ----------
    network : torch.nn.Module
        Also one without memory, on the device 'meta'.
    weights : mapping of str to tensor
    where : Path
        The file they come from.
    of : str
        What the network is made of, for messages.
    remedy : str
        What to do if they do not fit.

    Raises
    ------
    SegmenterError
        If a weight is missing, unknown, no tensor, of another shape, or not finite.
    """
    import torch

    wanted = network.state_dict()
    missing, extra = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    if missing or extra:
        raise SegmenterError(
            f"{where} does not fit {of}: {len(missing)} weights are missing {missing[:3]}, {len(extra)} are "
            f"not in it {extra[:3]}; {remedy}"
        )
    odd = [name for name, value in weights.items() if not isinstance(value, torch.Tensor)]
    if odd:
        raise SegmenterError(
            f"{where}: weight {odd[0]!r} is a {type(weights[odd[0]]).__name__}, not a tensor"
        )
    differ = [
        f"{name} is {tuple(weights[name].shape)}, wanted {tuple(value.shape)}"
        for name, value in wanted.items()
        if weights[name].shape != value.shape
    ]
    if differ:
        raise SegmenterError(
            f"{where} does not fit {of}: {len(differ)} weights differ in shape: {'; '.join(differ[:3])}; "
            f"{remedy}"
        )
    for name, value in weights.items():
        if not bool(torch.isfinite(value).all()):
            raise SegmenterError(
                f"{where}: weight {name!r} is not finite, so every score would be NaN; {remedy}"
            )


def first_line(err: BaseException) -> str:
    """The first line of a message of torch, which can be pages long."""
    return (str(err).strip().splitlines() or [type(err).__name__])[0][:200]


def _asked(path: Path, known: Collection[str]) -> str:
    """What a file would have run."""
    import torch

    with contextlib.suppress(ValueError, RuntimeError, OSError, KeyError, pickle.UnpicklingError):
        names = sorted(set(torch.serialization.get_unsafe_globals_in_checkpoint(path)) - set(known))
        if names:
            return ", ".join(map(repr, names[:3]))
    return "something that is not a tensor"


def _checksum(tensors: Mapping[str, Any]) -> str:
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
