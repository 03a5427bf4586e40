"""Fenchel-Young loss of a perturbed solver: it is zero where the mean solution is the target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.solvers.layer import outside_of_graphs, sign_of
from hardgrad.solvers.losses import beside, numbers, of_rows, row_sums
from hardgrad.solvers.noise import checked, draw
from hardgrad.solvers.solver import Solver


def fenchel_young(
    solver: Callable[[Tensor], Any],
    cost: Tensor,
    target: Tensor,
    *,
    scale: float,
    samples: int = 1,
    noise: Literal["normal", "gumbel"] = "normal",
    sense: Literal["min", "max"] = "min",
    rows: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return the Fenchel-Young loss of each row: costs learn from known solutions.

    .. math:: L(c; y^*) = E \max_{y \in S} \langle \sigma\epsilon - c, y\rangle + \langle c, y^*\rangle + \Omega(y^*),
        \qquad \frac{\partial L}{\partial c} = y^* - E\,y(c - \sigma\epsilon)

    Convex in the cost. What is returned is the mean over the samples of
    :math:`\max_y \langle\sigma\epsilon - c, y - y^*\rangle`, with the gradient of that: never negative for a target
    that the solver may return, and on average the paper's value less a number that no cost changes,
    :math:`\Omega(y^*) + \sigma \langle E\epsilon, y^*\rangle`. Its second part is 0 for normal noise, and the whole is
    0 for one of n and Gumbel noise. ``sense="max"``: all of it for :math:`-c`, so the gradient is the mean solution
    less the target.

    Args:
        solver: as ``hardgrad.interpolated`` takes; a cache, for example, is that of a ``hardgrad.BlackBox``.
        cost: ``(batch, *row)``, finite.
        target: the known solutions, of the cost's shape; or means of solutions.
        scale: :math:`\sigma`, above 0, in the cost's unit.
        samples: how many costs are drawn and solved for each row.
        noise: as in ``hardgrad.perturbed``, like ``generator``; with ``"gumbel"`` and one of n this is ``scale`` times
            the cross-entropy.
        sense: as in ``hardgrad.interpolated``, like ``rows``.

    Returns:
        Shape ``(batch,)``, in the cost's dtype.

    Raises:
        ValueError, TypeError, BoxError, RuntimeError: as there; ValueError for a target that needs a gradient, too.

    Example:
        >>> import torch, hardgrad as hg
        >>> cost = torch.tensor([[1.0, 2.0, 4.0]], requires_grad=True)
        >>> target = torch.tensor([[0.0, 1.0, 0.0]])
        >>> solver = lambda cost: hg.hard.one_hot_argmax(-cost)
        >>> loss = hg.fenchel_young(solver, cost, target, scale=0.01, samples=2)
        >>> round(loss.item(), 1)
        1.0
        >>> loss.sum().backward()
        >>> cost.grad.tolist()
        [[-1.0, 1.0, 0.0]]

    Source: Berthet et al. 2020 (arXiv 2002.08676, section 4); Blondel, Martins and Niculae 2020 (arXiv 1901.02324).
    """
    name = "fenchel_young"
    asked, sign = Solver(name, solver, rows), sign_of(name, sense)
    scale = _check.number(name, "scale", scale, above=0, cure="it is the noise's, in the cost's unit")
    samples, kind = checked(name, samples, noise)

    def loss(cost: Tensor) -> Tensor:
        x = numbers(asked.label, cost)
        known = beside(asked.label, "target", target, x)
        at = x - sign * scale * draw(name, kind, samples, x, _check.generator(name, generator))[0]
        short = known - asked.beside(at)
        return of_rows(sign * row_sums(at * short, x.ndim - 1).mean(0), cost, sign * short.mean(0), asked.label)

    return outside_of_graphs(asked.label, loss, cost)
