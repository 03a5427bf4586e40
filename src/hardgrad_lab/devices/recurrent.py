"""Kinds "gru" and "lstm": a recurrent layer of a few units, beside what goes straight through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad_lab.devices.by_knob import Take, apart, place, sets
from hardgrad_lab.devices.device import Device

CELLS = {"gru": nn.GRU, "lstm": nn.LSTM}
MOST = 256  # units
RATE = 2e-2  # of learning; in equal time 5e-3, with twice the samples between updates and places, erred 3.4 times
State = tuple[Tensor, ...]


class Recurrent(Device):
    r"""A recurrent layer read by a line, with parameters of its own for each value of the knob.

    .. math:: y_t = g x_t + b (w \cdot h_t + c), \qquad h_t = \mathrm{cell}(a x_t, h_{t-1})

    The scales a and b are one over the levels of what it was trained on, and that of what came out; they do not learn.

    Args:
        rate: samples a second.
        knob: values of the knob, or None.
        cell: "gru" or "lstm".
        hidden: units.

    Source: Wright, Damskägg, Välimäki 2019, Real-time black-box modelling with recurrent neural networks; a cell for
    each value of a knob is Chowdhury 2020, A comparison of virtual analog modelling techniques (the Klon Centaur).
    """

    def __init__(self, *, rate: int, knob: list[float] | None = None, cell: str = "gru", hidden: int = 8) -> None:
        super().__init__(rate=rate, knob=knob, cell=cell, hidden=hidden)
        if cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
        if not 1 <= hidden <= MOST:
            raise ValueError(f"hidden must be from 1 to {MOST} units, got {hidden}")
        ranges = sets(knob)
        self.cells = nn.ModuleList(CELLS[cell](1, hidden, batch_first=True) for _ in range(ranges))
        self.reads = nn.ModuleList(nn.Linear(hidden, 1) for _ in range(ranges))
        self.gains = nn.Parameter(torch.ones(ranges))
        self.register_buffer("scales", torch.ones(ranges, 2))  # a and b

    scales: Tensor
    chunk = 512

    def groups(self) -> list[dict[str, Any]]:
        """Return what learns, and how fast."""
        return [{"params": list(self.parameters()), "lr": RATE}]

    @torch.no_grad()
    def start(self, recordings: Sequence[Take]) -> None:
        """Begin as the best constant gain, at the levels of the recordings."""
        for i, mine in enumerate(apart(self.spec["cell"], self.knob, recordings)):
            dry, wet = (
                torch.cat([getattr(each, side)[each.lead :] for each in mine]).double() for side in ("dry", "wet")
            )
            power = dry.square().mean().clamp_min(1e-12)
            gain = (dry * wet).mean() / power
            self.gains[i] = gain
            # What the line cannot make is what is left to the units.
            left = (wet - gain * dry).square().mean().sqrt().clamp_min(1e-6)
            self.scales[i] = torch.stack([power.rsqrt(), left])
            for parameter in self.reads[i].parameters():
                parameter.zero_()

    def forward(self, x: Tensor, state: State | None = None, knob: Tensor | None = None) -> tuple[Tensor, State | None]:
        if not x.numel():
            return x, state
        index = place(self.spec["cell"], self.knob, knob, x)
        rows = [(index == i).nonzero()[:, 0] for i in range(len(self.cells))]
        made = [self._run(i, x[mine], state, mine) for i, mine in enumerate(rows) if len(mine)]
        back = torch.cat(rows).argsort()
        y, *after = (torch.cat(parts)[back] for parts in zip(*made, strict=True))
        return y, tuple(after)

    def _run(self, i: int, x: Tensor, state: State | None, rows: Tensor) -> tuple[Tensor, ...]:
        """Return what range i makes of its sounds, and its state after them, batch first."""
        before: Any = None if state is None else tuple(each[rows][None] for each in state)
        if state is not None and self.spec["cell"] == "gru":
            before = before[0]
        hidden, after = self.cells[i]((self.scales[i, 0] * x).unsqueeze(-1), before)
        y = self.gains[i] * x + self.scales[i, 1] * self.reads[i](hidden).squeeze(-1)
        return y, *(each[0] for each in (after if isinstance(after, tuple) else (after,)))

    def index(self, x: Tensor, knob: Tensor | None = None) -> Tensor | None:
        if self.knob is None:
            return None
        return place(self.spec["cell"], self.knob, knob, x)[:, None].expand(x.shape)

    def labels(self) -> list[str]:
        return [f"knob {value:g}" for value in self.knob or []]

    def describe(self) -> str:
        said = f"{self.spec['cell'].upper()} of {self.spec['hidden']} units"
        return said if self.knob is None else f"{said} for each of {len(self.knob)} values of the knob"

    def active(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters()) // len(self.cells)
