"""What a hard function is, told by its outputs alone: of an order, a solver of linear costs, a look-up of codes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from hardgrad import hard
from hardgrad.doctor.recognize import Hard
from hardgrad.hard.distances import nearest

_MOST_CODES = 4096  # to compare every row with
Seen = list[tuple[Tensor, Tensor]]  # inputs of shape (B, *), and what the function made of them


class Order(NamedTuple):
    """A function of an order: its name in ``hardgrad.hard``, the dimension, and whatever else it is told."""

    name: str
    dim: int
    options: dict[str, Any]


def order_of(seen: Seen) -> Order | None:
    """Return which function of an order this is; None if none that is known."""
    x, y = seen[0]
    for dim in range(-1, -x.ndim, -1):
        for name, options in _guesses(x, y, dim):
            given = options if name == "permutation" else {**options, "dim": dim}
            guess: Hard = partial(getattr(hard, name), **given)
            if all(_equal(guess(x), y, name) for x, y in seen):
                return Order(name, dim, options)
    return None


def _guesses(x: Tensor, y: Tensor, dim: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what the shape of an output allows, with the numbers that go with it."""
    n, without = x.shape[dim], x.select(dim, 0).shape
    if n < 2:
        return
    if y.shape == x.shape:
        yield from (("sort", {}), ("rank", {}), ("one_hot_argmax", {}))
        k = y.sum(dim).flatten()[0].item()
        if k in range(1, n):
            yield "top_k_mask", {"k": int(k)}
    if y.ndim == x.ndim and 1 <= y.shape[dim] <= n and y.select(dim, 0).shape == without:
        yield "top_k", {"k": y.shape[dim]}
    if dim == -1 and y.shape == (*x.shape, n):
        yield "permutation", {}
    if y.shape == without:
        yield "quantile", {"q": _place(x.movedim(dim, -1).flatten(0, -2)[0], y.flatten()[0])}


def _place(row: Tensor, value: Tensor) -> float:
    """Return which quantile of a row a value is, to six digits."""
    ordered = row.double().sort().values
    at = int((ordered <= value).sum().clamp(1, len(row) - 1)) - 1
    low, high = ordered[at].item(), ordered[at + 1].item()
    place = at + (value.item() - low) / (high - low) if high > low else at
    return min(max(round(place / (len(row) - 1), 6), 0.0), 1.0) if math.isfinite(place) else 0.0


def _equal(guess: Tensor, y: Tensor, name: str) -> bool:
    if name == "quantile":  # known to six digits
        return torch.allclose(guess, y.to(guess), rtol=1e-4, atol=1e-5 * float(guess.abs().max()))
    return torch.equal(guess, y.to(guess))


def sense_of(seen: Seen) -> Literal["min", "max"] | None:
    """Return whether each output is, of all that were seen of its row, the one that its own input makes cheapest.

    That is what a solver of linear costs does, and hardly anything else; "max" for the dearest, as a mask of the top k
    is.
    """
    if any(y.shape != x.shape for x, y in seen):
        return None
    costs = torch.stack([x.double().flatten(1) for x, _ in seen], 1)
    found = torch.stack([y.double().flatten(1) for _, y in seen], 1)
    total = costs @ found.mT  # (B, of the input, of the output)
    own = total.diagonal(dim1=1, dim2=2).unsqueeze(-1)
    slack = 1e-5 * total.abs().amax((1, 2), keepdim=True)  # the solver may compute in single precision
    if bool((total - own).abs().amax() <= slack.amax()):  # one output for all
        return None
    if bool((own <= total + slack).all()):
        return "min"
    return "max" if bool((own >= total - slack).all()) else None


def codes_of(seen: Seen) -> Tensor | None:
    """Return the codes of a look-up of the nearest, shape (codes, width), those that were seen; None if it is none.

    That is a function of few different rows, each of which is as near to its input as any of the others.
    """
    if any(y.shape != x.shape or x.shape[-1] < 2 for x, y in seen):
        return None
    asked, found = (torch.cat([pair[i].flatten(0, -2) for pair in seen]) for i in (0, 1))
    codes, index = found.unique(dim=0, return_inverse=True)
    if not 1 < len(codes) <= min(len(found) // 2, _MOST_CODES) or not found.isfinite().all():
        return None
    least, _ = nearest(asked.double(), codes.double())
    own = (asked.double() - codes.double()[index]).norm(dim=-1)
    return codes if bool((own <= least + 1e-5 * own.amax()).all()) else None
