"""What all soft operators share: rows along the last dimension, half as single rounded once, and the hard end."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from hardgrad import _check, hard
from hardgrad._torch_state import in_forward_mode, in_graph, in_transform, may_need_gradient
from hardgrad.hard import checks, precision
from hardgrad.soft import ends
from hardgrad.soft.method import Method
from hardgrad.soft.methods import method_of
from hardgrad.soft.temperature import Temperature, of_rows, unit


@dataclass(frozen=True)
class Asked:
    """What an operator was told, and how its result comes of it."""

    owner: str
    x: Tensor
    temperature: Temperature
    dim: int
    descending: bool
    method: Method | str
    relative: bool

    def __post_init__(self) -> None:
        checks.floating(self.owner, self.x)
        checks.size(self.owner, self.x, self.dim)
        _check.flag(self.owner, "descending", self.descending)
        _check.flag(self.owner, "relative", self.relative)

    @property
    def size(self) -> int:
        """How many entries there are to order."""
        return self.x.shape[self.dim] if self.x.ndim else 1

    def values(
        self,
        start: int,
        stop: int,
        *,
        turned: bool,
        pick: Callable[[Tensor], Tensor] = lambda ordered: ordered,
        exact: Callable[[Tensor], Tensor] = hard.sort,
    ) -> Tensor:
        """Return what ``pick`` takes of the values in places ``start`` to before ``stop`` of the ascending order.

        Args:
            start: the first place.
            stop: the place after the last.
            turned: hand them over the other way round.
            pick: from (..., stop - start) to (..., any).
            exact: the same result from rows; ``hard.sort`` stands for what ``pick`` takes of that.
        """

        def taken(ordered: Tensor) -> Tensor:
            return pick(ordered.flip(-1) if turned else ordered)

        def soft(by: Method, x: Tensor, t: Tensor, finite: Tensor | None) -> Tensor:
            if finite is None:
                return taken(by.span(x, start, stop, t))
            ordered = by.span(ends.set_apart(x, finite, t), start, stop, t)
            return taken(ends.put_back(ordered, x, start, stop))

        def sharp(x: Tensor) -> Tensor:
            return taken(hard.sort(x)[..., start:stop]) if exact is hard.sort else exact(x)

        return self._moved_back(self._result(soft, sharp))

    def places(
        self, soft: Callable[[Method, Tensor, Tensor], Tensor], exact: Callable[[Tensor], Tensor], square: bool = False
    ) -> Tensor:
        """Return where the values are: soft by a method of rows and their temperature, or exact of rows.

        ``square`` results, (..., n, n), have no dimension that came from ``dim`` and stay as they are.
        """

        self._say_flat()

        def ascending(by: Method, x: Tensor, t: Tensor, finite: Tensor | None) -> Tensor:
            x = x if finite is None else ends.set_apart(x, finite, t)
            return soft(by, -x if self.descending else x, t)

        def sharp(x: Tensor) -> Tensor:
            # NaN counts as the largest, whichever way the order goes.
            return exact(-torch.where(x.isnan(), torch.inf, x) if self.descending else x)

        result = self._result(ascending, sharp, square)
        return result if square else self._moved_back(result)

    def _say_flat(self) -> None:
        """Warn of the one size at which where the values are depends on no distance: a network would not train."""
        soft = isinstance(self.temperature, Tensor) or self.temperature != 0
        trains = torch.is_grad_enabled() and may_need_gradient(self.x) and not (in_graph() or in_transform())
        if self.relative and self.size == 2 and soft and trains:
            warnings.warn(
                f"{self.owner}: of two values a relative temperature leaves no slope, since their gap is its unit; "
                "give relative=False and a temperature in x's own unit",
                UserWarning,
                stacklevel=4,
            )

    def _result(self, soft: Callable[..., Tensor], exact: Callable[[Tensor], Tensor], square: bool = False) -> Tensor:
        by = method_of(self.owner, self.method)
        rows = self.x.movedim(self.dim, -1) if self.x.ndim else self.x.unsqueeze(0)
        t, zero = of_rows(self.owner, self.temperature, self.x, self.dim)
        if t is None or rows.shape[-1] == 0:
            return exact(rows)
        wide = _single(rows)
        finite = ends.finite_of(wide)
        result = soft(by, wide, t * unit(wide, finite) if self.relative else t, finite)
        result = precision.back(result, rows.dtype)
        if zero is None:
            return result
        return torch.where(zero.unsqueeze(-1) if square else zero, exact(rows), result)

    def _moved_back(self, result: Tensor) -> Tensor:
        return result.movedim(-1, self.dim) if self.x.ndim else result.squeeze(0)


def _single(x: Tensor) -> Tensor:
    if x.dtype is not torch.float16 or in_transform() or in_forward_mode():
        return precision.single(x)
    return cast(Tensor, cast(Any, _Single).apply(x))


class _Single(torch.autograd.Function):
    """Single precision of half; a gradient too large for half is the largest that it has, and stays finite."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.float()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        most = torch.finfo(torch.float16).max
        return torch.where(grad.isfinite(), grad.clamp(-most, most), grad).to(torch.float16)
