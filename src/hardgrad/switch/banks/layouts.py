"""Where the rows of a batch lie while a bank of linear layers runs, and which weights are copied together for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hardgrad.switch.routers.router import by_branch

# A chunk of ranges is cut where padding another range would add more rows than this, about what starting one more
# product costs on one core with weights of 80 x 100.
ROWS_PER_KERNEL = 64
# With fewer rows than this for each visited range, weights are what costs. Those of the visited ranges are copied
# together then, in the order of their sizes, so that nothing else is read and hardly anything is padded. (Dot products
# with the weights in place, by the kernel of an embedding bag, were faster alone and no faster in a training step.)
FEW_ROWS = 3.0
# Up to so many rows, a loop over Python integers is faster than starting the kernels that would do the same.
SMALL = 256


@dataclass(frozen=True)
class Chunk:
    """Neighbouring ranges whose rows are padded to one number, so that one batched product serves them."""

    first: int
    last: int
    rows: int
    start: int

    @property
    def stop(self) -> int:
        return self.start + (self.last - self.first) * self.rows


class Chunks:
    """Rows in slots, range after range, padded with zero rows within a chunk, so that one batched product serves each.

    Args:
        index: int64 (B,), the range of each row.
        sizes: how many rows each range has.
        picked: the ranges in the order in which their weights are copied together; None: all of them, as they lie.
    """

    def __init__(self, index: Tensor, sizes: list[int], picked: list[int] | None) -> None:
        order = list(range(len(sizes))) if picked is None else picked
        self.chunks = cut([sizes[i] for i in order])
        self.slots = self.chunks[-1].stop
        bases = [0] * len(sizes)
        self.ranges: list[int] = []  # of each row of a weight gradient; past the last where no row came
        for chunk in self.chunks:
            for at in range(chunk.first, chunk.last):
                i = order[at]
                bases[i] = chunk.start + (at - chunk.first) * chunk.rows
                self.ranges.append(i if sizes[i] else len(sizes))
        self.slot = _slots(index, sizes, bases)
        self._picked = None if picked is None else torch.tensor(picked, device=index.device)

    def pick(self, stacked: Tensor) -> Tensor:
        return stacked if self._picked is None else stacked.index_select(0, self._picked)

    def enter(self, rows: Tensor) -> Tensor:
        return rows.new_zeros(self.slots, rows.shape[1]).index_copy_(0, self.slot, rows)

    def leave(self, slots: Tensor) -> Tensor:
        return slots.index_select(0, self.slot)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y = x.new_empty(self.slots, weight.shape[1])
        for chunk, mine, out in self._each(x, y):
            part = slice(chunk.first, chunk.last)
            if bias is None:
                torch.bmm(mine, weight[part].mT, out=out)
            else:
                torch.baddbmm(bias[part].unsqueeze(1), mine, weight[part].mT, out=out)
        return y

    def to_input(self, grad: Tensor, weight: Tensor) -> Tensor:
        dx = grad.new_empty(self.slots, weight.shape[2])
        for chunk, mine, out in self._each(grad, dx):
            torch.bmm(mine, weight[chunk.first : chunk.last], out=out)
        return dx

    def to_parameters(self, grad: Tensor, x: Tensor, bias: bool) -> tuple[Tensor, Tensor | None]:
        dw = grad.new_empty(len(self.ranges), grad.shape[1], x.shape[1])
        db = grad.new_empty(len(self.ranges), grad.shape[1]) if bias else None
        at = 0
        for chunk, mine, its_x in self._each(grad, x):
            part = slice(at, at + chunk.last - chunk.first)
            at = part.stop
            torch.bmm(mine.mT, its_x, out=dw[part])
            if db is not None:
                torch.sum(mine, 1, out=db[part])
        return dw, db

    def _each(self, one: Tensor, two: Tensor) -> list[tuple[Chunk, Tensor, Tensor]]:
        whole = len(self.chunks) == 1
        sizes = [chunk.stop - chunk.start for chunk in self.chunks]
        ones, twos = ([one], [two]) if whole else (one.split(sizes), two.split(sizes))
        widths = one.shape[1], two.shape[1]
        return [
            (chunk, mine.view(-1, chunk.rows, widths[0]), other.view(-1, chunk.rows, widths[1]))
            for chunk, mine, other in zip(self.chunks, ones, twos, strict=True)
        ]


def choose(index: Tensor, sizes: list[int], visited: list[int]) -> Chunks:
    """Return the layout that runs this batch fastest, from the sizes alone."""
    if index.shape[0] < FEW_ROWS * len(visited):
        return Chunks(index, sizes, sorted(visited, key=sizes.__getitem__))
    return Chunks(index, sizes, None)


def cut(sizes: list[int]) -> list[Chunk]:
    """Cut the ranges into chunks: a range joins the one before it unless the padding would cost more than a kernel."""
    chunks: list[Chunk] = []
    start = first = most = 0
    last = -1  # one past the last visited range of the open chunk
    for i, size in enumerate(sizes):
        if not size:
            continue
        if last < 0:
            first, most = i, size
        elif (i + 1 - first) * max(most, size) - (last - first) * most - size > ROWS_PER_KERNEL:
            chunks.append(Chunk(first, last, most, start))
            start = chunks[-1].stop
            first, most = i, size
        else:
            most = max(most, size)
        last = i + 1
    chunks.append(Chunk(first, last, most, start))
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
