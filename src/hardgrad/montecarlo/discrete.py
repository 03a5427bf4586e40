"""Discrete distributions in one form: logits of units, what a draw is, and what the objective is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, OneHotCategorical
from torch.distributions.utils import probs_to_logits

from hardgrad._torch_state import compiling

KINDS: dict[str, type[Distribution]] = {
    "Bernoulli": Bernoulli,
    "OneHotCategorical": OneHotCategorical,
    "Categorical": Categorical,
}


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
    """

    logits: Tensor
    given: Tensor
    by_probs: bool
    kind: str
    batch_shape: torch.Size
    event_shape: torch.Size
    dtype: torch.dtype

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
    def unit_dims(self) -> int:
        """How many trailing dimensions count units: all of the event's, but for the outcomes of a one-hot sample."""
        return len(self.event_shape) - (self.kind == "OneHotCategorical")

    def noise(self, samples: int, generator: torch.Generator | None) -> Tensor:
        """Return uniforms of the logits' shape and precision inside (0, 1), shape ``(samples, *logits.shape)``."""
        u = uniform((samples, *self.logits.shape), self.logits, generator)
        return u.clamp(min=torch.finfo(u.dtype).eps / 4)  # a draw of 0 has no logarithm; the largest is below 1

    def draw(self, samples: int, generator: torch.Generator | None) -> Tensor:
        """Return independent samples, 0/1 or one-hot, shape ``(samples, *logits.shape)``; they carry no gradient."""
        if self.binary:
            # u in [0, 1): a probability of 0 never fires, one of 1 always does.
            u = uniform((samples, *self.logits.shape), self.logits, generator)
            return (u < self.probs.detach()).to(self.logits.dtype)
        return one_hot_of(self.logits.detach() + gumbel_of(self.noise(samples, generator)))

    def log_prob(self, b: Tensor) -> Tensor:
        """Return the log-probability of samples ``(*lead, *logits.shape)``, shape ``(*lead, *batch)``."""
        if self.binary:
            return self.sum_event(F.logsigmoid((2 * b - 1) * self.logits))
        # An outcome of probability 0 has a logit of -inf, and 0 * -inf is NaN.
        return self.sum_event(torch.where(b > 0, self.logits, 0))

    def sum_event(self, t: Tensor) -> Tensor:
        """Sum ``(*lead, *logits.shape)`` over units and outcomes, to shape ``(*lead, *batch)``."""
        dims = self.unit_dims + (not self.binary)
        return t.sum(tuple(range(-dims, 0))) if dims else t

    def over_event(self, t: Tensor) -> Tensor:
        """Give ``(*lead, *batch)`` trailing dimensions of size 1, to stand beside ``(*lead, *logits.shape)``."""
        return t.reshape(t.shape + (1,) * (self.unit_dims + (not self.binary)))

    def shown(self, b: Tensor) -> Tensor:
        """Return samples as f sees them: in the samples' dtype, a Categorical's as the number of the outcome."""
        return b.argmax(-1) if self.kind == "Categorical" else b.to(self.dtype)


def discrete(q: Distribution, estimator: str, kinds: Iterable[str] = tuple(KINDS)) -> Discrete:
    """Return the one form of a distribution.

    Args:
        q: a torch distribution; ``Independent`` may wrap it, any number of times.
        estimator: whose errors these are.
        kinds: what the estimator takes, of the keys of ``KINDS``.

    Raises:
        ValueError: if the estimator does not take q.
    """
    base: Distribution = q
    while isinstance(base, Independent):
        base = base.base_dist
    kind = next((name for name in KINDS if type(base) is KINDS[name]), None)
    if kind is None or kind not in kinds:
        raise ValueError(_refusal(base, estimator, tuple(kinds)))
    by_probs, parameter = _given(base)
    # Half precision rounds a small probability to nothing and a logarithm to steps: at least single from here on.
    given = parameter.to(torch.promote_types(parameter.dtype, torch.float32))
    if by_probs:
        logits = probs_to_logits(given, is_binary=kind == "Bernoulli")
    else:
        logits = given if kind == "Bernoulli" else log_softmax_of(given)
    return Discrete(logits, given, by_probs, kind, q.batch_shape, q.event_shape, parameter.dtype)


def uniform(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return uniforms in [0, 1), in ``like``'s dtype and on its device."""
    if generator is None:  # torch.compile knows only the form without the argument
        return torch.rand(shape, dtype=like.dtype, device=like.device)
    return torch.rand(shape, generator=generator, dtype=like.dtype, device=like.device)


def gumbel_of(u: Tensor) -> Tensor:
    """Return the standard Gumbel variate of a uniform in (0, 1)."""
    return -(-u.log()).log()


def one_hot_of(scores: Tensor) -> Tensor:
    """Return the one-hot vector of the largest score along the last dimension."""
    return torch.zeros_like(scores).scatter(-1, scores.argmax(-1, keepdim=True), 1)


def _given(base: Any) -> tuple[bool, Tensor]:
    """Whether q was made with probs, and what it was made with.

    Asked for the other one (by ``entropy()``, say), torch makes it and keeps it on q, with its graph: a second backward
    through that would fail, and near 0 and 1 it has lost its gradient.
    """
    inner = getattr(base, "_categorical", base)  # a OneHotCategorical keeps its parameter in a Categorical inside
    by_probs = inner._param is inner.__dict__.get("probs")
    return by_probs, inner.probs if by_probs else inner.logits


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


def _refusal(base: Distribution, estimator: str, kinds: tuple[str, ...]) -> str:
    got = type(base).__name__
    cure = {
        "Categorical": "its samples are outcome numbers, which carry no gradient: use OneHotCategorical",
        "OneHotCategorical": "use score_function, gumbel, reinmax, rebar or relax",
    }.get(got, "use hardgrad.score_function, which takes any distribution that has log_prob")
    taken = kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])} or {kinds[-1]}"
    return f"{estimator}: q must be a torch.distributions {taken} (Independent allowed), got {got}; {cure}"
