"""Ranges that are left late: a key that hovers about a point does not make the switch chatter."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from hardgrad.switch.arguments import real
from hardgrad.switch.conditions.condition import check_key, count, without_values
from hardgrad.switch.conditions.on_points import PointRouter
from hardgrad.switch.conditions.ranges import Ranges


@final
class Hysteresis(PointRouter):
    r"""The condition of a hard IF along a sequence: a range is left only when the key is past its end by a margin.

    .. math:: i_t = \begin{cases} i_{t-1} & p_{i_{t-1}} - h \le k_t < p_{i_{t-1}+1} + h \\ r(k_t) & \text{otherwise}
        \end{cases}

    A Schmitt trigger for any number of ranges: r is the plain ``Ranges``, h the margin, and the outer two points
    have no far side. A range is widened by the margin and keeps its own rule for the ends, so that a margin of zero is
    the plain ranges. The first step of a sequence takes the range that its key is in, unless ``start`` says where the
    sequence was.

    Args:
        ranges: the plain ``Ranges``; its points, ``outside`` and ``closed`` are taken over.
        margin: h, in the key's unit, at least zero. Compared, as points are, in the key's dtype.

    Shape:
        key: (B, T), or (..., T): the last dimension is time, the others are sequences. start: int64 (B,), the range
        each sequence was in before its first step: the last step's index of the chunk before. Returns int64 (B, T).

    Raises:
        ValueError: for a margin that is negative or no number, ranges with learned points, a key without a dimension of
            time beside one of sequences, a ``start`` of another shape or outside the ranges, and as ``Ranges``.
        RuntimeError: in a compiled or exported graph and under ``vmap``: each step waits for the one before.

    Example:
        >>> import torch, hardgrad as hg
        >>> key = torch.tensor([[-0.5, 0.05, -0.05, 0.2, 0.05, -0.05, -0.2]])
        >>> hg.Ranges([-1, 0, 1])(key).tolist()
        [[0, 1, 0, 1, 1, 0, 0]]
        >>> hg.Hysteresis(hg.Ranges([-1, 0, 1]), margin=0.1)(key).tolist()
        [[0, 0, 0, 1, 1, 1, 0]]

    Source: Schmitt 1938, "A thermionic trigger", Journal of Scientific Instruments 15.
    """

    along_time = True

    def __init__(self, ranges: Ranges, margin: float) -> None:
        if not isinstance(ranges, Ranges):
            raise ValueError(
                f"Hysteresis: ranges must be plain Ranges, got {type(ranges).__name__}; build Ranges from its points"
            )
        margin = real("Hysteresis", "margin", margin, "0 is no hysteresis")
        if not (margin >= 0 and math.isfinite(margin)):
            raise ValueError(
                f"Hysteresis: margin must be a finite number, zero or more, got {margin}; 0 is no hysteresis"
            )
        super().__init__(ranges.current(), ranges.outside)
        self.margin = margin

    def forward(self, key: Tensor, start: Tensor | None = None) -> Tensor:
        index = self.index(key, start)
        self.add_visits(count(index.reshape(-1), self.branches), key)
        return index

    def index_after(self, key: Tensor, last: Tensor | None) -> Tensor:
        return self.index(key, last)

    def index(self, key: Tensor, start: Tensor | None = None) -> Tensor:
        check_key("Hysteresis", key)
        if without_values(key):
            raise RuntimeError(
                "Hysteresis: each step's range waits for the one before, which a compiled or exported graph of one "
                "kernel cannot do, nor vmap; route outside of it, or use Ranges"
            )
        if key.ndim < 2:
            raise ValueError(
                f"Hysteresis: key must be (B, T), the last dimension being time, got {tuple(key.shape)}; give one "
                "sequence as (1, T)"
            )
        plain = super().index(key)  # and its complaints
        if start is not None:
            self._check_start(key, start)
        return self._held(key.detach(), plain, start) if key.numel() else plain

    def _held(self, key: Tensor, plain: Tensor, start: Tensor | None) -> Tensor:
        """Hold the range within runs of keys that allow the same ranges: only where a run begins can it change."""
        # A key allows the ranges low .. high, the widened ones that it is in: one outside the margins, two inside one.
        low, high = (self._past(key, shift) for shift in (self.margin, -self.margin))
        begins = torch.ones_like(key, dtype=torch.bool)
        begins[..., 1:] = (low[..., 1:] != low[..., :-1]) | (high[..., 1:] != high[..., :-1])
        runs = begins.reshape(-1).nonzero()[:, 0]
        low, high, own = (index.reshape(-1)[runs] for index in (low, high, plain))
        first, forced = runs % key.shape[-1] == 0, low == high
        entry = own if start is None else start.to(own).reshape(-1)[runs // key.shape[-1]]
        before = torch.where(first, entry, low.roll(1))
        held = torch.where((low <= before) & (before <= high), before, own)
        # That is right wherever the run before allows one range alone; the others wait for each other.
        waits = (~(forced | first | forced.roll(1))).nonzero()[:, 0]
        held = held.index_copy(0, waits, self._one_by_one(held, low, high, own, waits))
        lengths = torch.diff(runs, append=runs.new_tensor([key.numel()]))
        return torch.repeat_interleave(held, lengths).reshape(key.shape)

    @staticmethod
    def _one_by_one(held: Tensor, low: Tensor, high: Tensor, own: Tensor, waits: Tensor) -> Tensor:
        ranges, now, last = [], 0, -1
        columns = (waits, held[waits - 1], low[waits], high[waits], own[waits])
        for run, before, lowest, highest, plain in zip(*(column.tolist() for column in columns), strict=True):
            now = now if run - 1 == last else before
            now = now if lowest <= now <= highest else plain
            ranges.append(now)
            last = run
        return torch.tensor(ranges, dtype=held.dtype, device=held.device)

    def _past(self, key: Tensor, shift: float) -> Tensor:
        """How many inner points, shifted, each key is past."""
        key = key if key.is_floating_point() else key.double()
        inner = torch.tensor([p + shift for p in self.points[1:-1]], dtype=torch.float64).to(key)
        return torch.bucketize(key.contiguous(), inner, right=self.closed == "left")

    def _check_start(self, key: Tensor, start: Tensor) -> None:
        if not isinstance(start, Tensor) or start.is_floating_point() or start.dtype is torch.bool:
            got = start.dtype if isinstance(start, Tensor) else type(start).__name__
            raise ValueError(f"Hysteresis: start must be a tensor of whole numbers, got {got}; give index[..., -1]")
        if start.shape != key.shape[:-1]:
            raise ValueError(
                f"Hysteresis: start must have one range for each sequence, shape {tuple(key.shape[:-1])}, got "
                f"{tuple(start.shape)}; give the last step's index of the chunk before, index[..., -1]"
            )
        if start.numel() and not (int(start.min()) >= 0 and int(start.max()) < self.branches):
            raise ValueError(
                f"Hysteresis: start must be ranges 0 .. {self.branches - 1}, got {int(start.min())} .. "
                f"{int(start.max())}; leave it out at the start of a sequence"
            )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, margin={self.margin:g}"
