"""What a diagnosis compares unless told otherwise: every estimator that may fit what is asked."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, OneHotCategorical

from hardgrad import approximators
from hardgrad.bridge import Bridge
from hardgrad.doctor.arguments import check_batch, check_callable, check_noise, check_place
from hardgrad.doctor.copies import Candidate
from hardgrad.doctor.domain import check_outputs
from hardgrad.doctor.function import Guarded
from hardgrad.doctor.recognize import Hard, probed, recognize, spread
from hardgrad.doctor.relatives import relatives
from hardgrad.montecarlo._arms import arms
from hardgrad.montecarlo._bridge_estimator import bridge_estimator
from hardgrad.montecarlo._carms import carms
from hardgrad.montecarlo._disarm import disarm
from hardgrad.montecarlo._double_cv import double_cv
from hardgrad.montecarlo._each_unit import each_unit
from hardgrad.montecarlo._exact import count_outcomes, exact
from hardgrad.montecarlo._gapped import gapped
from hardgrad.montecarlo._gumbel import gumbel
from hardgrad.montecarlo._gumbel_rao import gumbel_rao
from hardgrad.montecarlo._rebar import RebarControl, rebar
from hardgrad.montecarlo._reinmax import reinmax
from hardgrad.montecarlo._relax import RelaxControl, relax
from hardgrad.montecarlo._score_function import score_function
from hardgrad.montecarlo._straight_through_estimator import straight_through_estimator
from hardgrad.montecarlo._unordered_set import unordered_set
from hardgrad.montecarlo.discrete import Discrete, discrete
from hardgrad.montecarlo.subsets import Subsets
from hardgrad.surrogate import twins
from hardgrad.surrogate._perturb import perturb
from hardgrad.surrogate._straight_through import straight_through

_FEW = 256  # outcomes that a training loop could go through at every step
_FEW_SETS = 64  # outcomes of which four different ones say more than four draws
_FEW_NUMBERS = 32  # in a row, for each of which a training loop could ask twice


def candidates(function: Candidate, inputs: Tensor | Distribution, *, noise: str = "auto") -> dict[str, Candidate]:
    """Return the estimators that suit a function, by name, for ``diagnose``.

    Those that need a derivative are among them even if the function is a black box: they say so in their row. Those
    that learn are fresh, so give ``diagnose`` a ``warm_up``.

    Args:
        function: as ``diagnose`` takes it.
        inputs: as ``diagnose`` takes them.
        noise: as ``diagnose`` takes it.

    Returns:
        For a hard function: itself, for what autograd makes of it; straight-through where shapes agree, with the
        identity and, for a threshold, an argmax or a function of an order, with soft twins; for a function of an
        order, relaxed altogether, too; for a solver of linear costs, as masks of a top k are, the layers of solvers;
        two-point with one pair of evaluations and, for
        few numbers in a row, with one for each; a bridge with the approximator that ``suggest``
        picks; and the Monte Carlo estimators of the distribution that the noise makes of it. For a distribution: those
        alone.

    Raises:
        ValueError: if an argument is not as ``diagnose`` takes it.

    Example:
        >>> import torch, hardgrad as hg
        >>> list(hg.doctor.candidates(hg.hard.sort, torch.randn(8, 4)))[:4]
        ['autograd', 'straight_through', 'perturb', 'perturb, coordinates']
    """
    check_callable("candidates", "function", function)
    check_noise("candidates", noise)
    check_place("candidates", inputs)
    if isinstance(inputs, Distribution):
        return _estimators(inputs)
    check_batch("candidates", inputs)
    x = inputs.detach()
    hard = _carrying(function, x)
    seen = recognize(_guarded(hard, x), x, torch.Generator().manual_seed(0)).noise if noise == "auto" else noise
    offered = _layers(hard, x, seen)
    if seen == "gumbel":
        return offered | _estimators(Independent(OneHotCategorical(logits=x), x.ndim - 2))
    if seen == "logistic":
        return offered | _estimators(Independent(Bernoulli(logits=x), x.ndim - 1))
    return offered | _from_values()


def _layers(hard: Hard, x: Tensor, noise: str) -> dict[str, Candidate]:
    with torch.no_grad():
        same_shape = hard(x.clone()).shape == x.shape
    offered: dict[str, Candidate] = {"autograd": hard}
    if same_shape:
        offered["straight_through"] = straight_through(hard)
    if same_shape and noise == "logistic":
        offered["straight_through, clipped"] = straight_through(hard, twins.clipped())
    if same_shape and noise == "gumbel":
        offered["straight_through, softmax"] = straight_through(hard, partial(torch.softmax, dim=-1))
    # Half the deviation of the noise that diagnose adds: more is a bias beside that, less is lost between the steps.
    offered["perturb"] = perturb(hard, spread(x) / 4)
    if x[0].numel() <= _FEW_NUMBERS:
        offered["perturb, coordinates"] = perturb(hard, spread(x) / 4, directions="coordinates")
    if x.ndim > 1:
        offered |= relatives(hard, x, probed(_guarded(hard, x), x, torch.Generator().manual_seed(0)), noise)
        offered["bridge"] = Bridge(hard, approximators.suggest(_guarded(hard, x), x))
    return offered


def _from_values() -> dict[str, Candidate]:
    """What any distribution and any function allow."""
    return {
        "score_function": score_function,
        "score_function, 8 left out": partial(score_function, samples=8, baseline="leave_one_out"),
    }


def _estimators(q: Distribution) -> dict[str, Candidate]:
    try:
        d = discrete(q, "candidates")
    except ValueError:  # none of the kinds that they know
        return _from_values()
    offered = _from_values()
    if count_outcomes(d) <= _FEW:
        offered["exact"] = exact
    offered |= _from_sets(d)
    if d.kind == "Categorical":  # outcome numbers carry no gradient, and have no relaxed form
        return offered
    if isinstance(d, Subsets):
        return offered | _of_subsets()
    return offered | _relaxed() | _learning(d)


def _from_sets(d: Discrete) -> dict[str, Candidate]:
    """What needs values alone, of draws that are not independent."""
    offered: dict[str, Candidate] = {}
    if d.binary:
        offered = {"disarm": disarm, "arms": arms}
    elif not isinstance(d, Subsets):
        offered["carms"] = carms
    if not isinstance(d, Subsets) and d.logits.shape[len(d.batch_shape) :].numel() <= _FEW_NUMBERS:
        offered["each_unit"] = each_unit
    if 4 < count_outcomes(d) <= _FEW_SETS:  # of four it is exact
        offered["unordered_set"] = unordered_set
    return offered


def _of_subsets() -> dict[str, Candidate]:
    taken = ("gumbel", "gumbel, cold", "gumbel_rao", "straight_through_estimator", "double_cv")
    return {name: candidate for name, candidate in _relaxed().items() if name in taken}


def _relaxed() -> dict[str, Candidate]:
    return {
        "gumbel": gumbel,
        "gumbel, cold": partial(gumbel, temperature=0.3),
        "gumbel, soft": partial(gumbel, hard=False),
        "gumbel_rao": gumbel_rao,
        "gapped": gapped,
        "straight_through_estimator": straight_through_estimator,
        "reinmax": reinmax,
        "double_cv": double_cv,
        "rebar": rebar,
    }


def _learning(d: Discrete) -> dict[str, Candidate]:
    like = d.logits
    return {
        "rebar, learned": partial(rebar, control=RebarControl().to(like)),
        "relax": partial(relax, control=RelaxControl(_scalar_network(d)).to(like)),
        "relax, values alone": partial(relax, control=_scalar_network(d)),
        "bridge_estimator": partial(bridge_estimator, approximator=approximators.elementwise().to(like)),
    }


def _scalar_network(d: Discrete) -> nn.Module:
    """From the scores of an event to one number."""
    event = d.logits.shape[len(d.batch_shape) :]
    if not event:
        return approximators.elementwise().to(d.logits)
    network = approximators.mlp(event.numel(), 1, hidden=(32, 32))
    return nn.Sequential(nn.Flatten(-len(event)), *network).to(d.logits)


def _carrying(function: Hard, x: Tensor) -> Hard:
    """The function itself where its outputs can carry a gradient, and are not class numbers, say; else with a cast."""
    with torch.no_grad():
        y = _guarded(function, x)(given := x.clone())
    check_outputs(y, given, "candidates")
    return function if y.is_floating_point() else partial(_cast, function)


def _guarded(function: Hard, x: Tensor) -> Guarded:
    return Guarded(function, len(x), who="candidates")


def _cast(function: Hard, x: Tensor) -> Tensor:
    return function(x).to(x.dtype)
