"""Perturbed: the solution, and the gradient of its mean under noise of the cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad._graft import graft
from hardgrad.solvers.layer import differentiable_once, wide
from hardgrad.solvers.noise import NoisyLayer, compared


class perturbed(NoisyLayer):
    r"""A layer with the solution of a solver, and the gradient of its mean under noise of the cost.

    .. math:: \frac{\partial L}{\partial c} \approx \frac{\partial}{\partial c} E\langle v, y(c - \sigma\epsilon)\rangle
        = \frac1\sigma E \langle v, y(c - \sigma\epsilon)\rangle\, (\log p)'(\epsilon), \qquad
        v = \frac{\partial L}{\partial y}

    where :math:`\sigma` is ``scale`` and p the noise's density; noise is added to what is maximized, for
    ``sense="max"`` to c. The estimate has that mean for any ``samples``. Normal noise comes in mirrored pairs, which
    are compared with each other; any other sample is compared with the mean of the rest, and a single one with y(c).
    Solutions may have any shape, and need not minimize a linear cost.

    All is solved in the forward: ``samples`` costs beside the given one, in one call. In ``eval()`` there is one solve
    and no noise in the value, whatever it is in training; under ``no_grad``, too, but for ``"mean"``.

    **scale**: as large as the differences between costs. Below, most gradients are zero and the rest large: the noise
    of an estimate grows as :math:`1/\sigma`.

    Args:
        solver: as ``hardgrad.interpolated`` takes, but for the solution's shape, ``(batch, *out)``.
        scale: :math:`\sigma`, above 0, in the cost's unit.
        samples: how many costs are drawn and solved for each row.
        noise: ``"normal"``, or ``"gumbel"``, standard, of mean 0.577: where one of n is chosen the mean solution is
            ``softmax(-cost / scale)`` then.
        value: ``"exact"`` is the solution; ``"mean"`` is that of the drawn solutions, in training.
        sense: as there, like ``rows``, ``cache`` and ``differentiable_in_eval``; noise seldom repeats in a cache.
        generator: of the noise, on the cost's device; None is torch's global seed.

    Raises:
        ValueError, TypeError, BoxError, RuntimeError: as there.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.perturbed(lambda cost: hg.hard.one_hot_argmax(-cost), scale=0.5, samples=2000)
        >>> cost = torch.tensor([[1.0, 1.2]], requires_grad=True)
        >>> layer(cost).tolist()
        [[1.0, 0.0]]
        >>> layer(cost)[0, 0].backward()
        >>> # c0 - c1 with noise is normal, of scale 0.5 sqrt(2); at 0, where y jumps, its density is 0.542
        >>> bool((cost.grad - torch.tensor([[-0.542, 0.542]])).abs().max() < 0.1)
        True

    Source: Berthet et al. 2020 (arXiv 2002.08676, proposition 3.1).
    """

    word = "perturbed"
    same = False

    def __init__(
        self,
        solver: Callable[[Tensor], Any],
        scale: float,
        *,
        samples: int = 1,
        noise: Literal["normal", "gumbel"] = "normal",
        value: Literal["exact", "mean"] = "exact",
        sense: Literal["min", "max"] = "min",
        rows: bool = False,
        cache: int = 0,
        generator: torch.Generator | None = None,
        differentiable_in_eval: bool = False,
    ) -> None:
        shared = sense, rows, cache, differentiable_in_eval
        super().__init__(solver, scale, samples, noise, value, generator, *shared)
        _check.number(self.word, "scale", scale, above=0, cure="it is the noise's, in the cost's unit")

    def _lend(self, cost: Tensor) -> Tensor:
        mean = self.value == "mean" and self.training
        exact = None if mean and self.samples > 1 else self._value(cost)
        _, solved, score = self._noisy(cost)
        base = exact.to(solved.dtype) if exact is not None and self.samples == 1 else None
        difference, score = compared(solved, score, self.noise, base)
        weight = score * (-self.sign / (self.scale * self.samples))
        value = solved.mean(0).to(cost.dtype) if mean or exact is None else exact
        x = wide(differentiable_once(cost, self._label()))
        along = ((x - x.detach()) * weight).reshape(*weight.shape[:2], cost.shape[1:].numel()).sum(-1)
        path = (along.reshape(*along.shape, *(1 for _ in value.shape[1:])) * difference).sum(0)
        return graft(value, path)
