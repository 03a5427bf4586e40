"""How to search: the options that both searches have, checked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hardgrad.segments.rows import Rows
from hardgrad.switch.arguments import generator as drawn_on_the_cpu
from hardgrad.switch.arguments import real, whole

LEAST_HELD_OUT = 0.001
MOST_RESAMPLES = 100_000  # each is a search of its own


@dataclass(frozen=True)
class Options:
    """What ``search_ranges`` and ``search_key`` were asked for; each is as there."""

    max_ranges: int
    least_share: float
    block: int
    candidates: int
    bootstrap: int
    generator: torch.Generator | None


def checked_options(
    owner: str,
    *,
    max_ranges: int,
    least_share: float,
    block: int,
    candidates: int,
    generator: torch.Generator | None,
    bootstrap: int = 0,
) -> Options:
    """Return the options, or raise a ValueError or TypeError that names the one that is wrong."""
    drawn_on_the_cpu(owner, generator, "cpu")
    return Options(
        whole(owner, "max_ranges", max_ranges, 1),
        least_share,  # the rows look at it
        whole(owner, "block", block, 1),
        whole(owner, "candidates", candidates, 2),
        whole(owner, "bootstrap", bootstrap, 0, MOST_RESAMPLES),
        generator,
    )


def groups_of(owner: str, order: Tensor, options: Options) -> Tensor:
    """Return the block of each row, or raise if there are too few blocks to hold some out."""
    group = torch.div(order, options.block, rounding_mode="floor")
    blocks, least = -(-len(order) // options.block), 3 if options.bootstrap else 2
    if blocks < least:
        raise ValueError(
            f"{owner}: block must leave at least {least} blocks of rows, got {options.block} for {len(order)} rows; "
            "make blocks shorter, or give more rows"
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
