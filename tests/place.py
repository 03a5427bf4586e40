"""The device on which laws and modes are held: the CPU, or what HARDGRAD_DEVICE says, as benchmarks/gpu.sh does."""

from __future__ import annotations

import os

import torch

DEVICE = torch.device(os.environ.get("HARDGRAD_DEVICE", "cpu"))


def seeded(seed: int) -> torch.Generator:
    """A generator of that device."""
    return torch.Generator(DEVICE).manual_seed(seed)
