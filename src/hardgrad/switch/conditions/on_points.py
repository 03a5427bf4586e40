"""What the conditions that have points share: the look-up, the counters, the points in a saved state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad._torch_state import in_graph
from hardgrad.switch.conditions.condition import Router, check_key, counting, without_values
from hardgrad.switch.points import Closed, Outside, Points, checked, points_for, range_without_values


class PointRouter(Router):
    """A condition on one number that has points: what ``Ranges``, ``LearnedRanges`` and ``Hysteresis`` share.

    Args:
        points: the value that it starts with.
        outside: "nearest" or "error".

    Attributes:
        points: tuple of N + 1 floats, as they are now; ``len(ranges)`` is N.
        closed: the end that belongs to a range, "left" or "right".
        outside: what is done with a key that is outside of the points.
        below, above: int64 (), how many keys were outside so far.

    Example:
        >>> import hardgrad as hg
        >>> ranges = hg.LearnedRanges([0.0, 1.0, 2.0])
        >>> isinstance(ranges, hg.switch.PointRouter), isinstance(ranges, hg.Ranges)
        (True, False)
    """

    below: Tensor
    above: Tensor

    def __init__(self, points: Points, outside: Outside) -> None:
        super().__init__(len(points))
        _check.one_of("Ranges", "outside", outside, ("nearest", "error"))
        _check.one_of("Ranges", "closed", points.closed, ("left", "right"))
        self._points = points
        self.outside: Outside = outside
        self.register_buffer("below", torch.zeros((), dtype=torch.int64))
        self.register_buffer("above", torch.zeros((), dtype=torch.int64))

    def current(self) -> Points:
        """Return the points as they are now, as a value."""
        return self._points

    @property
    def points(self) -> tuple[float, ...]:
        return self.current().values

    @property
    def closed(self) -> Closed:
        return self._points.closed

    def tensor(self, device: torch.device) -> Tensor:
        """Return the points as float64 (N + 1,), in a graph too."""
        return torch.tensor(self.points, dtype=torch.float64, device=device)

    def replace_points(self, points: tuple[float, ...], visits: Tensor) -> None:
        """Take other points, as many as there are visits and one more."""
        self._points = Points(checked(points), self.closed)
        self.branches = len(points) - 1
        self.visits = visits

    def __len__(self) -> int:
        return self.branches

    def index(self, key: Tensor) -> Tensor:
        check_key("Ranges", key)
        key = key.detach()
        if without_values(key):
            return range_without_values(key, self.tensor(key.device), self.closed)
        return self.current().index(key, self.outside)

    def add_visits(self, counts: Tensor, key: Tensor | None = None) -> None:
        if not counting():
            return
        self._add(counts)
        if key is None:
            return
        if in_graph():
            points, key = points_for(key, self.tensor(key.device)), key.detach().double()
            self.below += (key < points[0]).sum()
            self.above += (key > points[-1]).sum()
        elif (outside := self.current().count_outside(key)) is not None:
            self.below.add_(outside[0])
            self.above.add_(outside[1])

    def label(self, i: int) -> str:
        return self.current().label(i)

    def extra_repr(self) -> str:
        return f"[{', '.join(f'{point:g}' for point in self.points)}], outside={self.outside!r}, closed={self.closed!r}"

    # The points travel as a float64 tensor, so that any format that holds tensors holds them.

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "points"] = torch.tensor(self.points, dtype=torch.float64, device="cpu")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        saved = state_dict.pop(prefix + "points", None)
        if saved is not None:
            self._load_points(saved, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _load_points(self, saved: Tensor, state_dict: dict[str, Any], prefix: str) -> None:
        """Take the points of a saved state, or raise if these ranges cannot have them."""
        if tuple(saved.tolist()) != self.points:
            raise ValueError(
                f"Ranges: the state to load has the points {saved.tolist()}, and these ranges {list(self.points)}; "
                "build the switch with the saved points before loading"
            )


def keep_double(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return what ``Module._apply`` is to do to tensors that stay in float64: move them, never cast them."""

    def moved(tensor: Tensor) -> Tensor:
        result = fn(tensor)
        cast = tensor.dtype is torch.float64 and result.dtype is not torch.float64
        return tensor.to(result.device) if cast else result

    return moved
