"""A training stream from files: threads read and decode a few batches ahead, and copying goes on beside computing.

Threads, since Pillow decodes and resizes outside Python's lock: their number is limited by the cores, and nothing needs
to be handed from process to process. Memory is bounded by the batches ahead. Which pictures a batch has and how each is
cut follow from the seed, the epoch and the batch's number, whichever thread reads it.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hardgrad_lab.data.folder import TRIES, Anywhere, Crop, Listing, read
from hardgrad_lab.data.order import Order, Place, seed_of
from hardgrad_lab.data.prepare import Prepare, scaled
from hardgrad_lab.runs.options import require

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Pending:
    """A batch that threads are filling: its bytes (B, side, side, 3), its labels, and the readers at work."""

    x: Tensor
    y: Tensor
    readers: list[Future[None]]


class Pictures:
    """Training batches from files: shuffled epochs, without end.

    The same promises as ``Resident``: a batch follows from the seed, the epoch and its number, and ``state_dict`` says
    where the stream stands, not how far its threads have read.

    Args:
        listing: the files.
        side: pixels of a picture as the network sees it.
        batch: rows in a batch of this process. The last of an epoch may be smaller.
        seed: of the order, the crops and all draws.
        device: where the batches go.
        crop: which part of a picture is shown.
        prepare: from bytes (B, 3, side, side), on the device, to what the network sees.
        workers: threads; 0 takes one for each core.
        ahead: batches read while the network is busy.
        drop_last: leave out the smaller batch.
        rank: of this process.
        world: how many processes.

    Raises:
        OptionError: if a number is out of range, or no batch comes of it.
    """

    def __init__(
        self,
        listing: Listing,
        *,
        side: int,
        batch: int,
        seed: int,
        device: torch.device = CPU,
        crop: Crop | None = None,
        prepare: Prepare = scaled,
        workers: int = 0,
        ahead: int = 3,
        drop_last: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        require(side >= 1, "side", "at least 1", side)
        require(ahead >= 1, "ahead", "at least 1", ahead)
        require(workers >= 0, "workers", "at least 1, or 0 for one a core", workers)
        self.order = Order(rows=len(listing), batch=batch, seed=seed, drop_last=drop_last, rank=rank, world=world)
        self.place = Place(self.order)
        self._listing, self._side, self._crop = listing, side, crop or Anywhere()
        self._prepare, self._ahead, self._upload = prepare, ahead, Upload(device)
        self._generator = torch.Generator(device)
        self._threads = ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="pictures")
        self._close = weakref.finalize(self, self._threads.shutdown, wait=False, cancel_futures=True)
        self._pending: deque[Pending] = deque()
        self._next = replace(self.place)  # the first batch that no thread has been given
        self._shuffled: tuple[int, Tensor] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of batches in an epoch."""
        return self.order.steps

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return the next inputs, as prepared, and their labels, on the device.

        Raises:
            DamagedDataError: if a picture cannot be decoded.
        """
        while len(self._pending) <= self._ahead:
            self._pending.append(self._begin())
        pending = self._pending[0]
        for reader in pending.readers:
            reader.result()
        self._pending.popleft()  # not before it is whole, so that asking again after an error gives the same error
        x, y = self._upload(pending.x), self._upload(pending.y)
        place = self.place
        self._generator.manual_seed(seed_of("show", self.order.seed, place.epoch, place.step, self.order.rank))
        place.advance()
        # Laid out with the channels last, as convolutions like it; prepare sees an ordinary (B, 3, side, side)
        return self._prepare(x.permute(0, 3, 1, 2), self._generator), y

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream stands."""
        return self.place.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken.

        Raises:
            ValueError: if it was taken from a stream of other batches.
        """
        self.place.load_state_dict(state)
        for pending in self._pending:
            for reader in pending.readers:
                reader.cancel()
        self._pending.clear()
        self._next = replace(self.place)

    def close(self) -> None:
        """End the threads. The end of the program does it too."""
        self._close()

    def _begin(self) -> Pending:
        """Give the next batch to the threads."""
        place, order = self._next, self.order
        rows = self._epoch(place.epoch)[place.step * order.batch : (place.step + 1) * order.batch]
        generator = torch.Generator().manual_seed(seed_of("crop", order.seed, place.epoch, place.step, order.rank))
        chance = torch.rand(len(rows), TRIES, 4, generator=generator)
        pinned = self._upload.device.type == "cuda"  # what the copy to the device needs, to go on by itself
        x = torch.empty(len(rows), self._side, self._side, 3, dtype=torch.uint8, pin_memory=pinned)
        y = torch.empty(len(rows), dtype=torch.int64, pin_memory=pinned).copy_(self._listing.y[rows])
        readers = [
            self._threads.submit(_fill, x[i], self._listing, row, self._side, self._crop, chance[i])
            for i, row in enumerate(rows.tolist())
        ]
        place.advance()
        return Pending(x, y, readers)

    def _epoch(self, number: int) -> Tensor:
        if self._shuffled is None or self._shuffled[0] != number:
            self._shuffled = number, self.order.epoch(number)
        return self._shuffled[1]


def _fill(out: Tensor, listing: Listing, row: int, side: int, crop: Crop, chance: Tensor) -> None:
    out.numpy()[:] = read(listing.path(row), side, crop, chance)


class Upload:
    """Copies to the device beside what it computes.

    Args:
        device: where to.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, host: Tensor) -> Tensor:
        """Return the tensor on the device; what is computed from it waits for the copy, and nothing else does."""
        if self._stream is None:
            return host.to(self.device)
        with torch.cuda.stream(self._stream):
            there = host.to(self.device, non_blocking=True)
        now = torch.cuda.current_stream(self.device)
        now.wait_stream(self._stream)
        there.record_stream(now)  # or its memory could be handed out again while ``now`` still reads it
        return there
