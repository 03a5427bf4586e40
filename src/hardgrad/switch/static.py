"""The ways that read nothing back: for compiled and exported graphs, for ``vmap`` and for the meta device."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import tracing
from hardgrad.switch.marks import Marked, Marks
from hardgrad.switch.outputs import one_dtype, one_shape, one_tensor

Branches = Sequence[nn.Module] | nn.ModuleList
NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


def static(branches: Branches, rows: Tensor, index: Tensor, counts: Tensor, marks: Marks | None) -> Tensor:
    """Run every branch on its rows, maybe none: for a graph. A row of no branch becomes NaN.

    Written in one piece: where torch.compile breaks the graph at the first size that follows from a value, this runs as
    it is, and a function called from here would become a graph of its own.
    """
    y: Tensor | None = None
    for i, branch in enumerate(branches):
        mine = (index == i).nonzero()[:, 0]
        kept = _buffers(branch) if branch.training else []
        output: Tensor = branch(rows[mine])
        if not isinstance(output, Tensor) or not output.ndim:
            one_tensor(i, output, mine.shape[0])
        if not tracing():
            torch._check(output.shape[0] == mine.shape[0], lambda: "Switch: branches must return one output for a row")
        if kept:
            _put_back(kept, unless=(index == i).any())
        if y is None:
            fill = math.nan if output.is_floating_point() or output.is_complex() else 0
            y = output.new_full((rows.shape[0], *output.shape[1:]), fill)
        elif output.shape[1:] != y.shape[1:]:
            one_shape((0, i), (y, output))
        if output.dtype != y.dtype:
            dtype = one_dtype((y, output))
            y, output = _wider(y, index, i, dtype), output.to(dtype)
        y = y.index_put((mine,), output)
    assert y is not None
    return y if marks is None or not y.requires_grad else cast(Tensor, Marked.apply(y, marks.leaf, counts))


def _wider(y: Tensor, index: Tensor, i: int, dtype: torch.dtype) -> Tensor:
    """Return y in a wider dtype; what no branch before i filled is NaN if it can be."""
    y = y.to(dtype)
    if not (dtype.is_floating_point or dtype.is_complex):
        return y
    return torch.where(beside((index < 0) | (index >= i), y), math.nan, y)


def everywhere(branches: Branches, rows: Tensor, index: Tensor) -> Tensor:
    """Run every branch on every row and pick: where not even a size may follow from a value.

    A branch gets its own rows, and in the place of the others harmless numbers, so that nothing that it makes of them
    (a logarithm of zero, say) can turn the gradient of zero that they get into NaN.
    """
    refuse_batch_statistics(branches)
    harmless = harmless_rows(rows)
    outputs = []
    for i, branch in enumerate(branches):
        own = torch.where(beside(index == i, rows), rows, harmless)
        outputs.append(one_tensor(i, branch(own), rows.shape[0]))
    y = _nowhere(outputs, rows.shape[0])
    for i, output in enumerate(outputs):
        y = torch.where(beside(index == i, output), output.to(y.dtype), y)
    return y


def batch_statistics(branch: nn.Module) -> bool:
    """Whether a branch has a layer that normalizes by its batch now: one without rows would spoil its statistics."""
    return any(
        isinstance(part, NORMS) and part.training and (part.track_running_stats or isinstance(part, NORMS[0]))
        for part in branch.modules()
    )


def refuse_batch_statistics(branches: Branches) -> None:
    """Raise if a branch would take the statistics of rows that are not its own."""
    for i, branch in enumerate(branches):
        if batch_statistics(branch):
            raise RuntimeError(
                f"Switch: branch {i} normalizes by the statistics of its batch, which an exported graph or vmap cannot "
                "keep to the branch's own rows; put the switch in eval() first, or use a LayerNorm or GroupNorm"
            )


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
    kept = _buffers(branch) if branch.training else []
    yield
    _put_back(kept, unless)


Kept = list[tuple[nn.Module, str, Tensor, Tensor]]


def _buffers(branch: nn.Module) -> Kept:
    return [
        (module, name, buffer, buffer.clone())
        for module in branch.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]


@torch.no_grad()
def _put_back(kept: Kept, unless: Tensor) -> None:
    for module, name, buffer, before in kept:
        now = getattr(module, name)
        if now is buffer:
            buffer.copy_(torch.where(unless, buffer, before))
        elif now.shape == before.shape:
            setattr(module, name, torch.where(unless, now, before))


def _nowhere(outputs: list[Tensor], rows: int) -> Tensor:
    """What a row of no branch gets: NaN, or 0 where the outputs cannot be NaN."""
    one_shape(range(len(outputs)), outputs)
    dtype = one_dtype(outputs)
    fill = math.nan if dtype.is_floating_point or dtype.is_complex else 0
    return outputs[0].new_full((rows, *outputs[0].shape[1:]), fill, dtype=dtype)


def beside(mine: Tensor, rows: Tensor) -> Tensor:
    """Return one number a row, with dimensions of size 1 behind, to stand beside the rows."""
    return mine.reshape(-1, *[1] * (rows.ndim - 1))


def harmless_rows(rows: Tensor) -> Tensor:
    """A row within the domain of nearly any function (root, logarithm, arcsine, logit), and not of one number."""
    shape = rows.shape[1:]
    if not rows.is_floating_point():
        return torch.zeros(shape, dtype=rows.dtype, device=rows.device)
    return torch.linspace(0.25, 0.75, math.prod(shape), dtype=rows.dtype, device=rows.device).reshape(shape)
