"""A chain of codebooks, each on what those before it left of a row."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._graft import graft
from hardgrad._torch_state import has_numbers
from hardgrad.codebook.codebook import Codebook
from hardgrad.codebook.rows import carrying, present
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
    Every stage's commitment reaches x, as what is left has the slope of x, and a stage's codes have the gradient of
    their own term alone ("directional" has no terms, and lends the task's to all codes that were added).

    Args:
        layer: a new ``Codebook`` of euclidean distance; the stages are copies of it, which begin for themselves.
        stages: how many, at least 1.
        dropout: the probability, from 0 to 1, that a training batch goes through the first few stages only, their
            number drawn evenly from 1 to all: so fewer stages, and bits, do for a coarser y. It is drawn of torch's
            global seed, in each process of its own. A stage left out has index -1 and no part in the batch, but that
            k-means begins all at the first.

    Shape:
        ``y, index = layer(x, mask=None)``, as of a ``Codebook``, with the stages at the end of the index: (...,
        stages), or (..., heads, stages). ``layer.codes(index)`` is y, and where an index of last stages is set to -1
        the coarser y of those before. ``layer.usage()`` is a ``Usage`` a stage.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for one out of range, for a layer that is not new or compares by cosine; else as a ``Codebook``.

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
        if has_numbers(layer.statistics.seen) and bool(layer.statistics.seen):
            raise ValueError(f"{word}: layer must be new, got one that has seen training batches; give a fresh one")
        self.stages = nn.ModuleList(_begun_apart(layer, number, word) for number in range(stages))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        first = self._stages()[0]
        rows, keep = first._rows(x, mask)
        lends = first._differentiable(x)
        total, found, terms = self._chain(rows, keep, lends)
        y, _ = first._value(x, rows, total.detach(), found[0], keep)
        index = torch.stack(found, -1)
        index = index.squeeze(-2) if first.heads == 1 else index
        if not lends:
            return first._alone(x, y, index)
        path, more = first._lent(x, rows, total, keep)
        return graft(y, carrying(self, path, terms + more)), index

    def _chain(self, rows: Tensor, keep: Tensor | None, lends: bool) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return the sum of codes, the number of each stage's code (..., heads), and the terms of all."""
        active = self._active(rows)
        left, total, found, terms = rows, rows.new_zeros((), dtype=torch.float32), [], []
        for number, stage in enumerate(self._stages()):
            here = keep
            if active is not None:
                here = (active > number).expand(rows.shape[:-2]) & (True if keep is None else keep)
            code, index = stage._look_up(left, keep, here)
            terms += stage._terms(left, code, here) if lends else []
            left = left - code.detach()  # by a stage left out too: the next may begin its codes here
            (code,) = present(here, code)
            total = total + single(code)
            found.append(index if here is None else torch.where(here.unsqueeze(-1), index, -1))
        return total, found, terms

    def _active(self, rows: Tensor) -> Tensor | None:
        """Return how many stages this batch goes through, shape (), or None for all."""
        if not (self.training and self.dropout):
            return None
        drops = torch.rand((), device=rows.device) < self.dropout
        stages = len(self.stages)
        # Not read back: a stage that is left out runs on no rows, in graphs as in eager code, and in all processes.
        return torch.where(drops, torch.randint(1, stages + 1, (), device=rows.device), stages)

    def _stages(self) -> list[Codebook]:
        return cast(list[Codebook], list(self.stages))

    def codes(self, index: Tensor) -> Tensor:
        """Return the sum of the codes of an index (..., stages), or (..., heads, stages); -1 adds nothing."""
        word, stages = type(self).__name__, self._stages()
        if _check.tensor(word, "index", index).ndim == 0 or index.shape[-1] != len(stages):
            raise ValueError(
                f"{word}: index must have shape (..., {len(stages)}), a number a stage, got {tuple(index.shape)}; -1 "
                "stands for a stage that is left out"
            )
        first, *others = (single(stage.codes(index[..., number])) for number, stage in enumerate(stages))
        return back(sum(others, start=first), stages[0].weight.dtype)

    def usage(self) -> tuple[Usage, ...]:
        """Return the usage of each stage that recent batches went through; see ``Codebook.usage``."""
        stages = self._stages()
        return tuple(stage.usage() for stage in stages if stage is stages[0] or stage.statistics.window.any())

    def extra_repr(self) -> str:
        return f"dropout={self.dropout}"


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
