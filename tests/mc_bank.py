"""The bank for Monte Carlo gradients: distributions, and objectives that outcomes can be counted through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, OneHotCategorical

import hardgrad as hg
from place import DEVICE

KINDS: dict[str, Any] = {
    "Bernoulli": Bernoulli,
    "OneHotCategorical": OneHotCategorical,
    "Categorical": Categorical,
    "KSubset": hg.KSubset,
}


@contextmanager
def unchecked() -> Iterator[None]:
    """OneHotCategorical checks its logits even if told not to (torch 2.13), in vain on "meta", in vmap, on no rows."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


@dataclass(frozen=True)
class Variable:
    """A distribution q: one row's parameter, of which a batch has any number of equal ones."""

    name: str
    kind: str
    given: str  # "logits" or "probs"
    row: Any  # numbers in nested tuples
    k: int = 1  # of a KSubset

    @property
    def one(self) -> Tensor:
        return torch.tensor(self.row, dtype=torch.float64, device=DEVICE)

    @property
    def unit_dims(self) -> int:
        return self.one.ndim - (self.kind != "Bernoulli")

    @property
    def units(self) -> int:
        return self.features if self.kind == "KSubset" else self.one.shape[: self.unit_dims].numel()

    @property
    def event_dims(self) -> int:
        """How many trailing dimensions of a sample are one event."""
        return self.unit_dims + (self.kind in ("OneHotCategorical", "KSubset"))

    @property
    def features(self) -> int:
        """How many numbers objectives see."""
        return self.one.numel()

    def rows(self, *batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return self.one.to(dtype).expand((*batch, *self.one.shape)).clone().requires_grad_()

    def distribution(self, parameter: Tensor, check: bool = True) -> Distribution:
        with nullcontext() if check or torch.compiler.is_compiling() else unchecked():
            more = {"k": self.k} if self.kind == "KSubset" else {}
            base = KINDS[self.kind](**{self.given: parameter}, **more, validate_args=check)
            return Independent(base, self.unit_dims, validate_args=check) if self.unit_dims else base

    def seen(self, b: Tensor) -> Tensor:
        """A sample as a vector, shape (*lead, features): a Categorical's outcome one-hot."""
        if self.kind == "Categorical":
            b = nn.functional.one_hot(b, self.one.shape[-1]).double()
        return b.flatten(b.ndim - self.one.ndim) if self.one.ndim else b.unsqueeze(-1)


VARIABLES = [
    Variable("Bernoulli", "Bernoulli", "logits", 0.7),
    Variable("Bernoulli, skewed probs", "Bernoulli", "probs", 0.06),
    Variable("3 Bernoullis", "Bernoulli", "logits", (-1.2, 0.3, 2.0)),
    Variable("2 x 2 Bernoullis, skewed probs", "Bernoulli", "probs", ((0.05, 0.5), (0.9, 0.3))),
    Variable("one-hot of 4", "OneHotCategorical", "logits", (0.4, -0.6, 0.0, 0.8)),
    Variable("one-hot of 3, skewed probs", "OneHotCategorical", "probs", (0.75, 0.2, 0.05)),
    Variable("2 one-hots of 3", "OneHotCategorical", "logits", ((0.2, -0.5, 0.6), (1.0, 0.0, -0.8))),
    Variable("Categorical of 4", "Categorical", "logits", (0.4, -0.6, 0.0, 0.8)),
    Variable("2 Categoricals of 3, skewed probs", "Categorical", "probs", ((0.75, 0.2, 0.05), (0.3, 0.3, 0.4))),
    Variable("2 of 4", "KSubset", "logits", (0.4, -0.6, 0.0, 1.3), k=2),
    Variable("twice 2 of 3", "KSubset", "logits", ((0.2, -0.5, 0.6), (1.0, 0.0, -0.8)), k=2),
]

# What the second of two layers is, for a first of each kind.
SECOND = {
    "Bernoulli": Variable("second", "Bernoulli", "logits", (0.3, -0.5)),
    "OneHotCategorical": Variable("second", "OneHotCategorical", "logits", (0.3, -0.5, 0.2)),
    "Categorical": Variable("second", "Categorical", "logits", (0.3, -0.5, 0.2)),
    "KSubset": Variable("second", "KSubset", "logits", (0.3, -0.5, 0.2), k=2),
}


def weights(count: int, phase: float) -> Tensor:
    """Numbers without a pattern, in [-1, 1]."""
    return (2.0 * torch.arange(count, dtype=torch.float64, device=DEVICE) + phase).cos()


@dataclass(frozen=True)
class Case:
    """An objective on vectors: ``function(x, theta)``, shapes (*lead, rows, features) and (rows, features)."""

    name: str
    function: Callable[[Tensor, Tensor], Tensor]
    has_parameters: bool = False
    black_box: bool = False
    least_units: int = 1


def _linear(x: Tensor, theta: Tensor) -> Tensor:
    return 0.3 + (x * weights(x.shape[-1], 0.4).to(x)).sum(-1)


def _quadratic(x: Tensor, theta: Tensor) -> Tensor:
    return ((x - 0.3).square() * weights(x.shape[-1], 0.1).to(x)).sum(-1)


def _exponential(x: Tensor, theta: Tensor) -> Tensor:
    return (2 * (x * weights(x.shape[-1], 0.7).to(x)).sum(-1)).exp()


def _sine(x: Tensor, theta: Tensor) -> Tensor:
    """Falls between the outcomes wherever its slope at them rises."""
    return (5 * x * (1 + 0.1 * weights(x.shape[-1], 0.9).to(x))).sin().mul(weights(x.shape[-1], 0.2).to(x)).sum(-1)


def _cross(x: Tensor, theta: Tensor) -> Tensor:
    """Every pair of features, and all of them at once."""
    count = x.shape[-1]
    pairs = weights(count * count, 0.5).to(x).view(count, count).triu(1)
    return ((x @ pairs) * x).sum(-1) + (1 + 0.5 * weights(count, 0.3).to(x) * x).prod(-1)


def _parameters(x: Tensor, theta: Tensor) -> Tensor:
    return nn.functional.softplus(3 * (x * theta).sum(-1)) + 0.3 * theta.sin().sum(-1)


def _black_box(x: Tensor, theta: Tensor) -> Tensor:
    numbers = x.numpy()
    scores = numbers @ weights(numbers.shape[-1], 0.6).numpy()
    return torch.as_tensor((scores * 5).round() % 3 - 0.8, dtype=x.dtype)


CASES = [
    Case("linear", _linear),
    Case("quadratic", _quadratic),
    Case("exponential", _exponential),
    Case("sine", _sine),
    Case("cross terms", _cross, least_units=2),
    Case("parameters of f", _parameters, has_parameters=True),
    Case("black box", _black_box, black_box=True),
]


def two_layers(x: Tensor, second: Tensor) -> Tensor:
    """The objective behind two layers, of both samples."""
    a, c = weights(second.shape[-1], 0.4).to(second), weights(x.shape[-1], 1.1).to(x)
    inner = (second * a).sum(-1)
    return inner * (1 + (x * c).sum(-1)) + (2 * inner).sin()
