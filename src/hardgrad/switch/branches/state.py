"""A module run, or only asked, without moving what it keeps: its mode, its buffers, its random numbers, its hooks."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def output_of_copy(owner: str, name: str, module: nn.Module, x: Tensor, *more: Any) -> Any:
    """Return what a private copy of a module returns in evaluation mode.

    For the shape of an output of no rows. The module itself must not run: its statistics, its counters and the random
    numbers that it draws would move though no row went through it, and its hooks would fire.
    """
    try:
        twin = copy.deepcopy(module)
    except Exception as error:
        raise ValueError(
            f"{owner}: what {name} ({type(module).__name__}) returns for no rows is asked of a copy of it, and copying "
            f"failed with {error}; make it copyable, or leave empty batches out"
        ) from error
    for part in twin.modules():
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        return twin.eval()(x, *more)


@contextmanager
def evaluating(branch: nn.Module) -> Iterator[None]:
    """Put a branch in evaluation mode for a while, each of its parts back as it was after."""
    # Dropout would draw random numbers that the rows' own branches then miss, and batch statistics would take in rows
    # of another range.
    training = [module for module in branch.modules() if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def state_kept(branch: nn.Module, unless: Tensor) -> Iterator[None]:
    """Put a branch's buffers back after it ran, unless it had rows: a power iteration or a counter must not move."""
    kept = buffers_of(branch) if branch.training else []
    yield
    put_back(kept, unless)


# Of each buffer its module, its name, itself, and a copy of what it held.
Kept = list[tuple[nn.Module, str, Tensor, Tensor]]


def buffers_of(branch: nn.Module) -> Kept:
    """Return a branch's buffers, with copies of what they hold."""
    return [
        (module, name, buffer, buffer.clone())
        for module in branch.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]


@torch.no_grad()
def put_back(kept: Kept, unless: Tensor) -> None:
    """Put buffers back to what they held, unless the branch had rows."""
    for module, name, buffer, before in kept:
        now = getattr(module, name)
        if now is buffer:
            buffer.copy_(torch.where(unless, buffer, before))
        elif now.shape == before.shape:
            setattr(module, name, torch.where(unless, now, before))
