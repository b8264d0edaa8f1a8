"""Our stream on OpenVINO in turns with nnUNetPredictor and with bare passes of the engine.

Part of `bench.py inference`; `BENCH_INFERENCE_PARTS=turns` runs it alone, `rest` all else.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench_inference import (
    FEATURES,
    PHANTOM_MODEL,
    Case,
    child,
    frame_of,
    load_torch,
    phantom,
    predictor_of,
    row,
    texture,
    unet,
)

import chunkflow_liver as cf
from chunkflow_liver.engine.execute import kept_memory
from chunkflow_liver.engine.journal import read_rows
from chunkflow_liver.geometry import Zyx
from chunkflow_liver.segmenters.engines import Engine
from chunkflow_liver.segmenters.nnunet.checkpoint import load_networks
from chunkflow_liver.segmenters.nnunet.folder import model_fingerprint, read_model
from chunkflow_liver.segmenters.settings import Settings
from chunkflow_liver.segmenters.streaming.forward import prepare

ROUNDS = 5
LEAST_GAIN = {"float32": 2.0, "bfloat16": 5.0}
"""How many times as fast as nnUNetPredictor each precision of OpenVINO is to be."""
NORMAL, QUARTER = (32, 128, 128), (32, 64, 64)
"""Windows of networks of normal size; the smaller one where each is mirrored 8 times in 5 rounds."""


def engines(folder: Path) -> Iterator[dict[str, Any]]:
    """Our stream on OpenVINO in turns with nnUNetPredictor and with bare passes, mirroring off and on."""
    kinds = ("PlainConvUNet", "ResidualEncoderUNet")
    for mirroring in (False, True):
        shape: Zyx = (16, 192, 128) if mirroring else (32, 256, 256)
        raw = phantom(folder / f"turns-{mirroring}", shape)
        yield from in_turns(
            Case("phantom model", PHANTOM_MODEL, raw, shape, folder / f"t{mirroring}"), mirroring
        )
        window = QUARTER if mirroring else NORMAL
        raw = texture(folder / f"turns-{mirroring}.ome.zarr", window)
        for kind in kinds:
            model = unet(folder / f"{kind}-{mirroring}", kind, window)
            name = f"random {kind} {FEATURES[0]}..{FEATURES[-1]}"
            yield from in_turns(Case(name, model, raw, window, folder / f"{kind}{mirroring}"), mirroring)


def in_turns(case: Case, mirroring: bool) -> Iterator[dict[str, Any]]:
    """One row per precision: medians of the ratios of rounds, and their spread."""
    how = {"turns": str(mirroring)}
    found = child("turns", case, "cpu", **how)
    peer = found["seconds_of"]["predictor"]
    for precision, least in LEAST_GAIN.items():
        ours, bare = found["seconds_of"][precision], found["seconds_of"].get(f"bare {precision}")
        gains = [p / o for p, o in zip(peer, ours, strict=True)]
        said = f"mirroring {'on' if mirroring else 'off'}, {found['windows']} windows, {precision}: "
        said += (
            f"nnUNetPredictor takes {spread(gains)} x our CPU; {100 * found['equal'][precision]:.3f} % equal"
        )
        more: dict[str, Any] = {
            "gain": round(statistics.median(gains), 2),
            "agreement": found["equal"][precision],
        }
        if bare is not None:
            over = [o / b for o, b in zip(found["stage"][precision][1:], bare, strict=True)]
            said += f"; our segment stage takes {spread(over)} x bare passes"
            more["overhead"] = round(statistics.median(over), 3)
        cpu = statistics.median(ours)
        kept = {
            "seconds": cpu,
            "cpu_seconds": cpu,
            "peak_mib": found["peak_mib"],
            "ok": more["gain"] >= least,
        }
        yield row("openvino", case, kept, said, **more, predictor_cpu=round(statistics.median(peer), 3))


def spread(values: list[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def turns(case: Case, device: str) -> dict[str, Any]:
    """CPU seconds of every tool in each of `ROUNDS` rounds, one after another in one process.

    Counted for nnUNetPredictor: preprocessing, sliding window and export of an array in memory. For ours: all
    of `cf.run` from OME-Zarr to OME-Zarr, statistics and pyramid included. For neither: loading and
    converting networks, and the trial that `engine: auto` makes once.
    """
    load_torch()
    mirroring = os.environ["BENCH_TURNS"] == "True"
    model = read_model(case.model)
    predict = predictor_of(case, device, mirroring)
    windows = math.prod(map(len, frame_of(model, case.shape).starts))
    passes = windows * (2 ** len(model.mirror_axes) if mirroring else 1)
    labels: dict[str, Any] = {}
    stages: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}

    def ours(precision: str, number: int) -> Any:
        plan = cf.segment(
            cf.open_volume(str(case.raw)),
            model=case.model,
            name="cells",
            work=case.folder / f"{precision}-{number}",
            engine="openvino",
            precision=precision,
            mirroring=mirroring,
        )
        cf.run(plan, progress=False)
        stages.setdefault(precision, []).append(
            sum(r["cpu"] for stage, r in read_rows(plan.work) if stage == "cells/segment")
        )
        return plan.output.read()

    def bare(forward: Any) -> None:
        with kept_memory():
            for _ in range(passes):
                forward(inputs)

    fingerprint = model_fingerprint(model)
    inputs = torch.randn((1, len(model.channels), *model.window))
    tools: dict[str, Callable[[int], Any]] = {"predictor": lambda _: predict()}
    for precision in LEAST_GAIN:
        made = prepare(
            load_networks(model, "cpu"), model, Settings(), Engine("openvino", precision), fingerprint
        )
        tools[precision] = partial(ours, precision)
        tools[f"bare {precision}"] = lambda _, made=made: bare(made)
    for number in range(-1, ROUNDS):
        for tool, call in tools.items():
            start = time.process_time()
            labels[tool] = call(number)
            if number >= 0:
                seconds.setdefault(tool, []).append(time.process_time() - start)
    equal = {p: float((labels[p] == labels["predictor"]).mean()) for p in LEAST_GAIN}
    return {"seconds_of": seconds, "stage": stages, "windows": windows, "equal": equal}
