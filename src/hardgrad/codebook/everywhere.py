"""Sums over all processes, and rows of the batch that they share: nobody waits for a number to be read."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

# Places a golden section apart, in units of 2**-31: however many are taken, they spread evenly, and no period in the
# rows, a row of an image say, falls in with them.
_TURN = 2**31
_GOLDEN = 1_327_217_885


def processes() -> tuple[int, int]:
    """Return which process this is, and of how many."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def added(values: Tensor) -> Tensor:
    """Return the sum over all processes; ``values`` may be overwritten."""
    if processes()[1] > 1:
        dist.all_reduce(values)
    return values


def sizes_of(rows: Tensor, keep: Tensor | None) -> Tensor:
    """Return how many rows each process has, (processes,), before they are added: here only this one's are known."""
    rank, world = processes()
    here = rows.new_full((), rows.shape[1], dtype=torch.int64) if keep is None else keep.sum()
    return torch.where(torch.arange(world, device=rows.device) == rank, here, 0)


def places(phase: Tensor, shape: tuple[int, int], total: Tensor) -> tuple[Tensor, Tensor]:
    """Return places of ``total`` rows, of this shape, from where ``phase`` says, and the phase after them."""
    steps = torch.arange(shape[0] * shape[1] + 1, device=phase.device) * _GOLDEN + phase
    return ((steps[:-1] % _TURN) * total >> 31).view(shape), steps[-1] % _TURN


def rows_at(rows: Tensor, keep: Tensor | None, sizes: Tensor, place: Tensor) -> Tensor:
    """Return the rows at places (h, m) among those of all processes: (h, m, w), zeros for what others have.

    Added over the processes they are what one process would take that has all the rows.
    """
    (heads, count), (_, here, width) = place.shape, rows.shape
    if here == 0:
        return rows.new_zeros(heads, count, width)
    rank, _ = processes()
    local = place - sizes[:rank].sum()
    mine = (local >= 0) & (local < sizes[rank])
    index = local.clamp(0, here - 1)
    if keep is not None:  # the first row up to which so many are kept
        index = torch.searchsorted(keep.cumsum(0), index + 1).clamp(max=here - 1)
    taken = rows.gather(1, index.unsqueeze(-1).expand(heads, count, width))
    return torch.where(mine.unsqueeze(-1), taken, 0)
