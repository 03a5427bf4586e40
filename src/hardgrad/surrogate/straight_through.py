"""Straight-through: the hard function's value, the gradient of the identity or of a soft twin."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hardgrad.graft import graft


class StraightThrough(nn.Module):
    """The layer that ``straight_through`` returns."""

    def __init__(self, hard: Callable[[Tensor], Tensor], soft: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self.hard = hard
        self.soft = soft

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return self.hard(x)
        with torch.no_grad():
            value = self.hard(x.detach())
        path = x if self.soft is None else self.soft(x)
        if path.shape != value.shape:
            twin = "the identity" if self.soft is None else "soft"
            raise ValueError(
                f"straight_through: {twin} must return the hard function's shape, got {tuple(path.shape)} and hard "
                f"{tuple(value.shape)}; give a soft twin of that shape, or use hardgrad.Bridge, which learns one"
            )
        return graft(value, path)


def straight_through(
    hard: Callable[[Tensor], Tensor], soft: Callable[[Tensor], Tensor] | None = None
) -> StraightThrough:
    r"""Return a layer with the value of ``hard`` and the gradient of ``soft``.

    .. math:: y = h(x), \qquad \frac{\partial L}{\partial x} = J_s(x)^\top \frac{\partial L}{\partial y}

    With no twin the gradient is copied as if the function were the identity. A twin may be a surrogate derivative for
    one step (``hardgrad.surrogate.twins``) or the soft version of a whole program: the hard rule runs forward as a
    whole, the soft rule backward as a whole, which bends less than a straight-through in each of its steps.
    In ``eval()`` and under ``no_grad`` the twin does not run.

    Args:
        hard: any callable ``Tensor -> Tensor``.
        soft: a differentiable callable of the same input and output shapes, or None for the identity. If it is an
            ``nn.Module``, the task trains its weights.

    Returns:
        An ``nn.Module``.

    Raises:
        ValueError: in the forward pass, if the twin's output shape differs from the hard function's.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.straight_through(hg.hard.step, soft=torch.sigmoid)
        >>> x = torch.tensor([-1.0, 2.0], requires_grad=True)
        >>> layer(x).tolist()
        [0.0, 1.0]
        >>> layer(x).sum().backward()
        >>> x.grad.tolist() == torch.sigmoid(x).mul(1 - torch.sigmoid(x)).tolist()
        True

    Source: Bengio, Leonard and Courville 2013 (arXiv 1308.3432).
    """
    return StraightThrough(hard, soft)
