"""The discrete autoencoder: an encoder, a code, a decoder, and nothing that leads past the code."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardgrad_lab.experiments.bridges.latents import Latents
from hardgrad_lab.experiments.bridges.latents.codes import Code, code_of
from hardgrad_lab.experiments.bridges.latents.data import Pair
from hardgrad_lab.experiments.bridges.latents.networks import decoder, encoder
from hardgrad_lab.experiments.bridges.latents.threshold import Enlarge, Shrink, Threshold, best_threshold, grid


class Autoencoder(nn.Module):
    """An encoder, a code and a decoder, one after the other and nothing beside them.

    Args:
        encoder: from pictures to the code's inputs.
        code: makes codes of them.
        decoder: from codes to the logits of grey levels.
    """

    def __init__(self, encoder: nn.Module, code: Code, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.code, self.decoder = encoder, code, decoder

    def forward(self, x: Tensor) -> Tensor:
        """Return the training loss of each picture, (B,), in nats."""
        return self.code.cost(self.encoder(x), lambda code: nats(self.decoder(code), x))

    def hard(self, x: Tensor) -> Tensor:
        """Return codes as at inference, (B, features)."""
        return self.code.hard(self.encoder(x))

    def pictures(self, code: Tensor) -> Tensor:
        """Return what codes (B, features) look like: (B, channels, side, side), from 0 to 1."""
        grey: Tensor = self.decoder(code).sigmoid()
        return grey


def nats(logits: Tensor, x: Tensor) -> Tensor:
    """Return the Bernoulli negative log-likelihood of grey levels 0 to 1, summed over each picture: (B,)."""
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def build(config: Latents, data: Pair, device: torch.device) -> Autoencoder:
    """Return a freshly initialised autoencoder; torch's global seed decides its weights."""
    if config.contestant == "threshold":
        shape = grid(config.bits, config.channels)
        shrink = Shrink(shape)
        code = Threshold(config.channels * shape[0] * shape[1], best_threshold(config, shrink, data, device))
        return Autoencoder(shrink, code, Enlarge(config.channels, shape, config.side))
    learnt = code_of(config)
    return Autoencoder(encoder(config, learnt.features), learnt, decoder(config, learnt.features))
