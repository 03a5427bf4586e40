"""What the solver layers share: the solver's value, once in evaluation, and a gradient that is lent in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad._torch_state import compiling, in_compiled_transform, in_export, may_need_gradient
from hardgrad._tracing import eagerly
from hardgrad.hard_layer import SurrogateLayer
from hardgrad.no_gradient import no_second_derivative, once_differentiable
from hardgrad.solvers.solver import Solver


class SolverLayer(SurrogateLayer):
    """From costs to solutions, with a gradient that ``_lend`` makes; the arguments are those of ``interpolated``."""

    argument = "solver"
    same = True  # whether a solution must have its cost's shape
    hard: Solver

    def __init__(self, solver: Any, sense: str, rows: bool, cache: int, differentiable_in_eval: bool) -> None:
        held = Solver(self.word, solver, rows, cache, self.same)
        super().__init__(held, differentiable_in_eval=differentiable_in_eval)
        self.sign = sign_of(self.word, sense)

    def forward(self, x: Tensor) -> Tensor:
        return outside_of_graphs(self._label(), self._forward, x)

    def _forward(self, cost: Tensor) -> Tensor:
        lends = self._differentiable(cost) and may_need_gradient(cost)
        return self._lend(cost) if lends else self._hard_alone(cost)

    def _lend(self, cost: Tensor) -> Tensor:
        raise NotImplementedError

    def _value(self, x: Tensor, *_: Tensor) -> Tensor:
        return cast(Tensor, self.hard(x))


def sign_of(owner: str, sense: str) -> float:
    """Return 1 for costs that are minimized and -1 for those that are maximized."""
    _check.one_of(owner, "sense", sense, ("min", "max"), "what the solver does with the cost")
    return 1.0 if sense == "min" else -1.0


def wide(cost: Tensor) -> Tensor:
    """Return a cost in single precision at least."""
    return cost.to(torch.promote_types(cost.dtype, torch.float32))


def outside_of_graphs(label: str, function: Callable[..., Tensor], *args: Any) -> Tensor:
    """Call where solvers can run: a graph that torch.compile traces breaks here."""
    if not compiling() or in_export():
        return function(*args)
    reason = f"{label}: a graph cannot hold a solver; compile what is before and behind it"
    if in_compiled_transform():  # where torch breaks no graph
        raise RuntimeError(reason)
    return cast(Tensor, eagerly(reason, function, *args))


_NO_SECOND = (
    "its gradient has no derivative of its own, since solutions jump; for second derivatives use hardgrad.Bridge"
)


def refuse_second(gradient: Tensor, label: str, *sources: Tensor) -> Tensor:
    """Return a gradient that says so when it is differentiated with respect to what it was computed from."""
    for source in sources:
        gradient = no_second_derivative(gradient, source, f"{label}: {_NO_SECOND}")
    return gradient


def differentiable_once(x: Tensor, label: str) -> Tensor:
    """Return x; the gradient that arrives at it refuses to be differentiated again."""
    return once_differentiable(x, f"{label}: {_NO_SECOND}")
