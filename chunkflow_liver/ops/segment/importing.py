"""A described network in its safe form: an architecture that is known, and weights that are numbers only."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from chunkflow_liver.errors import OutputError, SegmenterError
from chunkflow_liver.ops.segment.models import described
from chunkflow_liver.segmenters.any_torch.kind import read_torch
from chunkflow_liver.segmenters.any_torch.model import TorchModel

CODE = ("network", "arguments", "allow_code")
SAME = 1e-4
"""Largest difference of scores, as a share of their range, of two forms of one network."""


def import_described(source: str | Path, to: str | Path, *, architecture: str | Path | None = None) -> Path:
    """Write a described network as a folder of safetensors and a description that needs no `allow_code`.

    Parameters
    ----------
    source : path
        YAML description, as `configs/models/torch_model.yaml`. If its network is code, that is run here, and
        must be allowed there.
    to : path
        Folder to make; must not exist.
    architecture : path, optional
        YAML or JSON file with what nnU-Net's plans.json calls `architecture`: a network of a class that is
        known here, and its options. A description may hold it itself.

    Returns
    -------
    Path
        The new description.

    Raises
    ------
    OutputError
        If `to` exists.
    SegmenterError
        If no architecture is given, the weights do not fit it, or it gives other scores.
    """
    path, target = Path(source), Path(to)
    if target.exists():
        raise OutputError(f"{target} exists already; import the model to a new folder, or delete it first")
    content = described(path)
    known = content.get("architecture") if architecture is None else _section(described(Path(architecture)))
    if known is None:
        raise SegmenterError(
            f"{path}: a safe form needs to know the network; give --architecture FILE with 'architecture' of "
            "plans.json (network_class_name, arch_kwargs), for a class that is known here"
        )
    model = read_torch(content, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        files = _write_weights(model, known, draft)
        kept = {k: v for k, v in content.items() if k not in CODE}
        made = {"name": model.name, **kept, "weights": files, "architecture": known}
        (draft / "model.yaml").write_text(yaml.safe_dump(made, sort_keys=False), encoding="utf-8")
        os.chmod(draft, 0o755)
        os.rename(draft, target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return target / "model.yaml"


def _section(content: Mapping[str, Any]) -> Any:
    """The architecture in a file that holds it alone, or as plans.json does."""
    return content.get("architecture", content)


def _write_weights(model: TorchModel, known: Any, folder: Path) -> list[str]:
    """One file for every network of the model, each tried against the network it comes from."""
    import torch

    from chunkflow_liver.segmenters.any_torch.files import load_torch
    from chunkflow_liver.segmenters.architecture import build_network, check_architecture
    from chunkflow_liver.segmenters.weights import SAFE, fill, read_tensors, write_tensors

    name, options = check_architecture(known, model.folder)
    names = []
    shape = (1, len(model.channels), *model.window)
    values = torch.from_numpy(_noise(shape))
    for i, network in enumerate(load_torch(model, "cpu")):
        path = folder / f"weights-{i}{SAFE}"
        write_tensors(network.state_dict(), path)
        made = build_network(name, options, len(model.channels), model.heads)
        fill(
            made,
            read_tensors(path),
            model.folder,
            of=f"the architecture {name}",
            remedy="describe the one it was trained with",
        )
        with torch.inference_mode():
            wanted, found = network(values), made(values)
        reach = float(wanted.max() - wanted.min())
        if wanted.shape != found.shape or float((wanted - found).abs().max()) > SAME * max(reach, SAME):
            raise SegmenterError(
                f"{model.folder}: the weights fit {name}, but its scores are not those of the network that "
                "is imported; the options of 'architecture' differ from those it was trained with"
            )
        names.append(path.name)
    return names


def _noise(shape: tuple[int, ...]) -> Any:
    import numpy as np

    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
