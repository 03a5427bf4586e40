"""Attack and release: a level that rises with one time constant and falls with another."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor

from hardgrad.devices.scan import ballistics_scan, coefficient
from hardgrad.devices.settings import DeviceLayer, Setting


class BallisticsState(NamedTuple):
    """Where a chunk ended.

    Attributes:
        level: (*lead,), float64, y's last sample before it was rounded.
    """

    level: Tensor

    def detach(self) -> BallisticsState:
        """Return the state without its graph, for truncated backpropagation."""
        return BallisticsState(self.level.detach())


class Ballistics(DeviceLayer):
    """Attack and release."""

    attack_ms = Setting(least=0.0, log=True)
    release_ms = Setting(least=0.0, log=True)

    def __init__(
        self,
        attack_ms: float | Tensor,
        release_ms: float | Tensor,
        *,
        sample_rate: float,
        learn: bool | Collection[str] = True,
    ) -> None:
        super().__init__(sample_rate, learn, attack_ms=attack_ms, release_ms=release_ms)

    def forward(
        self,
        x: Tensor,
        state: BallisticsState | None = None,
        *,
        attack_ms: float | Tensor | None = None,
        release_ms: float | Tensor | None = None,
    ) -> tuple[Tensor, BallisticsState]:
        rows = self._rows(x)
        lead = x.shape[:-1]
        attack, release = self._set("attack_ms", attack_ms, lead), self._set("release_ms", release_ms, lead)
        state = self._started(state, BallisticsState, lead)
        start = torch.zeros_like(attack) if state is None else state.level.reshape(-1)
        rate = self.sample_rate
        y = ballistics_scan(rows, coefficient(attack, rate), coefficient(release, rate), start)
        last = y[:, -1].clone() if y.shape[1] else start
        return y.to(x.dtype, copy=True).view(x.shape), BallisticsState(last.view(lead))
