"""I-MLE: how solutions under noise change along the task's gradient, by a step that finds its own length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad._torch_state import in_transform
from hardgrad.solvers.difference import lend
from hardgrad.solvers.layer import wide
from hardgrad.solvers.noise import NoisyLayer

_RATIO = 1.02  # of one step to the next: 35 backwards double it
_KEPT = 0.9  # of the running mean: that of ten backwards or so


class imle(NoisyLayer):
    r"""A layer with the solution of a solver, and the change of solutions under noise along the task's gradient.

    .. math:: \frac{\partial L}{\partial c} = \frac1K \sum_k \frac{y(c_k + \lambda v) - y(c_k)}{\lambda}, \qquad
        c_k = c - \sigma\epsilon_k, \qquad v = \frac{\partial L}{\partial y}

    where K is ``samples`` and :math:`\sigma` is ``scale``. On average it is the change of the mean solution
    :math:`E\,y(c - \sigma\epsilon)` as the cost goes along v: it nears the gradient of ``hardgrad.perturbed`` as
    :math:`\lambda` falls.

    ``strength="servo"``: :math:`\lambda = \alpha \|\bar c_k\| / \|v\|` for each row, so what scales a loss does not
    matter. With each backward :math:`\alpha`, 1 at first, rises by 2 % if of late fewer than ``aim`` numbers of a row's
    solution changed, else it falls. It is in the ``state_dict``, and stands still in ``eval()`` and ``torch.func``.

    1 + K solves in the forward and K in the backward, 2 K with ``two_sided``; in ``eval()`` one, and no noise.

    Args:
        solver: as ``hardgrad.interpolated`` takes.
        strength: :math:`\lambda`, above 0, or ``"servo"``.
        samples: K, how many noises a row gets.
        scale: of the noise, in the cost's unit; 0 is none.
        noise: as in ``hardgrad.perturbed``, like ``generator``.
        value: ``"exact"`` is the solution; ``"mean"`` is that of all :math:`y(c_k)`, in training: with one sample a
            draw, as in the paper.
        two_sided: the change from :math:`c_k - \lambda v` to :math:`c_k + \lambda v`, by :math:`2\lambda`.
        aim: how many numbers of a row's solution should change, above 0.
        sense: as there, like ``rows``, ``cache`` and ``differentiable_in_eval``, which lends it without noise.

    Raises:
        ValueError, TypeError, BoxError, RuntimeError: as there.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.imle(lambda cost: hg.hard.one_hot_argmax(-cost), samples=4)
        >>> cost = torch.tensor([[1.0, 2.0, 4.0, 3.0]], requires_grad=True)
        >>> layer(cost).tolist()
        [[1.0, 0.0, 0.0, 0.0]]
        >>> layer(cost)[0, 0].backward()
        >>> bool(cost.grad[0, 0] <= 0)
        True
        >>> sorted(layer.state_dict())
        ['level', 'moves']

    Source: Niepert, Minervini and Franceschi 2021 (arXiv 2106.01798, algorithm 1); Minervini, Franceschi and Niepert
    2023 (arXiv 2209.04862) for the division by lambda and the controller, here with steps of a ratio.
    """

    word = "imle"
    level: Tensor
    moves: Tensor

    def __init__(
        self,
        solver: Callable[[Tensor], Any],
        *,
        strength: float | Literal["servo"] = "servo",
        samples: int = 1,
        scale: float = 1.0,
        noise: Literal["normal", "gumbel"] = "gumbel",
        value: Literal["exact", "mean"] = "exact",
        two_sided: bool = False,
        aim: float = 1.0,
        sense: Literal["min", "max"] = "min",
        rows: bool = False,
        cache: int = 0,
        generator: torch.Generator | None = None,
        differentiable_in_eval: bool = False,
    ) -> None:
        shared = sense, rows, cache, differentiable_in_eval
        super().__init__(solver, scale, samples, noise, value, generator, *shared)
        self.strength: float | None = None
        if not (isinstance(strength, str) and strength == "servo"):
            self.strength = _check.number(self.word, "strength", strength, above=0, cure="or 'servo', which finds one")
        self.two_sided = _check.flag(self.word, "two_sided", two_sided)
        self.aim = _check.number(self.word, "aim", aim, above=0)
        if self.strength is None:
            self.register_buffer("level", torch.zeros((), dtype=torch.int64))  # whole: a cast to half rounds it not
            self.register_buffer("moves", torch.full((), self.aim))

    def _lend(self, cost: Tensor) -> Tensor:
        if not self.training or not self.scale:
            value, at = self._value(cost), wide(cost.detach()).unsqueeze(0)
            return lend(value, cost, at, value.to(at.dtype).unsqueeze(0), None, self)
        at, solved, _ = self._noisy(cost)
        value = self._value(cost) if self.value == "exact" else solved.mean(0).to(cost.dtype)
        return lend(value, cost, at, solved, None, self)

    def step(self, cost: Tensor, v: Tensor) -> Tensor:
        if self.strength is not None:
            return v.new_full((len(v), 1), self.strength)
        size, length = cost.norm(dim=1, keepdim=True), v.norm(dim=1, keepdim=True)
        size = torch.where((size > 0) & size.isfinite(), size, 1)
        return torch.where(length > 0, _RATIO ** self.level.to(v.dtype) * size / length, 0)

    def moved(self, differences: Tensor) -> None:
        if self.strength is not None or not self.training or in_transform() or not differences.numel():
            return
        moves = (differences != 0).sum(-1).to(self.moves).mean()
        self.moves.mul_(_KEPT).add_(moves, alpha=1 - _KEPT)
        self.level.add_(torch.where(self.moves < self.aim, 1, -1))
