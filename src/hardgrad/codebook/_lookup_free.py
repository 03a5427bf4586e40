"""Lookup-free quantization: one bit a number, its sign, and an entropy term that keeps all codes in use."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from hardgrad import _check
from hardgrad.codebook.computed import ComputedCodes
from hardgrad.codebook.gradients import how_many
from hardgrad.codebook.rows import present
from hardgrad.hard.precision import reached


def lookup_free(
    bits: int,
    *,
    entropy: float = 0.1,
    temperature: float = 1.0,
    commitment: float = 0.25,
    dim: int = -1,
    differentiable_in_eval: bool = False,
) -> ComputedCodes:
    r"""Return a layer of lookup-free quantization: every number of a row becomes its sign, and the signs are the index.

    .. math:: y_i = \pm 1, \qquad \frac{\partial y}{\partial x} = 1, \qquad \text{penalty} = \lambda
        \left(\tfrac1N \sum_n H(q_n) - H\!\left(\tfrac1N \sum_n q_n\right)\right) + \tfrac{\beta}{N \cdot \text{bits}}
        \sum_n \lVert x_n - y_n \rVert^2, \qquad q_n(c) \propto \exp(-\lVert x_n - c \rVert^2 / \tau)

    The first entropy makes a row sure of its code, the second has the codes used alike. The bits of one row are
    independent, each 1 with probability sigmoid(4 x / tau), so the first is a sum over bits, exactly. The second is
    taken bit by bit too: where bits are independent over the rows it is that of all :math:`2^\text{bits}` codes,
    elsewhere it is more. So the cost is linear in bits. The penalty rides by itself or goes to ``hg.penalties()``.

    Args:
        bits: the numbers of a row, from 1 to 62.
        entropy: lambda, at least 0; in nats.
        temperature: tau, above 0: numbers within about tau / 4 of 0 are unsure, and get most of the term's gradient.
            The inverse temperature of 100 of other programs is 0.01 here.
        commitment: beta, at least 0: numbers are drawn to the -1 or 1 that they became.
        dim: where x has its numbers.
        differentiable_in_eval: lend the gradient in ``eval()`` too.

    Returns:
        A layer as that of ``hg.levels``. y is -1 or 1, at 0 itself 1 as of ``hard.step``; the first number is the
        lowest bit of the index.

    Raises:
        ValueError: for an argument out of range; from the layer as there.
        TypeError: for an argument of the wrong kind.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.lookup_free(3)
        >>> y, index = layer(torch.tensor([[-0.2, 0.4, 0.0], [0.1, -5.0, -1.0]]))
        >>> y.tolist(), index.tolist()
        ([[-1.0, 1.0, 1.0], [1.0, -1.0, -1.0]], [6, 1])

    Source: Yu et al. 2023 (arXiv 2310.05737), section 3.1, equations 3 to 5; there 0 becomes -1.
    """
    word = "lookup_free"
    bits = _check.whole(word, "bits", bits, 1, 62, cure="an index has no more")
    terms = partial(
        _terms,
        entropy=_check.number(word, "entropy", entropy, least=0, cure="0 leaves it out"),
        temperature=_check.number(word, "temperature", temperature, above=0),
        commitment=_check.number(word, "commitment", commitment, least=0, cure="0 leaves it out"),
    )
    return ComputedCodes(word, (2,) * bits, (0.5,) * bits, _signs, terms, dim, differentiable_in_eval)


def _signs(sizes: tuple[int, ...], rows: Tensor) -> tuple[Tensor, Tensor]:
    return reached(rows.detach().clone(), 0.0), rows


def _terms(
    rows: Tensor, values: Tensor, keep: Tensor | None, *, entropy: float, temperature: float, commitment: float
) -> list[Tensor]:
    rows, values = present(keep, rows, values)
    share = torch.ones_like(rows[..., :1]) / how_many(keep, rows[..., 0, 0])
    (share,) = present(keep, share)
    drawn = ((rows - values).square() * share).sum() / rows.shape[-1]
    return [commitment * drawn, entropy * _entropies(4 / temperature * rows, share)]


def _entropies(logits: Tensor, share: Tensor) -> Tensor:
    """Return the mean entropy of rows (..., bits) less the entropy of their mean; share (..., 1) is a row's of it."""
    size = logits.abs().clamp(max=100.0)  # beyond, both are 0 in single precision
    of_rows = F.softplus(-size) + size * torch.sigmoid(-size)
    mean = torch.stack([(torch.sigmoid(each) * share).flatten(0, -2).sum(0) for each in (logits, -logits)])
    mean = mean.clamp(min=torch.finfo(mean.dtype).tiny)  # log has no slope at 0
    return (of_rows * share).sum() + (mean * mean.log()).sum()
