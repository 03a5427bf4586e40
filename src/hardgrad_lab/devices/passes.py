"""One pass: a batch of places heard from end to end, by truncated backpropagation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hardgrad_lab.devices.clips import WARM_UP, Clips
from hardgrad_lab.runs import loop


class Passes(loop.Training):
    """The loop's training, whose step is a batch of places heard from end to end, an update after each chunk."""

    def step(self, loss: loop.Loss, clip: float) -> None:
        assert isinstance(self.stream, Clips)
        (dry, wet), stood = self.stream.batch()
        knob = stood if self.stream.knob else None
        with torch.no_grad():
            _, state = self.model(dry[:, :WARM_UP], None, knob)
        losses = []
        for x, target in zip(*(side[:, WARM_UP:].split(self.stream.chunk, dim=1) for side in (dry, wet)), strict=True):
            y, state = self.model(x, detached(state), knob)
            losses.append(loss(y, target))
            self._update(losses[-1], clip)
        self.count(torch.stack(losses).mean(), torch.zeros(()), wet.numel())

    def _update(self, loss: Tensor, clip: float) -> None:
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, clip)
        self.optimizers[0].step()
        for scheduler in self.schedulers:
            scheduler.step()


def detached(state: Any) -> Any:
    """Return a state without its history."""
    if isinstance(state, Tensor):
        return state.detach()
    if not isinstance(state, tuple):
        return state
    parts = map(detached, state)
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
