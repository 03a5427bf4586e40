"""A chain of codebooks, each on what those before it left of a row."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._graft import graft
from hardgrad._torch_state import has_numbers
from hardgrad.codebook.codebook import Codebook, carrying, present
from hardgrad.codebook.start import first_codes
from hardgrad.codebook.usage import Usage
from hardgrad.hard.precision import back, single


class ResidualCodebook(nn.Module):
    r"""A row replaced by a sum of codes: each stage has a codebook of its own, for what the stages before it left.

    .. math::
        r_1 = x, \quad e_s = \text{the code nearest to } r_s, \quad r_{s+1} = r_s - \mathrm{sg}(e_s), \qquad
        y = \sum_s e_s, \qquad \sum_s \frac{\beta}{n d} \sum \lVert r_s - \mathrm{sg}(e_s) \rVert^2 \; \left[ +
        \frac{1}{n d} \sum \lVert \mathrm{sg}(r_s) - e_s \rVert^2 \right]

    The chain lends x one gradient, that of ``layer``'s rule from x to y: copied, it arrives once, not once a stage.
    Every stage's commitment reaches x, since what is left has the slope of x; and each stage's codes have the gradient
    of their own term alone, since the codes taken off are constants to it. ("directional" alone, which lends codes a
    gradient of the task, lends it to all that were added.)

    With ``dropout`` a training batch may go through the first few stages only, so that fewer of them, and fewer bits,
    are good for something: with that probability their number is drawn evenly from 1 to ``stages``, of torch's global
    seed. Processes of one training draw each its own, unless they are seeded alike; what they count is of all. The
    stages left out have index -1 and have no part in the batch, but that k-means begins all at the first.

    Args:
        layer: a new ``Codebook``; the stages are copies of it, which begin for themselves. Its distance is euclidean.
        stages: how many, at least 1.
        dropout: the probability that a training batch has a number of stages of its own, from 0 to 1.

    Shape:
        ``y, index = layer(x, mask=None)``, as of a ``Codebook``, with one dimension more at the index's end: (...,
        stages), or (..., heads, stages). ``layer.codes(index)`` is y; where last stages of the index are set to -1, it
        is the coarser y of those before. ``layer.usage()`` is a tuple, a ``Usage`` a stage.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for one out of range, for a layer that has begun or compares by cosine; else as a ``Codebook``.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.ResidualCodebook(hg.Codebook(4, width=2, start="normal"), stages=3)
        >>> y, index = layer(torch.randn(5, 2))
        >>> index.shape, torch.equal(layer.codes(index), y)
        (torch.Size([5, 3]), True)

    Source: Zeghidour et al. 2021 (arXiv 2107.03312), algorithm 1 and section III-C.
    """

    def __init__(self, layer: Codebook, stages: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        word = type(self).__name__
        _check.instance(word, "layer", layer, Codebook, cure="hg.Codebook(codes, width) makes one")
        stages = _check.whole(word, "stages", stages, least=1)
        self.dropout = _check.number(word, "dropout", dropout, least=0, most=1, cure="it is a probability")
        if layer.distance != "euclidean":
            raise ValueError(
                f"{word}: layer must have distance='euclidean', got {layer.distance!r}; unit codes leave no less"
            )
        seen = layer.statistics.seen
        if has_numbers(seen) and bool(seen):
            raise ValueError(f"{word}: layer must be new, got one that has seen training batches; give a fresh one")
        self.stages = nn.ModuleList(_begun_apart(layer, number, word) for number in range(stages))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        first = self._stage(0)
        rows, keep = first._rows(x, mask)
        lends = isinstance(first, Codebook) and first._differentiable(x)
        total, found, terms = self._chain(rows, keep, lends)
        y, _ = first._value(x, rows, total.detach(), found[0], keep)
        index = torch.stack(found, -1)
        index = index.squeeze(-2) if len(first.weight) == 1 else index
        if not (isinstance(first, Codebook) and lends):
            return first._alone(x, y, index)
        path, more = first._lent(x, rows, total, keep)
        return graft(y, carrying(self, path, terms + more)), index

    def _chain(self, rows: Tensor, keep: Tensor | None, lends: bool) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return the sum of codes, the number of each stage's code (..., heads), and the terms of all."""
        active = self._active(rows)
        left, total, found, terms = rows, None, [], []
        for number in range(len(self.stages)):
            stage, here = self._stage(number), _among(rows, keep, active, number)
            code, index = stage._look_up(left, keep, here)
            terms += stage._terms(left, code, here) if lends and isinstance(stage, Codebook) else []
            left = left - code.detach()  # by a stage left out too: the next may begin its codes here
            (code,) = present(here, code)
            total = single(code) if total is None else total + code
            found.append(index if here is None else torch.where(here.unsqueeze(-1), index, -1))
        assert total is not None
        return total, found, terms

    def _active(self, rows: Tensor) -> Tensor | None:
        """Return how many stages this batch goes through, shape (), or None for all."""
        if not (self.training and self.dropout):
            return None
        drops = torch.rand((), device=rows.device) < self.dropout
        stages = len(self.stages)
        # Not read back: a stage that is left out runs on no rows, in graphs as in eager code, and in all processes.
        return torch.where(drops, torch.randint(1, stages + 1, (), device=rows.device), stages)

    def _stage(self, number: int) -> Codebook:
        return cast(Codebook, self.stages[number])

    def codes(self, index: Tensor) -> Tensor:
        """Return the sum of the codes of an index (..., stages), or (..., heads, stages); -1 adds nothing."""
        word, stages = type(self).__name__, len(self.stages)
        if _check.tensor(word, "index", index).ndim == 0 or index.shape[-1] != stages:
            raise ValueError(
                f"{word}: index must have shape (..., {stages}), a number a stage, got {tuple(index.shape)}; -1 stands "
                "for a stage that is left out"
            )
        total = single(self._stage(0).codes(index[..., 0]))
        for number in range(1, stages):
            total = total + self._stage(number).codes(index[..., number])
        return back(total, self._stage(0).weight.dtype)

    def usage(self) -> tuple[Usage, ...]:
        """Return the usage of each stage; see ``Codebook.usage``."""
        return tuple(stage.usage() for stage in self.stages if isinstance(stage, Codebook))

    def extra_repr(self) -> str:
        return f"dropout={self.dropout}"


def _among(rows: Tensor, keep: Tensor | None, active: Tensor | None, number: int) -> Tensor | None:
    """Return which rows have part in a stage; None for all."""
    if active is None:
        return keep
    here = (active > number).expand(rows.shape[:-2])
    return here if keep is None else here & keep


def _begun_apart(layer: Codebook, number: int, word: str) -> Codebook:
    """Return a copy of a new layer that draws its own codes, and whose errors are the chain's."""
    stage = copy.deepcopy(layer)
    stage.word = word
    if number and stage.begins == "normal":
        heads, codes, width = stage.weight.shape
        stage.weight.data.copy_(first_codes(heads, codes, width, "normal"))
    if number and stage.gradient == "bridge":
        del stage.approximator  # the first one's lends the whole chain its gradient
    return stage
