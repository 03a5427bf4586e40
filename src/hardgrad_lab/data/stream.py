"""A data set that lies on the device: its training stream, and one pass over it for an evaluation.

The rows stay bytes until they are shown. Several batches are gathered and prepared at once and handed out as slices, so
that a step of a small network does not wait for the start of five small kernels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from hardgrad_lab.data.images import Images
from hardgrad_lab.data.order import Order, Place, seed_of
from hardgrad_lab.data.prepare import Prepare, scaled

CPU = torch.device("cpu")
# Numbers prepared at once. What a GPU's kernels cost is their start; a CPU's cost is memory, and 13 batches of 100
# digits at once took it twice as long as one by one.
AT_ONCE = {"cpu": 2**16}
AT_ONCE_ELSEWHERE = 2**20


class Resident:
    """Training batches from a set that the device holds whole: shuffled epochs, without end.

    Which rows a batch has, and every draw that prepares it, follow from the seed, the epoch and the batch's number. So
    two runs with one seed see the same numbers on the same kind of device, and a stream that is loaded from
    ``state_dict`` goes on bit for bit. The place is the same in all processes of a distributed run; one of them may
    write it down for all.

    Args:
        images: the rows; moved to the device as bytes. Memory-mapped rows stay on disk if the device is the CPU.
        batch: rows in a batch of this process. The last of an epoch may be smaller.
        seed: of the order and of all draws.
        device: where the rows lie and the batches are made.
        prepare: from bytes to what the network sees.
        drop_last: leave out the smaller batch, for networks that normalise over a batch.
        alternating: mirror each row in every other epoch, half of them in the first, before it is prepared.
        rank: of this process.
        world: how many processes; see ``Order`` for how they share the rows.

    Raises:
        OptionError: if a number is out of range, or no batch comes of it.

    Example:
        >>> rows = Images(x=torch.arange(6).byte().view(6, 1, 1, 1), y=torch.arange(6), classes=(), what="six greys")
        >>> stream = Resident(rows, batch=4, seed=0)
        >>> [len(stream.batch()[0]) for _ in range(3)]
        [4, 2, 4]
        >>> stream.state_dict()["epoch"], stream.state_dict()["step"]
        (1, 1)
    """

    def __init__(
        self,
        images: Images,
        *,
        batch: int,
        seed: int,
        device: torch.device = CPU,
        prepare: Prepare = scaled,
        drop_last: bool = False,
        alternating: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.order = Order(rows=len(images), batch=batch, seed=seed, drop_last=drop_last, rank=rank, world=world)
        self.place = Place(self.order)
        self._x, self._y, self._prepare = images.x.to(device), images.y.to(device), prepare
        at_once = AT_ONCE.get(device.type, AT_ONCE_ELSEWHERE)
        self._together = max(1, at_once // (batch * images.x[0].numel()))  # batches prepared at once
        self._generator = torch.Generator(device)
        coins = torch.Generator().manual_seed(seed_of("mirror", seed))
        self._turns = torch.randint(2, (len(images),), generator=coins).to(device) if alternating else None
        self._shuffled: tuple[int, Tensor] | None = None
        self._prepared: tuple[tuple[int, int], Tensor, Tensor] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of batches in an epoch."""
        return self.order.steps

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return the next inputs, as prepared, and their labels."""
        group, number = divmod(self.place.step, self._together)
        inputs, labels = self._group(self.place.epoch, group)
        self.place.advance()
        rows = slice(number * self.order.batch, (number + 1) * self.order.batch)
        return inputs[rows], labels[rows]

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream stands."""
        return self.place.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken.

        Raises:
            ValueError: if it was taken from a stream of other batches.
        """
        self.place.load_state_dict(state)

    def _group(self, epoch: int, group: int) -> tuple[Tensor, Tensor]:
        """Return the batches prepared together with this one, as one."""
        if self._prepared is None or self._prepared[0] != (epoch, group):
            size = self._together * self.order.batch
            index = self._epoch(epoch)[group * size : (group + 1) * size]
            self._generator.manual_seed(seed_of("show", self.order.seed, epoch, group, self.order.rank))
            x = self._x.index_select(0, index)
            if self._turns is not None:
                turned = (self._turns[index] + epoch) % 2 == 1
                x = torch.where(turned.view(-1, 1, 1, 1), x.flip(-1), x)
            x = self._prepare(x, self._generator)
            self._prepared = (epoch, group), x, self._y.index_select(0, index)
        return self._prepared[1:]

    def _epoch(self, number: int) -> Tensor:
        if self._shuffled is None or self._shuffled[0] != number:
            self._shuffled = number, self.order.epoch(number).to(self._x.device)
        return self._shuffled[1]


def in_order(
    images: Images, *, batch: int, device: torch.device = CPU, prepare: Prepare = scaled, seed: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Go through a set once, row after row, as an evaluation does.

    Args:
        images: the rows, wherever they lie.
        batch: rows in a batch; the last may be smaller.
        device: where the batches go.
        prepare: from bytes to what the network sees.
        seed: of all draws: with the same seed every pass is shown the same.

    Returns:
        Pairs of inputs and labels.

    Example:
        >>> rows = Images(x=torch.zeros(5, 1, 1, 1, dtype=torch.uint8), y=torch.arange(5), classes=(), what="blank")
        >>> [labels.tolist() for _, labels in in_order(rows, batch=2)]
        [[0, 1], [2, 3], [4]]
    """
    generator = torch.Generator(device).manual_seed(seed_of("evaluation", seed))
    for first in range(0, len(images), batch):
        rows = slice(first, first + batch)
        yield prepare(images.x[rows].to(device), generator), images.y[rows].to(device)
