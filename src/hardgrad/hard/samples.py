"""Draws that cannot be reparameterized."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad._torch_state import in_graph, in_transform, readable
from hardgrad.hard import checks, counts
from hardgrad.hard.precision import double, keep_nan, middling, single
from hardgrad.hard.uniforms import CELL, coarse, fine_uniform, uniform


def bernoulli(p: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Return 1 with probability ``p``, else 0, independently.

    Rare events are as rare as they should be: the probability of a 1 is p to within 1e-23, in code that inductor
    compiles to within 1e-16.

    Args:
        p: probabilities, any shape; below 0 acts as 0, above 1 as 1.
        generator: source of randomness; torch's global one by default.

    Returns:
        A tensor of p's shape and dtype; NaN where p is.

    Raises:
        TypeError: if p is not a floating tensor or ``generator`` not a generator.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.bernoulli(torch.tensor([0.0, 1.0])).tolist()
        [0.0, 1.0]

    Source: the non-reparameterized Bernoulli of Ramapuram and Webb 2020 (arXiv 1905.03658), table III.
    """
    checks.floating("bernoulli", p, "p")
    _check.generator("bernoulli", generator, p.device)
    return keep_nan(_fires(single(p.detach()), generator).to(p.dtype), p)


def categorical(p: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Return a one-hot sample of each distribution along the last dimension.

    Sums and the draw are in double precision: a class is drawn as often as its share of the total, to 1e-16.

    Args:
        p: shape (..., n), weights of at least 0 that need not sum to one.
        generator: source of randomness; torch's global one by default.

    Returns:
        A tensor of p's shape and dtype, NaN where the weights hold NaN or infinity or are all zero, and, where no error
        can be raised (in a graph, under torch.func, on a GPU), where one is negative. A class of weight zero is never
        drawn.

    Raises:
        ValueError: if a weight is negative, or p has no dimension of classes.
        TypeError: if p is not a floating tensor or ``generator`` not a generator.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.categorical(torch.tensor([0.0, 2.0, 0.0])).tolist()
        [0.0, 1.0, 0.0]
    """
    checks.floating("categorical", p, "p")
    _check.generator("categorical", generator, p.device)
    checks.dimensions("categorical", p, 1, "(..., classes)", "p")
    if p.shape[-1] == 0:
        return p.clone()
    weights = double(_refuse_negative(p.detach()))
    if weights.dtype == p.dtype:  # sums of weights of half the range stay within it by themselves
        weights = weights * middling(weights, -1)
    cumulated = weights.cumsum(-1)
    total = cumulated[..., -1:]
    # Below the total even after rounding, which is an ordinary number: so u stays in a class that has weight.
    u = fine_uniform((*p.shape[:-1], 1), total, generator) * total
    index = _not_above(cumulated, u).clamp(max=p.shape[-1] - 1)
    zero = torch.where((total > 0) & (total < torch.inf), 0.0, torch.nan).to(p.dtype)
    return zero.expand(p.shape).scatter(-1, index, zero + 1)


def k_subset(logits: Tensor, k: int, *, generator: torch.Generator | None = None) -> Tensor:
    r"""Return a random choice of k of the entries along the last dimension, as 1 among 0.

    .. math:: P(\text{mask}) \propto \exp\Big(\sum_i \text{mask}_i\, \text{logits}_i\Big)

    Exact, whatever k, in O(n k): of ``hardgrad.KSubset``, which has its probabilities, and marginals for a gradient:
    ``hg.straight_through(partial(hg.hard.k_subset, k=3), soft=lambda x: hg.KSubset(x, 3).marginals)``. The k largest of
    logits plus Gumbel noise are another law.

    Args:
        logits: shape (..., n), logarithms of weights. Infinity is always among the chosen, minus infinity never.
        k: how many are chosen, 0 to n.
        generator: source of randomness; torch's global one by default.

    Returns:
        A tensor of the logits' shape and dtype: k ones in each row. NaN where a logit of the row is, and, where no
        error can be raised (in a graph, under torch.func, on a GPU), where the infinities leave no choice of k.

    Raises:
        ValueError: if k is not from 0 to n, or infinities leave no choice of k.
        TypeError: if logits is not a floating tensor, k not a whole number or ``generator`` not a generator.

    Example:
        >>> import torch, hardgrad as hg
        >>> hg.hard.k_subset(torch.tensor([0.0, 1e4, -1e4, 2e4]), 2).tolist()
        [0.0, 1.0, 0.0, 1.0]

    Source: Chen and Liu 1997 (Statistica Sinica 7, 875-892).
    """
    _check.generator("k_subset", generator, checks.logits_of_subsets("k_subset", logits, k).device)
    if readable(logits):
        checks.choice_of("k_subset", logits, k)
    return counts.masks(logits.detach(), k, (), generator).to(logits.dtype)


def _refuse_negative(p: Tensor) -> Tensor:
    """Return the weights; where an error cannot be raised, those beside a negative one become NaN."""
    least = p.amin(-1, keepdim=True)
    if not readable(p):
        return torch.where(least < 0, torch.nan, p)
    if (least < 0).any():
        raise ValueError(
            f"categorical: p must hold weights of at least 0, got {least.amin().item()}; "
            "give logits as logits.softmax(-1)"
        )
    return p


def _not_above(ascending: Tensor, limit: Tensor) -> Tensor:
    """How many entries of each row are at most ``limit`` (..., 1)."""
    if in_graph() or in_transform():  # ONNX has no search
        return (ascending <= limit).sum(-1, keepdim=True)
    return torch.searchsorted(ascending.contiguous(), limit.contiguous(), right=True)


def _fires(p: Tensor, generator: torch.Generator | None) -> Tensor:
    """1 with probability p, of at least single precision.

    A uniform of 24 bits (of 53 where p has them) decides, except in the one of its cells that p falls into: there a
    second one does. By the first alone, an event of probability 1e-9 would come with 6e-8.
    """
    if readable(p):
        cell = torch.finfo(p.dtype).eps / 2
        # Exact where it is within a cell, since both are multiples of p's last digit.
        left = p - uniform(p.shape, p, generator)
        certain = left.clone().ge_(cell)
        if not left.clone().gt_(0).sub_(certain).sum():
            return certain
    else:
        cell = CELL
        left = double(p) - coarse(p.shape, p, generator) * cell
    return (uniform(p.shape, double(p), generator) * cell < left).to(p.dtype)
