"""Interpolated: the solution, and how it changes when the task's gradient is added to the cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from hardgrad import _check
from hardgrad._torch_state import readable
from hardgrad.solvers.difference import lend
from hardgrad.solvers.layer import SolverLayer, wide


class interpolated(SolverLayer):
    r"""A layer with the solution of a solver, and a gradient from another solve in the backward.

    .. math:: y(c) = \arg\min_{y \in S} \langle c, y\rangle, \qquad
        \frac{\partial L}{\partial c} = \frac{y(c + \lambda v) - y(c)}{\lambda}, \qquad
        v = \frac{\partial L}{\partial y}

    where :math:`\lambda` is ``strength``: the slope of a loss that is interpolated between the jumps of
    :math:`\langle v, y(c)\rangle`, so a small strength gives zero in most places, and a large one reaches far.
    ``two_sided``: :math:`(y(c + \lambda v) - y(c - \lambda v)) / 2\lambda`. ``rho`` adds
    :math:`\tfrac\rho2\|y - y(c)\|^2` to what the other solves minimize, so that only a gradient that is worth it moves
    the solution. ``sense="max"``: all of it for :math:`-c`.

    One solve in the forward and one in the backward, two with ``two_sided``; in ``eval()`` and under ``no_grad`` one.
    What scales the loss (a mean over the batch, accumulation, a gradient scaler) scales the strength, too:
    :math:`\lambda v` should be about as large as the differences between costs. ``hardgrad.imle`` finds its own.

    What others call it:

    - ``strength``: lambda (black-box differentiation, I-MLE, AIMLE), tau (LPGD), beta (torch-imle), lambd (PyEPO);
    - ``scale``: sigma (PyEPO, optax once), epsilon (perturbed optimizers, InferOpt), temperature (I-MLE);
    - ``samples``: M, ``nb_samples``, ``n_samples``, ``num_samples``;
    - ``two_sided``: central, symmetric perturbation; the average of LPGD;
    - ``cost``, ``sense="min"``: w, c; with ``"max"``: theta, scores, logits.

    Args:
        solver: any callable from costs ``(batch, *row)`` to solutions of that shape, a tensor or an array of numbers of
            any kind; or a ``hardgrad.BlackBox``, for programs in NumPy, in processes. It is called without gradient, on
            a copy in single precision at least.
        strength: :math:`\lambda`, above 0.
        two_sided: solve on both sides.
        rho: at least 0; above, solutions must be of zeros and ones, where the square is a linear cost.
        sense: whether the solver minimizes the cost, ``"min"``, or maximizes it, ``"max"``.
        rows: the solver takes one row at a time, a tensor without the batch, on the CPU.
        cache: how many solved rows are kept, by their bytes; not for a solver that draws.
        differentiable_in_eval: lend the gradient in ``eval()`` too.

    Raises:
        TypeError: for an argument of a wrong kind.
        ValueError: for an argument out of its range, a cost with NaN, or a solver with weights that would learn.
        BoxError: if the solver raises, or returns NaN, another shape or no numbers; ``row`` says where.
        RuntimeError: if the gradient is differentiated again.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.interpolated(lambda cost: hg.hard.one_hot_argmax(-cost), strength=2.0)
        >>> cost = torch.tensor([[1.0, 2.0, 4.0]], requires_grad=True)
        >>> y = layer(cost)
        >>> y.tolist()
        [[1.0, 0.0, 0.0]]
        >>> (y * torch.tensor([3.0, 0.5, 0.0])).sum().backward()
        >>> cost.grad.tolist()      # at 7, 3 and 4 the second would be chosen
        [[-0.5, 0.5, 0.0]]

    Source: Vlastelica et al. 2020 (arXiv 1912.02175, algorithm 1); for both sides and rho Paulus, Martius and Musil
    2024 (arXiv 2407.05920).
    """

    word = "interpolated"

    def __init__(
        self,
        solver: Callable[[Tensor], Any],
        strength: float,
        *,
        two_sided: bool = False,
        rho: float = 0.0,
        sense: Literal["min", "max"] = "min",
        rows: bool = False,
        cache: int = 0,
        differentiable_in_eval: bool = False,
    ) -> None:
        super().__init__(solver, sense, rows, cache, differentiable_in_eval)
        self.strength = _check.number(self.word, "strength", strength, above=0, cure="it multiplies the gradient")
        self.two_sided = _check.flag(self.word, "two_sided", two_sided)
        self.rho = _check.number(self.word, "rho", rho, least=0)

    def _lend(self, cost: Tensor) -> Tensor:
        value, at = self._value(cost), wide(cost.detach()).unsqueeze(0)
        solved = value.to(at.dtype).unsqueeze(0)
        if self.rho and readable(value) and not bool(((value == 0) | (value == 1)).all()):
            raise ValueError(
                f"{self._label()}: rho must be 0 unless solutions are of zeros and ones, got {self.rho}; only "
                "there its square is a linear cost"
            )
        lean = self.sign * self.rho * (0.5 - solved) if self.rho else None
        return lend(value, cost, at, solved, lean, self)

    def step(self, cost: Tensor, v: Tensor) -> Tensor:
        return v.new_full((len(v), 1), self.strength)

    def moved(self, differences: Tensor) -> None:
        pass
