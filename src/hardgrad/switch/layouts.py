"""Where the rows of a batch lie while a bank of linear layers runs: two layouts, and which batch takes which."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from hardgrad.switch.router import by_branch

# A chunk of ranges is cut where padding another range would add more rows than this, about what starting one more
# product costs on one core with weights of 80 x 100.
ROWS_PER_KERNEL = 64
# With fewer rows than this for each visited range, reading the weights is what costs, so that they are read in place.
FEW_ROWS = 3.0
# Up to so many rows, a loop over Python integers is faster than starting the kernels that would do the same.
SMALL = 256
# Below so many outputs, selecting the weights is cheaper than reading them in place.
NARROW = 8


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
    """Rows in slots: range after range, padded with zero rows within a chunk. The weights are sliced, not copied."""

    def __init__(self, index: Tensor, sizes: list[int]) -> None:
        self.chunks = cut(sizes)
        self.slots = self.chunks[-1].stop
        bases = [0] * len(sizes)
        self.ranges = []  # of each row of a weight gradient; one past the last range where no row of the batch came
        for chunk in self.chunks:
            for i in range(chunk.first, chunk.last):
                bases[i] = chunk.start + (i - chunk.first) * chunk.rows
                self.ranges.append(i if sizes[i] else len(sizes))
        self.slot = _slots(index, sizes, bases)

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
        if len(self.chunks) == 1:
            shape = (-1, self.chunks[0].rows)
            return [(self.chunks[0], one.unflatten(0, shape), two.unflatten(0, shape))]
        sizes = [chunk.stop - chunk.start for chunk in self.chunks]
        return [
            (chunk, mine.unflatten(0, (-1, chunk.rows)), other.unflatten(0, (-1, chunk.rows)))
            for chunk, mine, other in zip(self.chunks, one.split(sizes), two.split(sizes), strict=True)
        ]


class Rows:
    """Rows as they are, each reading its range's weights in place: nothing is padded, no weight is copied."""

    def __init__(self, index: Tensor, sizes: list[int], visited: list[int]) -> None:
        self.index = index
        self.ranges = visited
        most = max(sizes)
        bases = [0] * len(sizes)
        for at, i in enumerate(visited):
            bases[i] = at * most
        self.shape = (len(visited), most)
        self.slot = _slots(index, sizes, bases)
        self._tables: dict[int, Tensor] = {}

    def enter(self, rows: Tensor) -> Tensor:
        return rows

    def leave(self, slots: Tensor) -> Tensor:
        return slots

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if weight.shape[1] < NARROW:
            y = torch.bmm(weight.index_select(0, self.index), x.unsqueeze(2)).squeeze(2)
        else:
            # A dot product of each row with each row of its range's weights. The kernel is torch's for the gradient of
            # a weighted bag of embeddings with respect to its weights; it is four times as fast as selecting first.
            offsets, bag = _bags(x.shape[0], weight.shape[1], x.device)
            y = torch.ops.aten._embedding_bag_per_sample_weights_backward(
                x.contiguous(), weight.view(-1, weight.shape[2]), self._table(weight).view(-1), offsets, bag, 0
            ).view(x.shape[0], -1)
        return y if bias is None else y.add_(bias.index_select(0, self.index))

    def to_input(self, grad: Tensor, weight: Tensor) -> Tensor:
        table = weight.view(-1, weight.shape[2])
        return F.embedding_bag(self._table(weight), table, mode="sum", per_sample_weights=grad)

    def to_parameters(self, grad: Tensor, x: Tensor, bias: bool) -> tuple[Tensor, Tensor | None]:
        padded = self._pad(grad)
        return torch.bmm(padded.mT, self._pad(x)), padded.sum(1) if bias else None

    def _pad(self, rows: Tensor) -> Tensor:
        ranges, most = self.shape
        padded = rows.new_zeros(ranges * most, rows.shape[1]).index_copy_(0, self.slot, rows)
        return padded.view(ranges, most, -1)

    def _table(self, weight: Tensor) -> Tensor:
        """Which rows of the weights, laid end to end, each row of the batch reads: (rows, width)."""
        width = weight.shape[1]
        if width not in self._tables:
            self._tables[width] = (self.index * width).unsqueeze(1) + torch.arange(width, device=weight.device)
        return self._tables[width]


@lru_cache(maxsize=64)
def _bags(rows: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    bags = torch.arange(rows, device=device)
    return bags * width, bags.repeat_interleave(width)


Layout = Chunks | Rows


def choose(index: Tensor, sizes: list[int], visited: list[int]) -> Layout:
    """Return the layout that runs this batch fastest, from the sizes alone."""
    few = index.shape[0] < FEW_ROWS * len(visited)
    return Rows(index, sizes, visited) if few else Chunks(index, sizes)


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
