"""What is made of an order: filters, ranking losses, selections; each with a loss that it is used for."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

import hardgrad as hg
from hardgrad_lab.doctor.case import Case, seeded, titled

ROWS = 16
N = 8


def median_filter() -> Case:
    """A signal in steps, with noise, filtered by the median of five."""
    generator = seeded(21)
    clean = torch.randn(ROWS, 4, generator=generator).repeat_interleave(4, 1)
    x = clean + 0.5 * torch.randn(ROWS, 16, generator=generator)

    def filtered(x: Tensor) -> Tensor:
        return hg.hard.median(x.unfold(-1, 5, 1))

    return titled(
        "median-filter", "The medians of five neighbors in a signal of sixteen; the squared error to the clean one.",
        filtered, x, lambda y: (y - clean[:, 2:-2]).square().mean(-1),
    )  # fmt: skip


def trimmed_mean() -> Case:
    """A mean without the largest and the smallest, as of robust statistics."""
    x = torch.randn(ROWS, 12, generator=seeded(22)).pow(3)

    def trimmed(x: Tensor) -> Tensor:
        return hg.hard.sort(x)[..., 3:9].mean(-1, keepdim=True)

    return titled(
        "trimmed-mean", "The mean of the middle six of twelve; its squared distance to one.",
        trimmed, x, lambda y: (y.squeeze(-1) - 1).square(),
    )  # fmt: skip


def quantile() -> Case:
    """The loss that one sample of ten exceeds, as of risk measures."""
    x = torch.randn(ROWS, 2, 6, generator=seeded(23))
    return titled(
        "quantile", "The 0.9-quantile of six losses, of each of two groups; the sum of their exponentials.",
        partial(hg.hard.quantile, q=0.9), x, lambda y: y.exp().sum(-1),
    )  # fmt: skip


def ndcg() -> Case:
    """Documents ranked by scores, and what a reader gains who starts at the top."""
    generator = seeded(24)
    gain = 2.0 ** torch.randint(0, 4, (ROWS, N), generator=generator) - 1
    discount = 1 / (2 + torch.arange(N)).log2()
    ideal = (gain.sort(-1, descending=True).values * discount).sum(-1).clamp(min=1)

    def loss(ranks: Tensor) -> Tensor:
        return 1 - (gain / (N + 1 - ranks.clamp(0, N - 1)).log2()).sum(-1) / ideal

    x = 0.3 * gain + torch.randn(ROWS, N, generator=generator)
    return titled("ndcg", "Ranks of eight scores; one minus the discounted gain over the best.", hg.hard.rank, x, loss)


def average_precision() -> Case:
    """Which of eight are found, read from the top of a list that scores put in order."""
    generator = seeded(25)
    label = (torch.rand(ROWS, N, 1, generator=generator) < 0.4).float()
    label[:, 0] = 1

    def loss(order: Tensor) -> Tensor:
        found = (order.flip(-2) @ label).squeeze(-1)
        return 1 - (found * found.cumsum(-1) / torch.arange(1, N + 1)).sum(-1) / label.sum((-2, -1))

    x = label.squeeze(-1) + torch.randn(ROWS, N, generator=generator)
    return titled(
        "average-precision", "Labels in the order of eight scores; one minus the average precision.",
        hg.hard.permutation, x, loss,
    )  # fmt: skip


def kendall() -> Case:
    """Which of two is larger, of all pairs."""
    generator = seeded(26)
    first, second = torch.triu_indices(N, N, 1)

    def apart(x: Tensor) -> Tensor:
        return x[..., first] - x[..., second]

    def signs(x: Tensor) -> Tensor:
        return hg.hard.sign(apart(x))

    wanted = torch.randn(ROWS, N, generator=generator)
    case = titled(
        "kendall", "Which of two scores is larger, of 28 pairs of eight; one minus Kendall's correlation.", signs,
        wanted + torch.randn(ROWS, N, generator=generator), lambda y: 1 - (y * signs(wanted)).mean(-1),
    )  # fmt: skip
    return replace(case, extra={"straight_through, tanh": hg.straight_through(signs, lambda x: apart(x).tanh())})


def chosen_features() -> Case:
    """Scores keep four of twelve features for a classifier that is trained on all."""
    generator = seeded(27)
    features = torch.randn(ROWS, 12, generator=generator)
    inner, outer = torch.randn(12, 16, generator=generator), torch.randn(16, 3, generator=generator)

    def says(x: Tensor) -> Tensor:
        return (torch.tanh(x @ inner / 2) @ outer).log_softmax(-1)

    label = says(features).argmax(-1)

    def loss(mask: Tensor) -> Tensor:
        right = label.expand(mask.shape[:-1]).unsqueeze(-1)
        return -says(mask * features).gather(-1, right).squeeze(-1)

    return titled(
        "feature-selection", "Scores keep four of twelve features; the cross entropy of a network that sees only them.",
        partial(hg.hard.top_k_mask, k=4), torch.randn(ROWS, 12, generator=generator), loss,
    )  # fmt: skip


def subset() -> Case:
    """Three of eight sensors drawn at a time, to guess what all measure."""
    generator = seeded(29)
    seen = torch.randn(ROWS, N, generator=generator)
    readout = torch.randn(N, 4, generator=generator)

    def loss(mask: Tensor) -> Tensor:
        return (torch.tanh((mask * seen) @ readout) - torch.tanh(seen @ readout)).square().mean(-1)

    return Case(
        name="k-subset",
        title="k-subset",
        about="Three of eight sensors, drawn by their logits; the error of what a network makes of them.",
        function=loss,
        inputs=hg.KSubset(torch.randn(ROWS, N, generator=generator), 3),
    )


def neighbor_vote() -> Case:
    """The three nearest of twelve examples vote for one of three classes."""
    generator = seeded(28)
    voice = torch.nn.functional.one_hot(torch.arange(12) % 3, 3).float()
    right = torch.nn.functional.one_hot(torch.arange(ROWS) % 3, 3).float()
    x = right @ voice.mT + torch.randn(ROWS, 12, generator=generator)
    return titled(
        "neighbor-vote", "The three most similar of twelve examples vote for a class; the squared error of their vote.",
        partial(hg.hard.top_k_mask, k=3), x, lambda mask: (mask @ voice / 3 - right).square().sum(-1),
    )  # fmt: skip
