"""Which optimizer moves which weights of a network with bridges."""

from __future__ import annotations

import torch
from torch import nn

import hardgrad as hg

Weights = list[nn.Parameter]


def split(model: nn.Module, *, muon: bool) -> tuple[Weights, Weights, Weights]:
    """Return the matrices that Muon moves, the network's other weights, and those that are inside bridges."""
    imitate = [p for each in model.modules() if isinstance(each, hg.Bridge) for p in each.parameters()]
    task = [p for p in model.parameters() if all(p is not other for other in imitate)]
    return [p for p in task if muon and p.ndim == 2], [p for p in task if not (muon and p.ndim == 2)], imitate


def muon_of(matrices: Weights, lr: float, momentum: float = 0.95) -> list[torch.optim.Optimizer]:
    """Return Muon for these, if there are any, scaled to the size of Adam's steps: one rate serves both."""
    if not matrices:
        return []
    return [torch.optim.Muon(matrices, lr=lr, weight_decay=0.0, momentum=momentum, adjust_lr_fn="match_rms_adamw")]
