"""Points on the number line, and the range that a number falls into."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from hardgrad._torch_state import in_graph
from hardgrad.switch.conditions.condition import Router, counting, one_of, without_values

# Up to so many keys, looking each up among Python floats beats the tensor kernels that would do it (measured: 64 keys
# take 20 us this way, and the kernels 25 us at any number).
FEW = 64


class Ranges(Router):
    r"""The condition of a hard IF: N + 1 points make N ranges, and a key leads to the range it falls into.

    .. math:: \text{index}(k) = i \iff p_i \le k < p_{i+1}, \qquad \text{the last range also holds } p_N

    The points are Python floats: ``.half()`` and ``.to(torch.bfloat16)`` leave them alone. A key is compared in its own
    dtype with the points cast to it, so that a key written as the number of a point is on that point in every dtype.
    No gradient flows to the key through the choice; a key that is also an input of a branch keeps its ordinary one.

    Args:
        points: at least two numbers, strictly increasing. The outer two may be infinite.
        outside: what to do with a key below the first point or above the last: "nearest" takes the end range, "error"
            raises. In a compiled or exported graph and under ``vmap``, where no value can raise, always "nearest".
        closed: the end that belongs to a range: "left" for [a, b), "right" for (a, b]. The outer points always belong.

    Shape:
        key: any shape, floating point or integer. Returns int64 of the same shape, in 0 .. N - 1; where no value can
        raise, -1 for a key that is NaN, whose row a switch gives to no branch.

    Attributes:
        points: tuple of N + 1 floats; ``len(ranges)`` is N.
        visits: int64 (N,), how many keys fell into each range so far, in training or not; ``below`` and ``above``, how
            many were outside. ``index(key)`` counts nothing, a call does. ``reset_counts()`` sets all to zero.
            ``state_dict()`` has them and the points; loading checks the points.

    Raises:
        ValueError: for points that are too few, unsorted, duplicate or NaN; for a key that is NaN, or outside with
            ``outside="error"``: the message has the value and its row.

    Example:
        >>> import torch, hardgrad as hg
        >>> ranges = hg.Ranges([-1.0, 0.0, 0.5, 1.0])
        >>> ranges(torch.tensor([-0.2, 0.0, 0.7, 1.0])).tolist()
        [0, 1, 2, 2]
        >>> ranges.label(1), ranges.visits.tolist()
        ('[0, 0.5)', [1, 1, 2])

    Source: Clarke 2025, LACTOSE, algorithm 1 and section 2; the boundary rule is the published program's.
    """

    below: Tensor
    above: Tensor

    def __init__(
        self,
        points: Sequence[float],
        outside: Literal["nearest", "error"] = "nearest",
        closed: Literal["left", "right"] = "left",
    ) -> None:
        self._points = checked_points(points)
        super().__init__(len(self._points) - 1)
        one_of("Ranges", "outside", outside, ("nearest", "error"))
        one_of("Ranges", "closed", closed, ("left", "right"))
        self.outside = outside
        self.closed = closed
        self._floats: dict[torch.dtype, list[float]] = {}
        self.register_buffer("below", torch.zeros((), dtype=torch.int64))
        self.register_buffer("above", torch.zeros((), dtype=torch.int64))

    @property
    def points(self) -> tuple[float, ...]:
        return self._points

    def tensor(self, device: torch.device) -> Tensor:
        """Return the points as float64 (N + 1,), in a graph too."""
        return torch.tensor(self.points, dtype=torch.float64, device=device)

    def replace_points(self, points: tuple[float, ...], visits: Tensor) -> None:
        """Take other points, as many as there are visits and one more."""
        self._points = checked_points(points)
        self._floats = {}
        self.branches = len(points) - 1
        self.visits = visits

    def __len__(self) -> int:
        return self.branches

    def index(self, key: Tensor) -> Tensor:
        check_key("Ranges", key)
        key = key.detach()
        if without_values(key):
            return self._index_without_values(key)
        if key.numel() <= FEW:
            return self._index_of_few(key)
        return self._index_of_many(key)

    def add_visits(self, counts: Tensor, key: Tensor | None = None) -> None:
        super().add_visits(counts)
        if key is not None and counting():
            self._add_outside(key)

    def label(self, i: int) -> str:
        low, high = self.points[i], self.points[i + 1]
        left = "[" if self.closed == "left" or i == 0 else "("
        right = "]" if self.closed == "right" or i == len(self) - 1 else ")"
        return f"{left}{low:g}, {high:g}{right}"

    def extra_repr(self) -> str:
        return f"[{', '.join(f'{point:g}' for point in self.points)}], outside={self.outside!r}, closed={self.closed!r}"

    # Three ways to one meaning: Python floats for few keys, kernels for many, kernels without a read-back in a graph.

    def _index_of_few(self, key: Tensor) -> Tensor:
        points = self._points_as(key.dtype)
        inner, low, high = points[1:-1], points[0], points[-1]
        find = bisect_right if self.closed == "left" else bisect_left
        values = key.reshape(-1).tolist()
        for row, value in enumerate(values):
            if not low <= value <= high:
                self._check(key, row, value)
        found = [find(inner, value) for value in values]
        return torch.tensor(found, dtype=torch.int64, device=key.device).reshape(key.shape)

    def _index_of_many(self, key: Tensor) -> Tensor:
        floats = self._points_as(key.dtype)
        key = key if key.is_floating_point() else key.double()
        low, high = (float(end) for end in torch.aminmax(key))  # both are NaN if any key is
        if not (low >= floats[0] and high <= floats[-1]):
            flat = key.reshape(-1)
            odd = flat.isnan() if self.outside == "nearest" else ~((flat >= floats[0]) & (flat <= floats[-1]))
            for row in odd.nonzero()[:1, 0].tolist():
                self._check(key, row, flat[row].item())
        inner = torch.tensor(floats[1:-1], dtype=key.dtype, device=key.device)
        return torch.bucketize(key.contiguous(), inner, right=self.closed == "left")

    def _index_without_values(self, key: Tensor) -> Tensor:
        inner = self._tensor_as(key)[1:-1]
        key = key.double()
        if len(inner):
            past = key.unsqueeze(-1) >= inner if self.closed == "left" else key.unsqueeze(-1) > inner
            index = past.sum(-1)
        else:  # a sum of nothing is what onnxruntime gets wrong
            index = torch.zeros_like(key, dtype=torch.int64)
        return torch.where(key.isnan(), -1, index)

    def _add_outside(self, key: Tensor) -> None:
        if in_graph():
            points, key = self._tensor_as(key), key.detach().double()
            self.below += (key < points[0]).sum()
            self.above += (key > points[-1]).sum()
            return
        floats = self._points_as(key.dtype)
        first, last = floats[0], floats[-1]
        flat = key if key.ndim == 1 else key.reshape(-1)
        few = flat.tolist() if len(flat) <= FEW else [float(end) for end in torch.aminmax(flat.detach())]
        if few and (min(few) < first or max(few) > last):
            self.below.add_((key < first).sum())
            self.above.add_((key > last).sum())

    def _points_as(self, dtype: torch.dtype) -> list[float]:
        """The points rounded to dtype; integer keys compare as float64, which holds them exactly up to 2 ** 53."""
        known = self._floats.get(dtype)
        if known is None:
            exact = torch.tensor(self.points, dtype=torch.float64, device="cpu")
            known = self._floats[dtype] = (exact.to(dtype) if dtype.is_floating_point else exact).tolist()
        return known

    def _tensor_as(self, key: Tensor) -> Tensor:
        points = self.tensor(key.device)
        return (points.to(key.dtype) if key.is_floating_point() else points).double()

    def _check(self, key: Tensor, row: int, value: float) -> None:
        """Raise if a key that is not within the points may not be taken for the nearest range."""
        if not math.isnan(value) and self.outside == "nearest":
            return
        place = row if key.ndim <= 1 else tuple(int(i) for i in torch.unravel_index(torch.tensor(row), key.shape))
        if math.isnan(value):
            raise ValueError(f"Ranges: a key must be a number, got NaN in row {place}; drop that row, or fill it")
        raise ValueError(
            f"Ranges: a key must be within [{self.points[0]:g}, {self.points[-1]:g}], got {value:g} in row "
            f'{place}; widen the points, or let outside="nearest" take the end range'
        )

    # The points travel as a float64 tensor, so that any format that holds tensors holds them.

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "points"] = torch.tensor(self.points, dtype=torch.float64, device="cpu")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        saved = state_dict.pop(prefix + "points", None)
        if saved is not None and tuple(saved.tolist()) != self.points:
            raise ValueError(
                f"Ranges: the state to load has the points {saved.tolist()}, and these ranges {list(self.points)}; "
                "build the switch with the saved points before loading"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def checked_points(points: Sequence[float]) -> tuple[float, ...]:
    """Return the points as floats, or raise a ValueError that names the one that is wrong."""
    values = _numbers(points)
    if len(values) < 2:
        raise ValueError(f"Ranges: points must be at least two, got {list(values)}; two points make one range")
    for i, value in enumerate(values):
        if math.isnan(value):
            raise ValueError(f"Ranges: points must be numbers, got NaN at position {i}; remove it")
        if i and value == values[i - 1]:
            raise ValueError(f"Ranges: points must differ, got {value:g} twice (position {i}); remove one of the two")
        if i and value < values[i - 1]:
            raise ValueError(
                f"Ranges: points must increase, got {value:g} after {values[i - 1]:g} (position {i}); sort them"
            )
    return values


def _numbers(points: Sequence[float]) -> tuple[float, ...]:
    try:
        given = list(points)
        if any(isinstance(point, str | bytes | bool) for point in given):
            raise TypeError
        return tuple(float(point) for point in given)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ValueError(
            f"Ranges: points must be a flat sequence of numbers, got {str(points)[:80]}; give them as in [0, 1, 2]"
        ) from None


def keep_double(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return what ``Module._apply`` is to do to tensors that stay in float64: move them, never cast them."""

    def moved(tensor: Tensor) -> Tensor:
        result = fn(tensor)
        cast = tensor.dtype is torch.float64 and result.dtype is not torch.float64
        return tensor.to(result.device) if cast else result

    return moved


def check_key(owner: str, key: Tensor) -> None:
    """Raise if a key is no tensor of real numbers."""
    if not isinstance(key, Tensor):
        raise TypeError(f"{owner}: key must be a tensor, got {type(key).__name__}; wrap it in torch.as_tensor")
    if key.dtype is torch.bool or key.is_complex():
        raise ValueError(f"{owner}: key must be real numbers, got {key.dtype}; cast it first")
