"""Groups of items of each of which k are chosen, in the form of ``Discrete``: a KSubset, or independent ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad.hard import counts
from hardgrad.hard.precision import double
from hardgrad.montecarlo.units import Discrete
from hardgrad.subset.k_subset import KSubset


@dataclass(frozen=True)
class Subsets(Discrete):
    """Independent subsets: logits ``(*batch, *groups, n)``, samples masks of k ones along the last dimension.

    Args:
        k: how many of a group are chosen.
    """

    k: int

    @property
    def law(self) -> KSubset:
        """Of each group by itself."""
        return KSubset(self.logits, self.k, validate_args=False)

    @property
    def probs(self) -> Tensor:
        """How probable it is that each item is chosen; items are not independent."""
        return self.law.marginals

    @property
    def unit_dims(self) -> int:
        """How many trailing dimensions count groups."""
        return len(self.event_shape) - 1

    @property
    def tilted(self) -> Tensor:
        """The logits of 0/1 units of which k are expected to be 1, without gradient: told that k are, they are this."""
        logits = double(self.logits.detach())
        x = logits + counts.tilt(logits, self.k)
        for _ in range(5):  # of Newton's, from within a standard deviation of k
            p = x.sigmoid()
            slope = (p * (-x).sigmoid()).sum(-1, keepdim=True).clamp(min=torch.finfo(p.dtype).tiny)
            x = x + ((self.k - p.sum(-1, keepdim=True)) / slope).clamp(-1, 1)
        return x.to(self.logits.dtype)

    def softened(self, scores: Tensor, temperature: float | Tensor) -> Tensor:
        """Return the soft mask of the k largest scores, which sums to k."""
        from hardgrad.soft.ends import set_apart  # not with the library: few models choose subsets
        from hardgrad.soft.laplace import Laplace

        t = torch.as_tensor(temperature, dtype=scores.dtype, device=scores.device)
        scores = set_apart(scores, scores.isfinite(), t)
        return Laplace().mask(scores, self.k, t) if 0 < self.k < scores.shape[-1] else 0 * scores + min(self.k, 1)

    def draw(self, samples: int, generator: torch.Generator | None) -> Tensor:
        """Return independent samples, shape ``(samples, *logits.shape)``; they carry no gradient."""
        _check.generator(self.estimator, generator, self.logits.device)
        return counts.masks(self.logits.detach(), self.k, (samples,), generator).to(self.logits.dtype)

    def log_prob(self, b: Tensor) -> Tensor:
        """Return the log-probability of samples ``(*lead, *logits.shape)``, shape ``(*lead, *batch)``."""
        each = self.law.log_prob(b)
        return each.flatten(each.ndim - self.unit_dims).sum(-1) if self.unit_dims else each

    def prob(self, b: Tensor) -> Tensor:
        """Return the probability of samples ``(*lead, *logits.shape)``, shape ``(*lead, *batch)``."""
        each = KSubset(double(self.logits), self.k, validate_args=False).log_prob(b)
        return self.sum_event(each.unsqueeze(-1)).exp().to(self.logits.dtype)
