"""The stages that choose what computes a segmentation's networks, and what they keep of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Fold, Map, Records, Result, Stage
from chunkflow_liver.geometry import Block, BlockGrid, Box
from chunkflow_liver.ops.segment.seeing import seeing
from chunkflow_liver.ops.steps.place import PathLike, arrays_at
from chunkflow_liver.segmenters import Network
from chunkflow_liver.segmenters.engines import Engine, candidates, is_open, settled
from chunkflow_liver.segmenters.settings import Settings
from chunkflow_liver.segmenters.threads import torch_threads
from chunkflow_liver.store.table import Arrays, Columns

ARTEFACT = "engine"
"""Name of the choice among the artefacts of a segmentation."""


def trial_stages(
    name: str, work: PathLike, of: Map, how: Settings
) -> tuple[tuple[Stage, ...], dict[str, Arrays]]:
    """A stage of one task that tries engines, one that keeps the choice, and where; none if nothing is open.

    Parameters
    ----------
    name, work
        Of the segmentation.
    of : Map
        Its stage, whose inputs, artefacts, parameters and memory the trial has too.
    how : Settings
    """
    # Not by the candidates: those are of the machine that tries, which need not be the one that plans.
    if not is_open(how):
        return (), {}
    kept = arrays_at(work, name, ARTEFACT)
    one = BlockGrid(Box.of((1, 1, 1)), (1, 1, 1))
    wanted = {k: of.params[k] for k in ("network", "seen", "keys")}
    known = {k: v for k, v in (of.identity or {}).items() if k != "region"}
    trial = Map(
        f"{name}/trial",
        _trial,
        one,
        of.inputs,
        params=wanted,
        identity=known,
        artefacts=of.artefacts,
        resident=of.resident,
        streams=True,
        library="torch",
    )
    return (trial, Fold(f"{name}/engine", _kept, trial.name, kept)), {ARTEFACT: kept}


def engine_note(how: Settings, kept: Mapping[str, Arrays]) -> str:
    """What a plan says of the engine: what a run here chose, or among what it will."""
    if not kept:
        return f"engine: {settled(how)}"
    if kept[ARTEFACT].exists():
        return "engine: " + "; ".join(map(str, kept[ARTEFACT]["said"]))
    tried = ", ".join(map(str, candidates(how)))
    return (
        f"engine: chosen by a trial on this volume as the run begins, among {tried}, or what another machine "
        "has that makes it"
    )


def chosen(kept: Arrays) -> list[Engine]:
    """The engine of every source."""
    return [Engine(**found) for found in json.loads(str(kept["engines"]))]


def _trial(
    block: Block,
    *inputs: Any,
    network: Network,
    seen: Sequence[tuple[Any, ...]],
    keys: Sequence[str],
    **artefacts: Arrays,
) -> Iterator[Result]:
    reads, found = seeing(network, seen, keys, artefacts)
    with torch_threads(1, network.settings.device):
        trials = network.trials(reads, found)
    text = json.dumps([trial.plain() for trial in trials])
    yield Result(record={"trials": np.array(text), "said": np.array([str(trial) for trial in trials])})


def _kept(records: Records) -> Columns:
    (_, record) = next(iter(records))
    trials: Sequence[Mapping[str, Any]] = json.loads(str(record["trials"]))
    engines = json.dumps([trial["engine"] for trial in trials])
    return {"engines": np.array(engines), "trials": record["trials"], "said": record["said"]}
