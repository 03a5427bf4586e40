"""The law of subsets of k of n items as a distribution of torch's: sampling, scoring and marginals are of that one."""

from __future__ import annotations

import itertools
import math
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, constraints, kl

from hardgrad import _check
from hardgrad._torch_state import has_numbers, in_graph, in_transform
from hardgrad.hard import checks, counts
from hardgrad.hard.order import top_k_mask
from hardgrad.hard.precision import back, double

_MOST = 65536  # subsets that are listed


class KSubset(Distribution):
    r"""Subsets of k of n items, as masks of k ones: Bernoulli units that are told how many of them are 1.

    .. math:: q(b) = \frac{\exp(\sum_i b_i \theta_i)}{\sum_{|c| = k} \exp(\sum_i c_i \theta_i)}, \qquad |b| = k

    Exact in O(n k) or less, sampling, log-probability, marginals and entropy of this one law, in double precision and
    rounded once. All are differentiable, derivatives of every order included. The k largest of logits plus Gumbel noise
    follow another law for k above 1: for weights 1, 2, 4 and k = 2 the three subsets have .143, .286 and .571 here, and
    .105, .286 and .610 there, so log-probabilities of this law are wrong for samples of that one.

    Args:
        logits: theta, shape ``(*batch, n)``, logarithms of weights; a number added to all of a row changes nothing.
            Infinity is always chosen, minus infinity never.
        k: how many of the n items are chosen, 0 to n.
        validate_args: whether values are checked; by default as in torch's distributions, which are checked until
            torch compiles anything. A row without a choice of k is NaN where nothing checks.

    Raises:
        TypeError: if ``logits`` is not a floating tensor or ``k`` not a whole number.
        ValueError: if ``k`` is not from 0 to n, a logit is NaN, or infinities leave no choice of k.

    Example:
        >>> import torch, hardgrad as hg
        >>> q = hg.KSubset(torch.tensor([1.0, 2.0, 4.0]).log(), 2)
        >>> [round(p, 3) for p in q.log_prob(q.enumerate_support()).exp().tolist()]
        [0.143, 0.286, 0.571]
        >>> [round(p, 3) for p in q.marginals.tolist()], q.sample((5,)).sum(-1).tolist()
        ([0.429, 0.714, 0.857], [2.0, 2.0, 2.0, 2.0, 2.0])

    Source: Chen and Liu 1997 (Statistica Sinica 7, 875-892), the conditional Bernoulli; Ahmed et al. 2023 (arXiv
    2210.01941) for its marginals as a gradient.
    """

    has_enumerate_support = True
    arg_constraints: ClassVar[Any] = {"logits": constraints.real_vector}

    def __init__(self, logits: Tensor, k: int, validate_args: bool | None = None) -> None:
        self.logits = checks.logits_of_subsets("KSubset", logits, k)
        self.k = _check.whole("KSubset", "k", k)
        checked = Distribution._validate_args
        if validate_args is not None:
            checked = _check.flag("KSubset", "validate_args", validate_args)
        if checked and has_numbers(logits) and not (in_graph() or in_transform()):
            if logits.isnan().any():
                raise ValueError("KSubset: logits must be numbers, got NaN; -inf takes an item out of the choice")
            checks.choice_of("KSubset", logits, self.k)
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=False)  # torch's fails on no rows
        self._validate_args = checked

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Masks of k ones."""
        return _Masks(self.k)

    def expand(self, batch_shape: Any, _instance: Any = None) -> KSubset:
        """Return the same law for a batch shape that this one's broadcasts to."""
        new = cast(KSubset, cast(Any, self)._get_checked_instance(KSubset, _instance))
        batch_shape = torch.Size(batch_shape)
        new.logits, new.k = self.logits.expand(*batch_shape, -1), self.k
        Distribution.__init__(new, batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def log_normalizer(self) -> Tensor:
        """The logarithm of the sum over all subsets; its gradient is ``marginals``."""
        x, tilt = self._tilted()
        value = self._log_count(x) - F.logsigmoid(-x).sum(-1) - self.k * tilt.squeeze(-1)
        return back(value, self.logits.dtype)

    @property
    def marginals(self) -> Tensor:
        """How probable it is that each item is chosen, shape ``(*batch, n)``; they sum to k."""
        return back(self._shares()[0], self.logits.dtype)

    @property
    def mean(self) -> Tensor:
        """The marginals."""
        return self.marginals

    @property
    def variance(self) -> Tensor:
        """Of each item."""
        chosen, left = self._shares()
        return back(chosen * left, self.logits.dtype)

    @property
    def mode(self) -> Tensor:
        """The k largest logits."""
        return top_k_mask(self.logits.detach(), self.k)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of masks ``(*lead, *batch, n)``, shape ``(*lead, *batch)``."""
        if self._validate_args:
            self._validate_sample(value)
        if value.shape[-1:] != self.event_shape:  # torch does not look after the first compiled call of a process
            n = self.event_shape[0]
            raise ValueError(f"KSubset: value must be masks of the logits' size, (..., {n}), got {tuple(value.shape)}")
        x, _ = self._tilted()
        # As of Bernoulli units, whose logits never cancel, given their count.
        units = F.logsigmoid((2 * value.to(x.dtype) - 1) * x).sum(-1)
        return back(units - self._log_count(x), self.logits.dtype)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return masks, shape ``(*sample_shape, *batch, n)``, drawn by torch's global seed."""
        with torch.no_grad():
            return counts.masks(self.logits, self.k, tuple(sample_shape), None).to(self.logits.dtype)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Refuse: a mask has no gradient."""
        raise NotImplementedError(
            "KSubset.rsample: sample_shape cannot be drawn with a gradient, since masks are of zeros and ones; use "
            "hardgrad.score_function or hardgrad.montecarlo.straight_through_estimator"
        )

    def entropy(self) -> Tensor:
        """Return the entropy in nats, shape ``(*batch,)``."""
        return back(-self._mean_log_prob_of(self), self.logits.dtype)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return all masks, the first items first, shape ``(subsets, *batch, n)``; batch is ones without ``expand``.

        Raises:
            ValueError: if there are more than 65536.
        """
        (n,), count = self.event_shape, math.comb(self.event_shape[0], self.k)
        if count > _MOST:
            raise ValueError(
                f"KSubset.enumerate_support: k of n must have at most {_MOST} subsets, got {count} of k={self.k} of {n}"
                "; sample them"
            )
        masks = masks_of(n, self.k, self.logits).view(count, *(1 for _ in self.batch_shape), n)
        return masks.expand(count, *self.batch_shape, n) if expand else masks

    def __repr__(self) -> str:
        return f"KSubset(logits: {self.logits.size()}, k: {self.k})"

    def _tilted(self) -> tuple[Tensor, Tensor]:
        wide = double(self.logits)
        tilt = counts.tilt(wide, self.k)
        return wide + tilt, tilt

    def _log_count(self, x: Tensor) -> Tensor:
        return counts.probability(counts.tree(x, self.k), self.k).log()

    def _shares(self) -> tuple[Tensor, Tensor]:
        x, _ = self._tilted()
        return counts.shares(counts.tree(x, self.k), self.k, x.shape[-1])

    def _mean_log_prob_of(self, other: KSubset) -> Tensor:
        """The mean, over this law, of the other one's log-probability."""
        x, _ = other._tilted()
        terms = zip(self._shares(), (F.logsigmoid(x), F.logsigmoid(-x)), strict=True)
        # What never happens counts for nothing, not for 0 times infinity.
        units = [share * log.masked_fill((share == 0) & log.isinf(), 0) for share, log in terms]
        return (units[0] + units[1]).sum(-1) - other._log_count(x)

    def _validate_sample(self, value: Tensor) -> None:
        n, shape = self.event_shape[0], self.batch_shape + self.event_shape
        _check.tensor("KSubset", "value", value)
        pairs = zip(reversed(value.shape), reversed(shape), strict=False)
        if value.ndim == 0 or value.shape[-1] != n or not all(a == b or a == 1 or b == 1 for a, b in pairs):
            raise ValueError(
                f"KSubset: value must be masks whose shape broadcasts with {tuple(shape)}, got {tuple(value.shape)}; "
                "the items are the last dimension"
            )
        if in_graph() or in_transform() or not has_numbers(value):
            return
        wrong = ~_Masks(self.k).check(value)
        if wrong.any():
            row = value[wrong][0]
            raise ValueError(
                f"KSubset: value must be masks of {self.k} ones among zeros, got a row of {int((row == 1).sum())} ones "
                f"and {int((row == 0).sum())} zeros among {n}; hardgrad.hard.top_k_mask(scores, {self.k}) makes one"
            )


class _Masks(constraints.Constraint):
    """Of k ones among zeros along the last dimension."""

    is_discrete = True
    event_dim = 1

    def __init__(self, k: int) -> None:
        self.k = k
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Return which rows are."""
        return ((value == 0) | (value == 1)).all(-1) & ((value == 1).sum(-1) == self.k)


def masks_of(n: int, k: int, like: Tensor) -> Tensor:
    """Return all masks of k ones of n, shape (subsets, n), in the dtype and on the device of ``like``."""
    chosen = torch.tensor(list(itertools.combinations(range(n), k)), dtype=torch.int64, device=like.device)
    return torch.zeros(len(chosen), n, dtype=like.dtype, device=like.device).scatter(-1, chosen, 1)


def _divergence(p: KSubset, q: KSubset) -> Tensor:
    if (p.k, p.event_shape) != (q.k, q.event_shape):
        raise ValueError(
            f"KSubset: kl_divergence must be given two of the same k and n, got k={p.k} of {p.event_shape[0]} and "
            f"k={q.k} of {q.event_shape[0]}; they have no mask in common"
        )
    return back(p._mean_log_prob_of(p) - p._mean_log_prob_of(q), torch.promote_types(p.logits.dtype, q.logits.dtype))


kl.register_kl(KSubset, KSubset)(_divergence)
