"""Kinds of devices on one split of recordings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from hardgrad_lab.devices.device import Device
from hardgrad_lab.devices.kinds import build
from hardgrad_lab.devices.recordings import Split, knobs_of
from hardgrad_lab.devices.score import score
from hardgrad_lab.devices.training import DeviceTraining, Trained, train


@dataclass(frozen=True, kw_only=True)
class Tried(Trained):
    """A kind that was tried; ``error``, on held-out time, is what kinds are chosen by.

    Args:
        device: with its best weights.
        test: error-to-signal ratio on the test time, for the report alone.
    """

    device: Device
    test: float

    @property
    def kind(self) -> str:
        """Return which of ``KINDS`` it is."""
        return self.device.kind

    @property
    def parameters(self) -> int:
        """Return how many numbers it has in all."""
        return sum(parameter.numel() for parameter in self.device.parameters())


def fresh(kind: str, split: Split, *, rate: int, seed: int = 0, **spec: object) -> Device:
    """Return a device of a kind for these recordings, its weights drawn by a seed."""
    torch.manual_seed(seed)
    return build(kind, rate=rate, knob=knobs_of(split.train), **spec)


def try_device(
    device: Device,
    split: Split,
    *,
    steps: int = 0,
    seed: int = 0,
    loss: str = "esr",
    run: Callable[[DeviceTraining], None] = DeviceTraining.run,
) -> Tried:
    """Return what a device comes to; arguments as of ``train``."""
    made = train(device, split.train, split.held_out, steps=steps, seed=seed, loss=loss, run=run)
    test = score(device, split.test) if split.test else math.nan
    return Tried(**vars(made), device=device.eval(), test=test)
