"""The contestants: how a code is made of what the encoder says, and what teaches the encoder.

Each has the same two uses. ``cost`` is for training: the expected reconstruction loss over codes, and what else the
encoder pays for. ``hard`` is the code at inference, the same kind for all: values of a finite alphabet alone.

- dab-*: the decoder sees the hard code in training too; a bridge lends the encoder its gradient (table III).
- gumbel-*: the decoder sees a relaxed code in training, hotter at first; the loss is the negative evidence lower bound.

Source: Ramapuram and Webb 2020 (arXiv 1905.03658), section IV-C and table III; Jang, Gu and Poole 2017
(arXiv 1611.01144); Maddison, Mnih and Teh 2017 (arXiv 1611.00712). The paper says neither what comes before the hard
functions, nor what approximates them, nor the temperatures. Ours: a tanh before signum and binary, as its sorting
networks have, and a sigmoid before the Bernoulli; dense approximators with two hidden layers; 1 to 0.1, exponentially
over the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, OneHotCategorical

import hardgrad as hg
from hardgrad_lab.experiments.bridges.latents import Latents

Cost = Callable[[Tensor], Tensor]  # codes (B, features) to nats (B,)


class Code(nn.Module):
    """What every contestant is.

    Args:
        symbols: in a code.
        alphabet: values that a symbol can have.
        one_hot: whether the decoder sees a symbol as that many numbers, rather than one.
    """

    def __init__(self, symbols: int, alphabet: int, *, one_hot: bool = False) -> None:
        super().__init__()
        self.symbols, self.alphabet, self.one_hot = symbols, alphabet, one_hot

    @property
    def features(self) -> int:
        """Return how many numbers the encoder gives and the decoder gets."""
        return self.symbols * self.alphabet if self.one_hot else self.symbols

    @property
    def bits(self) -> float:
        """Return what a code can hold."""
        return self.symbols * math.log2(self.alphabet)

    def hard(self, z: Tensor) -> Tensor:
        """Return the codes at inference, (B, features), of the encoder's output (B, features)."""
        raise NotImplementedError

    def cost(self, z: Tensor, cost: Cost) -> Tensor:
        """Return the loss of each picture, (B,), in nats."""
        raise NotImplementedError

    def numbered(self, code: Tensor) -> Tensor:
        """Return which value of the alphabet each symbol of hard codes has, (B, symbols) integers from 0."""
        if self.one_hot:
            groups: Tensor = code.unflatten(1, (self.symbols, self.alphabet))
            return groups.argmax(-1)
        return code.long() + (1 if self.alphabet == 3 else 0)  # -1, 0 and 1


class Bridged(Code):
    """A hard function of the encoder's output, seen by the decoder as it is, with a bridge's gradient.

    Args:
        bridge: of a function from (B, symbols) to as many values of the alphabet.
        symbols: in a code.
        alphabet: values of each.
        squash: between the encoder and the bridge.
    """

    def __init__(self, bridge: hg.Bridge, symbols: int, alphabet: int, squash: nn.Module) -> None:
        super().__init__(symbols, alphabet)
        self.squash, self.bridge = squash, bridge

    def hard(self, z: Tensor) -> Tensor:
        """Return the hard function's output; sampled from torch's global generator where it samples."""
        code: Tensor = self.bridge.hard(self.squash(z))
        return code

    def cost(self, z: Tensor, cost: Cost) -> Tensor:
        """Return the cost at the hard codes; the bridge adds its own to the loop's."""
        return cost(self.bridge(self.squash(z)))


class Relaxed(Code):
    """A relaxed sample in training, and the divergence from the uniform code: a variational autoencoder.

    Args:
        symbols: in a code; with two values a Bernoulli each, with more a one-hot group.
        alphabet: values of each.
        temperature: of the relaxation; every call of ``cost`` in training takes it a step down.
        weight: of the divergence.
    """

    def __init__(self, symbols: int, alphabet: int, temperature: hg.montecarlo.Annealed, weight: float) -> None:
        super().__init__(symbols, alphabet, one_hot=alphabet > 2)
        self.temperature, self.weight = temperature, weight

    def distribution(self, z: Tensor) -> Independent[Any]:
        """Return the distribution of codes given the encoder's output."""
        z = z.float()  # under autocast it is bfloat16, in which no softmax sums to one
        if not self.one_hot:
            return Independent(Bernoulli(logits=z), 1)
        return Independent(OneHotCategorical(logits=z.unflatten(1, (self.symbols, self.alphabet))), 1)

    def hard(self, z: Tensor) -> Tensor:
        """Return a sample from torch's global generator."""
        code: Tensor = self.distribution(z).sample()
        return code.flatten(1)

    def cost(self, z: Tensor, cost: Cost) -> Tensor:
        """Return the cost at relaxed codes, plus the divergence."""
        q = self.distribution(z)
        seen = hg.gumbel(q, lambda code: cost(code.flatten(1)), temperature=self.temperature, hard=False)
        if self.training:
            self.temperature.step()
        divergence = self.symbols * math.log(self.alphabet) - q.entropy()
        loss: Tensor = seen + self.weight * divergence
        return loss


def code_of(config: Latents) -> Code:
    """Return the code of a contestant that is trained, with as many symbols as its bits allow, to the nearest."""
    trits, groups = (round(config.bits / math.log2(values)) for values in (3, config.classes))
    match config.contestant:
        case "dab-signum":
            return bridged(config, lambda z: hg.hard.sign(z, config.margin), trits, 3, nn.Tanh())
        case "dab-binary":
            return bridged(config, hg.hard.binarize, config.bits, 2, nn.Tanh())
        case "dab-bernoulli":
            return bridged(config, hg.hard.bernoulli, config.bits, 2, nn.Sigmoid())
        case "gumbel-bernoulli":
            return relaxed(config, config.bits, 2)
        case "gumbel-discrete":
            return relaxed(config, groups, config.classes)
        case _:
            raise ValueError(f"contestant must be one that learns a code, got {config.contestant!r}")


def bridged(
    config: Latents, function: Callable[[Tensor], Tensor], symbols: int, alphabet: int, squash: nn.Module
) -> Bridged:
    """Return the code of a bridge with the weights of a configuration."""
    bridge = hg.Bridge(
        function, hg.approximators.mlp(symbols, symbols), weight=config.gamma, conditioning=config.conditioning
    )
    return Bridged(bridge, symbols, alphabet, squash)


def relaxed(config: Latents, symbols: int, alphabet: int) -> Relaxed:
    """Return the code of a variational autoencoder with the temperatures of a configuration."""
    temperature = hg.montecarlo.Annealed(config.temperature, config.final_temperature, config.steps)
    return Relaxed(symbols, alphabet, temperature, config.kl)
