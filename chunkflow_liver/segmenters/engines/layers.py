"""A torch network made ready for how a processor likes its layers; names of weights stay."""

from __future__ import annotations

from typing import Any


def swap_norms(network: Any) -> None:
    """Let group normalisation do the work of instance normalisation, which copies more on a CPU.

    The sums are the same, and so are the names of the weights. torch's instance normalisation leaves
    channels_last and comes back in every layer; group normalisation of as many groups as channels does not.
    """
    from torch import nn

    made: dict[int, Any] = {}
    kinds = (nn.InstanceNorm2d, nn.InstanceNorm3d)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kinds) and child.affine and not child.track_running_stats:
                if id(child) not in made:
                    swapped = nn.GroupNorm(child.num_features, child.num_features, eps=child.eps)
                    swapped.weight, swapped.bias = child.weight, child.bias
                    # The old one is held too, so that no other gets its address.
                    made[id(child)] = (swapped, child)
                setattr(parent, name, made[id(child)][0])


def memory_format(is_2d: bool) -> Any:
    """torch's name of channels last for images or volumes."""
    import torch

    return torch.channels_last if is_2d else torch.channels_last_3d


def channels_last(network: Any, precision: str, device: str, *, is_2d: bool) -> Any:
    """`network` with channels last; on a CPU also without instance normalisation, and narrow in its weights.

    On a GPU autocast chooses what is narrow, and cuDNN's instance normalisation keeps the layout.
    """
    import torch

    network = network.to(memory_format=memory_format(is_2d))
    if device == "cpu":
        swap_norms(network)
        if precision == "bfloat16":
            network = network.to(torch.bfloat16)
    return network
