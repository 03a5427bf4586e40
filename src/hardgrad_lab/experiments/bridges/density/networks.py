"""The density model: an autoencoder with bits in the middle, its bound, and the bound measured."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent

AT_ONCE = 10_000  # decoder runs at once in a measurement: 30 MB of pixels


class BinaryVae(nn.Module):
    """Pixels to bits to pixels, one hidden ReLU layer each way.

    Args:
        mean: (pixels,), how often each pixel is 1 in the training rows.
        hidden: units of the hidden layers.
        latents: bits.
        learn_prior: train the prior's log-odds, which start at 0; else they stay there.

    Example:
        >>> vae = BinaryVae(torch.full((6,), 0.5), hidden=4, latents=3, learn_prior=False)
        >>> x = torch.ones(2, 6)
        >>> vae.log_likelihood(x, vae.bits(x).sample()).shape
        torch.Size([2])
    """

    mean: Tensor

    def __init__(self, mean: Tensor, hidden: int, latents: int, learn_prior: bool) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.encoder = nn.Sequential(nn.Linear(len(mean), hidden), nn.ReLU(), nn.Linear(hidden, latents))
        self.decoder = nn.Sequential(nn.Linear(latents, hidden), nn.ReLU(), nn.Linear(hidden, len(mean)))
        self.prior = nn.Parameter(torch.zeros(latents), requires_grad=learn_prior)
        with torch.no_grad():
            # A pixel that is never on in the training rows may be on in a test row.
            list(self.decoder.parameters())[-1].copy_(mean.clamp(0.001, 0.999).logit())

    def bits(self, x: Tensor) -> Independent[Bernoulli]:
        """Return q(b|x) of rows (B, pixels): B events of so many bits."""
        logits = self.encoder(x - self.mean).float()  # under bf16 too: the KL sums 200 differences of them
        # Finite logits, or the loss is none either; torch's own check costs a step of this size a few per cent.
        return Independent(Bernoulli(logits=logits, validate_args=False), 1, validate_args=False)

    def log_likelihood(self, x: Tensor, b: Tensor) -> Tensor:
        """Return log p(x|b) in nats, shape (*lead, B), for rows (B, pixels) and bits (*lead, B, latents)."""
        logits = self.decoder(2 * b - 1)
        return -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)

    def kl(self, logits: Tensor) -> Tensor:
        """Return KL(q(b|x) || p(b)) in nats, shape (B,), from the log-odds of q, (B, latents)."""
        # Of one bit: p (l - m) - softplus(l) + softplus(m), for log-odds l of q and m of the prior.
        inner = logits.sigmoid() * (logits - self.prior) - F.softplus(logits)
        return (inner + F.softplus(self.prior)).sum(-1)

    def log_ratio(self, logits: Tensor, b: Tensor) -> Tensor:
        """Return log p(b) - log q(b|x) of bits (*lead, B, latents), shape (*lead, B)."""
        return (b * self.prior - F.softplus(self.prior) - b * logits + F.softplus(logits)).sum(-1)


def logits_of(q: Distribution) -> Tensor:
    """Return the log-odds of q's bits."""
    assert isinstance(q, Independent)
    logits: Tensor = q.base_dist.logits
    return logits


@torch.no_grad()
def measure(
    vae: BinaryVae, batches: Iterable[tuple[Tensor, Tensor]], draws: int, generator: torch.Generator
) -> tuple[float, float]:
    """Return the evidence bound and the bound of several draws, in nats, each the mean over rows.

    The first is the mean over draws of log p(x|b), less the KL in closed form; the second, of Burda et al. 2016 (arXiv
    1509.00519), is the logarithm of the mean of p(x, b) / q(b|x), and nears log p(x) as draws grow.

    Args:
        vae: the model.
        batches: rows (B, ...) of zeros and ones, and labels, which are not looked at.
        draws: from q, for each row.
        generator: of the draws.
    """
    bounds, several = [], []
    for x, _ in batches:
        rows = x.flatten(1)
        logits = logits_of(vae.bits(rows))
        shape = (draws, *logits.shape)
        b = (torch.rand(shape, generator=generator, device=logits.device) < logits.sigmoid()).to(logits.dtype)
        likelihood = vae.log_likelihood(rows, b).double()
        bounds.append(likelihood.mean(0) - vae.kl(logits))
        several.append((likelihood + vae.log_ratio(logits, b)).logsumexp(0) - math.log(draws))
    return torch.cat(bounds).mean().item(), torch.cat(several).mean().item()
