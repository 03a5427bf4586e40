"""The five functions that the guide examines at length, each with the loss it meets in practice."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.doctor.case import Case, seeded
from hardgrad_lab.doctor.images import codec, pictures

ROWS = 16
KEPT = 3  # of the top-k mask


def routing() -> Case:
    """A router in the middle of its training sends each point to one of four experts."""
    generator = seeded(0)
    x = torch.rand(ROWS, 2, generator=generator) * 2 - 1
    quadrant = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
    maps = torch.randn(4, 2, 2, generator=generator)
    target = torch.einsum("bij,bj->bi", maps[quadrant], x)
    experts = maps + 0.4 * torch.randn(4, 2, 2, generator=generator)  # each near the map of its quadrant
    says = torch.einsum("kij,bj->bki", experts, x)
    right = torch.nn.functional.one_hot(quadrant, 4)
    logits = right + torch.randn(ROWS, 4, generator=generator)  # leans to the right expert

    def loss(chosen: Tensor) -> Tensor:
        return (torch.einsum("...bk,bki->...bi", chosen, says) - target).square().sum(-1)

    return Case(
        name="argmax-routing",
        title="argmax routing",
        about="A router sends each row to one of four experts; the squared error of what that expert says.",
        function=hg.hard.one_hot_argmax,
        inputs=logits,
        objective=loss,
    )


def one_bit(folder: Path | None) -> Case:
    """Pictures coded in eight bits and read back by a linear decoder."""
    found = pictures(folder)
    coded = codec(found.rows, units=8)

    def loss(bits: Tensor) -> Tensor:
        return (coded.decode(bits) - coded.rows[:ROWS]).square().sum(-1)

    return Case(
        name="one-bit-quantise",
        title="1-bit quantise",
        about="Pictures of 14 x 14 as the signs of eight numbers; the squared error of a linear decoder.",
        function=hg.hard.sign,
        inputs=coded.codes[:ROWS].clone(),
        objective=loss,
        source=found.source,
    )


def sorting() -> Case:
    """Eight numbers sorted, to be compared with the quantiles of another sample."""
    generator = seeded(1)
    x = torch.randn(ROWS, 8, generator=generator)
    wanted = (0.5 + 1.5 * torch.randn(ROWS, 8, generator=generator)).sort(-1).values

    def loss(ordered: Tensor) -> Tensor:
        return (ordered - wanted).square().mean(-1)

    return Case(
        name="sort",
        title="sort",
        about="Eight numbers in order, compared with the quantiles of another sample: a Wasserstein distance.",
        function=hg.hard.sort,
        inputs=x,
        objective=loss,
    )


def top_k_mask() -> Case:
    """Scores choose three of eight features for a linear readout."""
    generator = seeded(2)
    features = torch.randn(ROWS, 8, generator=generator)
    readout = torch.randn(8, 4, generator=generator)
    target = features @ readout
    scores = features.abs() + 0.5 * torch.randn(ROWS, 8, generator=generator)

    def loss(mask: Tensor) -> Tensor:
        return ((mask * features) @ readout - target).square().mean(-1)

    return Case(
        name="top-k-mask",
        title="top-k mask",
        about="Scores keep three of eight features; the squared error of a readout that misses the others.",
        function=mask_of_largest,
        inputs=scores,
        objective=loss,
    )


def black_box() -> Case:
    """A signal rounded, run-length coded, and its length in bits counted by plain Python."""
    generator = seeded(3)
    walk = torch.randn(ROWS, 16, generator=generator).cumsum(-1)
    return Case(
        name="black-box",
        title="Python black box",
        about="A signal of 16 numbers, rounded, run-length coded by plain Python; the loss is the bits a number takes.",
        function=coded_bits,
        inputs=walk - walk.mean(-1, keepdim=True),
        objective=lambda bits: bits.squeeze(-1),
        warm_up=3000,  # its outputs are counts of a few bits, which a network reaches late
        budget=50_000,  # plain Python is slow
    )


def mask_of_largest(x: Tensor) -> Tensor:
    """Return 1 at the ``KEPT`` largest of a row, 0 elsewhere; shape (..., n)."""
    return torch.zeros_like(x).scatter(-1, x.topk(KEPT, -1).indices, 1.0)


def coded_bits(x: Tensor) -> Tensor:
    """Return the bits a number that each row's code takes, (B, n) to (B, 1): pure Python, integers inside."""
    return torch.tensor([[_code_length([round(value) for value in row]) / len(row)] for row in x.tolist()]).to(x)


def _code_length(levels: list[int]) -> int:
    runs = [(level, sum(1 for _ in group)) for level, group in groupby(levels)]
    # A level costs its sign and twice its digits (an Elias gamma code), a run likewise.
    return sum(2 * (abs(level) + 1).bit_length() + 2 * length.bit_length() - 1 for level, length in runs)
