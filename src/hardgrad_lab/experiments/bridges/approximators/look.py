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
    """Return every measure of the hard layers, means over them, at one batch; steps are tried on the other."""
    hard = partial(hg.hard.sign, margin=trial.margin)
    twin = hg.straight_through(hard, soft=partial(blurred, margin=trial.margin))
    true = nn.Sequential(*(twin if is_hard(part) else part for part in body))
    layers = [part for part in body if is_hard(part)]
    last, n = list(body).index(layers[-1]), len(layers)
    # The matrices that learn by what hard layers lend alone.
    weights = [p for part in list(body)[:last] if not is_hard(part) for p in part.parameters() if p.ndim == 2]
    with torch.enable_grad(), hg.penalties():
        body.train()
        entries, exits, loss = _run(body, criterion, *one)
        found = torch.autograd.grad(loss, [*entries, *exits, *weights])
        exact = torch.autograd.grad(_run(true, criterion, *one)[2], weights)
        again = torch.autograd.grad(_run(body, criterion, *other)[2], weights)
        body.eval()
    own, best, second = ([_geometry(g, trial.optimizer) for g in each] for each in (found[2 * n :], exact, again))
    measures = [
        _of_layer(layer, trial.margin, *(each.detach() for each in given))
        for layer, *given in zip(layers, entries, exits, found[:n], found[n : 2 * n], strict=True)
    ]
    return {
        **{name: math.fsum(each[name] for each in measures) / n for name in measures[0]},
        "gain": _gain(body, criterion, other, weights, own),
        "true_gain": _gain(body, criterion, other, weights, best),
        "agree": _cosine(*(torch.cat([part.flatten() for part in parts]) for parts in (own, second))),
        "gradient_rank": math.fsum(map(_rank, found[2 * n :])) / len(weights),
    }


def is_hard(part: nn.Module) -> bool:
    """Return whether a part of a network is the signum."""
    return isinstance(part, hg.Bridge) or hasattr(part, "soft")


def _run(body: nn.Sequential, criterion: Criterion, x: Tensor, y: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Return what goes into every hard layer, what comes out, and the loss."""
    entries, exits = [], []
    for part in body:
        entries += [x] if is_hard(part) else []
        x = part(x)
        exits += [x] if is_hard(part) else []
    return entries, exits, criterion(x, y)


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
    losses = []
    for length in (0.0, *LENGTHS, 0.0):  # and back
        for weight, old, move in zip(weights, kept, step, strict=True):
            weight.copy_(old - length * move)
        losses.append(criterion(body(rows[0]), rows[1]).item())
    return 1 - min(losses) / losses[0]


def _of_layer(layer: nn.Module, margin: float, x: Tensor, y: Tensor, given: Tensor, asked: Tensor) -> dict[str, float]:
    """Return the measures of one layer: rows, signs, the gradient that it lent and the one that it was asked for."""
    soft = lent(layer)
    (slope,) = torch.func.vjp(partial(blurred, margin=margin), x)[1](torch.ones_like(x))
    true, rows = asked * slope, x[:FEW]
    step = STEP * x.std() * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0)).to(x)
    jacobian = torch.func.vmap(torch.func.jacrev(soft))
    with torch.no_grad():
        imitation = (soft(x) - y).norm() / y.norm()
        here, there = jacobian(rows), jacobian(rows + step)
    diagonal = here.diagonal(dim1=1, dim2=2).square().sum() / here.square().sum().clamp_min(1e-12)
    return {
        "imitation": imitation.item(),
        "cosine": _cosine(given, true),
        "length": (given.norm() / true.norm().clamp_min(1e-30)).item(),
        "diagonal": diagonal.item(),
        "top": torch.linalg.matrix_norm(here, 2).mean().item(),
        "rank": _rank(here),
        "turn": 1 - _cosine(here, there),
        "differ": 1 - _cosine(here, here.roll(1, 0)),
    }


def _rank(matrices: Tensor) -> float:
    """Return the effective rank: e to the entropy of the singular values as shares, a mean of matrices.

    Source: Roy and Vetterli 2007, The effective rank.
    """
    singular = torch.linalg.svdvals(matrices)
    shares = singular / singular.sum(-1, keepdim=True).clamp_min(1e-30)
    return float(torch.special.entr(shares).sum(-1).exp().mean())


def _cosine(a: Tensor, b: Tensor) -> float:
    a, b = a.flatten().double(), b.flatten().double()
    return float(a @ b / (a.norm() * b.norm()).clamp_min(1e-30))
