"""Uniform random numbers with as many digits as their dtype can hold, on any device and in any graph."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad._torch_state import readable
from hardgrad.hard.precision import double

# Other devices and compilers give uniforms with some of the bits that they could have, unevenly near 0 and 1; the first
# 24 of a double are even everywhere, to 1e-9 of themselves.
CELL = 2.0**-24


def coarse(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return whole numbers below 1 / CELL, equally likely."""
    return (uniform(shape, double(like), generator) / CELL).floor()


def fine_uniform(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return uniforms in [0, 1) of 53 bits, in double precision."""
    return uniform(shape, double(like), generator) if readable(like) else two_part_uniform(shape, like, generator)


def two_part_uniform(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return the same in a way that every device and compiler has the bits for: a cell and a place in it."""
    u = (coarse(shape, like, generator) + uniform(shape, double(like), generator)) * CELL
    return u.clamp(max=1 - torch.finfo(u.dtype).eps / 2)  # the sum of the largest may be rounded up


def uniform(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return torch's uniforms in [0, 1), in the dtype and on the device of ``like``."""
    if generator is None:  # ONNX knows only the form without the argument
        return torch.rand(shape, dtype=like.dtype, device=like.device)
    return torch.rand(shape, generator=generator, dtype=like.dtype, device=like.device)
