"""One training by several processes, each of which takes its share of every batch: one per GPU.

The windows of a step, the loss and its gradient are those of one process with the whole batch, but for the
order in which floats are added; statistics of batch normalisation are over the windows of each process.
`torch.nn.parallel.DistributedDataParallel` brings gradients together [1]_.

References
----------
.. [1] Li et al., PyTorch Distributed: Experiences on Accelerating Data Parallel Training, VLDB 2020,
   doi:10.14778/3415478.3415530
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Group:
    """A process among those that train one network.

    Attributes
    ----------
    rank : int
        Its number; 0 writes checkpoints and tells how far it is.
    size : int
        How many there are; alone, all that follows does nothing.
    """

    rank: int = 0
    size: int = 1

    def total(self, values: Any) -> Any:
        """Sum of a tensor over all processes; its gradient goes to the own part."""
        return values if self.size == 1 else _summed(values)

    def largest(self, values: Any) -> Any:
        """Maximum of a tensor over all processes, without a gradient."""
        if self.size > 1:
            from torch import distributed

            values = values.detach().clone()
            distributed.all_reduce(values, distributed.ReduceOp.MAX)
        return values

    def first(self, value: Any) -> Any:
        """What process 0 has."""
        if self.size == 1:
            return value
        from torch import distributed

        told = [value]
        distributed.broadcast_object_list(told, 0)
        return told[0]

    def wrapped(self, network: Any) -> Any:
        """A network whose gradients are, after a backward pass, means over all processes."""
        if self.size == 1:
            return network
        from torch.nn.parallel import DistributedDataParallel

        # The coarsest level of deep supervision has no share in the loss.
        return DistributedDataParallel(network, find_unused_parameters=True)


ALONE = Group()


def _summed(values: Any) -> Any:
    import torch
    from torch import distributed

    class Sum(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, own: Any) -> Any:
            found = own.clone()
            distributed.all_reduce(found)
            return found

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            return gradients[0]

    return Sum.apply(values)
