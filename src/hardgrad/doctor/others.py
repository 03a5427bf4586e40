"""Copies of a batch other than one: what is done to them, to see whether that one feels it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Others:
    """What is done to all copies but one.

    Args:
        copies: how many there are.
        kept: which one nothing is done to.
        move: added to x, zero at the copy that is kept, shape ``(copies, *x.shape)``.
        factor: that values and gradients are multiplied by.
        shift: that values are then moved by.
    """

    copies: int
    kept: int
    move: Tensor
    factor: float
    shift: float

    def alter(self, values: Callable[[Tensor], Tensor], batch_dims: int) -> Callable[[Tensor], Tensor]:
        """Return an objective that is another one at the other copies."""

        def altered(b: Tensor) -> Tensor:
            given = values(b)
            place = given.ndim - max(batch_dims, 1)
            if place < 0 or given.shape[place] % self.copies:
                return given
            apart = given.unflatten(place, (self.copies, -1))
            kept = self._kept(given.device).view(-1, *(1,) * (apart.ndim - place - 1))
            return torch.where(kept, apart, apart * self.factor + self.shift).flatten(place, place + 1)

        return altered

    def weigh(self, loss: Tensor) -> Tensor:
        """Return a number for each row, in order of the copies, with those of the other copies scaled."""
        apart = loss.reshape(self.copies, -1)
        return torch.where(self._kept(loss.device).unsqueeze(1), apart, apart * self.factor)

    def _kept(self, device: torch.device) -> Tensor:
        return torch.arange(self.copies, device=device) == self.kept
