"""What the hard functions refuse: every mistake named with the function, the argument, the rule and the cure."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad import _check

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def floating(function: str, x: Tensor, name: str = "x") -> None:
    """Refuse what is not a tensor of one of the four floating dtypes."""
    if _check.tensor(function, name, x).dtype not in _DTYPES:
        raise TypeError(
            f"{function}: {name} must be of dtype float64, float32, bfloat16 or float16, got {x.dtype}; "
            f"give {name}.float()"
        )


def dimensions(function: str, x: Tensor, least: int, shape: str, name: str = "x") -> None:
    """Refuse a tensor of fewer dimensions than ``least``; ``shape`` says what they are."""
    if x.ndim < least:
        raise ValueError(
            f"{function}: {name} must have shape {shape}, got {tuple(x.shape)}; {name}.unsqueeze(...) adds a dimension"
        )


def size(function: str, x: Tensor, dim: int) -> int:
    """Return how many entries x has along ``dim``; a tensor without dimensions counts as a vector of one entry."""
    dim = _check.whole(function, "dim", dim)
    ndim = max(x.ndim, 1)
    if not -ndim <= dim < ndim:
        raise ValueError(
            f"{function}: dim must be from {-ndim} to {ndim - 1} for x of shape {tuple(x.shape)}, got {dim}"
        )
    return x.shape[dim] if x.ndim else 1


def same_device(function: str, x: Tensor, other: Tensor, name: str) -> None:
    """Refuse a second tensor that is not on x's device."""
    if other.device != x.device:
        raise ValueError(
            f"{function}: {name} must be on x's device {x.device}, got {other.device}; give {name}.to(x.device)"
        )


def broadcast(function: str, x: Tensor, other: Tensor, name: str) -> None:
    """Refuse a tensor whose shape does not broadcast with x's."""
    pairs = zip(reversed(x.shape), reversed(other.shape), strict=False)
    if not all(a == b or a == 1 or b == 1 for a, b in pairs):
        raise ValueError(
            f"{function}: {name} must broadcast with x of shape {tuple(x.shape)}, got shape {tuple(other.shape)}"
        )


def beside(function: str, x: Tensor, other: Tensor, name: str) -> None:
    """Refuse what is no floating tensor that broadcasts with x on its device."""
    floating(function, other, name)
    if other.ndim:  # torch takes a number from any device
        same_device(function, x, other, name)
    broadcast(function, x, other, name)


def logits_of_subsets(function: str, logits: Tensor, k: int) -> Tensor:
    """Return logits (..., n), or raise if they are no such tensor, or k is not from 0 to n."""
    floating(function, logits, "logits")
    dimensions(function, logits, 1, "(..., n)", "logits")
    if logits.shape[-1] == 0:
        raise ValueError(f"{function}: logits must have at least one entry to choose from, got {tuple(logits.shape)}")
    _check.whole(function, "k", k, 0, logits.shape[-1], cure="k of the n entries along the last dimension are chosen")
    return logits


def choice_of(function: str, logits: Tensor, k: int) -> None:
    """Refuse logits whose infinities leave no choice of k."""
    certain, possible = (logits == torch.inf).sum(-1), (logits > -torch.inf).sum(-1)
    wrong = ((certain > k) | (possible < k)) & ~logits.isnan().any(-1)
    if wrong.any():
        row = int(wrong.flatten().int().argmax())
        least, most = int(certain.flatten()[row]), int(possible.flatten()[row])
        raise ValueError(
            f"{function}: logits must leave a choice of k={k}, got a row of {least} entries of inf, which are always "
            f"chosen, and {most} above -inf, which can be; mask fewer entries, or take another k"
        )
