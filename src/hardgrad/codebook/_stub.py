"""A stub until moving.py is there."""

# mypy: ignore-errors
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def first_codes(heads: int, codes: int, width: int, start: Any) -> Tensor:
    if isinstance(start, Tensor):
        return start.detach().clone().reshape(codes, heads, width).transpose(0, 1) if start.ndim == 2 else start.clone()
    return torch.randn(heads, codes, width)


class Statistics(nn.Module):
    def __init__(
        self, heads: int, codes: int, width: int, *, learn: Any, start: Any, revive: Any, decay: float
    ) -> None:
        super().__init__()
        self.learn, self.decay = learn, decay
        self.started = start != "kmeans" if isinstance(start, str) else True
        self.register_buffer("counts", torch.ones(heads, codes))
        self.register_buffer("sums", torch.zeros(heads, codes, width))
        self.pending = False

    def before(self, weight: Tensor, rows: Tensor, keep: Tensor | None) -> None:
        with torch.no_grad():
            if not self.started:
                few = rows[:, torch.linspace(0, rows.shape[1] - 1, weight.shape[1]).long()]
                weight.copy_(few)
                self.started = True
                self.sums.copy_(weight)
            if self.learn == "ema" and self.pending:
                weight.copy_(self.sums / self.counts.clamp(min=1e-5).unsqueeze(-1))

    def after(self, rows: Tensor, index: Tensor, keep: Tensor | None) -> None:
        with torch.no_grad():
            index = index.clamp(min=0)
            counts = torch.zeros_like(self.counts).scatter_add_(
                1, index, torch.ones_like(index, dtype=self.counts.dtype)
            )
            sums = torch.zeros_like(self.sums).scatter_add_(
                1, index.unsqueeze(-1).expand_as(rows), rows.to(self.sums.dtype)
            )
            self.counts.lerp_(counts, 1 - self.decay)
            self.sums.lerp_(sums, 1 - self.decay)
            self.pending = True

    def usage(self) -> Any:
        return self.counts
