"""What a lent gradient is like: against the true one, along a step of the network's own optimizer, and its Jacobian."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.experiments.bridges.approximators import Study
from hardgrad_lab.experiments.bridges.approximators.lend import blurred, lent
from hardgrad_lab.experiments.bridges.drawn import Rows

Criterion = Callable[[Tensor, Tensor], Tensor]  # of outputs and targets
FEW = 8  # rows of which whole Jacobians are made
STEP = 0.1  # of the deviation of the rows: a small step of x
LENGTHS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)  # of a step of the weights, root mean square


def look(body: nn.Sequential, criterion: Criterion, trial: Study, one: Rows, other: Rows) -> dict[str, float]:
    """Return every measure of the hard layers in a network, means over them; nothing in it changes.

    Args:
        body: with the hard layers as direct parts.
        criterion: its loss.
        trial: whose margin and optimizer count.
        one: rows and targets of which gradients are taken.
        other: more of them, on which a step is tried and with whose gradients those should agree.
    """
    hard = partial(hg.hard.sign, margin=trial.margin)
    twin = hg.straight_through(hard, soft=partial(blurred, margin=trial.margin))
    true = nn.Sequential(*(twin if is_hard(part) else part for part in body))
    layers, weights = [part for part in body if is_hard(part)], _below(body)
    n = len(layers)
    with torch.enable_grad(), hg.penalties():
        body.train()
        entries, exits, loss = _run(body, criterion, one)
        found = torch.autograd.grad(loss, [*entries, *exits, *weights])
        others = [
            torch.autograd.grad(_run(*each)[2], weights) for each in ((true, criterion, one), (body, criterion, other))
        ]
        body.eval()
    own, true_step, again = ([_geometry(g, trial.optimizer) for g in each] for each in (found[2 * n :], *others))
    measures = [
        _of_layer(layer, trial.margin, *(each.detach() for each in given))
        for layer, *given in zip(layers, entries, exits, found[:n], found[n : 2 * n], strict=True)
    ]
    return {
        **{name: math.fsum(each[name] for each in measures) / n for name in measures[0]},
        "gain": _gain(body, criterion, other, weights, own),
        "true_gain": _gain(body, criterion, other, weights, true_step),
        "agree": _cosine(_flat(own), _flat(again)),
        "gradient_rank": math.fsum(map(_rank, found[2 * n :])) / len(weights),
    }


def is_hard(part: nn.Module) -> bool:
    """Return whether a part of a network is the signum."""
    return isinstance(part, hg.Bridge) or hasattr(part, "soft")


def _run(body: nn.Sequential, criterion: Criterion, rows: Rows) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Return what goes into every hard layer, what comes out, and the loss."""
    x, entries, exits = rows[0], [], []
    for part in body:
        entries += [x] if is_hard(part) else []
        x = part(x)
        exits += [x] if is_hard(part) else []
    return entries, exits, criterion(x, rows[1])


def _below(body: nn.Sequential) -> list[nn.Parameter]:
    """Return the matrices that learn by what hard layers lend alone."""
    last = max(place for place, part in enumerate(body) if is_hard(part))
    return [p for part in list(body)[:last] if not is_hard(part) for p in part.parameters() if p.ndim == 2]


def _geometry(gradient: Tensor, optimizer: str) -> Tensor:
    """Return the step that the optimizer makes of a gradient without memory, of root mean square 1."""
    if optimizer == "adam":
        return gradient.sign()
    u, _, v = torch.linalg.svd(gradient, full_matrices=False)
    step: Tensor = u @ v * math.sqrt(max(gradient.shape))
    return step


@torch.no_grad()
def _gain(
    body: nn.Module, criterion: Criterion, rows: Rows, weights: Sequence[nn.Parameter], step: Sequence[Tensor]
) -> float:
    """Return by which share the loss of the hard network falls along a step at its best length."""
    kept = [weight.clone() for weight in weights]
    before = criterion(body(rows[0]), rows[1]).item()
    least = before
    for length in LENGTHS:
        for weight, old, move in zip(weights, kept, step, strict=True):
            weight.copy_(old - length * move)
        least = min(least, criterion(body(rows[0]), rows[1]).item())
    for weight, old in zip(weights, kept, strict=True):
        weight.copy_(old)
    return (before - least) / before


def _of_layer(layer: nn.Module, margin: float, x: Tensor, y: Tensor, given: Tensor, asked: Tensor) -> dict[str, float]:
    """Return the measures of one layer: rows, signs, the gradient that it lent and the one that it was asked for."""
    soft = lent(layer)
    with torch.enable_grad():
        wide = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(blurred(wide, margin).sum(), wide)
    jacobian = torch.func.vmap(torch.func.jacrev(soft))
    with torch.no_grad():
        imitation = ((soft(x) - y).norm() / y.norm()).item()
        rows = x[:FEW]
        step = STEP * x.std() * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0)).to(x)
        here, there = jacobian(rows), jacobian(rows + step)
        diagonal = here.diagonal(dim1=1, dim2=2).square().sum() / here.square().sum().clamp_min(1e-12)
    return {
        "imitation": imitation,
        "cosine": _cosine(given, asked * slope),
        "length": (given.norm() / (asked * slope).norm().clamp_min(1e-30)).item(),
        "diagonal": diagonal.item(),
        "top": torch.linalg.matrix_norm(here, 2).mean().item(),
        "rank": _rank(here),
        "turn": 1 - _cosine(here, there),
        "differ": 1 - _cosine(here, here.roll(1, 0)),
    }


def _rank(matrices: Tensor) -> float:
    """Return the effective rank: the exponential of the entropy of the singular values as shares, a mean of matrices.

    Source: Roy and Vetterli 2007, The effective rank.
    """
    singular = torch.linalg.svdvals(matrices)
    shares = singular / singular.sum(-1, keepdim=True).clamp_min(1e-30)
    return float(torch.special.entr(shares).sum(-1).exp().mean())


def _cosine(a: Tensor, b: Tensor) -> float:
    a, b = a.flatten().double(), b.flatten().double()
    return float(a @ b / (a.norm() * b.norm()).clamp_min(1e-30))


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])
