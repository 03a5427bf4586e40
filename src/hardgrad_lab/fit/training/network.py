"""The one place where a table's switch is built, and what it must know of the rows for that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
from torch import nn

import hardgrad as hg
from hardgrad_lab.fit.training.branches import Factory, load_factory, make_branch
from hardgrad_lab.fit.training.made import call_factory, check_made

FINE = 1e-4  # half a range over its distance from zero below which float32 is too coarse to train in


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Everything that decides a switch, apart from its weights. Plain values, so that a model folder can say it.

    Args:
        points: of the ranges; where they are learned, those they started from.
        learn_points: whether the inner points are learned.
        branch: a name, or ``module:factory``; "" for a function that was handed over, which no file can name.
        hidden: widths of a named branch.
        columns: how many inputs a row has.
        window: rows seen at a time.
        out_features: 1, or the number of classes.
        raw: position in the flat window of the key that the switch normalizes; None for no normalization.
    """

    points: tuple[float, ...]
    learn_points: bool
    branch: str
    hidden: tuple[int, ...]
    columns: int
    window: int
    out_features: int
    raw: int | None

    @property
    def in_features(self) -> int:
        """Return the length of a flat window."""
        return self.columns * self.window

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)

    @property
    def dtype(self) -> torch.dtype:
        """Return the precision to train in: double for lines, and where a range is narrow for its distance from 0."""
        if self.branch == "linear":
            return torch.float64  # they are solved, which single precision would spoil
        if self.raw is None:
            return torch.float32
        fine = min((b - a) / 2 / max(abs(a), abs(b)) for a, b in pairwise(self.points))
        return torch.float64 if fine < FINE else torch.float32


def build_switch(architecture: Architecture, factory: Factory | None = None) -> hg.Switch:
    """Return the switch, its weights drawn from torch's global seed.

    Args:
        architecture: what to build.
        factory: makes a branch from (in_features, out_features) where ``architecture.branch`` names none.

    Raises:
        ValueError: if a factory returns no module, or cannot be found.
    """
    made = architecture
    ranges = hg.LearnedRanges(made.points, band=None) if made.learn_points else hg.Ranges(made.points)
    make = branch_maker(made, factory)
    # One call a range: a factory's parts need no reset_parameters then.
    branches = [make(made.in_features, 1.0) for _ in range(len(ranges))]
    if factory is not None or ":" in made.branch:
        check_made(branches, made.in_features, made.out_features, made.dtype)
    # Stacked, the branches of 16 ranges take half the time; recurrent ones and a factory's cannot be stacked.
    bank = factory is None and made.branch in ("mlp", "linear")
    return hg.Switch(ranges, branches, normalize=[] if made.raw is None else [made.raw], bank=bank).to(made.dtype)


def branch_maker(architecture: Architecture, factory: Factory | None) -> Callable[[int, float], nn.Module]:
    """Return what makes a branch from a number of inputs and a factor on its widths; a factory has no factor."""
    made = architecture
    if factory is None and ":" in made.branch:
        factory = load_factory(made.branch)
    if factory is not None:
        return lambda inputs, _: call_factory(factory, inputs, made.out_features)

    def make(inputs: int, factor: float) -> nn.Module:
        hidden = _widths(made.hidden, factor)
        return make_branch(
            made.branch, inputs, made.out_features, hidden=hidden, steps=made.window, columns=made.columns
        )

    return make


def _widths(hidden: Sequence[int], factor: float) -> list[int]:
    return [max(1, round(factor * width)) for width in hidden]
