"""What a search is judged by, as losses: discounted gain and average precision."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad._torch_state import readable
from hardgrad.hard import precision
from hardgrad.losses.loss import Loss, places
from hardgrad.soft.method import Method
from hardgrad.soft.temperature import Temperature


def ndcg(
    scores: Tensor,
    relevance: Tensor,
    k: int | None = None,
    temperature: Temperature = 1.0,
    *,
    dim: int = -1,
    method: Method | str = "laplace",
    relative: bool = True,
    soft: bool = False,
    reduction: str = "mean",
) -> Tensor:
    r"""Return 1 less the normalized discounted cumulative gain, with the gradient of that of soft ranks.

    .. math:: 1 - \frac{1}{Z} \sum_j \frac{g_j}{\log_2(2 + r_j)}

    with r the rank from 0, the highest score first, and Z the sum of the best order.

    Args:
        scores: shape (..., n); each row along ``dim`` is one query's documents.
        relevance: gains g of at least 0, same shape; ``2.0**grade - 1`` makes them of grades.
        k: how many of the first ranks count; all without it. The soft loss weighs by ``hg.soft.top_k_mask``.
        temperature, dim, method, relative, soft, reduction: as for all ``hg.losses``.

    Returns:
        From 0 to 1. Equal scores share the mean of their discounts; a row without a gain has nothing to find: 1,
        without a gradient.

    Raises:
        ValueError, TypeError: if the shapes differ, a gain is negative, or ``k`` or an option is out of range.

    Example:
        >>> import torch, hardgrad as hg
        >>> scores = torch.tensor([0.2, 0.7, 0.1], requires_grad=True)
        >>> round(hg.losses.ndcg(scores, torch.tensor([1.0, 0.0, 0.0])).item(), 4)
        0.3691

    Source: Jarvelin and Kekalainen 2002; its gradient Qin, Liu and Li 2010 (ApproxNDCG), with any method's soft ranks.
    """
    loss = Loss("ndcg", "scores", scores, temperature, dim, method, relative, soft, reduction)
    gains = precision.double(loss.beside("relevance", relevance))
    n = gains.shape[-1]
    k = n if k is None else _check.whole("ndcg", "k", k, 1, n, f"a row has {n} entries")
    if readable(gains) and bool((gains < 0).any()):
        raise ValueError(f"ndcg: relevance must be at least 0, got {float(gains.min()):g}; shift it, or clamp it")
    place = torch.arange(n, device=gains.device)
    discount = torch.where(place < k, 1 / (place + 2).to(gains.dtype).log2(), 0)
    best = (gains.sort(-1, descending=True).values * discount).sum(-1, keepdim=True)
    share = gains / torch.where(best > 0, best, 1)

    def exact() -> Tensor:
        below, upto = places(loss.rows)
        total = torch.cat([discount.new_zeros(1), discount.cumsum(0)])
        return 1 - (share * (total[n - below] - total[n - upto]) / (upto - below)).sum(-1)

    def relaxed() -> Tensor:
        weight = share / (2 + loss.ranks(descending=True)).log2()
        return 1 - (weight * loss.mask(k) if k < n else weight).sum(-1)

    return loss.of(exact, relaxed, gains)


def average_precision(
    scores: Tensor,
    labels: Tensor,
    temperature: Temperature = 1.0,
    *,
    dim: int = -1,
    method: Method | str = "laplace",
    relative: bool = True,
    soft: bool = False,
    reduction: str = "mean",
) -> Tensor:
    r"""Return 1 less the average precision, with the gradient of that of softly compared scores.

    .. math:: 1 - \frac{1}{|P|} \sum_{i \in P} \frac{|\{j \in P : x_j \ge x_i\}|}{|\{j : x_j \ge x_i\}|}

    The soft loss counts j by how far the method ranks it above i. Memory grows with n^2.

    Args:
        scores: shape (..., n); each row along ``dim`` is one query's documents.
        labels: 1 or True for what should come first, else 0, same shape.
        temperature, dim, method, relative, soft, reduction: as for all ``hg.losses``.

    Returns:
        From 0 to 1. Equal scores are found together; a row without a 1 has nothing to find: 1, without a gradient.

    Raises:
        ValueError, TypeError: if the shapes differ, a label is neither 0 nor 1, or an option is none of those named.

    Example:
        >>> import torch, hardgrad as hg
        >>> scores = torch.tensor([0.2, 0.7, 0.1], requires_grad=True)
        >>> hg.losses.average_precision(scores, torch.tensor([1, 0, 0])).item()
        0.5

    Source: its gradient is Brown et al. 2020 (arXiv 2007.12163, Smooth-AP), with any method's comparison of two.
    """
    loss = Loss("average_precision", "scores", scores, temperature, dim, method, relative, soft, reduction)
    labels = loss.beside("labels", labels)
    if readable(labels) and bool(((labels != 0) & (labels != 1)).any()):
        raise ValueError("average_precision: labels must be 0 or 1, got others; give labels > threshold")
    found = precision.double(labels)
    number = found.sum(-1, keepdim=True)
    share = found / number.clamp(min=1)

    def exact() -> Tensor:
        below, _ = places(loss.rows)
        ordered = found.gather(-1, loss.rows.argsort(-1)).cumsum(-1)
        missed = torch.cat([torch.zeros_like(number), ordered], -1).gather(-1, below)
        return 1 - (share * (number - missed) / (found.shape[-1] - below)).sum(-1)

    def relaxed() -> Tensor:
        above = (1 + loss.signs()) / 2
        # An entry stands half above itself, and counts whole.
        return 1 - (share * ((above * found.unsqueeze(-2)).sum(-1) + 0.5) / (above.sum(-1) + 0.5)).sum(-1)

    return loss.of(exact, relaxed, found)
