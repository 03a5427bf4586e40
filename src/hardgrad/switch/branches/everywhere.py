"""Every branch on every row: for ``vmap`` and the meta device, where not even a size may follow from a value."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hardgrad.switch.branches.outputs import as_column, one_dtype, one_shape, one_tensor

NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


def run_everywhere(branches: nn.ModuleList, rows: Tensor, index: Tensor) -> Tensor:
    """Run every branch on every row and pick: where not even a size may follow from a value.

    A branch gets its own rows, and in the place of the others harmless numbers, so that nothing that it makes of them
    (a logarithm of zero, say) can turn the gradient of zero that they get into NaN.
    """
    refuse_batch_statistics(branches)
    harmless = harmless_rows(rows)
    outputs = []
    for i, branch in enumerate(branches):
        own = torch.where(as_column(index == i, rows), rows, harmless)
        outputs.append(one_tensor(i, branch(own), rows.shape[0]))
    y = _nowhere(outputs, rows.shape[0])
    for i, output in enumerate(outputs):
        y = torch.where(as_column(index == i, output), output.to(y.dtype), y)
    return y


def batch_statistics(branch: nn.Module) -> bool:
    """Whether a branch has a layer that normalizes by its batch now: one without rows would spoil its statistics."""
    return any(
        isinstance(part, NORMS) and part.training and (part.track_running_stats or isinstance(part, NORMS[0]))
        for part in branch.modules()
    )


def refuse_batch_statistics(branches: nn.ModuleList) -> None:
    """Raise if a branch would take the statistics of rows that are not its own."""
    for i, branch in enumerate(branches):
        if batch_statistics(branch):
            raise RuntimeError(
                f"Switch: branch {i} normalizes by the statistics of its batch, which an exported graph or vmap cannot "
                "keep to the branch's own rows; put the switch in eval() first, or use a LayerNorm or GroupNorm"
            )


def _nowhere(outputs: list[Tensor], rows: int) -> Tensor:
    """What a row of no branch gets: NaN, or 0 where the outputs cannot be NaN."""
    one_shape(range(len(outputs)), outputs)
    dtype = one_dtype(outputs)
    fill = math.nan if dtype.is_floating_point or dtype.is_complex else 0
    return outputs[0].new_full((rows, *outputs[0].shape[1:]), fill, dtype=dtype)


def harmless_rows(rows: Tensor) -> Tensor:
    """A row within the domain of nearly any function (root, logarithm, arcsine, logit), and not of one number."""
    shape = rows.shape[1:]
    if not rows.is_floating_point():
        return torch.zeros(shape, dtype=rows.dtype, device=rows.device)
    return torch.linspace(0.25, 0.75, math.prod(shape), dtype=rows.dtype, device=rows.device).reshape(shape)
