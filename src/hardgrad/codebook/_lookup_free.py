"""Lookup-free quantization: one bit a number, its sign, and an entropy term that keeps all codes in use."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from hardgrad import _check
from hardgrad.codebook.computed import ComputedCodes
from hardgrad.codebook.gradients import how_many
from hardgrad.codebook.rows import precise, present
from hardgrad.hard.precision import reached

TOGETHER = 12  # bits whose codes are counted together: for each row 128 numbers, for all of them 4,096


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

    The first entropy makes a row sure of its code, the second has all codes used alike. The bits of one row are
    independent, each 1 with probability sigmoid(4 x / tau), so the first is a sum over bits. The second is of all
    :math:`2^\text{bits}` codes together, up to 12 bits exactly. More bits are cut into groups of at most 12, and the
    entropies of these are added; two groups may then say the same unpunished. The penalty rides by itself or goes to
    ``hg.penalties()``.

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
    return ComputedCodes(word, (2,) * bits, (0.5,) * bits, _signs, dim, differentiable_in_eval, terms)


def _signs(sizes: tuple[int, ...], rows: Tensor) -> tuple[Tensor, Tensor]:
    return reached(rows.detach().clone(), 0.0), rows


def _terms(
    rows: Tensor, values: Tensor, keep: Tensor | None, *, entropy: float, temperature: float, commitment: float
) -> list[Tensor]:
    rows, values = present(keep, rows, values)
    (share,) = present(keep, torch.ones_like(rows[..., :1]) / how_many(keep, rows[..., 0, 0]))
    drawn = ((rows - values).square() * share).sum() / rows.shape[-1]
    return [commitment * drawn, entropy * _entropies(4 / temperature * rows, share)]


def _entropies(logits: Tensor, share: Tensor) -> Tensor:
    """Return the mean entropy of rows (..., bits) less the entropy of their mean; share (..., 1) is a row's of it."""
    size = logits.abs().clamp(max=100.0)  # beyond, both are 0 in single precision
    of_rows = F.softplus(-size) + size * torch.sigmoid(-size)
    chances = torch.stack([torch.sigmoid(logits), torch.sigmoid(-logits)], -1).flatten(0, -3)
    groups = -(-logits.shape[-1] // TOGETHER)
    of_mean = [_of_mean(group, share.flatten(0, -2)) for group in chances.tensor_split(groups, -2)]
    return (of_rows * share).sum() - torch.stack(of_mean).sum()


def _of_mean(chances: Tensor, share: Tensor) -> Tensor:
    """Return the entropy of the mean of rows (n, bits, 2), over all codes that so many bits make.

    Bit by bit, which costs least, the entropy is as high where all bits say the same: measured on Fashion-MNIST with 9
    bits, 5 codes of 512 are used so.
    """
    half = chances.shape[-2] // 2
    first, last = _codes(share, chances[:, :half]), _codes(torch.ones_like(share), chances[:, half:])
    with precise(chances):
        mean = first.mT @ last
    mean = mean.clamp(min=torch.finfo(mean.dtype).tiny)  # log has no slope at 0
    return -(mean * mean.log()).sum()


def _codes(weight: Tensor, chances: Tensor) -> Tensor:
    """Return the probability of each code of rows (n, bits, 2) times their weight (n, 1), of shape (n, 2 ** bits)."""
    for bit in chances.unbind(-2):
        weight = (weight.unsqueeze(-1) * bit.unsqueeze(-2)).flatten(-2)
    return weight
