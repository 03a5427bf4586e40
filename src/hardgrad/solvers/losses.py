"""What the two losses of solvers share: what they compare with the cost, and a value whose gradient is known."""

from __future__ import annotations

from torch import Tensor

from hardgrad import _check
from hardgrad._graft import graft
from hardgrad._torch_state import readable
from hardgrad.solvers.layer import differentiable_once, wide


def numbers(label: str, cost: Tensor) -> Tensor:
    """Return the numbers of a cost, or raise: those that are not finite have no products."""
    return _finite(label, "cost", wide(_check.floating(label, "cost", cost).detach()))


def beside(label: str, name: str, given: object, cost: Tensor) -> Tensor:
    """Return what is compared with the cost's numbers, or raise."""
    x = _check.tensor(label, name, given)
    if x.shape != cost.shape:
        raise ValueError(f"{label}: {name} must have the cost's shape {tuple(cost.shape)}, got {tuple(x.shape)}")
    if x.requires_grad or x.is_complex():
        raise ValueError(f"{label}: {name} must be real and need no gradient, since it gets none; give its .detach()")
    return _finite(label, name, x.detach().to(cost.device, cost.dtype))


def _finite(label: str, name: str, x: Tensor) -> Tensor:
    if readable(x) and not bool(x.isfinite().all()):
        row = int((~x.isfinite()).reshape(len(x), -1).any(1).nonzero()[0]) if x.ndim else 0
        raise ValueError(f"{label}: {name} must be finite, got NaN or infinity in row {row}; take a large number")
    return x


def of_rows(value: Tensor, cost: Tensor, slope: Tensor, label: str) -> Tensor:
    """Return values ``(batch,)`` in the cost's dtype, whose gradient is ``slope``, of the cost's shape."""
    path = wide(differentiable_once(cost, label)) * slope
    return graft(value.to(cost.dtype), row_sums(path, cost.ndim - 1))


def row_sums(x: Tensor, dims: int) -> Tensor:
    """Return the sum over the last ``dims`` dimensions."""
    return x.flatten(-dims).sum(-1) if dims else x
