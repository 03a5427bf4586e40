"""Discrete distributions in one form, whichever class they came from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad import _check
from hardgrad.montecarlo.families import KINDS as KINDS
from hardgrad.montecarlo.families import base_of, kind_of, refusal
from hardgrad.montecarlo.subsets import Subsets
from hardgrad.montecarlo.units import Discrete as Discrete
from hardgrad.montecarlo.units import log_odds_of, log_of, log_softmax_of
from hardgrad.montecarlo.units import one_hot_of as one_hot_of
from hardgrad.montecarlo.units import softmax_of as softmax_of
from hardgrad.subset.k_subset import KSubset


def discrete(q: Distribution, estimator: str, kinds: Iterable[str] = tuple(KINDS)) -> Discrete:
    """Return the one form of a distribution.

    Args:
        q: a torch distribution; ``Independent`` may wrap it, any number of times.
        estimator: whose errors these are.
        kinds: what the estimator takes, of the keys of ``KINDS``.

    Raises:
        TypeError: if q is no distribution.
        ValueError: if the estimator does not take q.
    """
    _check.instance(estimator, "q", q, Distribution, "make one, such as torch.distributions.Bernoulli(logits=...)")
    base = base_of(q)
    kind = kind_of(base)
    if kind is None or kind not in kinds:
        raise ValueError(refusal(base, estimator, kinds))
    by_probs, parameter = _given(base)
    # Half precision rounds a small probability to nothing and a logarithm to steps: at least single from here on.
    given = parameter.to(torch.promote_types(parameter.dtype, torch.float32))
    if isinstance(base, KSubset):
        form = (kind, q.batch_shape, q.event_shape, parameter.dtype, estimator)
        return Subsets(given, given, False, *form, base.k)
    if by_probs:
        logits = log_odds_of(given) if kind == "Bernoulli" else log_of(given)
    else:
        logits = given if kind == "Bernoulli" else log_softmax_of(given)
    return Discrete(logits, given, by_probs, kind, q.batch_shape, q.event_shape, parameter.dtype, estimator)


def _given(base: Any) -> tuple[bool, Tensor]:
    """Whether q was made with probs, and what it was made with.

    Asked for the other one (by ``entropy()``, say), torch makes it and keeps it on q, with its graph: a second backward
    through that would fail, and near 0 and 1 it has lost its gradient.
    """
    if isinstance(base, KSubset):
        return False, base.logits
    inner = getattr(base, "_categorical", base)  # a OneHotCategorical keeps its parameter in a Categorical inside
    by_probs = inner._param is inner.__dict__.get("probs")
    return by_probs, inner.probs if by_probs else inner.logits
