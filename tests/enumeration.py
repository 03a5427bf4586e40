"""The truth that estimators are measured against, by plain loops over outcomes, and what they estimate.

Nothing of ``hardgrad`` is used for the truth. A batch of equal rows gives as many independent gradients in one
backward, so means and their standard errors come from one call.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from mc_bank import SECOND, Case, Variable, two_layers, weights
from mc_cases import Call, Estimator
from mc_formulas import Setting

TWO_LAYERS = "two layers"
Parts = dict[str, Tensor]


@dataclass(frozen=True)
class Problem:
    """An objective behind a distribution."""

    variable: Variable
    case: Case | None  # None: two layers

    @property
    def name(self) -> str:
        return self.case.name if self.case else TWO_LAYERS

    def leaves(self, *batch: int) -> Parts:
        """Everything a gradient is asked for, once a row: q's parameter, f's, the second layer's."""
        leaves = {"q": self.variable.rows(*batch)}
        count = self.variable.features
        if self.case is None:
            bias = SECOND[self.variable.kind].one
            matrix = weights(count * len(bias), 0.8).view(count, len(bias))
            leaves |= {"second matrix": matrix, "second bias": bias}
        elif self.case.has_parameters:
            leaves["f"] = weights(count, 1.3)
        return {name: _repeat(leaf, batch) if name != "q" else leaf for name, leaf in leaves.items()}

    def __str__(self) -> str:
        return f"{self.variable.name}: {self.name}"


def _repeat(leaf: Tensor, batch: tuple[int, ...]) -> Tensor:
    return leaf.expand((*batch, *leaf.shape)).clone().requires_grad_()


def truth(problem: Problem) -> Parts:
    """The expectation, as "value", and its gradient with respect to every leaf, each of one row's shape."""
    leaves = problem.leaves()
    value = torch.zeros((), dtype=torch.float64)
    for outcome, probability in outcomes(problem.variable, leaves["q"]):
        x = outcome.flatten()
        if problem.case is None:
            logits = x @ leaves["second matrix"] + leaves["second bias"]
            for second, chance in outcomes(SECOND[problem.variable.kind], logits):
                value = value + probability * chance * two_layers(x, second.flatten())
        else:
            value = value + probability * problem.case.function(x, leaves.get("f", x))
    gradients = torch.autograd.grad(value, list(leaves.values()))
    return {"value": value.detach()} | dict(zip(leaves, gradients, strict=True))


def outcomes(variable: Variable, parameter: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Every joint outcome, 0/1 or one-hot, of the parameter's shape, and its probability."""
    if variable.kind == "Bernoulli":
        p = (parameter if variable.given == "probs" else parameter.sigmoid()).reshape(-1)
        chances, ways = torch.stack([1 - p, p], -1), torch.tensor([[0.0], [1.0]])
    else:
        table = parameter.reshape(-1, parameter.shape[-1])
        chances = table / table.sum(-1, keepdim=True) if variable.given == "probs" else table.softmax(-1)
        ways = torch.eye(table.shape[-1])
    if variable.kind == "KSubset":
        chances, ways = _subsets(table, variable.k)
    found = []
    for numbers in itertools.product(range(len(ways)), repeat=len(chances)):
        probability = torch.ones((), dtype=torch.float64)
        for unit, number in enumerate(numbers):
            probability = probability * chances[unit, number]
        found.append((torch.stack([ways[n] for n in numbers]).double().reshape(parameter.shape), probability))
    return found


def _subsets(table: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The chance of each subset in each row, by products of weights, and the masks."""
    chosen = list(itertools.combinations(range(table.shape[-1]), k))
    products = torch.stack([table.exp()[:, list(items)].prod(-1) for items in chosen], -1)
    masks = torch.stack([torch.zeros(table.shape[-1]).index_fill(0, torch.tensor(c), 1) for c in chosen])
    return products / products.sum(-1, keepdim=True), masks


def estimate(estimator: Estimator, problem: Problem, rows: int, seed: int = 0) -> Parts:
    """What one call gives each of ``rows`` equal rows: its value, and its gradient with respect to every leaf."""
    leaves = problem.leaves(rows)
    q = problem.variable.distribution(leaves["q"])
    call, f = objective(estimator, problem, leaves)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed + 1)  # a second layer draws from the global source: not the same numbers
    value = call(q, f, generator=generator) if estimator.noisy else call(q, f)
    gradients = torch.autograd.grad(value.sum(), list(leaves.values()))
    return {"value": value.detach()} | dict(zip(leaves, gradients, strict=True))


def objective(estimator: Estimator, problem: Problem, leaves: Parts) -> tuple[Call, Call]:
    """The estimator made for the problem's q, and f as a user would write it."""
    variable, case = problem.variable, problem.case
    call = estimator.make(variable.distribution(leaves["q"]))
    if case is not None:
        return call, lambda b: case.function(variable.seen(b), leaves.get("f", b))
    behind = SECOND[variable.kind]
    inner = estimator.make(behind.distribution(leaves["second bias"]))

    def f(b: Tensor) -> Tensor:
        x = variable.seen(b)
        logits = (x.unsqueeze(-2) @ leaves["second matrix"]).squeeze(-2) + leaves["second bias"]
        return inner(behind.distribution(logits), lambda second: two_layers(x, behind.seen(second)))

    return call, f


def published(estimator: Estimator, problem: Problem) -> tuple[Tensor, Tensor | float]:
    """The expected gradient of a biased estimator with respect to q's parameter, by its own formula; standard error."""
    leaves = problem.leaves()
    variable, case, theta = problem.variable, problem.case, leaves.get("f", torch.zeros(problem.variable.features))
    call = estimator.make(variable.distribution(problem.leaves(1)["q"]))
    torch.manual_seed(2)
    return estimator.formula(
        Setting(
            variable,
            leaves["q"],
            outcomes(variable, leaves["q"]),
            lambda b: case.function(b.flatten(1) if b.ndim > 1 else b.unsqueeze(-1), theta.detach()),
            call,
        )
    )


def deviation(found: Tensor, expected: Tensor, error_of_expected: Tensor | float = 0.0) -> Tensor:
    """How many standard errors the mean over rows is from what is expected, coordinate by coordinate."""
    mean, error = found.mean(0), standard_error(found)
    error = (error.square() + torch.as_tensor(error_of_expected).square()).sqrt()
    # Rounding, where there is no noise.
    return (mean - expected).abs() / (error + 1e-9 * (1 + expected.abs()))


def standard_error(found: Tensor) -> Tensor:
    return found.std(0) / len(found) ** 0.5
