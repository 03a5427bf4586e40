"""Candidates for a function that is known by its outputs: the relaxed order, the layers of solvers, of codebooks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from hardgrad import soft
from hardgrad._graft import graft
from hardgrad.codebook.gradients import directional, rotated
from hardgrad.doctor.copies import Candidate
from hardgrad.doctor.known import Order, Seen, codes_of, order_of, sense_of
from hardgrad.doctor.recognize import Hard, spread
from hardgrad.soft.methods import METHODS
from hardgrad.solvers._imle import imle
from hardgrad.solvers._interpolated import interpolated
from hardgrad.solvers._perturbed import perturbed
from hardgrad.surrogate import twins
from hardgrad.surrogate._straight_through import straight_through

# Of the bank's functions the first gains most along one gradient; the second has less bias, and more noise.
_WARM, _COLD = 1.0, 0.3
_SOFT = {"one_hot_argmax": "argmax"}  # where it has another name


def relatives(hard: Hard, x: Tensor, seen: Seen, noise: str) -> dict[str, Candidate]:
    """Return what suits the kind of function that these outputs show, by name.

    Args:
        hard: the function.
        x: its inputs, shape (B, *).
        seen: other inputs of that shape, and their outputs.
        noise: what smooths it; a threshold, of "logistic", is no solver but in name.
    """
    order = order_of(seen)
    offered = {} if order is None else _relaxed(order, hard, x)
    sense = None if noise == "logistic" else sense_of(seen)
    if sense is not None:
        scale = spread(x) / 4  # as for ``perturb``
        if sense == "min":
            offered["negative_identity"] = straight_through(hard, twins.negative_identity("mean"))
        offered["interpolated"] = interpolated(hard, spread(x), sense=sense)
        offered["perturbed"] = perturbed(hard, scale, samples=8, sense=sense)
        offered["imle"] = imle(hard, scale=scale, noise="normal", sense=sense)
    codes = codes_of(seen) if order is None and noise == "gaussian" else None
    return offered if codes is None else offered | _of_codes(codes, hard, x)


def _relaxed(order: Order, hard: Hard, x: Tensor) -> dict[str, Candidate]:
    operator = partial(getattr(soft, _SOFT.get(order.name, order.name)), **order.options, dim=order.dim)
    offered: dict[str, Candidate] = {}
    for method in METHODS:
        twin = partial(operator, temperature=_WARM, method=method)
        try:
            with torch.no_grad():
                twin(x[:1])
        except (NotImplementedError, ValueError):  # a method that has none says so
            continue
        offered[f"straight_through, {method}"] = straight_through(hard, twin)
    offered["straight_through, laplace, cold"] = straight_through(hard, partial(operator, temperature=_COLD))
    offered["soft, laplace"] = partial(operator, temperature=_WARM)
    return offered


def _of_codes(codes: Tensor, hard: Hard, x: Tensor) -> dict[str, Candidate]:
    """What ``Codebook`` lends, the task's gradient alone: neither term is in it. A copy is ``straight_through``."""
    with torch.no_grad():
        gap = (x - hard(x.clone())).square().sum(-1).mean().item() or 1.0
    return {
        "rotation": partial(_lent, hard, rotated),
        "directional": partial(_lent, hard, directional),
        "straight_through, codes": straight_through(hard, partial(_mixed, codes, _WARM * gap)),
        "straight_through, codes, cold": straight_through(hard, partial(_mixed, codes, _COLD * gap)),
    }


def _lent(hard: Hard, path: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.no_grad():
        code = hard(x.detach().clone())
    return graft(code, path(x, code))


def _mixed(codes: Tensor, temperature: float, x: Tensor) -> Tensor:
    """Return the codes' mean, each weighed by how near it is."""
    gaps = torch.cdist(x, codes, compute_mode="donot_use_mm_for_euclid_dist").square()
    mean: Tensor = (-gaps / temperature).softmax(-1) @ codes
    return mean
