"""SPO+: a convex upper bound of what wrong costs lose, from two solves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from hardgrad.solvers.layer import outside_of_graphs, sign_of
from hardgrad.solvers.losses import beside, numbers, of_rows, row_sums
from hardgrad.solvers.solver import Solver


def spo_plus(
    solver: Callable[[Tensor], Any],
    cost: Tensor,
    true_cost: Tensor,
    *,
    solution: Tensor | None = None,
    sense: Literal["min", "max"] = "min",
    rows: bool = False,
) -> Tensor:
    r"""Return the SPO+ loss of each row: learning costs from true costs, for the solutions that they lead to.

    .. math:: L(c, c^*) = \max_{y \in S} \langle c^* - 2c, y\rangle + \langle 2c - c^*, y(c^*)\rangle, \qquad
        \frac{\partial L}{\partial c} = 2\,(y(c^*) - y(2c - c^*))

    Convex in the cost, never negative, and at least the regret :math:`\langle c^*, y(c) - y(c^*)\rangle`.
    ``sense="max"``: all of it for the negated costs.

    Args:
        solver: as ``hardgrad.interpolated`` takes.
        cost: what is predicted, ``(batch, *row)``, finite.
        true_cost: likewise, without a gradient.
        solution: :math:`y(c^*)`, where it is known, so that a loop over the same data solves it once.
        sense: as there, like ``rows``.

    Returns:
        Shape ``(batch,)``, in the cost's dtype.

    Raises:
        ValueError, TypeError, BoxError, RuntimeError: as there; ValueError for a true cost that needs a gradient, too.

    Example:
        >>> import torch, hardgrad as hg
        >>> cost = torch.tensor([[1.0, 2.0]], requires_grad=True)
        >>> loss = hg.spo_plus(lambda c: hg.hard.one_hot_argmax(-c), cost, torch.tensor([[3.0, 2.5]]))
        >>> loss.item()     # solved at 2c - c* = (-1, 1.5); the regret is 0.5
        2.5
        >>> loss.sum().backward()
        >>> cost.grad.tolist()
        [[-2.0, 2.0]]

    Source: Elmachtoub and Grigas 2022 (arXiv 1710.08005, definition 3 and proposition 3).
    """
    asked, sign = Solver("spo_plus", solver, rows), sign_of("spo_plus", sense)

    def loss(cost: Tensor) -> Tensor:
        x = numbers(asked.label, cost)
        true = beside(asked.label, "true_cost", true_cost, x)
        tilted = 2 * x - true
        best = None if solution is None else beside(asked.label, "solution", solution, x)
        solved = asked.beside(torch.stack([tilted] if best is not None else [tilted, true]))
        gap = (solved[1] if best is None else best) - solved[0]
        return of_rows(sign * row_sums(tilted * gap, x.ndim - 1), cost, 2 * sign * gap, asked.label)

    return outside_of_graphs(asked.label, loss, cost)
