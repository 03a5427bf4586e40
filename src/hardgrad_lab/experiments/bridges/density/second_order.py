"""Bits that lend more than the slope of their mean.

The true gradient of a bit's log-odds is p (1 - p) (f(1) - f(0)), and for f quadratic in the bit f(1) - f(0) is the mean
of f's slopes at 0 and at 1. So what a bit lends is right to second order if and only if it is (1 - p) / 2 at 1 and
p / 2 at 0: ReinMax. The slope of the mean, p (1 - p), is right for linear f alone.

A bridge that sees the noise lends a'(z) at the score z. Among functions of z the slope of the step alone has those
means: as the approximator sharpens its bias goes, and its noise comes. The mean over the noise that gives the same bit
keeps the one without the other.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

import hardgrad as hg
from hardgrad_lab.experiments.bridges.density.networks import logits_of

FARTHEST, SCORES, EVERY = 12.0, 1536, 16  # of a table: as far as log-odds go, steps, and one log-odds in so many
KEPT, RIDGE = 0.99, 0.1  # of what was seen before, from step to step; of the mean square change of a bit
Objective = hg.montecarlo.Objective
Function = Callable[[Tensor], Tensor]


def noisy(logits: Tensor) -> Tensor:
    """Return log-odds plus logistic noise: a bit is whether that is above 0."""
    u = torch.rand(logits.shape, device=logits.device).clamp(min=1e-8)
    return logits + u.log() - (-u).log1p()


class ReinmaxPairs(nn.Module):
    """ReinMax on draws of u and of 1 - u and, if asked, less what a linear map knows of f's slopes.

    f's slope at one bit changes with the others; C learns how, by least squares on the two draws of a row. Its part of
    the gradient, s(b_i) sum_j C_ij (b_j - p_j) over the other bits, has mean 0 whatever C is: no bias, less noise.

    Args:
        latents: bits.
        samples: draws a row, in pairs.
        control: learn C; it costs a second backward pass through f, down to the bits.
    """

    def __init__(self, latents: int, samples: int, control: bool) -> None:
        super().__init__()
        self.samples, self.control = samples, control
        # Mean products of changes of bits with one another, and with changes of slopes.
        self.register_buffer("seen", torch.zeros(2, latents, latents))

    def forward(self, q: Distribution, f: Objective) -> Tensor:
        """Return the mean of f, (batch,)."""
        logits = logits_of(q)
        p, u = logits.sigmoid().detach(), torch.rand(self.samples // 2, *logits.shape, device=logits.device)
        bits = (torch.cat([u, 1 - u]) < p).to(logits.dtype)
        lent = (bits - p).abs() / 2
        values = f(leaf := hg.graft(bits, lent * logits))
        if not self.control:
            return values.mean(0)
        (slopes,) = torch.autograd.grad(values.sum(), leaf, retain_graph=True)
        surplus = (lent * ((bits - p) @ self.known())).mean(0)
        self.see(*(torch.sub(*each.chunk(2)).flatten(0, -2) for each in (bits, slopes)))
        return values.mean(0) - (surplus * (logits - logits.detach())).sum(-1)

    def known(self) -> Tensor:
        """Return C transposed, its diagonal 0."""
        moved, answered = self.get_buffer("seen")
        solved: Tensor = torch.linalg.solve(moved + RIDGE * torch.eye(len(moved)).to(moved), answered)
        return solved.fill_diagonal_(0)

    def see(self, bits: Tensor, slopes: Tensor) -> None:
        """Take in how bits and slopes changed between two draws, (rows, latents) each."""
        products = torch.stack([bits.T @ bits, bits.T @ slopes]).float()  # under bf16 they are not
        self.get_buffer("seen").lerp_(products / len(bits), 1 - KEPT)


class OverBits(nn.Module):
    """A bridge over drawing bits: it learns as any bridge does, and lends what its kind says.

    Args:
        approximator: elementwise, from what it is shown of the log-odds.
        weight: of its penalty.
        samples: draws a row.
    """

    def __init__(self, approximator: nn.Module, weight: float, samples: int) -> None:
        super().__init__()
        self.bridge, self.samples = hg.Bridge(self.hard, approximator, weight=weight), samples

    def shown(self, odds: Tensor) -> Tensor:
        """Return what the approximator sees of log-odds."""
        return noisy(odds)

    def hard(self, shown: Tensor) -> Tensor:
        """Return the bits of what was shown."""
        return hg.hard.step(shown)

    def forward(self, q: Distribution, f: Objective) -> Tensor:
        """Return the mean of f, (batch,)."""
        # What comes back through the bridge is its penalty alone.
        return self.estimate(q, f, self.bits(logits_of(q).detach()))

    def bits(self, logits: Tensor) -> Tensor:
        """Return bits drawn by their log-odds, (samples, *shape)."""
        shown = self.shown(logits.expand(self.samples, *logits.shape))
        bits: Tensor = self.bridge(shown.flatten(0, 1)).view_as(shown)  # every draw is a row, as its penalty takes it
        return bits

    def estimate(self, q: Distribution, f: Objective, bits: Tensor) -> Tensor:
        """Return the mean of f at bits that lend their slope."""
        logits = logits_of(q)
        return f(hg.graft(bits.detach(), bits + self.slope(logits.detach(), bits.detach()) * logits)).mean(0)

    def slope(self, logits: Tensor, bits: Tensor) -> Tensor:
        """Return what each bit lends to its log-odds; a kind that makes its estimate in another way has none."""
        raise NotImplementedError


class HalfWay(OverBits):
    """It sees log-odds, and lends 2 a'(logit((b + p) / 2)) - a'(logit(p)) / 2: ReinMax once a is the sigmoid."""

    def shown(self, odds: Tensor) -> Tensor:
        return odds

    def hard(self, shown: Tensor) -> Tensor:
        return hg.hard.bernoulli(shown.sigmoid())

    @torch.enable_grad()
    def slope(self, logits: Tensor, bits: Tensor) -> Tensor:
        middle = ((bits + logits.sigmoid()) / 2).logit(1e-6)
        places = torch.stack([middle, logits.expand_as(middle)]).requires_grad_()
        (slopes,) = torch.autograd.grad(self.bridge.approximator(places).sum(), places)
        return 2 * slopes[0] - slopes[1] / 2


class Averaged(OverBits):
    """It sees the noise, and lends E[a'(z) | b], by a table of z for all bits: ReinMax once a is the step."""

    @torch.no_grad()
    def slope(self, logits: Tensor, bits: Tensor) -> Tensor:
        ends = torch.linspace(-FARTHEST, FARTHEST, SCORES + 1, device=logits.device)
        rise = self.bridge.approximator(ends.unsqueeze(-1)).squeeze(-1).diff()
        odds, middle = ends[::EVERY], (ends[1:] + ends[:-1]) / 2
        p = (middle - odds.unsqueeze(-1)).sigmoid()
        lent = p * (1 - p) * rise
        table = torch.stack([(lent * (side * middle > 0)).sum(-1) / (side * odds).sigmoid() for side in (-1, 1)])
        place = (logits + FARTHEST) * (SCORES / EVERY / 2 / FARTHEST)
        low = place.clamp(0, SCORES // EVERY - 1).long()
        return torch.lerp(table[bits.long(), low], table[bits.long(), low + 1], (place - low).clamp(0, 1))


class ImitatingControl(OverBits):
    """RELAX with f at the approximator's own bits, f(a(z)), as its control: unbiased whatever a is.

    The approximator sees the noise, and learns to imitate, as a bridge does, not from the gradient's variance.
    """

    def estimate(self, q: Distribution, f: Objective, bits: Tensor) -> Tensor:
        value = hg.relax(q, f, _AtImitated(self.bridge.approximator, f), samples=self.samples)
        return value + (bits - bits.detach()).sum()  # nothing but the penalty, where no scope collects it


class _AtImitated(nn.Module):
    """Scores to f at their imitated bits; it has no weights, so that it learns from nothing."""

    def __init__(self, approximator: nn.Module, f: Objective) -> None:
        super().__init__()
        weights = {name: weight.detach() for name, weight in approximator.named_parameters()}
        self.at: Function = lambda z: f(torch.func.functional_call(approximator, weights, (z,)))

    def forward(self, z: Tensor) -> Tensor:
        return self.at(z)


class Noise(OverBits):
    """It sees the noise, and lends a'(z): the bridge over the threshold, as ``hardgrad.Bridge`` is."""

    def forward(self, q: Distribution, f: Objective) -> Tensor:
        return f(self.bits(logits_of(q))).mean(0)
