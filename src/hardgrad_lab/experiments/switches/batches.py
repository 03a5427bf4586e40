"""The batches of a run: rows drawn with replacement, evenly over all or over the ranges of a switch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.experiments.switches.rows import Part
from hardgrad_lab.runs.spread import mine


class Batches:
    """Batches of rows drawn with replacement: every contestant with a seed sees the same ones, but for learnt points.

    A switch that places its points draws as many rows from each of its ranges. Where a range holds two rows in a
    thousand, its branch would else learn too late to hold its points.

    Args:
        part: the rows.
        batch: how many at a time.
        seed: of the draw.
        ranges: draw evenly over these as they are at the time; None draws evenly over the rows.
    """

    def __init__(self, part: Part, batch: int, seed: int, ranges: hg.switch.PointRouter | None = None) -> None:
        self.part, self.batch_size, self.ranges = part, batch, ranges
        self.generator = torch.Generator().manual_seed(seed)
        self._points: tuple[float, ...] = ()
        self._members: list[Tensor] = []

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return inputs, with the key as a last column, and targets."""
        taken = self.part.take(mine(self._index()).to(self.part.x.device))
        return torch.cat([taken.x, taken.key.unsqueeze(1)], dim=1), taken.y

    def state_dict(self) -> dict[str, Any]:
        """Return where the draw stands."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self.generator.set_state(state["generator"])

    def _index(self) -> Tensor:
        if self.ranges is None:
            return torch.randint(len(self.part), (self.batch_size,), generator=self.generator)
        if self.ranges.points != self._points:
            self._points, index = self.ranges.points, self.ranges.index(self.part.key).cpu()
            members = [(index == i).nonzero()[:, 0] for i in range(len(self.ranges))]
            self._members = [rows for rows in members if len(rows)]
        shares = [self.batch_size // len(self._members)] * len(self._members)
        shares[0] += self.batch_size - sum(shares)
        return torch.cat(
            [
                rows[torch.randint(len(rows), (share,), generator=self.generator)]
                for rows, share in zip(self._members, shares, strict=True)
            ]
        )
