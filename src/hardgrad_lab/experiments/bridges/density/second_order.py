"""Bridges over drawn bits that lend more than the slope of a mean.

The true gradient of one bit's log-odds is p (1 - p) (f(1) - f(0)), and for f quadratic in that bit f(1) - f(0) is the
mean of f's slopes at 0 and at 1. So the slope s(b) that a bit lends is right to second order if and only if
s(1) = (1 - p) / 2 and s(0) = p / 2. That of ReinMax is; that of the mean, p (1 - p), is right for linear f alone.

A bridge that sees the noise and lends a'(z) at the score z is right if the mean of a'(z) given the bit is that, which
among functions of z only the slope of the step itself does: as the approximator sharpens its bias goes, and its noise
comes. The mean over the noise that agrees with the bit keeps the one without the other.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

import hardgrad as hg

FARTHEST, SCORES, EVERY = 12.0, 1536, 16  # of the table: as far as log-odds go, steps, and one log-odds in so many


def log_odds(q: Distribution) -> Tensor:
    """Return the log-odds of q's bits."""
    assert isinstance(q, Independent)
    logits: Tensor = q.base_dist.logits
    return logits


def noisy(logits: Tensor, samples: int) -> Tensor:
    """Return log-odds plus logistic noise, (samples, *shape): a bit is whether that is above 0."""
    u = torch.rand(samples, *logits.shape, device=logits.device).clamp(min=1e-8)
    return logits + u.log() - (-u).log1p()


def slope_of(approximator: nn.Module, z: Tensor) -> Tensor:
    """Return an elementwise approximator's slope at each number; no gradient goes on from it."""
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        (slope,) = torch.autograd.grad(approximator(leaf).sum(), leaf)
    return slope


def reinmax_pairs(q: Distribution, f: hg.montecarlo.Objective, samples: int) -> Tensor:
    """Return ReinMax's estimate on pairs of draws from u and 1 - u, of which one is high where the other is low."""
    logits = log_odds(q)
    u = torch.rand(samples // 2, *logits.shape, device=logits.device)
    bits = (torch.cat([u, 1 - u]) < logits.sigmoid()).to(logits.dtype)
    return f(hg.graft(bits, (bits - logits.sigmoid()).abs().detach() / 2 * logits)).mean(0)


class HalfWay(nn.Module):
    """A bridge over drawing bits from log-odds, its slope taken half way between probability and bit, too.

    It lends 2 a'(logit((b + p) / 2)) - a'(logit(p)) / 2: right to second order once a is the sigmoid.

    Args:
        approximator: elementwise, from log-odds.
        weight: of its penalty.
        samples: draws a row.
    """

    def __init__(self, approximator: nn.Module, weight: float, samples: int) -> None:
        super().__init__()
        self.bridge, self.samples = hg.Bridge(drawn, approximator, weight=weight), samples

    def forward(self, q: Distribution, f: hg.montecarlo.Objective) -> Tensor:
        """Return the mean of f, (batch,)."""
        logits = log_odds(q)
        seen = logits.detach().expand(self.samples, *logits.shape)
        bits = self.bridge(seen.flatten(0, 1)).view_as(seen)  # not through it: what it lends comes below
        return f(hg.graft(bits.detach(), bits + self.slope(seen, bits.detach()) * logits)).mean(0)

    def slope(self, logits: Tensor, bits: Tensor) -> Tensor:
        """Return what each bit lends to its log-odds."""
        middle = ((bits + logits.sigmoid()) / 2).logit(1e-6)
        return 2 * slope_of(self.bridge.approximator, middle) - slope_of(self.bridge.approximator, logits) / 2


def drawn(logits: Tensor) -> Tensor:
    """Return bits drawn by their log-odds."""
    return hg.hard.bernoulli(logits.sigmoid())


class Averaged(nn.Module):
    """A bridge over the threshold of noisy log-odds, its slope averaged over the noise that gives the same bit.

    It lends E[a'(z) | b], a sum over a table of scores, each with the density of the noise there: the approximator runs
    once for all bits. Right to second order once a is a step, and then without the noise that a step's slope has.

    Args:
        approximator: elementwise, from scores.
        weight: of its penalty.
        samples: draws a row.
    """

    def __init__(self, approximator: nn.Module, weight: float, samples: int) -> None:
        super().__init__()
        self.bridge, self.samples = hg.Bridge(hg.hard.step, approximator, weight=weight), samples

    def forward(self, q: Distribution, f: hg.montecarlo.Objective) -> Tensor:
        """Return the mean of f, (batch,)."""
        logits = log_odds(q)
        scores = noisy(logits.detach(), self.samples)
        bits = self.bridge(scores.flatten(0, 1)).view_as(scores)
        return f(hg.graft(bits.detach(), bits + self.slope(logits.detach(), bits.detach()) * logits)).mean(0)

    @torch.no_grad()
    def slope(self, logits: Tensor, bits: Tensor) -> Tensor:
        """Return what each bit lends to its log-odds: read off the table, between its log-odds on a straight line."""
        ends = torch.linspace(-FARTHEST, FARTHEST, SCORES + 1, device=logits.device)
        rise = self.bridge.approximator(ends.unsqueeze(-1)).squeeze(-1).diff()
        odds, middle = ends[::EVERY], (ends[1:] + ends[:-1]) / 2
        p = (middle - odds.unsqueeze(-1)).sigmoid()
        lent = p * (1 - p) * rise
        table = torch.stack(
            [(lent * (middle < 0)).sum(-1) / (1 - odds.sigmoid()), (lent * (middle > 0)).sum(-1) / odds.sigmoid()]
        )
        place = (logits + FARTHEST).mul(SCORES / EVERY / 2 / FARTHEST).clamp(0, SCORES / EVERY - 1e-3)
        low = place.long()
        return torch.lerp(table[bits.long(), low], table[bits.long(), low + 1], place - low)


class ImitatingControl(nn.Module):
    """RELAX with f at an approximator's bits as its control, f(g(z)); unbiased whatever g is.

    g sees the noisy log-odds z and learns to imitate the threshold, as a bridge does, not from the gradient's variance.

    Args:
        approximator: elementwise, from scores.
        weight: of its penalty.
        samples: draws a row; f runs at each and at g's bits.
    """

    def __init__(self, approximator: nn.Module, weight: float, samples: int) -> None:
        super().__init__()
        self.bridge, self.samples = hg.Bridge(hg.hard.step, approximator, weight=weight), samples

    def forward(self, q: Distribution, f: hg.montecarlo.Objective) -> Tensor:
        """Return the mean of f, (batch,)."""
        taught = self.bridge(noisy(log_odds(q).detach(), self.samples).flatten(0, 1))
        value = hg.relax(q, f, _AtImitated(self.bridge.approximator, f), samples=self.samples)
        return value + (taught - taught.detach()).sum()  # nothing but the penalty, where no scope collects it


class _AtImitated(nn.Module):
    """Scores to f at their imitated bits; it has no weights that could learn from the gradient's variance."""

    def __init__(self, approximator: nn.Module, f: hg.montecarlo.Objective) -> None:
        super().__init__()
        weights = {name: weight.detach() for name, weight in approximator.named_parameters()}
        self.at = lambda z: f(torch.func.functional_call(approximator, weights, (z,)))

    def forward(self, z: Tensor) -> Tensor:
        return self.at(z)
