"""What a diagnosis compares unless told otherwise: every estimator that may fit what is asked."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, OneHotCategorical

from hardgrad.approximators import suggest
from hardgrad.bridge import Bridge
from hardgrad.doctor.copies import Candidate
from hardgrad.doctor.recognise import Hard, recognise
from hardgrad.montecarlo.discrete import discrete
from hardgrad.montecarlo.exact import count_outcomes, exact
from hardgrad.montecarlo.reinmax import reinmax
from hardgrad.montecarlo.score_function import score_function
from hardgrad.surrogate import straight_through, twins

_FEW = 4096  # outcomes that exact goes through at every step of a training loop


def candidates(function: Candidate, inputs: Tensor | Distribution, *, noise: str = "auto") -> dict[str, Candidate]:
    """Return the estimators that suit a function, by name, for ``diagnose``.

    Those that need a derivative are among them even if the function is a black box: they say so in their row.

    Args:
        function: as ``diagnose`` takes it.
        inputs: as ``diagnose`` takes them.
        noise: as ``diagnose`` takes it.

    Returns:
        For a hard function: straight-through where shapes agree, with the identity and, for a threshold or an argmax,
        with a soft twin; a bridge with the approximator that ``suggest`` picks, which ``warm_up`` trains; and the Monte
        Carlo estimators of the distribution that the noise makes of it. For a distribution: those alone.

    Example:
        >>> import torch, hardgrad as hg
        >>> list(hg.doctor.candidates(hg.hard.sort, torch.randn(8, 4)))[:2]
        ['straight_through', 'bridge']
    """
    if isinstance(inputs, Distribution):
        return _estimators(inputs)
    x = inputs.detach()
    hard = _floating(function, x)
    kind = recognise(hard, x, torch.Generator().manual_seed(0)) if noise == "auto" else None
    seen = kind.noise if kind else noise
    found = _layers(hard, x, seen)
    if seen == "gumbel":
        return found | _estimators(Independent(OneHotCategorical(logits=x), x.ndim - 2))
    if seen == "logistic":
        return found | _estimators(Independent(Bernoulli(logits=x), x.ndim - 1))
    return found | _of_values()


def _layers(hard: Hard, x: Tensor, noise: str) -> dict[str, Candidate]:
    with torch.no_grad():
        same_shape = hard(x.clone()).shape == x.shape
    found: dict[str, Candidate] = {}
    if same_shape:
        found["straight_through"] = straight_through(hard)
    if same_shape and noise == "logistic":
        found["straight_through, clipped"] = straight_through(hard, twins.clipped())
    if same_shape and noise == "gumbel":
        found["straight_through, softmax"] = straight_through(hard, partial(torch.softmax, dim=-1))
    if x.ndim > 1:
        found["bridge"] = Bridge(hard, suggest(hard, x))
    return found


def _of_values() -> dict[str, Candidate]:
    return {
        "score_function": score_function,
        "score_function, 8, leave-one-out": partial(score_function, samples=8, baseline="leave_one_out"),
    }


def _estimators(q: Distribution) -> dict[str, Candidate]:
    base: Distribution = q
    while isinstance(base, Independent):
        base = base.base_dist
    found = _of_values()
    if not isinstance(base, Bernoulli | OneHotCategorical):
        return found
    if count_outcomes(discrete(q, "candidates")) <= _FEW:
        found["exact"] = exact
    return found | {"reinmax": reinmax}


def _floating(function: Hard, x: Tensor) -> Hard:
    """The function, or one that casts its outputs where they are numbers of classes, say, and can carry no gradient."""
    with torch.no_grad():
        if function(x.clone()).is_floating_point():
            return function
    return lambda z: function(z).to(z.dtype)
