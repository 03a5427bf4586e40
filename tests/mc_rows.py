"""Objectives, distributions and calls that the tests of DisARM, ARMS, REBAR and RELAX share, with their truth."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, OneHotCategorical

import hardgrad as hg

F64 = {"dtype": torch.float64}
LOGITS = torch.tensor([[-1.0, 0.3, 2.0], [0.1, -3.0, 0.7], [0.0, 1.5, -0.4]], **F64)
W = torch.tensor([1.0, -2.0, 0.5], **F64)
THETA = torch.tensor([0.7, -1.2, 0.4], **F64)
INNER = torch.tensor([[1.5, -0.8, 0.2], [-0.6, 1.1, -0.9], [0.4, 0.9, 1.3]], **F64)

Call = Callable[[Distribution, Callable[[Tensor], Tensor]], Tensor]
Family = Callable[[Tensor], Distribution]


def bernoulli(logits: Tensor) -> Distribution:
    return Independent(Bernoulli(logits=logits, validate_args=False), 1)


def bernoulli_probs(logits: Tensor) -> Distribution:
    return Independent(Bernoulli(probs=logits.sigmoid(), validate_args=False), 1)


def one_hot(logits: Tensor) -> Distribution:
    return OneHotCategorical(logits=logits, validate_args=False)


def one_hot_probs(logits: Tensor) -> Distribution:
    return OneHotCategorical(probs=3 * logits.exp(), validate_args=False)


# Objectives of one event and of f's own parameters theta, both with any leading dimensions.
OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": lambda b, t: (b * W).sum(-1),
    "quadratic": lambda b, t: ((b * W).sum(-1) - 0.3).square(),
    "exponential": lambda b, t: (1.5 * (b * W).sum(-1)).exp(),
    "wave": lambda b, t: (4 * (b * W).sum(-1)).sin(),
    "cross terms": lambda b, t: b[..., 0] * b[..., 1] - 2 * b[..., 1] * b[..., 2] + 3 * b.prod(-1),
    "parameters": lambda b, t: ((b * t).sum(-1) + t[..., 0]).tanh() * (b[..., 2] - 0.2),
}


def second_layer(b: Tensor, t: Tensor) -> Tensor:
    """Logits of the second layer, of three units, given the first."""
    return (b * t).unsqueeze(-1).mul(INNER).sum(-2) - 0.3


def top(b: Tensor, c: Tensor) -> Tensor:
    return (c.sum(-1) - 0.8 + b[..., 0]).square() + 2 * c[..., 0] * c[..., 1] * b[..., 2]


def network() -> nn.Module:
    torch.manual_seed(3)
    return hg.approximators.mlp(3, 1, hidden=(8,)).double()


def rebar_control(hold: bool = False) -> hg.montecarlo.RebarControl:
    """A control; with ``hold`` one whose temperature does not learn, so that f needs no second derivative."""
    control = hg.montecarlo.RebarControl(temperature=0.4, scale=1.3).double()
    control.log_temperature.requires_grad_(not hold)
    return control


def relax_control(hold: bool = False) -> hg.montecarlo.RelaxControl:
    control = hg.montecarlo.RelaxControl(network(), temperature=0.7, scale=0.8).double()
    control.rebar.log_temperature.requires_grad_(not hold)
    return control


def general(hold: bool = False) -> dict[str, Call]:
    """Calls for 0/1 and one-hot samples, each with a new control of its own: unbiased whatever it holds."""
    return {
        "rebar": hg.rebar,
        "rebar, drawn anew": partial(hg.rebar, temperature=0.8, scale=1.4, tied=False),
        "rebar, learned": partial(hg.rebar, control=rebar_control(hold), samples=2),
        "relax": partial(hg.relax, control=network()),
        "relax, drawn anew": partial(hg.relax, control=network(), samples=2, tied=False),
        "relax, with f": partial(hg.relax, control=relax_control(hold)),
        "relax, with f, drawn anew": partial(hg.relax, control=relax_control(hold), tied=False),
    }


BINARY: dict[str, Call] = {
    "disarm": hg.disarm,
    "disarm, 3 pairs": partial(hg.disarm, samples=6),
    "arms, 2": partial(hg.arms, samples=2),
    "arms, 4": hg.arms,
    "arms, 9": partial(hg.arms, samples=9),
}
FAMILY = {"Bernoulli": bernoulli, "one-hot": one_hot}


def outcomes(logits: Tensor, kind: str) -> list[tuple[Tensor, Tensor]]:
    """Every joint outcome of one row with its probability, by products."""
    if kind == "one-hot":
        weights = logits.exp()
        return [(row, weights[i] / weights.sum()) for i, row in enumerate(torch.eye(len(logits), **F64))]
    p = 1 / (1 + (-logits).exp())
    found = []
    for bits in itertools.product((0, 1), repeat=len(logits)):
        probability = torch.ones((), **F64)
        for i, bit in enumerate(bits):
            probability = probability * (p[i] if bit else 1 - p[i])
        found.append((torch.tensor(bits, **F64), probability))
    return found


def expectation(logits: Tensor, theta: Tensor, kind: str, objective: str) -> Tensor:
    total = torch.zeros((), **F64)
    for b, probability in outcomes(logits, kind):
        if objective == "two layers":
            for c, chance in outcomes(second_layer(b, theta), "Bernoulli"):
                total = total + probability * chance * top(b, c)
        else:
            total = total + probability * OBJECTIVES[objective](b, theta)
    return total


def central_difference(f: Callable[[Tensor], Tensor], x: Tensor, h: float = 1e-5) -> Tensor:
    result = torch.zeros_like(x)
    for i in range(x.numel()):
        nudge = torch.zeros_like(x)
        nudge.view(-1)[i] = h
        result.view(-1)[i] = (f(x + nudge) - f(x - nudge)) / (2 * h)
    return result
