"""An estimator, a q and an objective put together, to be run in any way and compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mc_bank import VARIABLES, Variable, weights
from mc_cases import Estimator, modules
from place import DEVICE

SIGMA = 4.5
BATCH = (6,)
Found = dict[str, Tensor]


class Objective(nn.Module):
    """A smooth objective with weights of its own, which remembers what it was shown first."""

    def __init__(self, variable: Variable, dtype: torch.dtype = torch.float64, device: str = str(DEVICE)) -> None:
        super().__init__()
        self.dims, self.ways = variable.one.ndim, variable.one.shape[-1:]
        self.outcome_numbers = variable.kind == "Categorical"
        self.theta = nn.Parameter(weights(variable.features, 1.3).to(device, dtype))
        self.calls: list[Tensor] = []

    def forward(self, b: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            self.calls.append(b.detach())
        return self.of(b)

    def of(self, b: Tensor) -> Tensor:
        if self.outcome_numbers:
            b = torch.eye(self.ways[0], dtype=self.theta.dtype, device=b.device)[b]
        x = b.flatten(b.ndim - self.dims) if self.dims else b.unsqueeze(-1)
        return nn.functional.softplus(2 * (x * self.theta).sum(-1)) + 0.3 * self.theta.sin().sum()


@dataclass
class Trial:
    """An estimator with modules of its own, q's parameter and f, to be run any number of times."""

    estimator: Estimator
    variable: Variable
    batch: tuple[int, ...] = BATCH
    dtype: torch.dtype = torch.float64
    device: str = str(DEVICE)
    parameter: Tensor = field(init=False)

    def __post_init__(self) -> None:
        rows = torch.Size(self.batch).numel()
        row = self.variable.one
        spread = torch.linspace(0.8, 1.2, max(1, rows), dtype=torch.float64, device=row.device)[:rows]
        parameter = row * spread.reshape((*self.batch, *(1 for _ in row.shape)))
        if self.variable.given == "probs" and self.variable.kind != "Bernoulli":
            parameter = parameter / parameter.sum(-1, keepdim=True)
        # Numbers that every precision can hold, so that precisions differ in their arithmetic alone.
        self.parameter = parameter.to(torch.bfloat16).to(self.device, self.dtype).requires_grad_()
        with torch.device(self.device):
            self.call = self.estimator.make(self.variable.distribution(self.parameter, check=False))
        self.f = Objective(self.variable, self.dtype, self.device)
        self.owned = nn.ModuleDict(modules(self.call))

    def again(self) -> Trial:
        """A fresh one like it."""
        return Trial(self.estimator, self.variable, self.batch, self.dtype, self.device)

    def value(self, parameter: Tensor, **options: Any) -> Tensor:
        return self.call(self.variable.distribution(parameter, check=False), self.f, **options)

    def run(self, how: Callable[[Tensor], Tensor] | None = None, seed: int | None = 0, extra: Any = None) -> Found:
        """Value and gradients of a weighed sum of rows, with a seed; ``how`` calls the estimator some other way."""
        if seed is not None:
            torch.manual_seed(seed)
        self.clear()
        value = (how or self.value)(self.parameter)
        loss = weighed(value)
        (loss if extra is None else loss + extra()).backward()
        return {"value": value.detach()} | self.gradients()

    def clear(self) -> None:
        self.parameter.grad = None
        self.f.zero_grad()
        self.owned.zero_grad()
        self.f.calls.clear()

    def gradients(self) -> Found:
        named = {"q": self.parameter, "f": self.f.theta} | dict(self.owned.named_parameters())
        return {name: p.grad.clone() for name, p in named.items() if p.grad is not None}


def weighed(value: Tensor) -> Tensor:
    """A sum in which every row counts differently."""
    weight = torch.linspace(0.5, 1.5, max(1, value.numel()), dtype=value.dtype, device=value.device)
    return (value.flatten() * weight[: value.numel()]).sum()


def trials(estimator: Estimator, *names: str, **options: Any) -> list[Trial]:
    """One for each kind of q that the estimator takes, several units each; or for the distributions named."""
    chosen = names or ("3 Bernoullis", "2 one-hots of 3", "2 Categoricals of 3, skewed probs", "twice 2 of 3")
    return [Trial(estimator, v, **options) for v in VARIABLES if v.name in chosen and v.kind in estimator.kinds]


def name_of(trial: Trial) -> str:
    return trial.call.func.__name__


def assert_same(a: Found, b: Found, tolerance: float = 1e-9) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


def assert_near(a: Found, b: Found, relative: float) -> None:
    for name in a:
        error = (a[name].double() - b[name].double()).norm() / b[name].double().norm()
        assert error < relative, f"{name}: relative error {error:.3g}"
