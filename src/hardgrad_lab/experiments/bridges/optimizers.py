"""Which optimizer moves which weights of a network with bridges."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

import hardgrad as hg


def bridges_of(model: nn.Module) -> list[hg.Bridge]:
    """Return the bridges in a model."""
    return [module for module in model.modules() if isinstance(module, hg.Bridge)]


def split(model: nn.Module, *, muon: bool) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Return the matrices that Muon moves, the network's other weights, and those of what is inside bridges."""
    imitate = [p for bridge in bridges_of(model) for p in bridge.parameters()]
    learned = {id(p) for p in imitate}
    task = [p for p in model.parameters() if id(p) not in learned]
    return [p for p in task if muon and p.ndim == 2], [p for p in task if not (muon and p.ndim == 2)], imitate


def muon_of(matrices: Sequence[nn.Parameter], lr: float) -> list[torch.optim.Optimizer]:
    """Return Muon for these, if there are any, scaled to the size of Adam's steps: one rate serves both."""
    if not matrices:
        return []
    return [torch.optim.Muon(matrices, lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")]
