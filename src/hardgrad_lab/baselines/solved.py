"""Rivals without training: least squares on the training rows. A network that loses to one of these learned nothing."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["constant", "best-gain", "linear"]


class Solved(nn.Module):
    """Least squares on a design that a row's key and inputs give.

    Args:
        kind: "constant" is the mean of the targets, "best-gain" the key times one number, "linear" all columns of x
            and a constant.
        in_features: columns of x.
        out_features: columns of y.

    Shape:
        x: (B, in_features), key: (B,). Returns (B, out_features).

    Example:
        >>> import torch
        >>> model = Solved("best-gain", 1, 1)
        >>> key = torch.tensor([1.0, 2.0])
        >>> model.solve(key[:, None], key, torch.tensor([[3.0], [6.0]]))
        >>> round(float(model(torch.tensor([[4.0]]), torch.tensor([4.0]))), 4)
        12.0
    """

    weight: Tensor

    def __init__(self, kind: Kind, in_features: int, out_features: int) -> None:
        super().__init__()
        self.kind: Kind = kind
        rows = {"constant": 1, "best-gain": 1, "linear": in_features + 1}[kind]
        self.register_buffer("weight", torch.zeros(rows, out_features))

    def forward(self, x: Tensor, key: Tensor) -> Tensor:
        return self._design(x, key) @ self.weight

    def solve(self, x: Tensor, key: Tensor, y: Tensor) -> None:
        """Find the weights that give the least squared error on these rows.

        Args:
            x: (B, in_features).
            key: (B,).
            y: (B, out_features).
        """
        design = self._design(x, key).double().cpu()
        # gelsd copes with columns that depend on each other, such as a window over a constant signal.
        found = torch.linalg.lstsq(design, y.double().cpu(), driver="gelsd").solution
        self.weight.copy_(found)

    def _design(self, x: Tensor, key: Tensor) -> Tensor:
        match self.kind:
            case "constant":
                return torch.ones_like(x[:, :1])
            case "best-gain":
                return key.to(x.dtype).unsqueeze(1)
            case "linear":
                return torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
