"""One track alone: a network that nothing in it learns from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hardgrad.two_track.lends import must_lend


def frozen(module: nn.Module, x: Tensor) -> Any:
    """Return ``module(x)`` with a gradient into ``x`` alone, and no buffer of the module's changed."""
    state = {name: p.detach() for name, p in module.named_parameters()}
    state |= {name: b.clone() for name, b in module.named_buffers()}
    output = torch.func.functional_call(module, state, (x,))
    must_lend(module, x, output)
    return output
