"""Several kinds of devices on one split of recordings: which is best is decided on held-out time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from hardgrad_lab.devices.device import Device
from hardgrad_lab.devices.kinds import build
from hardgrad_lab.devices.recordings import Recording, Split, in_time, knobs_of
from hardgrad_lab.devices.score import score
from hardgrad_lab.devices.training import MINUTES, DeviceTraining, train


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A kind that was tried.

    Args:
        kind: of ``KINDS``.
        device: with its best weights.
        validation: error-to-signal ratio on held-out time, that kinds are chosen by.
        test: the same on the test time, for the report alone.
        seconds: of training.
        steps: passes of training; 0 for one that was solved.
        parameters: in all.
        active: that one sample goes through.
        diverged: why it had to stop early; empty if it did not.
    """

    kind: str
    device: Device
    validation: float
    test: float
    seconds: float
    steps: int
    parameters: int
    active: int
    diverged: str = ""


def fresh(kind: str, split: Split, *, rate: int, seed: int = 0, **spec: object) -> Device:
    """Return a device of a kind for these recordings, its weights drawn by a seed."""
    torch.manual_seed(seed)
    return build(kind, rate=rate, knob=knobs_of(split.train), **spec)


def try_device(
    device: Device,
    split: Split,
    *,
    steps: int | None = None,
    minutes: float = MINUTES,
    seed: int = 0,
    loss: str = "esr",
    run: Callable[[DeviceTraining], None] = DeviceTraining.run,
) -> Tried:
    """Return what a device comes to; arguments as of ``train``."""
    made = train(device, split.train, split.held_out, steps=steps, minutes=minutes, seed=seed, loss=loss, run=run)
    return Tried(
        kind=device.kind,
        device=device.eval(),
        validation=made.error,
        test=score(device, split.test) if split.test else math.nan,
        seconds=made.seconds,
        steps=made.steps,
        parameters=sum(parameter.numel() for parameter in device.parameters()),
        active=device.active(),
        diverged=made.diverged,
    )


def try_kinds(
    recordings: Sequence[Recording],
    kinds: Sequence[str],
    *,
    rate: int,
    minutes: float = MINUTES,
    seed: int = 0,
    loss: str = "esr",
) -> list[Tried]:
    """Return what each kind comes to on recordings, in the order given; the minutes are divided equally among them."""
    split = in_time(recordings, rate)
    each = minutes / len(kinds)
    return [
        try_device(fresh(kind, split, rate=rate, seed=seed), split, minutes=each, seed=seed, loss=loss)
        for kind in kinds
    ]


def best_of(tried: Sequence[Tried]) -> Tried:
    """Return the one that errs least on held-out time."""
    return min(tried, key=lambda each: each.validation)
