"""Independent units of two or more outcomes: their logits, what a draw is, and what the objective is shown."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hardgrad import _check
from hardgrad._torch_state import compiling
from hardgrad.montecarlo.noise import fine_uniform, gumbel_of


@dataclass(frozen=True)
class Discrete:
    """Independent units, each of two outcomes (0 and 1) or of n (one-hot), whichever torch class they came from.

    Args:
        logits: single precision at least. Two outcomes: shape ``(*batch, *event)``, log-odds of 1. Many:
            ``(*batch, *units, n)``, log-probabilities.
        given: what q was made of, logits or probabilities; same shape.
        by_probs: which of the two.
        kind: a key of ``KINDS``.
        batch_shape: what an estimate has one number for.
        event_shape: what f sees one of as a sample; a Categorical's sample is the outcome's number.
        dtype: that of the samples that f sees.
        estimator: whose errors these are.
    """

    logits: Tensor
    given: Tensor
    by_probs: bool
    kind: str
    batch_shape: torch.Size
    event_shape: torch.Size
    dtype: torch.dtype
    estimator: str

    @property
    def binary(self) -> bool:
        return self.kind == "Bernoulli"

    @property
    def probs(self) -> Tensor:
        """The probabilities of 1, or of each outcome, the logits' shape."""
        if self.by_probs:
            return self.given
        return self.given.sigmoid() if self.binary else softmax_of(self.given)

    @property
    def others(self) -> Tensor:
        """One minus ``probs``, without cancellation where it is tiny."""
        return (-self.given).sigmoid() if self.binary and not self.by_probs else 1 - self.probs

    @property
    def rarer(self) -> Tensor:
        """The probability of the rarer of two outcomes, at most 1/2, without gradient."""
        given = self.given.detach()
        return torch.minimum(given, 1 - given) if self.by_probs else given.abs().neg_().sigmoid_()

    @property
    def side(self) -> Tensor:
        """Which of two outcomes is the likelier: 1 where it is 1, -1 where it is 0."""
        return torch.copysign(self.logits.new_ones(()), self.logits.detach())

    @property
    def slope(self) -> Tensor:
        """The derivative of 0/1 units' probabilities with respect to their logits, without a gradient of its own.

        Where a probability is near 1, torch's sigmoid has 0 for it.
        """
        given = self.given.detach()
        return given * (1 - given) if self.by_probs else given.sigmoid() * (-given).sigmoid()

    @property
    def unit_dims(self) -> int:
        """How many trailing dimensions count units: all of the event's, but for the outcomes of a one-hot sample."""
        return len(self.event_shape) - (self.kind == "OneHotCategorical")

    def noise(self, samples: int, generator: torch.Generator | None) -> Tensor:
        """Return uniforms inside (0, 1), fine near 0, of the logits' precision, shape ``(samples, *logits.shape)``."""
        _check.generator(self.estimator, generator, self.given.device)
        return fine_uniform((samples, *self.logits.shape), self.logits, generator, 1 + len(self.batch_shape))

    def draw(self, samples: int, generator: torch.Generator | None) -> Tensor:
        """Return independent samples, 0/1 or one-hot, shape ``(samples, *logits.shape)``; they carry no gradient."""
        return self.hardened(self.scores(self.noise(samples, generator)))

    def scores(self, u: Tensor) -> Tensor:
        """Return the logits plus noise made of uniforms in (0, 1), without gradient: logistic, or Gumbel for many.

        Of 0/1 units the rarer outcome is where u is small, which is where it is fine.
        """
        logits = self.logits.detach()
        if not self.binary:
            return logits + gumbel_of(u)
        return torch.addcmul(logits, self.side, u.logit())

    def hardened(self, scores: Tensor) -> Tensor:
        """Return the sample that scores stand for, 0/1 or one-hot; it carries no gradient."""
        return scores.detach().sign().clamp(min=0) if self.binary else one_hot_of(scores.detach())

    def log_prob(self, b: Tensor) -> Tensor:
        """Return the log-probability of samples ``(*lead, *logits.shape)``, shape ``(*lead, *batch)``."""
        if self.binary:
            return self.sum_event(F.logsigmoid((2 * b - 1) * self.logits))
        # An outcome of probability 0 has a logit of -inf, and 0 * -inf is NaN.
        return self.sum_event(torch.where(b > 0, self.logits, 0))

    def prob(self, b: Tensor) -> Tensor:
        """Return the probability of samples ``(*lead, *logits.shape)``, shape ``(*lead, *batch)``.

        A product of probabilities, not the exponential of a sum of logarithms: right at probabilities 0 and 1 too.
        """
        unit = torch.where(b > 0, self.probs, self.others) if self.binary else torch.where(b > 0, self.probs, 0).sum(-1)
        return unit.flatten(unit.ndim - self.unit_dims).prod(-1) if self.unit_dims else unit

    def sum_event(self, t: Tensor) -> Tensor:
        """Sum ``(*lead, *logits.shape)`` over units and outcomes, to shape ``(*lead, *batch)``."""
        dims = self.unit_dims + (not self.binary)
        return t.sum(tuple(range(-dims, 0))) if dims else t

    def over_event(self, t: Tensor) -> Tensor:
        """Give ``(*lead, *batch)`` trailing dimensions of size 1, to stand beside ``(*lead, *logits.shape)``."""
        return t.reshape(t.shape + (1,) * (self.unit_dims + (not self.binary)))

    def shown(self, b: Tensor, copy: bool = False) -> Tensor:
        """Return samples as f sees them: in the samples' dtype, a Categorical's as the number of the outcome.

        f may write to them: with ``copy`` that leaves ``b`` as it is.
        """
        return b.argmax(-1) if self.kind == "Categorical" else b.to(self.dtype, copy=copy)


def log_odds_of(probs: Tensor) -> Tensor:
    """Return the logits of probabilities; those of exactly 0 and 1 are beyond all noise, and have no gradient.

    torch's own clamp at 1e-7: a rarer event would have no gradient at all.
    """
    accuracy = torch.finfo(probs.dtype)
    least, most = accuracy.tiny, 1 - accuracy.eps / 2
    return probs.clamp(least, most).log() - (1 - probs).clamp(least, most).log()


def log_of(probs: Tensor) -> Tensor:
    """Return the logarithm of probabilities, minus infinity where they are 0, without a gradient there."""
    return probs.clamp(min=torch.finfo(probs.dtype).tiny).log().masked_fill(probs == 0, -torch.inf)


def one_hot_of(scores: Tensor) -> Tensor:
    """Return the one-hot vector of the largest score along the last dimension."""
    return torch.zeros_like(scores).scatter(-1, scores.argmax(-1, keepdim=True), 1)


def softmax_of(scores: Tensor) -> Tensor:
    """Return the softmax along the last dimension."""
    if not _is_slow(scores):
        return scores.softmax(-1)
    powers = (scores - scores.detach().amax(-1, keepdim=True)).exp()
    return powers / powers.sum(-1, keepdim=True)


def log_softmax_of(scores: Tensor) -> Tensor:
    """Return the logarithm of the softmax along the last dimension."""
    if not _is_slow(scores):
        return scores.log_softmax(-1)
    shifted = scores - scores.detach().amax(-1, keepdim=True)
    return shifted - shifted.exp().sum(-1, keepdim=True).log()


# Rows shorter than a vector register: there torch's own softmax takes two to three times as long as its parts do, on
# one core and forward and backward together (torch 2.13), from so many numbers on that launching the parts is cheaper.
_SHORT = 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8
_MANY = 2048


def _is_slow(scores: Tensor) -> bool:
    short = scores.device.type == "cpu" and scores.shape[-1] < _SHORT and scores.numel() >= _MANY
    return short and not compiling()
