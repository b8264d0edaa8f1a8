"""Masks carried by SAM2: seconds an object-slice beside the package's own video predictor, and memory.

Weights are small and random: what is measured is how slices, objects and memories are handled. The package
is needed for its row: `uv run --with 'sam2 @ git+https://github.com/facebookresearch/sam2' scripts/bench.py
propagation`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import chunkflow_liver as cf
from chunkflow_liver.ops.propagate.carrying import Carrier, Way
from chunkflow_liver.ops.propagate.files import Folder
from chunkflow_liver.ops.propagate.placing import Placing
from chunkflow_liver.ops.propagate.reading import Greys, Slices
from chunkflow_liver.ops.propagate.subjects import Subject
from chunkflow_liver.segmenters.sam2 import (
    Found,
    Hint,
    Propagator,
    Track,
    backend_of,
    read_sam2,
    sam2_fingerprint,
)
from chunkflow_liver.segmenters.weights import write_tensors

OBJECTS, SLICES = 8, 40
SIZES = (64, 128, 256)
LONG, MANY, TINY = 1000, 64, 32
"""Slices, objects and pixels of a window of the row on memory."""
FROM = 50
"""Slice from which memory must not grow."""
MOST_GROWTH = 1.05
TURNS = 5
"""Of which the first warms up."""
SAME = 0.999
"""Least share of equal pixels of masks."""


def config(size: int) -> dict[str, Any]:
    """SAM 2.1 with few and narrow layers, and its own decoder."""
    return {
        "model_type": "sam2_video",
        "image_size": size,
        "vision_config": {
            "model_type": "sam2_vision_model",
            "backbone_channel_list": [128, 64, 32, 16],
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 16,
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [16, 32, 64, 128],
                "num_attention_heads_per_stage": [1, 2, 4, 8],
                "global_attention_blocks": [3],
            },
        },
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 64,
        "mask_decoder_config": {},
        "prompt_encoder_config": {},
    }


def model_of(folder: Path, size: int) -> Any:
    """A folder of random weights that always see the object."""
    import torch
    from transformers import Sam2VideoConfig, Sam2VideoModel

    from chunkflow_liver.segmenters.sam2.tracker import sized

    torch.manual_seed(0)
    network = Sam2VideoModel(Sam2VideoConfig.from_dict(sized(config(size), size)))
    with torch.no_grad():
        for name, value in network.named_parameters():
            if not value.any():
                value.normal_(0, 0.05)
            if name == "mask_decoder.pred_obj_score_head.proj_out.bias":
                value.fill_(10.0)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config(size)))
    write_tensors(dict(network.state_dict()), folder / "model.safetensors")
    return read_sam2(folder)


def stack(count: int, size: int) -> np.ndarray[Any, Any]:
    """Grey values that change slowly."""
    walk = np.random.default_rng(3).normal(0, 12, (count, size, size)).astype(np.float32).cumsum(0)
    return np.clip(walk + 128, 0, 255).astype(np.uint8)


def discs(size: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:size, :size]
    centres = rng.uniform(0.25 * size, 0.75 * size, (OBJECTS, 2))
    return [(y - cy) ** 2 + (x - cx) ** 2 < (size / 6) ** 2 for cy, cx in centres]


def ours(of: Propagator, planes: Any, masks: list[Any]) -> np.ndarray[Any, Any]:
    """Masks of all objects on all slices, each slice encoded once for all."""
    tracks = [of.track(len(planes)) for _ in masks]
    seen = of.encode(planes[0])
    found = [[t.start(0, seen, Hint(mask=m)).logits > 0 for t, m in zip(tracks, masks, strict=True)]]
    for z in range(1, len(planes)):
        seen = of.encode(planes[z])
        found.append([f.logits > 0 for f in of.step(tracks, [seen] * len(tracks), z)])
    return np.array(found)


def peer(model: Any, planes: Any, masks: list[Any]) -> np.ndarray[Any, Any]:
    """The same by the package's own video predictor."""
    import sam2.sam2_video_predictor as module
    import torch

    from chunkflow_liver.segmenters.sam2.package import build_package
    from chunkflow_liver.segmenters.sam2.tracker import coloured

    predictor = build_package(model)
    # The predictor adds methods and these settings to the network, and no weights.
    predictor.__class__ = module.SAM2VideoPredictor
    predictor.fill_hole_area = 0
    predictor.non_overlap_masks = predictor.clear_non_cond_mem_around_input = False
    predictor.add_all_frames_to_correct_as_cond = False
    video = torch.cat([coloured(plane, "cpu") for plane in planes])
    loads, module.load_video_frames = module.load_video_frames, lambda **_: (video, *video.shape[2:])
    try:
        state = predictor.init_state("unused")
    finally:
        module.load_video_frames = loads
    for i, mask in enumerate(masks):
        predictor.add_new_mask(state, 0, i, mask)
    found = np.zeros((len(planes), len(masks), *(n // 4 for n in planes.shape[1:])), bool)
    for z, _, _ in predictor.propagate_in_video(state):
        for i in range(len(masks)):
            outputs = state["output_dict_per_obj"][i]
            kept = outputs["cond_frame_outputs"].get(z) or outputs["non_cond_frame_outputs"][z]
            found[z, i] = kept["pred_masks"][0, 0].numpy() > 0
    return found


def speed(folder: Path, size: int) -> Iterator[dict[str, Any]]:
    """CPU time of an object-slice, in turns; beside the package its multiple, and how equal masks are."""
    model = model_of(folder / f"model-{size}", size)
    planes, masks = stack(SLICES, size), discs(size)
    fingerprint = sam2_fingerprint(model)
    tools: dict[str, Any] = {}
    if find_spec("sam2") is not None:
        tools["package sam2"] = lambda: peer(model, planes, masks)
        backend = backend_of("sam2")
        tools["ours, sam2"] = lambda: ours(backend.load(model, fingerprint, "cpu"), planes, masks)
    tools["ours"] = lambda: ours(backend_of("transformers").load(model, fingerprint, "cpu"), planes, masks)
    spent: dict[str, list[float]] = {tool: [] for tool in tools}
    found = {}
    for _ in range(TURNS):
        for tool, run in tools.items():
            begun = time.process_time()
            found[tool] = run()
            spent[tool].append(time.process_time() - begun)
    case = f"{OBJECTS} objects, {SLICES} slices, windows of {size}"
    for tool, seconds in spent.items():
        used = float(np.median(seconds[1:]))
        each = 1000 * used / (OBJECTS * SLICES)
        row = {"name": "propagation", "tool": tool, "case": case, "voxels": planes.size, "cpu_seconds": used}
        yield row | {"value": each, "unit": "CPU ms/object-slice", "ok": True}
    for tool in list(tools)[1:]:
        ratios = np.array(spent["package sam2"][1:]) / spent[tool][1:]
        same = float((found[tool] == found["package sam2"]).mean())
        yield {
            "name": "propagation",
            "tool": tool,
            "case": f"{case}: speed, package is 1; {ratios.min():.2f}-{ratios.max():.2f}; {same:.3%} equal",
            "value": float(np.median(ratios)),
            "unit": "1",
            "ok": same > SAME,
        }


@dataclass(frozen=True)
class Watched:
    """A propagator that notes the memory of the process whenever it encodes a slice."""

    of: Propagator
    seen: list[float] = field(default_factory=list)

    @property
    def size(self) -> int:
        return self.of.size

    def encode(self, plane: Any) -> Any:
        self.seen.append(psutil.Process().memory_info().rss / 2**20)
        return self.of.encode(plane)

    @property
    def places(self) -> int:
        return self.of.places

    def track(self, slices: int, state: Mapping[str, Any] | None = None) -> Track:
        return self.of.track(slices, state)

    def step(self, tracks: Any, seen: Any, z: int, *, reverse: bool = False) -> list[Found]:
        return self.of.step(tracks, seen, z, reverse=reverse)


def memory(
    folder: Path, slices: int = LONG, objects: int = MANY, size: int = TINY
) -> Iterator[dict[str, Any]]:
    """Resident memory of one group of objects in one window, slice by slice."""
    model = model_of(folder / "tiny", size)
    volume = cf.write_volume(
        folder / "long.ome.zarr", stack(slices, size), voxel_nm=(40.0, 8.0, 8.0), chunks=(16, size, size)
    )
    watched = Watched(backend_of("transformers").load(model, sam2_fingerprint(model), "cpu"))
    carrier = Carrier(
        watched,
        Slices([(volume, 1)], Greys(), 16, 2),
        Placing((size, size), size),
        None,
        slices,
        32,
        slices,
    )
    box = (0.25 * size, 0.25 * size, 0.75 * size, 0.75 * size)
    window = carrier.placing.around(box)
    ways = [
        Way(i, Subject(i + 1, 0, 0, slices - 1, "forward", box, (), None, window)) for i in range(objects)
    ]
    start, cpu = time.perf_counter(), time.process_time()
    carrier.carry(ways, Folder(folder / "tracks"), "bench")
    used, seconds = time.process_time() - cpu, time.perf_counter() - start
    # Every slice is encoded at least once, in order.
    at = [watched.seen[round(i * len(watched.seen) / slices)] for i in range(slices)]
    growth = max(at[FROM:]) / at[FROM]
    yield {
        "name": "propagation",
        "tool": "ours",
        "case": f"{objects} objects, {slices} slices, windows of {size}: memory",
        "voxels": slices * size * size,
        "seconds": seconds,
        "cpu_seconds": used,
        "peak_mib": max(at),
        "value": growth,
        "unit": f"times that of slice {FROM}",
        "ok": growth <= MOST_GROWTH,
    }


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """Speed at two sizes of windows, and memory over many slices."""
    import torch

    torch.set_num_threads(1)
    for size in SIZES:
        yield from speed(folder, size)
    yield from memory(folder)
