"""Noise of costs, its score, and what layers with noise share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad._torch_state import may_need_gradient
from hardgrad.solvers.layer import SolverLayer, wide

Drawn = tuple[Tensor, Tensor]


class NoisyLayer(SolverLayer):
    """A layer that solves costs with noise, too; the arguments are those of ``perturbed``."""

    def __init__(
        self, solver: Any, scale: float, samples: int, noise: str, value: str, generator: Any, *shared: Any
    ) -> None:
        super().__init__(solver, *shared)
        self.scale = _check.number(self.word, "scale", scale, least=0, cure="it is the noise's, in the cost's unit")
        self.samples, self.noise = checked(self.word, samples, noise)
        _check.one_of(self.word, "value", value, ("exact", "mean"))
        self.value = value
        self.generator = _check.generator(self.word, generator)

    def _forward(self, cost: Tensor) -> Tensor:
        if self.value == "mean" and self.training and not (torch.is_grad_enabled() and may_need_gradient(cost)):
            return self._noisy(cost)[1].mean(0).to(cost.dtype)
        return super()._forward(cost)

    @torch.no_grad()
    def _noisy(self, cost: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return costs with noise, their solutions, and the noise's score."""
        x = wide(cost.detach())
        noise, score = draw(self.word, self.noise, self.samples, x, self.generator)
        at = x - self.sign * self.scale * noise  # noise is added to what is maximized
        return at, self.hard.beside(at), score


def checked(owner: str, samples: int, noise: str) -> tuple[int, str]:
    """Return how much noise is drawn, and of which kind, or raise."""
    _check.one_of(owner, "noise", noise, ("normal", "gumbel"))
    return _check.whole(owner, "samples", samples, least=1), noise


def draw(owner: str, noise: str, samples: int, like: Tensor, generator: torch.Generator | None) -> Drawn:
    r"""Return noise :math:`\epsilon` of shape ``(samples, *like.shape)``, and its score, :math:`-(\log p)'(\epsilon)`.

    Normal noise is its own score, and comes in pairs: the second half of the samples mirrors the first; one that is
    left over stands last. Gumbel noise is minus the logarithm of an exponential variate E, and has the score 1 - E.
    """
    _check.generator(owner, generator, like.device)
    options: dict[str, Any] = {"device": like.device} | ({} if generator is None else {"generator": generator})
    if noise == "normal":
        pairs = samples // 2
        half = torch.randn((samples - pairs, *like.shape), dtype=like.dtype, **options)
        normal = torch.cat([half[:pairs], -half[:pairs], half[pairs:]])
        return normal, normal
    u = torch.rand((samples, *like.shape), dtype=torch.float64, **options)  # of 53 bits, for the tails
    exponential = (-torch.log1p(-u)).clamp_min(torch.finfo(u.dtype).tiny)
    return -exponential.log().to(like.dtype), (1 - exponential).to(like.dtype)


def compared(solved: Tensor, score: Tensor, noise: str, base: Tensor | None) -> Drawn:
    """Return differences of solutions ``(n, batch, ...)`` and the scores to weigh them by, whose products add up.

    Of a mirrored pair the two are compared with each other; any other sample with the mean of the rest, and a single
    one with ``base``. None of these depends on the sample's own noise, so the sum keeps its mean.
    """
    pairs = len(solved) // 2 if noise == "normal" else 0
    alone = solved[2 * pairs :]
    rest = (solved.sum(0) - alone) / (len(solved) - 1) if base is None else base
    difference = torch.cat([solved[:pairs] - solved[pairs : 2 * pairs], alone - rest])
    return difference, torch.cat([score[:pairs], score[2 * pairs :]])
