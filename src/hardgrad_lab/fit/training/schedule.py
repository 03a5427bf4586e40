"""The optimizer, its learning rate, and when learned points may move."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hardgrad_lab.fit.training.task import Recipe

WARM_UP = 0.03  # share of the steps over which the learning rate rises
# Learned points wait until the branches know something, move far at first and little at last, and then rest.
WAITS, RESTS, WIDE, NARROW = 0.15, 0.6, 0.5, 0.05


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Return the learning rate of a step: a linear rise, then half a cosine down to zero."""
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return peak * (step + 1) / rise
    return peak * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2


class RiseAndFall(torch.optim.lr_scheduler.LRScheduler):
    """Gives each step its ``learning_rate``.

    Args:
        optimizer: that takes the steps.
        steps: of the whole training.
        peak: of the learning rate.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, steps: int, peak: float) -> None:
        self.steps, self.peak = steps, peak
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """Return the learning rate of the next step, for each group of parameters."""
        rate = learning_rate(self.last_epoch, self.steps, self.peak)
        return [rate for _ in self.optimizer.param_groups]


def window_of(share: float) -> float | None:
    """Return how far learned points may move when this share of the steps is done, None where they rest."""
    if not WAITS <= share < RESTS:
        return None
    return WIDE * math.pow(NARROW / WIDE, (share - WAITS) / (RESTS - WAITS))


def optimizer_of(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimizer that a recipe names."""
    # Learned points are placed, not descended to: they have no gradient, and no optimizer moves what has none.
    parameters = list(model.parameters())
    match recipe.optimizer:
        case "adam":
            return torch.optim.Adam(parameters, lr=recipe.lr, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=recipe.lr, fused=True)
        case "sgd":
            return torch.optim.SGD(parameters, lr=recipe.lr, momentum=0.9)
        case _:
            return torch.optim.RMSprop(parameters, lr=recipe.lr)
