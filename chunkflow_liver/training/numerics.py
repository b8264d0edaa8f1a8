"""Arithmetic that is safe for training on this machine, found out in a process of its own."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any, cast

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.segmenters.engines.engine import has_bfloat16
from chunkflow_liver.segmenters.engines.layers import swap_norms
from chunkflow_liver.training.losses import Loss
from chunkflow_liver.training.narrow import narrow_convolutions
from chunkflow_liver.training.networks import network_of
from chunkflow_liver.training.recipe import Recipe

log = logging.getLogger(__name__)

STEPS = 3
PATIENCE_SECONDS = 600
MOST_DIFFERENT = 0.02
"""Largest difference of a layer's gradient from that in float32, as a share of it; rounding is below 0.007,
and faults of a kernel were above 0.06."""
WORTH = 0.9
"""Share of float32's CPU time that a narrower format must stay below to be worth its rounding."""


def mixed(precision: str, device: str) -> AbstractContextManager[Any]:
    """torch's autocast to a precision on a GPU; on a CPU the network's convolutions are narrow themselves."""
    import torch

    if precision == "float32" or device == "cpu":
        return nullcontext()
    made = torch.autocast(torch.device(device).type, getattr(torch, precision))
    return cast(AbstractContextManager[Any], made)


def prepare(network: Any, precision: str, device: str) -> None:
    """Make a network compute as fast as this device can in some precision; its weights keep their names."""
    if device == "cpu":
        swap_norms(network)
        if precision == "bfloat16":
            narrow_convolutions(network)


def chosen_precision(recipe: Recipe, architecture: Mapping[str, Any] | None) -> str:
    """The precision to train in.

    float32 is what everything is compared with. On a CPU with instructions for bfloat16, convolutions in it
    are tried in a process of its own: whose end by a signal is a no, and so is a gradient of any layer that
    is not that in float32, or hardly any time that is saved.

    Raises
    ------
    ConfigError
        If a precision was asked for that is not safe here.
    """
    if recipe.precision == "float32":
        return "float32"
    if recipe.device != "cpu":
        import torch

        if torch.cuda.is_bf16_supported():
            return "bfloat16"
        if recipe.precision == "bfloat16":
            raise ConfigError(f"{recipe.device} cannot compute in bfloat16; take precision: float32")
        return "float32"
    if recipe.precision == "auto" and not has_bfloat16():
        return "float32"
    reason = _objection(recipe, try_out(recipe, architecture))
    if reason is None:
        return "bfloat16"
    if recipe.precision == "bfloat16":
        raise ConfigError(
            f"bfloat16 is not safe for training on this machine: {reason} (a trial of {STEPS} steps in a "
            "process of its own); take precision: float32, or auto"
        )
    log.info("bfloat16 is not taken: %s", reason)
    return "float32"


def _objection(recipe: Recipe, found: Mapping[str, Any] | str) -> str | None:
    """What speaks against bfloat16."""
    if isinstance(found, str):
        return found
    if not found["worst"] <= MOST_DIFFERENT:
        return (
            f"the gradient of layer {found['layer']!r} differs by {found['worst']:.0%} from that in float32"
        )
    narrow, plain = found["bfloat16"], found["float32"]
    if recipe.precision == "auto" and narrow > WORTH * plain:
        return f"it takes {narrow / plain:.2f} times as long as float32"
    return None


def try_out(recipe: Recipe, architecture: Mapping[str, Any] | None) -> dict[str, Any] | str:
    """What `trial` gives in a process of its own, or how that failed."""
    given = json.dumps({"recipe": asdict(recipe), "architecture": architecture})
    try:
        done = subprocess.run(
            [sys.executable, "-m", "chunkflow_liver.training.numerics"],
            input=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it did not end within {PATIENCE_SECONDS} s"
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing was said"])[-1][:200]
        how = f"ended by signal {-done.returncode}" if done.returncode < 0 else "failed"
        return f"the process {how}: {said}"
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def trial(given: Mapping[str, Any]) -> dict[str, Any]:
    """CPU seconds of a step on random windows in both precisions, and the layer that differs most."""
    import torch

    settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given["recipe"].items()}
    recipe = Recipe(**settings)
    torch.set_num_threads(recipe.threads)
    networks = {}
    for precision in ("float32", "bfloat16"):
        networks[precision] = network_of(recipe, given["architecture"])
        prepare(networks[precision], precision, "cpu")
    layer, worst = worst_layer(networks["float32"], recipe)
    found: dict[str, Any] = {"layer": layer, "worst": worst}
    for precision, network in networks.items():
        times = []
        for _ in range(STEPS):
            start = time.process_time()
            _step(network, recipe)
            times.append(time.process_time() - start)
        found[precision] = min(times[1:])
    return found


def _step(network: Any, recipe: Recipe) -> None:
    """Forward and backward pass on a random batch."""
    import torch

    generator = torch.Generator().manual_seed(recipe.seed)
    images = torch.randn((recipe.batch, len(recipe.channels), *recipe.window), generator=generator)
    network.zero_grad(set_to_none=True)
    loss = Loss.of(replace(recipe, balance=False, edges=0.0), [1] * recipe.heads)
    loss(network(images), (images[:, 0] > 0.5).long()).backward()


def worst_layer(network: Any, recipe: Recipe) -> tuple[str, float]:
    """The convolution whose gradients differ most between bfloat16 and float32, and by what share.

    Layer by layer with the inputs that it has in float32: rounding adds up over a whole network, so that a
    wrong kernel could not be told from a right one by the end.
    """
    import torch

    seen: dict[str, tuple[Any, Any, Any]] = {}

    def keep(name: str) -> Any:
        def hook(part: Any, inputs: Any, output: Any) -> None:
            output.retain_grad()
            seen[name] = (part, inputs[0].detach(), output)

        return hook

    kinds = (torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)
    layers = {id(p): (n, p) for n, p in network.named_modules() if isinstance(p, kinds)}
    hooks = [part.register_forward_hook(keep(name)) for name, part in layers.values()]
    _step(network, recipe)
    for hook in hooks:
        hook.remove()
    worst = ("", 0.0)
    for name, (part, x, output) in seen.items():
        if output.grad is None:
            continue
        wanted: list[Any] = []
        found: list[Any] = []
        for narrow, into in ((False, wanted), (True, found)):
            copy = deepcopy(part)
            copy.zero_grad(set_to_none=True)
            if narrow:
                narrow_convolutions(copy)
            given = x.clone().requires_grad_()
            made = copy(given)
            made.backward(output.grad.to(made.dtype))
            # Gradients of biases are no measure: before a normalisation they are zero but for rounding.
            into += [made.detach().float(), given.grad, copy.weight.grad]
        for a, b in zip(found, wanted, strict=True):
            share = float((a.float() - b).norm() / b.norm().clamp(min=1e-12))
            if not share <= worst[1]:
                worst = (name, share)
    return worst


if __name__ == "__main__":
    sys.stdout.write(json.dumps(trial(json.loads(sys.stdin.read()))) + "\n")
