"""The rest of ``hardgrad.hard``, each function with a loss that it is used for."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.doctor.case import Case, seeded, titled
from hardgrad_lab.doctor.codes import unguarded

ROWS = 16


def step() -> Case:
    """Gates open or close features; each open one costs."""
    generator = seeded(10)
    features = torch.randn(ROWS, 6, generator=generator)
    readout = torch.randn(6, 3, generator=generator)
    target = features @ readout

    def loss(gates: Tensor) -> Tensor:
        missed = ((gates * features) @ readout - target).square().mean(-1)
        return missed + 0.2 * gates.sum(-1)

    return titled(
        "step", "Six gates open or close features, 0.2 for each open one; the error of a readout.", hg.hard.step,
        torch.randn(ROWS, 6, generator=generator), loss,
    )  # fmt: skip


def ternary() -> Case:
    """Weights of a small filter, each -1, 0 or 1."""
    generator = seeded(11)
    data = torch.randn(32, 6, generator=generator)
    wanted = data @ torch.randn(6, ROWS, generator=generator)

    def loss(weights: Tensor) -> Tensor:
        return (data @ weights.mT - wanted).square().mean(-2)

    return titled(
        "sign-ternary", "Six weights of -1, 0 or 1 (a dead zone of 0.5); the error of the neuron they make.",
        partial(hg.hard.sign, margin=0.5), torch.randn(ROWS, 6, generator=generator), loss,
    )  # fmt: skip


def integer() -> Case:
    """Taps of a filter in steps of one."""
    generator = seeded(12)
    data = torch.randn(32, 6, generator=generator)
    taps = 2 * torch.randn(ROWS, 6, generator=generator)
    wanted = data @ taps.T

    def loss(rounded: Tensor) -> Tensor:
        return (data @ rounded.mT - wanted).square().mean(-2)

    moved = taps + torch.randn(ROWS, 6, generator=generator)
    return titled("round", "Six integer taps of a filter; the squared error of its output.", hg.hard.round, moved, loss)


def four_levels() -> Case:
    """A line of pixels in four greys, seen from afar."""
    generator = seeded(13)
    grey = torch.rand(ROWS, 12, generator=generator)
    eye = torch.tensor([0.25, 0.5, 0.25])

    def loss(printed: Tensor) -> Tensor:
        return ((printed - grey).unfold(-1, 3, 1) * eye).sum(-1).square().sum(-1)

    return titled(
        "quantize-4", "Twelve pixels in four greys; the squared error after the eye has blurred them.",
        partial(hg.hard.quantize, levels=4), grey + 0.1 * torch.randn(ROWS, 12, generator=generator), loss,
    )  # fmt: skip


def binarize() -> Case:
    """A mask at the mean, judged by its overlap with a wanted one."""
    generator = seeded(14)
    wanted = (torch.rand(ROWS, 12, generator=generator) < 0.4).float()

    def loss(mask: Tensor) -> Tensor:
        return 1 - 2 * (mask * wanted).sum(-1) / (mask.sum(-1) + wanted.sum(-1)).clamp(min=1)

    x = wanted + torch.randn(ROWS, 12, generator=generator)
    return titled(
        "binarize", "Twelve pixels over their mean, as a mask; one minus its Dice overlap.", hg.hard.binarize, x, loss
    )


def rank() -> Case:
    """Ranks against wanted ranks."""
    generator = seeded(15)
    wanted = torch.rand(ROWS, 8, generator=generator).argsort(-1).float() - 3.5

    def loss(ranks: Tensor) -> Tensor:
        return 1 - ((ranks - 3.5) * wanted).sum(-1) / 42  # the sum of squares of -3.5 to 3.5

    x = 0.2 * wanted + torch.randn(ROWS, 8, generator=generator)
    return titled(
        "rank", "Ranks of eight scores; one minus Spearman's correlation with wanted ranks.", hg.hard.rank, x, loss
    )


def permutation() -> Case:
    """Jobs put in order by scores, so that heavy ones do not wait."""
    generator = seeded(16)
    hours = 0.2 + torch.rand(ROWS, 6, 1, generator=generator)
    weight = 0.2 + torch.rand(ROWS, 6, 1, generator=generator)

    def loss(order: Tensor) -> Tensor:
        done = (order @ hours).cumsum(-2)
        return (done * (order @ weight)).sum((-2, -1))

    x = torch.randn(ROWS, 6, generator=generator)
    return titled(
        "permutation", "Six jobs in the order of their scores; the weighted sum of the times they are done.",
        hg.hard.permutation, x, loss,
    )  # fmt: skip


def top_k() -> Case:
    """The three largest values, as in a margin loss."""
    generator = seeded(17)

    def loss(largest: Tensor) -> Tensor:
        return (largest.sum(-1) - 2).square()

    x = torch.randn(ROWS, 8, generator=generator)
    return titled("top-k", "The three largest of eight; their sum is to be two.", partial(hg.hard.top_k, k=3), x, loss)


def rows_and_columns() -> Case:
    """A feature map sorted along rows and columns, read by a linear classifier."""
    generator = seeded(18)
    probe = torch.randn(32, 3, generator=generator) / 4
    label = torch.arange(ROWS) % 3

    def loss(ordered: Tensor) -> Tensor:
        scores = (ordered.flatten(-2) @ probe).log_softmax(-1)
        return -scores.gather(-1, label.expand(scores.shape[:-1]).unsqueeze(-1)).squeeze(-1)

    x = torch.randn(ROWS, 4, 4, generator=generator)
    return titled(
        "sort-rows-cols", "A map of 4 x 4 with its rows and its columns sorted; a linear classifier's cross entropy.",
        hg.hard.sort_rows_cols, x, loss,
    )  # fmt: skip


def nearest_code() -> Case:
    """Vector quantisation with a codebook of eight."""
    generator = seeded(19)
    codebook = torch.randn(8, 4, generator=generator)
    x = torch.randn(ROWS, 4, generator=generator)
    decoder = torch.randn(4, 10, generator=generator)
    wanted = torch.tanh(x @ decoder)

    def loss(code: Tensor) -> Tensor:
        return (torch.tanh(code @ decoder) - wanted).square().mean(-1)

    hard = partial(hg.hard.nearest_code, codebook=codebook)
    about = "Vectors of four replaced by the nearest of eight; the error after a nonlinear decoder."
    case = titled("nearest-code", about, hard, x, loss)
    case.extra["rotation, no guards"] = partial(unguarded, hard=hard)
    return case


def kmeans() -> Case:
    """A palette of three colours for eight pixels."""
    generator = seeded(20)
    picture = torch.rand(8, 8, 3, generator=generator)

    def loss(reduced: Tensor) -> Tensor:
        return (reduced - picture).square().sum((-2, -1))

    x = picture + 0.1 * torch.randn(8, 8, 3, generator=generator)
    return titled(
        "kmeans", "Eight pixels in the three colours of their clusters; the squared error to the picture.",
        partial(hg.hard.kmeans, k=3), x, loss, budget=100_000,
    )  # fmt: skip
