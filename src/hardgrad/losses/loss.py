"""What all losses of an order share: rows, what is soft of them, the exact value's gradient, and the reduction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hardgrad import _check, hard
from hardgrad._graft import graft
from hardgrad._torch_state import may_need_gradient
from hardgrad.hard import checks, precision
from hardgrad.soft.method import Method
from hardgrad.soft.methods import method_of
from hardgrad.soft.rows import Asked
from hardgrad.soft.temperature import Temperature, of_rows


@dataclass(frozen=True)
class Loss:
    """A loss by its public name, what it was given and what it was told."""

    owner: str
    name: str  # of x
    x: Tensor
    temperature: Temperature
    dim: int
    method: Method | str
    relative: bool
    soft: bool
    reduction: str

    def __post_init__(self) -> None:
        checks.floating(self.owner, self.x, self.name)
        checks.dimensions(self.owner, self.x, 1, "(..., n)", self.name)
        checks.size(self.owner, self.x, self.dim)
        _check.flag(self.owner, "soft", self.soft)
        _check.one_of(self.owner, "reduction", self.reduction, ("mean", "sum", "none"))
        # A mistake in what only the gradient needs is one without a gradient, too.
        _check.flag(self.owner, "relative", self.relative)
        method_of(self.owner, self.method)
        of_rows(self.owner, self.temperature, self.x, self.dim)

    @property
    def rows(self) -> Tensor:
        """X as (..., n), in single precision at least."""
        return precision.single(self.x).movedim(self.dim, -1)

    def beside(self, name: str, other: Tensor) -> Tensor:
        """Return a second tensor of x's shape as rows, without its gradient."""
        if _check.tensor(self.owner, name, other).shape != self.x.shape:
            shape, got = tuple(self.x.shape), tuple(other.shape)
            raise ValueError(f"{self.owner}: {name} must have the shape of {self.name}, {shape}, got {got}")
        if other.is_complex():
            raise TypeError(f"{self.owner}: {name} must be of numbers that have an order, got {other.dtype}")
        checks.same_device(self.owner, self.x, other, name)
        return other.detach().movedim(self.dim, -1)

    def ranks(self, descending: bool = False) -> Tensor:
        """Return soft ranks of the rows."""
        asked = self._asked(precision.single(self.x), descending)
        return asked.places(lambda by, x, t: by.rank(x, t), hard.rank).movedim(self.dim, -1)

    def mask(self, k: int) -> Tensor:
        """Return the soft mask of the k largest of the rows, in double precision: a chance of e^-150 is still one."""
        if k == self.rows.shape[-1]:
            return 0 * precision.double(self.rows) + 1
        asked = self._asked(precision.double(self.x))
        return asked.places(lambda by, x, t: by.mask(x, k, t), lambda x: hard.top_k_mask(x, k)).movedim(self.dim, -1)

    def signs(self) -> Tensor:
        """Return (..., n, n), from -1 to 1: soft signs of entry j less entry i."""
        return self._asked(precision.single(self.x)).places(
            lambda by, x, t: by.compare(x.unsqueeze(-1), x.unsqueeze(-2), t.unsqueeze(-1)),
            lambda x: signs(x).to(x.dtype),
            square=True,
        )

    def _asked(self, x: Tensor, descending: bool = False) -> Asked:
        return Asked(self.owner, x, self.temperature, self.dim, descending, self.method, self.relative)

    def of(self, exact: Callable[[], Tensor], relaxed: Callable[[], Tensor], beside: Tensor) -> Tensor:
        """Return the exact loss of each row with the gradient of the relaxed one, or that itself, reduced.

        A row that has a NaN, or has one ``beside``, is NaN.
        """
        rows = self.rows
        wrong = rows.isnan().any(-1) | beside.isnan().any(-1)
        if self.soft:
            loss = torch.where(wrong, torch.nan, relaxed().to(rows.dtype))
        else:
            with torch.no_grad():
                loss = torch.where(wrong, torch.nan, exact()).to(rows.dtype)
            if any(isinstance(t, Tensor) and may_need_gradient(t) for t in (self.x, self.temperature)):
                loss = graft(loss, relaxed().to(rows.dtype))
        loss = loss.mean() if self.reduction == "mean" else loss.sum() if self.reduction == "sum" else loss
        return loss.to(self.x.dtype)


def signs(x: Tensor) -> Tensor:
    """Return (..., n, n) in int8: the sign of entry j less entry i; infinities are equal to themselves."""
    later, earlier = x.unsqueeze(-2), x.unsqueeze(-1)
    return (later > earlier).to(torch.int8) - (later < earlier).to(torch.int8)


def places(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each value of a row how many are below it, and how many are not above it."""
    x = x.contiguous()
    ordered = x.sort(-1).values
    return torch.searchsorted(ordered, x), torch.searchsorted(ordered, x, right=True)
