"""Lookup-free quantization: one bit a number, its sign, and an entropy term that keeps all codes in use."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hardgrad import _check
from hardgrad.codebook.computed import ComputedCodes
from hardgrad.hard.precision import reached
from hardgrad.penalty.add import add_penalty


class LookupFree(ComputedCodes):
    """The layer that ``lookup_free`` returns; its arguments are explained there."""

    word = "lookup_free"

    def __init__(
        self,
        bits: int,
        *,
        entropy: float,
        temperature: float,
        commitment: float,
        dim: int,
        differentiable_in_eval: bool,
    ) -> None:
        bits = _check.whole(self.word, "bits", bits, 1, 62, cure="an index is a whole number of 63 bits")
        super().__init__((2,) * bits, (0.5,) * bits, dim=dim, differentiable_in_eval=differentiable_in_eval)
        self.entropy = _check.number(self.word, "entropy", entropy, least=0, cure="0 leaves the entropy term out")
        self.temperature = _check.number(self.word, "temperature", temperature, above=0)
        self.commitment = _check.number(self.word, "commitment", commitment, least=0)

    def _encode(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return reached(rows.detach().clone(), 0.0), rows

    def _with_penalty(self, path: Tensor, rows: Tensor, value: Tensor, keep: Tensor | None) -> Tensor:
        kept = torch.ones_like(rows[..., :1]) if keep is None else keep.unsqueeze(-1).to(rows.dtype)
        share = (kept / kept.sum().clamp(min=1)).expand_as(rows)  # of each row in a mean over rows that count
        if keep is not None:
            rows, value = (torch.where(keep.unsqueeze(-1), each, 0) for each in (rows, value))
        commitment = ((rows - value.detach()).square() * share).sum() / len(self.sizes)
        return add_penalty(
            self, path, self.commitment * commitment + self.entropy * _entropies(4 / self.temperature * rows, share)
        )

    def extra_repr(self) -> str:
        return f"{len(self.sizes)}, entropy={self.entropy}, temperature={self.temperature}, dim={self.dim}"


def _entropies(logits: Tensor, share: Tensor) -> Tensor:
    """Return the mean entropy of the rows less the entropy of their mean, bit by bit, in nats."""
    size = logits.abs().clamp(max=100.0)  # beyond, both are 0 in single precision
    of_rows = F.softplus(-size) + size * torch.sigmoid(-size)
    tiny = torch.finfo(logits.dtype).tiny  # log has no slope at 0
    shares = [(torch.sigmoid(each) * share).reshape(-1, logits.shape[-1]).sum(0) for each in (logits, -logits)]
    mean = torch.stack(shares).clamp(min=tiny)
    return (of_rows * share).sum() + (mean * mean.log()).sum()


def lookup_free(
    bits: int,
    *,
    entropy: float = 0.1,
    temperature: float = 1.0,
    commitment: float = 0.25,
    dim: int = -1,
    differentiable_in_eval: bool = False,
) -> LookupFree:
    r"""Return a layer of lookup-free quantization: every number of a row becomes its sign, and the signs are the index.

    .. math:: y_i = \pm 1, \qquad \frac{\partial y}{\partial x} = 1, \qquad \text{penalty} = \lambda
        \left(\tfrac1N \sum_n H(q_n) - H\!\left(\tfrac1N \sum_n q_n\right)\right) + \tfrac{\beta}{N \cdot \text{bits}}
        \sum_n \lVert x_n - y_n \rVert^2, \qquad q_n(c) \propto \exp(-\lVert x_n - c \rVert^2 / \tau)

    The first entropy makes a row sure of its code, the second makes the codes be used alike. Of one row the bits are
    independent, with probability sigmoid(4 x / tau) of 1, so its entropy is a sum over bits, exactly. The entropy of
    the mean is taken bit by bit too: it is that of the :math:`2^\text{bits}` codes where bits are independent over the
    rows, and more than it elsewhere. So all is linear in the number of bits.

    The layer is called as ``y, index = layer(x, mask=None)``, and ``layer.codes(index)`` gives ``y`` again. The penalty
    rides by itself or goes to ``hg.penalties()``; it is that of the rows of this process.

    Args:
        bits: the numbers of a row, from 1 to 62.
        entropy: lambda, at least 0; 0 leaves the term out.
        temperature: tau, above 0: rows within about tau / 4 of 0 are unsure. Programs that write an inverse temperature
            of 100 mean 0.01 here, where few rows are and so few have a gradient of the term.
        commitment: beta, at least 0: numbers are drawn to the -1 or 1 that they became.
        dim: the dimension of x that holds the bits.
        differentiable_in_eval: lend the gradient in ``eval()`` too.

    Returns:
        An ``nn.Module``: of x (..., bits) it gives y of x's shape and dtype, -1 or 1, at 0 itself 1 as of
        ``hard.step``, and index (...), long, with the first number the lowest bit. Where ``mask``, a bool tensor of
        index's shape, is False, y is 0 and index -1, no gradient and no penalty is, and x may be NaN.

    Raises:
        ValueError: for an argument out of range; from the layer for a wrong width or mask, and for rows that are not
            finite. Where nothing can be read back (a graph, a GPU) such a row is NaN, with index -1 and no penalty.
        TypeError: for an argument of the wrong kind; from the layer for an x that is not floating point.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.lookup_free(3)
        >>> y, index = layer(torch.tensor([[-0.2, 0.4, 0.0], [0.1, -5.0, -1.0]]))
        >>> y.tolist(), index.tolist()
        ([[-1.0, 1.0, 1.0], [1.0, -1.0, -1.0]], [6, 1])

    Source: Yu et al. 2023 (arXiv 2310.05737), section 3.1, equations 3 to 5; there 0 becomes -1.
    """
    return LookupFree(
        bits,
        entropy=entropy,
        temperature=temperature,
        commitment=commitment,
        dim=dim,
        differentiable_in_eval=differentiable_in_eval,
    )
