"""How to search: the options that both searches have, checked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.segments.rows import Rows
from hardgrad.switch.arguments import real, whole

LEAST_HELD_OUT = 0.001
MOST_RESAMPLES = 100_000  # each is a search of its own


@dataclass
class Options:
    """What ``owner``, one of the two searches, was asked for; each is as there, and raises as there."""

    owner: str
    max_ranges: int
    least_share: float  # the rows look at it
    block: int
    candidates: int
    generator: torch.Generator | None
    bootstrap: int = 0

    def __post_init__(self) -> None:
        _check.generator(self.owner, self.generator, torch.device("cpu"))
        self.max_ranges = whole(self.owner, "max_ranges", self.max_ranges, 1)
        self.block = whole(self.owner, "block", self.block, 1)
        self.candidates = whole(self.owner, "candidates", self.candidates, 2)
        self.bootstrap = whole(self.owner, "bootstrap", self.bootstrap, 0, MOST_RESAMPLES)


def groups_of(order: Tensor, options: Options) -> Tensor:
    """Return the block of each row, or raise if there are too few blocks to hold some out."""
    group = torch.div(order, options.block, rounding_mode="floor")
    blocks, least = -(-len(order) // options.block), 3 if options.bootstrap else 2
    if blocks < least:
        raise ValueError(
            f"{options.owner}: block must leave at least {least} blocks of rows, got {options.block} for {len(order)} "
            "rows; make blocks shorter, or give more rows"
        )
    return group


def checked_share(held_out: float) -> float:
    """Return the share of rows to hold out, or raise a ValueError."""
    if isinstance(held_out, bool | str) or not 0 < real("search_ranges", "held_out", held_out) <= 0.5:
        raise ValueError(
            "search_ranges: held_out must lie in (0, 0.5], or be a bool tensor of the rows to hold out, got "
            f"{held_out!r}"
        )
    if held_out < LEAST_HELD_OUT:
        raise ValueError(
            f"search_ranges: held_out must be at least {LEAST_HELD_OUT}, since all rows are held out once, a share at "
            f"a time, and each time is a search, got {held_out}"
        )
    return float(held_out)


def checked_held_out(held_out: float | Tensor, rows: Rows, order: Tensor) -> float | Tensor:
    """Return the share of rows to hold out, or which of the sorted rows, or raise a ValueError."""
    if not isinstance(held_out, Tensor):
        return checked_share(held_out)
    if held_out.dtype is not torch.bool or held_out.shape != order.shape:
        raise ValueError(
            f"search_ranges: held_out as a tensor must be bool of shape ({rows.n},), one for each row, got "
            f"{held_out.dtype} {tuple(held_out.shape)}"
        )
    if not held_out.any() or rows.n - int(held_out.sum()) < rows.least:
        raise ValueError(
            f"search_ranges: held_out must name at least one row and leave {rows.least}, the fewest of a range, got "
            f"{int(held_out.sum())} of {rows.n} rows"
        )
    return held_out.cpu()[order]
