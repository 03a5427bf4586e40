"""Seeds: a diagnosis repeats itself, and leaves the caller's random state as it was."""

from __future__ import annotations

import random
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def master_seed(generator: torch.Generator | None) -> int:
    """Return the number that all randomness of one diagnosis follows from.

    Args:
        generator: one number is drawn from it; None reads torch's global state and leaves it as it was.
    """
    if generator is not None:
        return int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[]):
        return int(torch.randint(2**62, ()))


def seed_of(master: int, purpose: str) -> int:
    """Return a seed of its own for each purpose, whatever the order they are run in."""
    return (master + zlib.crc32(purpose.encode())) % 2**63


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[torch.Generator]:
    """Run with torch's global state set by ``seed`` on the CPU and the device, and give it back afterwards.

    So are those of Python and of NumPy: a user's function may draw from them.

    Yields:
        A generator of the device, for draws of the doctor's own.
    """
    # Not torch.manual_seed: it would also seed, and leave seeded, devices that no tensor is on.
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), _others_seeded(seed):
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed(seed)
        yield torch.Generator(device).manual_seed(seed + 1)


@contextmanager
def _others_seeded(seed: int) -> Iterator[None]:
    state, numpy = random.getstate(), sys.modules.get("numpy.random")  # only where somebody has imported it
    numbers = None if numpy is None else numpy.get_state()
    random.seed(seed)
    if numpy is not None:
        numpy.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(state)
        if numpy is not None:
            numpy.set_state(numbers)
