"""Where the rows of a batch lie while a bank of branches runs: in slots, the rows of each visited range together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from hardgrad.switch.conditions.condition import by_branch

# A chunk of ranges is cut where padding another range would add more rows than this, about what starting one more
# product costs on one core with weights of 80 x 100.
ROWS_PER_KERNEL = 64
# Up to so many rows, a loop over Python integers is faster than starting the kernels that would do the same.
SMALL = 256


@dataclass(frozen=True)
class Chunk:
    """Neighbours in the layout whose rows are padded to one number, so that one batched product does for all."""

    first: int
    last: int
    rows: int
    start: int

    @property
    def ranges(self) -> slice:
        return slice(self.first, self.last)

    @property
    def stop(self) -> int:
        return self.start + (self.last - self.first) * self.rows


class Layout:
    """Rows in slots, range after range, padded with zero rows within a chunk.

    Args:
        index: int64 (B,), the range of each row.
        sizes: how many rows each range has.
        visited: the ranges that have rows.
    """

    def __init__(self, index: Tensor, sizes: list[int], visited: list[int]) -> None:
        # In the order of their sizes hardly anything is padded.
        self.order = sorted(visited, key=sizes.__getitem__)
        self.chunks = cut([sizes[i] for i in self.order])
        self.slots = self.chunks[-1].stop
        # The slots of each range in turn, padding included.
        self.spans = [chunk.rows for chunk in self.chunks for _ in range(chunk.first, chunk.last)]
        bases = [0] * len(sizes)
        base = 0
        for i, span in zip(self.order, self.spans, strict=True):
            bases[i] = base
            base += span
        self.slot = _slots(index, sizes, bases)

    def enter(self, rows: Tensor) -> Tensor:
        return rows.new_zeros(self.slots, rows.shape[1]).index_copy_(0, self.slot, rows)

    def leave(self, slots: Tensor) -> Tensor:
        return slots.index_select(0, self.slot)

    def by_chunk(self, slots: Tensor) -> list[Tensor]:
        """Return the slots of each chunk, (its ranges, its rows, width)."""
        width = slots.shape[1]
        parts = [slots] if len(self.chunks) == 1 else slots.split([chunk.stop - chunk.start for chunk in self.chunks])
        return [part.view(-1, chunk.rows, width) for chunk, part in zip(self.chunks, parts, strict=True)]

    def by_range(self, slots: Tensor) -> tuple[Tensor, ...]:
        """Return the slots of each range, (its rows, width)."""
        return cast(tuple[Tensor, ...], slots.split(self.spans))


def cut(sizes: list[int]) -> list[Chunk]:
    """Cut ranges into chunks: a range joins the one before it unless the padding would cost more than a kernel.

    Args:
        sizes: how many rows each has, rising.
    """
    chunks: list[Chunk] = []
    start = first = padding = 0
    for i, size in enumerate(sizes):
        padding += (i - first) * (size - sizes[i - 1])
        if padding > ROWS_PER_KERNEL:
            chunks.append(Chunk(first, i, sizes[i - 1], start))
            start, first, padding = chunks[-1].stop, i, 0
    chunks.append(Chunk(first, len(sizes), sizes[-1], start))
    return chunks


def _slots(index: Tensor, sizes: list[int], bases: list[int]) -> Tensor:
    """The slot of each row: its range's base and its place among that range's rows."""
    if index.shape[0] <= SMALL:
        following = list(bases)
        slots = []
        for i in index.tolist():
            slots.append(following[i])
            following[i] += 1
        return torch.tensor(slots, device=index.device)
    order = by_branch(index, len(sizes))
    size = torch.tensor(sizes, device=index.device)
    shift = torch.tensor(bases, device=index.device) - (size.cumsum(0) - size)
    places = shift[index[order]] + torch.arange(index.shape[0], device=index.device)
    return torch.empty_like(places).scatter_(0, order, places)
