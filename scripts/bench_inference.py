"""nnU-Net: our stream beside bare forward passes and nnUNetPredictor, on one machine, volume and weights."""

from __future__ import annotations

import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench_engine import cpu_now
from bench_memory import watched

import chunkflow_liver as cf
from chunkflow_liver.engine.execute import kept_memory
from chunkflow_liver.engine.journal import read_rows
from chunkflow_liver.geometry import Box, Zyx, zyx
from chunkflow_liver.segmenters.nnunet.checkpoint import load_networks
from chunkflow_liver.segmenters.nnunet.folder import read_model
from chunkflow_liver.segmenters.nnunet.model import NnunetModel
from chunkflow_liver.segmenters.streaming.windows import Frame, Placement

WORKERS = 2
MOST_RATIO = 1.10
MOST_GROWTH = 1.10
LEAST_AGREEMENT = 0.995
FEATURES = (32, 64, 128, 256, 320)
PHANTOM_MODEL = Path(cf.__file__).parent / "models" / "phantom"


@dataclass(frozen=True)
class Case:
    """A trained folder, a volume, and where the tools leave their labels and times."""

    name: str
    model: Path
    raw: Path
    shape: Zyx
    folder: Path

    @property
    def voxels(self) -> int:
        return math.prod(self.shape)


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """What a core gives; the engines in turns; of two networks the tools side by side; memory along z."""
    parts = os.environ.get("BENCH_INFERENCE_PARTS", "limits,turns,rest").split(",")
    if "limits" in parts:
        from inference_limits import limits

        yield from limits(folder)
    if "turns" in parts:
        from inference_turns import engines

        yield from engines(folder)
    if "rest" in parts:
        yield from tools(folder)


def tools(folder: Path) -> Iterator[dict[str, Any]]:
    """Torch in float32 beside its bare passes and nnUNetPredictor, then memory along z."""
    sides = json.loads(os.environ.get("BENCH_INFERENCE_SHAPES", "[[96, 256, 256], [192, 128, 128]]"))
    trained, realistic = (tuple(side) for side in sides)
    cases = [
        Case("phantom model", PHANTOM_MODEL, phantom(folder / "phantom", trained), trained, folder / "p"),
        Case(
            f"random PlainConvUNet {FEATURES[0]}..{FEATURES[-1]}",
            unet(folder / "unet"),
            texture(folder / "texture.ome.zarr", realistic),
            realistic,
            folder / "u",
        ),
    ]
    for case in cases:
        yield from side_by_side(case, "cpu")
    yield from along_z(folder, trained)
    import torch

    if torch.cuda.is_available():
        for case in cases:
            on_device = Case(
                f"{case.name}, cuda", case.model, case.raw, case.shape, folder / "cuda" / case.name
            )
            yield from side_by_side(on_device, "cuda")
    else:
        said = {"case": "on a GPU", "unit": "not measured: no CUDA device", "ok": True}
        yield {"name": "inference", "tool": "chunkflow_liver", **said}


def side_by_side(case: Case, device: str) -> Iterator[dict[str, Any]]:
    """One row per tool; labels of nnUNetPredictor and ours are compared."""
    found = {tool: child(tool, case, device) for tool in TOOLS}
    ours = found["stream"]
    for tool, base, how in (
        ("stream", "bare", "1 process"),
        ("workers", "bare_workers", f"{WORKERS} workers"),
    ):
        part, least = found[tool], found[base]
        windows = least["windows"]
        yield row("bare network", case, least, f"{how}, {windows} forward passes")
        ratio, extra = part["segment_cpu"] / least["cpu_seconds"], part["windows"] / windows
        said = f"{how}, segment stage: {ratio:.3f} x bare CPU, {extra:.3f} x its windows"
        # What the network itself costs is counted per window: workers see some windows twice.
        fits = device != "cpu" or ratio <= MOST_RATIO * extra
        stage = {**part, "seconds": part["segment_seconds"], "cpu_seconds": part["segment_cpu"]}
        yield row("chunkflow_liver", case, stage, said, ratio=round(ratio, 4), ok=part["ok"] and fits)
        yield row("chunkflow_liver", case, part, f"{how}, with statistics and pyramid")
    same = agreement(case, "predictor", "stream")
    between = agreement(case, "workers", "stream")
    peer = found["predictor"]
    slower = [peer[key] / ours[key] for key in ("seconds", "cpu_seconds")]
    said = f"{100 * same:.3f} % of our labels; {slower[0]:.2f} x our time, {slower[1]:.2f} x our CPU"
    ok = same >= LEAST_AGREEMENT and between == 1.0 and peer["ok"]
    yield row(peer["tool"], case, peer, said, agreement=same, ok=ok)


def along_z(folder: Path, shape: Zyx) -> Iterator[dict[str, Any]]:
    """Peak memory of our stream for volumes one, two and four times as deep."""
    peaks: list[float] = []
    for times in (1, 2, 4):
        deep = (shape[0] * times, *shape[1:])
        raw = texture(folder / f"deep-{times}.ome.zarr", deep, (40.0, 16.0, 16.0))
        case = Case("phantom model", PHANTOM_MODEL, raw, deep, folder / f"z{times}")
        found = child("stream", case, "cpu")
        peaks.append(found["peak_mib"])
        ok = found["ok"] and peaks[-1] <= MOST_GROWTH * peaks[0]
        said = f"memory of {times} x z: {peaks[-1] / peaks[0]:.3f} x"
        yield row("chunkflow_liver", case, found, said, ok=ok)


def row(tool: str, case: Case, found: dict[str, Any], said: str, **more: Any) -> dict[str, Any]:
    """One row of the table; voxels per second are its value."""
    kept = {key: round(found[key], 3) for key in ("seconds", "cpu_seconds", "peak_mib")}
    shape = "x".join(map(str, case.shape))
    return {
        "name": "inference",
        "tool": tool,
        "case": f"{case.name}, {shape}: {said}",
        "voxels": case.voxels,
        **kept,
        **({"device_mib": found["device_mib"]} if "device_mib" in found else {}),
        "value": round(case.voxels / 1e6 / found["seconds"], 5),
        "unit": "Mvoxel/s",
        "ok": found["ok"],
        **more,
    }


def child(tool: str, case: Case, device: str, **more: str) -> dict[str, Any]:
    """Run a tool in a process of its own; its seconds, CPU seconds, and the peak of its process tree."""
    case.folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(Path(__file__).resolve()), tool, case.name, str(case.model), str(case.raw)]
    os.environ.update({f"BENCH_{key.upper()}": value for key, value in more.items()})
    seen = watched([*command, json.dumps(case.shape), str(case.folder), device], None)
    answer = case.folder / f"{tool}.json"
    if not (seen["ok"] and answer.is_file()):
        raise RuntimeError(f"{tool} failed on {case.name}; its message stands above")
    return {**seen, **json.loads(answer.read_text())}


def agreement(case: Case, one: str, other: str) -> float:
    """Share of voxels with the same label."""
    labels = [np.load(case.folder / f"{tool}.npy") for tool in (one, other)]
    return float((labels[0] == labels[1]).mean())


def frame_of(model: NnunetModel, shape: Zyx) -> Frame:
    return Frame.of(zyx([shape[axis] for axis in model.transpose_forward]), model.window, 0.5)


def bare(case: Case, device: str) -> dict[str, Any]:
    """Nothing but forward passes: as many as there are windows in the whole volume."""
    windows = math.prod(map(len, frame_of(read_model(case.model), case.shape).starts))
    load_torch()
    return forwards(case.model, windows, device) | {"windows": windows}


def bare_workers(case: Case, device: str) -> dict[str, Any]:
    """The same forward passes shared by workers: cores that share caches and clocks are slower together."""
    windows = math.prod(map(len, frame_of(read_model(case.model), case.shape).starts))
    shares = [windows // WORKERS + (i < windows % WORKERS) for i in range(WORKERS)]
    with cf.cluster(workers=WORKERS, memory_gib=3) as client:
        client.wait_for_workers(WORKERS)
        client.run(load_torch)
        names = list(client.scheduler_info(n_workers=-1)["workers"])
        jobs = [
            client.submit(forwards, case.model, share, device, workers=[name], pure=False)
            for share, name in zip(shares, names, strict=True)
        ]
        found = client.gather(jobs)
    return {
        "seconds": max(part["seconds"] for part in found),
        "cpu_seconds": sum(part["cpu_seconds"] for part in found),
        "windows": windows,
    }


def forwards(folder: Path, windows: int, device: str) -> dict[str, Any]:
    """So many forward passes in this process, after one that is not counted."""
    import torch

    torch.set_num_threads(1)
    model = read_model(folder)
    (network,) = load_networks(model, device)
    inputs = torch.zeros((1, len(model.channels), *model.window), device=device).normal_()
    mixed = torch.autocast("cuda", torch.float16, enabled=device != "cpu")
    # As our runs do: without it, page faults make the bare passes slower than the stream.
    with torch.inference_mode(), mixed, kept_memory():
        network(inputs)
        wait(device)
        cpu, start = cpu_now(), time.perf_counter()
        for _ in range(windows):
            network(inputs)
        wait(device)
    return times(cpu, start, device)


def stream(case: Case, device: str, workers: int = 0) -> dict[str, Any]:
    """`cf.segment` and `cf.run`, in this process or on workers that have been started before."""
    model = read_model(case.model)
    raw = cf.open_volume(str(case.raw))
    # Workers need a block each: halves along z, where a cut costs least.
    half = -(-case.shape[0] // 2 // 16) * 16
    block = (half, *(-(-n // 16) * 16 for n in case.shape[1:])) if workers else None
    name = "workers" if workers else "stream"
    plan = cf.segment(
        raw,
        model=case.model,
        name="cells",
        work=case.folder / f"work-{name}",
        block=block,
        device=device,
        engine="torch",
        precision="auto" if device != "cpu" else "float32",
        mirroring=False,
    )
    if workers:
        with cf.cluster(workers=workers, memory_gib=3) as client:
            client.wait_for_workers(workers)
            client.run(load_torch)
            cpu, start = cpu_now(), time.perf_counter()
            cf.run(plan, client, progress=False)
            found = times(cpu, start, "cpu")
    else:
        load_torch()
        cpu, start = cpu_now(), time.perf_counter()
        cf.run(plan, progress=False)
        found = times(cpu, start, device)
    np.save(case.folder / f"{name}.npy", plan.output.read())
    rows = [r for stage, r in read_rows(plan.work) if stage == "cells/segment"]
    grid = next(stage.grid for stage in plan.maps if stage.name == "cells/segment")
    frame = frame_of(model, case.shape)
    place = Placement(Box.of(case.shape), zyx(list(model.transpose_forward)))
    boxes = [place.from_stored(block.write).shift(frame.content.start) for block in grid]
    return found | {
        "segment_cpu": sum(r["cpu"] for r in rows),
        "segment_seconds": sum(r["seconds"] for r in rows) / max(1, workers),
        "windows": sum(windows_of(frame, box) for box in boxes),
    }


def windows_of(frame: Frame, inside: Box) -> int:
    """Windows that one block needs."""
    meeting = (frame.meeting(axis, inside.start[axis], inside.stop[axis]) for axis in range(3))
    return math.prod(map(len, meeting))


def workers(case: Case, device: str) -> dict[str, Any]:
    """Our stream on two workers."""
    return stream(case, device, WORKERS)


def predictor_of(case: Case, device: str, mirroring: bool) -> Callable[[], Any]:
    """nnU-Net's own predictor, loaded: the volume in memory, preprocessing, sliding window and export."""
    os.environ["nnUNet_def_n_proc"] = "1"  # noqa: SIM112
    warnings.simplefilter("ignore")
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(1)
    model = read_model(case.model)
    made = nnUNetPredictor(
        use_mirroring=mirroring,
        perform_everything_on_device=device != "cpu",
        device=torch.device(device),
        allow_tqdm=False,
    )
    made.initialize_from_trained_model_folder(str(model.folder), model.folds, model.checkpoint)

    def predict() -> Any:
        voxels = cf.open_volume(str(case.raw)).read()[None]
        return made.predict_single_npy_array(voxels, {"spacing": list(model.spacing)})

    return predict


def predictor(case: Case, device: str) -> dict[str, Any]:
    """One prediction by it."""
    predict = predictor_of(case, device, mirroring=False)
    cpu, start = cpu_now(), time.perf_counter()
    labels = predict()
    found = times(cpu, start, device)
    np.save(case.folder / "predictor.npy", labels)
    from importlib.metadata import version

    return found | {"tool": f"nnunetv2 {version('nnunetv2')}"}


def load_torch() -> None:
    """What every process needs once, however large the volume."""
    import dynamic_network_architectures  # noqa: F401
    import torch

    torch.set_num_threads(1)


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device != "cpu":
        import torch

        torch.cuda.synchronize()


def times(cpu: float, start: float, device: str) -> dict[str, Any]:
    found = {"seconds": time.perf_counter() - start, "cpu_seconds": cpu_now() - cpu}
    if device != "cpu":
        import torch

        found["device_mib"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return found


def phantom(folder: Path, shape: Zyx) -> Path:
    """A generated EM volume of the kind that the phantom model was trained on."""
    plan = cf.phantom(shape=shape, voxel_nm=(40.0, 16.0, 16.0), seed=7, work=folder)
    cf.run(plan, progress=False)
    return folder / "raw.ome.zarr"


def texture(path: Path, shape: Zyx, voxel_nm: tuple[float, float, float] = (8.0, 8.0, 8.0)) -> Path:
    """Smooth noise, uint8, written slab by slab of the same noise."""
    from scipy.ndimage import gaussian_filter

    depth = min(64, shape[0])
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(depth, *shape[1:])), 2)
    slab = (110 + 400 * noise).clip(1, 255).astype(np.uint8)
    voxels = np.concatenate([slab] * -(-shape[0] // depth))[: shape[0]]
    cf.write_volume(path, voxels, voxel_nm=voxel_nm, chunks=(16, 64, 64))
    return path


def unet(folder: Path, network: str = "PlainConvUNet", window: Zyx = (64, 64, 64)) -> Path:
    """A folder with random weights of nnU-Net's usual width and depth."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/support"))
    from model_folders import write_model_folder

    return write_model_folder(
        folder,
        window=window,
        spacing=(8.0, 8.0, 8.0),
        mirror=(0, 1, 2),
        features=FEATURES,
        network=network,
        blocks=(2,) * len(FEATURES) if network == "PlainConvUNet" else (1, 3, 4, 6, 6),
    )


TOOLS: dict[str, Callable[[Case, str], dict[str, Any]]] = {
    "bare": bare,
    "stream": stream,
    "bare_workers": bare_workers,
    "workers": workers,
    "predictor": predictor,
}


def main() -> None:
    """Child process: one tool on one case."""
    tool, name, model, raw, shape, folder, device = sys.argv[1:]
    z, y, x = json.loads(shape)
    case = Case(name, Path(model), Path(raw), (z, y, x), Path(folder))
    if tool == "turns":
        from inference_turns import turns as work
    else:
        work = TOOLS[tool]
    (case.folder / f"{tool}.json").write_text(json.dumps(work(case, device)))


if __name__ == "__main__":
    main()
