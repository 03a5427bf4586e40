"""A model of the last samples and nothing before them: a switch on the newest one, or its rival of equal size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hardgrad_lab.baselines import build
from hardgrad_lab.baselines.build import counts
from hardgrad_lab.devices.by_knob import place, sets
from hardgrad_lab.devices.device import Device


class Window(Device):
    """A network for each position of the knob, which sees the last ``window`` samples.

    Args:
        rate: samples a second.
        knob: its positions.
        system: "switch", "plain-total" or another of ``hardgrad_lab.baselines``.
        points: of the newest sample, for the switch.
        window: samples.
        hidden: width of both layers of a branch.
    """

    def __init__(
        self, *, rate: int, knob: list[float] | None, system: str, points: list[float], window: int, hidden: int
    ) -> None:
        super().__init__(rate=rate, knob=knob, system=system, points=points, window=window, hidden=hidden)
        self.window = window
        options: dict[str, Any] = {"ranges": points, "hidden": (hidden, hidden), "activation": "tanh"}
        self.nets = nn.ModuleList(
            build(system, window, 1, **options, key_columns=[window - 1]) for _ in range(sets(knob))
        )

    def forward(self, x: Tensor, state: Any = None, knob: Tensor | None = None) -> tuple[Tensor, Any]:
        past = x.new_zeros(len(x), self.window - 1) if state is None else state
        whole = torch.cat([past, x], 1)
        rows = whole.unfold(1, self.window, 1)
        y = torch.zeros_like(x)
        which = place("Window", self.knob, knob, x)
        for i in which.unique().tolist():
            mine = rows[which == i]
            said = self.nets[i](mine.reshape(-1, self.window), mine[..., -1].reshape(-1))
            y = y.index_put((which == i,), said.view(mine.shape[:2]))
        return y, whole[:, whole.shape[1] - self.window + 1 :]

    def active(self) -> int:
        return counts(self.nets[0]).active
