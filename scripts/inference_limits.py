"""What one core gives: bare products, convolutions and whole networks, in GFLOP per CPU second.

Part of `bench.py inference`; `BENCH_INFERENCE_PARTS=limits` runs it alone.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from bench_inference import FEATURES, load_networks, read_model, unet

from chunkflow_liver.segmenters.engines.openvino import converted

TIMES = 5
SIDE = 2048
LAYERS = ((32, (32, 128, 128)), (128, (8, 32, 32)), (320, (4, 8, 8)))
"""Channels and voxels of layers of a network of normal size."""
WINDOW = (32, 128, 128)


def limits(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of bare kernels, then of networks, whose operations are those of their convolutions."""
    torch.set_num_threads(1)
    with torch.inference_mode():
        square = torch.randn(SIDE, SIDE)
        narrow = square.bfloat16()
        for name, given in (("float32", square), ("bfloat16", narrow)):
            case = f"product of {SIDE} x {SIDE}, {name}"
            yield rate("torch", case, 2 * SIDE**3, lambda given=given: given @ given)
        for channels, shape in LAYERS:
            layer = torch.nn.Conv3d(channels, channels, 3, padding=1, bias=False).eval()
            given = torch.randn(1, channels, *shape)
            for precision in ("float32", "bfloat16"):
                case = f"convolution of {channels} channels, {'x'.join(map(str, shape))}, {precision}"
                made = converted(layer, tuple(given.shape), precision, "")
                work = 2 * 27 * channels**2 * math.prod(shape)
                yield rate("openvino", case, work, lambda made=made, given=given: made(given))
        for kind in ("PlainConvUNet", "ResidualEncoderUNet"):
            (network,) = load_networks(read_model(unet(folder / kind, kind, WINDOW)), "cpu")
            given = torch.randn(1, 1, *WINDOW)
            work = operations(network, given)
            case = f"random {kind} {FEATURES[0]}..{FEATURES[-1]}, {'x'.join(map(str, WINDOW))}"
            yield rate("torch", f"{case}, float32", work, lambda n=network, given=given: n(given))
            for precision in ("float32", "bfloat16"):
                made = converted(network, tuple(given.shape), precision, "")
                yield rate(
                    "openvino", f"{case}, {precision}", work, lambda made=made, given=given: made(given)
                )


def rate(tool: str, case: str, work: float, call: Callable[[], Any]) -> dict[str, Any]:
    """The median of several calls after one that is not counted."""
    call()
    times = []
    for _ in range(TIMES):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    seconds = statistics.median(times)
    spread = [round(work / 1e9 / t, 1) for t in (max(times), min(times))]
    return {
        "name": "inference", "tool": tool, "case": case, "cpu_seconds": round(seconds, 4),
        "value": round(work / 1e9 / seconds, 1), "unit": "GFLOP/CPU s", "spread": spread, "ok": True,
    }  # fmt: skip


def operations(network: Any, given: Any) -> float:
    """Multiplications and additions of all convolutions of one pass."""
    found: list[float] = []

    def count(layer: Any, inputs: Any, output: Any) -> None:
        transposed = isinstance(layer, torch.nn.ConvTranspose3d)
        places = inputs[0] if transposed else output
        pairs = layer.in_channels * layer.out_channels * math.prod(layer.kernel_size)
        found.append(2.0 * pairs * math.prod(places.shape[2:]))

    kinds = (torch.nn.Conv3d, torch.nn.ConvTranspose3d)
    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, kinds)]
    network(given)
    for hook in hooks:
        hook.remove()
    return sum(found)
