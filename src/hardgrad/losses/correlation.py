"""Rank correlations as losses: Spearman's of ranks, Kendall's of the signs of all pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad.hard import precision
from hardgrad.losses.loss import Loss, places, signs
from hardgrad.soft.method import Method
from hardgrad.soft.temperature import Temperature


def spearman(
    x: Tensor,
    target: Tensor,
    temperature: Temperature = 1.0,
    *,
    dim: int = -1,
    method: Method | str = "laplace",
    relative: bool = True,
    soft: bool = False,
    reduction: str = "mean",
) -> Tensor:
    r"""Return 1 less Spearman's rank correlation, with the gradient of that of soft ranks.

    .. math:: 1 - \text{cov}(r_x, r_y) / (\sigma(r_x)\,\sigma(r_y))

    Args:
        x: predictions, shape (..., n); each row along ``dim`` is a ranking of its own.
        target: what their order should be, same shape; no gradient flows into it.
        temperature, dim, method, relative, soft, reduction: as for all ``hg.losses``.

    Returns:
        From 0 to 2. Equals share the mean of their ranks; a row whose values are all equal correlates with nothing: 1.

    Raises:
        ValueError, TypeError: if the shapes differ, or an option is none of those named.

    Example:
        >>> import torch, hardgrad as hg
        >>> x = torch.tensor([0.1, 0.9, 0.3], requires_grad=True)
        >>> loss = hg.losses.spearman(x, torch.tensor([1.0, 2.0, 3.0]))
        >>> loss.item()
        0.5
        >>> loss.backward()
        >>> (x.grad < 0).tolist()  # the last should rise
        [False, False, True]

    Source: Blondel et al. 2020 (arXiv 2002.08871), section 6, with any method's soft ranks.
    """
    loss = Loss("spearman", "x", x, temperature, dim, method, relative, soft, reduction)
    target = loss.beside("target", target)
    theirs = _mean_ranks(target)

    def relaxed() -> Tensor:
        ranks = loss.ranks()
        return 1 - _cosine(ranks - ranks.mean(-1, keepdim=True), theirs.to(ranks.dtype))

    return loss.of(lambda: 1 - _cosine(_mean_ranks(loss.rows), theirs), relaxed, target)


def kendall(
    x: Tensor,
    target: Tensor,
    temperature: Temperature = 1.0,
    *,
    dim: int = -1,
    method: Method | str = "laplace",
    relative: bool = True,
    soft: bool = False,
    reduction: str = "mean",
) -> Tensor:
    r"""Return 1 less Kendall's rank correlation (tau-b), with the gradient of that of softly compared pairs.

    .. math:: 1 - \frac{\sum_{ij} s_{ij}\,s'_{ij}}{\sqrt{\sum s_{ij}^2 \sum {s'}_{ij}^2}},
        \qquad s_{ij} = \text{sign}(x_j - x_i)

    A soft sign is the difference of the two values' soft ranks. Memory grows with n^2.

    Args:
        x: predictions, shape (..., n); each row along ``dim`` is a ranking of its own.
        target: what their order should be, same shape; no gradient flows into it.
        temperature, dim, method, relative, soft, reduction: as for all ``hg.losses``.

    Returns:
        From 0 to 2. A pair of equals counts for nothing; a row whose values are all equal correlates with nothing: 1.

    Raises:
        ValueError, TypeError: if the shapes differ, or an option is none of those named.

    Example:
        >>> import torch, hardgrad as hg
        >>> x = torch.tensor([0.1, 0.9, 0.3], requires_grad=True)
        >>> round(hg.losses.kendall(x, torch.tensor([1.0, 2.0, 3.0])).item(), 4)
        0.6667

    Source: Kendall 1945 (Biometrika 33), tau-b.
    """
    loss = Loss("kendall", "x", x, temperature, dim, method, relative, soft, reduction)
    target = loss.beside("target", target)
    theirs = signs(target).flatten(-2)
    return loss.of(
        lambda: 1 - _cosine(precision.double(signs(loss.rows).flatten(-2)), precision.double(theirs)),
        lambda: 1 - _cosine(loss.signs().flatten(-2), theirs.to(loss.rows.dtype)),
        target,
    )


def _mean_ranks(x: Tensor) -> Tensor:
    """Each value's rank less the mean of all, equals sharing the mean of theirs."""
    below, upto = places(x)
    return precision.double(below + upto - x.shape[-1]) / 2


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """The cosine of the angle of two vectors, 0 where one has no length; there a has b's length for its slope."""
    b_square = b.square().sum(-1)
    a_square = a.square().sum(-1)
    # Rounding leaves a length to soft ranks that are all equal.
    square = torch.where(a_square > 1e-12 * b_square, a_square, b_square) * b_square
    return (a * b).sum(-1) / torch.where(square > 0, square, 1).sqrt()
