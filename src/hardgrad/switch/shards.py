"""Weights in shards: what torch does with gradients of branches that some processes have and others have not."""

from __future__ import annotations

import torch
from torch import nn

from hardgrad._torch_state import in_shards


def refuse_shards(layer: nn.Module) -> None:
    """Hold a layer of branches against ``fully_shard``, which adds up the gradients that there are in their order.

    Raises:
        RuntimeError: if a gradient is recorded and torch keeps weights of this layer in shards.
    """
    if torch.is_grad_enabled() and in_shards(layer):
        name = type(layer).__name__.removeprefix("FSDP")
        raise RuntimeError(
            f"{name}: fully_shard adds up the gradients that each process has, in their order, and processes that "
            "visit different branches have different ones: a branch would get another's gradient. Leave this layer's "
            "weights whole, fully_shard(model, ignored_params=set(layer.parameters())), and average their gradients "
            "over the processes yourself; under no_grad it runs as it is"
        )
