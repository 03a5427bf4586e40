"""Ranges whose inner points learn: the routing stays hard, and a point gets a surrogate gradient from rows near it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from hardgrad._torch_state import in_graph
from hardgrad.switch.arguments import real
from hardgrad.switch.conditions.condition import without_values
from hardgrad.switch.conditions.on_points import PointRouter, keep_double
from hardgrad.switch.conditions.weight_decay import watch
from hardgrad.switch.points import Closed, Outside, Points, checked, range_without_values

# Two points never come nearer than this share of the narrowest range given: a range without width cannot be mapped to
# [-1, 1], and one without rows could never grow again.
LEAST = 0.02


@final
class LearnedRanges(PointRouter):
    r"""``Ranges`` whose inner points are learned by gradient descent.

    Training and evaluation route alike, hard, by the current points; only ``hardgrad.Switch`` in training knows the
    difference. It gives each point a surrogate gradient from the rows near it, by what the branch on the other side
    would have made of a row:

    .. math::
        \frac{\partial L}{\partial p_i} = \sum_b \frac{\partial L}{\partial y_b} \cdot
        \bigl(f_{i-1}(x_b) - f_i(x_b)\bigr)\, w_h(k_b - p_i), \qquad
        w_h(u) = \frac{1}{h} \max\Bigl(0,\, 1 - \frac{|u|}{h}\Bigr)

    Moving a point changes the expected loss by the density of keys there times the difference of the two losses; the
    triangle :math:`w_h` measures the density, and :math:`\partial L / \partial y` times the jump stands for the
    difference, to first order in the jump. A row that its own branch serves well pushes nowhere. Branches learn from
    their own rows alone, as ever: their gradients, and x's, are what plain ``Ranges`` give, bit for bit.

    That alone finds a break that the branches plainly misfit. A branch that can follow a break inside its own range
    leaves nothing to see near the point: then call ``hardgrad.switch.refine`` every so often, whose note has a recipe.
    ``hardgrad.switch.threshold_loss`` has the exact difference of the losses, row by row.

    Args:
        points: the start, at least two numbers, strictly increasing. The outer two stay, since an end decides between
            no two branches, and must be finite where there are inner points.
        band: half-width h of the neighbourhood that a point learns from, as a share of the narrower of the two ranges
            beside it at the start; above 0, at most 1. Set ``ranges.band`` as training goes on: wide finds a point far
            off, narrow places it. None: no gradient.
        outside: as ``Ranges``.
        closed: as ``Ranges``.

    Attributes:
        inner: ``nn.Parameter`` of float64 (N - 1,), the inner points in the key's own units; no cast moves it from
            float64. Give it a learning rate of its own, and no weight decay: that would pull points to zero.
        points: tuple of N + 1 floats, the current points in order. A step that carries one past another is held back.

    Raises:
        ValueError: as ``Ranges``; for a ``band`` not in (0, 1], or infinite outer points.

    Example:
        >>> import torch, hardgrad as hg
        >>> _ = torch.manual_seed(0)
        >>> ranges = hg.LearnedRanges([-1.0, 0.2, 1.0])
        >>> switch = hg.Switch(ranges, torch.nn.Linear(1, 1))
        >>> optimizer = torch.optim.Adam(
        ...     [{"params": switch.branches.parameters(), "lr": 0.05}, {"params": ranges.parameters(), "lr": 0.002}])
        >>> for step in range(400):
        ...     ranges.band = 1.0 - 0.9 * step / 400
        ...     x = torch.rand(256, 1) * 2 - 1
        ...     loss = (switch(x, key=x[:, 0]) - torch.where(x < 0, -1.0, x)).square().mean()
        ...     optimizer.zero_grad()
        ...     loss.backward()
        ...     optimizer.step()
        >>> abs(ranges.points[1]) < 0.02
        True

    Source: the meeting of Clarke 2025 (LACTOSE) with Ramapuram and Webb 2020 (arXiv 1905.03658); the derivative of a
    mean over a region whose edge moves is Leibniz' rule.
    """

    def __init__(
        self,
        points: Sequence[float],
        *,
        band: float | None = 0.5,
        outside: Outside = "nearest",
        closed: Closed = "left",
    ) -> None:
        start = Points(checked(points), closed)
        super().__init__(start, outside)
        if len(start) > 1 and not max(high - low for low, high in start.spans) < float("inf"):
            raise ValueError(
                f"LearnedRanges: points must be finite, got {list(start.values)}; give the outer ranges an end: with "
                'outside="nearest" they hold what lies beyond it too'
            )
        self.inner = nn.Parameter(torch.tensor(start.values[1:-1], dtype=torch.float64))
        self.band = band
        self._measure()
        watch(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        watch(self)  # a copy, or one that was unpickled

    def _measure(self) -> None:
        widths = [high - low for low, high in self._points.spans]
        self.reach = [min(pair) for pair in pairwise(widths)]
        self._least = LEAST * min(widths)
        self._current = self._points

    def replace_points(self, points: tuple[float, ...], visits: Tensor) -> None:
        super().replace_points(points, visits)
        # The same parameter of another length, so that an optimizer that holds it goes on with it.
        self.inner.grad = None
        self.inner.data = self.inner.new_tensor(points[1:-1])
        self._measure()

    @property
    def band(self) -> float | None:
        """Half-width of the neighbourhood of a point, as a share of the narrower range beside it at the start."""
        return self._band

    @band.setter
    def band(self, band: float | None) -> None:
        if band is not None:
            band = real("LearnedRanges", "band", band, "give a share above 0 and at most 1, or None")
            if not 0 < band <= 1:
                raise ValueError(f"LearnedRanges: band must be above 0 and at most 1, or None, got {band}")
        self._band = band

    @property
    def learned_points(self) -> nn.Parameter:
        return self.inner

    def current(self) -> Points:
        if self.inner.is_meta:  # which has no values
            return self._points
        values = self._in_order(self.inner.tolist())
        if values != self._current.values:
            self._current = Points(values, self.closed)
        return self._current

    def _in_order(self, inner: list[float]) -> tuple[float, ...]:
        low, *_, high = self._points.values
        bound = low
        for i, point in enumerate(inner):
            inner[i] = bound = max(point, bound + self._least)
        bound = high
        for i in range(len(inner) - 1, -1, -1):
            inner[i] = bound = min(inner[i], bound - self._least)
        return (low, *inner, high)

    def tensor(self, device: torch.device) -> Tensor:
        # As `points`, without a read-back.
        low, *_, high = self._points.values
        inner = _apart(self.inner.detach(), low, self._least)
        inner = -_apart(-inner.flip(0), -high, self._least).flip(0)
        return torch.cat([inner.new_tensor([low]), inner, inner.new_tensor([high])]).to(device)

    def index(self, key: Tensor) -> Tensor:
        if isinstance(key, Tensor) and not without_values(key) and without_values(self.inner):
            return range_without_values(key.detach(), self.tensor(key.device), self.closed)
        return super().index(key)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, band={self.band}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LearnedRanges:
        return cast(LearnedRanges, super()._apply(keep_double(fn), recurse))

    def _load_points(self, saved: Tensor, state_dict: dict[str, Any], prefix: str) -> None:
        ends = [self._points.values[0], self._points.values[-1]]
        if len(saved) != len(self._points.values) or saved[[0, -1]].tolist() != ends:
            raise ValueError(
                f"LearnedRanges: the state to load has the points {saved.tolist()}, and these ranges "
                f"{list(self.points)}; build the switch with as many points, and the saved outer two"
            )
        state_dict.setdefault(prefix + "inner", saved[1:-1])  # a state of plain Ranges


def _apart(inner: Tensor, low: float, least: float) -> Tensor:
    """Return points that are at least ``least`` above low and one another; those that are already stay, bit for bit."""
    shift = least * torch.arange(1, len(inner) + 1, dtype=inner.dtype, device=inner.device)
    free = inner - shift
    held = _running_max(free.clamp(min=low)) if len(inner) else free
    return torch.where(held > free, held + shift, inner)


def _running_max(values: Tensor) -> Tensor:
    if not in_graph():
        return values.cummax(0).values
    # ONNX has no such operator: the greatest of the first i, for each i.
    place = torch.arange(len(values), device=values.device)
    return torch.where(place <= place.unsqueeze(1), values, -torch.inf).amax(1)
