"""The doctor's examination of candidates on the user's own function."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad.bridge import name_of
from hardgrad.doctor.advice import advise, warnings_of
from hardgrad.doctor.compare import compare, is_resolved
from hardgrad.doctor.copies import Candidate, Shared, private_copy, required_arguments
from hardgrad.doctor.cost import Cost, costs, seconds_of_function
from hardgrad.doctor.diagnosis import Diagnosis, Row, Truth
from hardgrad.doctor.measure import Draws, draw
from hardgrad.doctor.randomness import master_seed, seed_of, seeded
from hardgrad.doctor.smoothed import Smoothed
from hardgrad.doctor.smoothing import smooth
from hardgrad.doctor.subject import Subject
from hardgrad.doctor.truth import GROUPS, Reference, find_truth
from hardgrad.montecarlo.objective import Objective

_NUMBERS = 2**27  # that pass through the function for the truth, unless told otherwise: seconds of a sort on one core
_SHOWN = 1024  # coordinates of gradients that a diagnosis keeps for a picture


class _Examined(NamedTuple):
    subject: Subject
    draws: Draws


def diagnose(
    estimators: Mapping[str, Candidate] | Candidate,
    function: Candidate,
    inputs: Tensor | Distribution,
    *,
    objective: Objective | None = None,
    noise: Literal["auto", "gaussian", "logistic", "gumbel"] = "auto",
    sigma: float | None = None,
    draws: int = 1000,
    truth: Literal["auto", "enumeration", "finite difference", "long run"] = "auto",
    budget: int | None = None,
    warm_up: int = 0,
    generator: torch.Generator | None = None,
) -> Diagnosis:
    r"""Return how far the gradients of some candidates are from the true one, on a function of yours.

    All candidates estimate the gradient of one smoothed objective. For a hard function h of a tensor x it is

    .. math:: F(x) = \mathbb{E}_v\big[\text{objective}(h(x + \sigma v))\big]

    with Gaussian noise v; or with the noise that makes h a distribution known exactly, Gumbel for the one-hot argmax
    and logistic for a threshold at 0, so that Monte Carlo estimators of discrete distributions stand beside layers. For
    an objective f of a distribution q it is :math:`\mathbb{E}_{b \sim q}[f(b)]`, as a function of q's logits.

    Candidates run on copies; modules, ``.grad`` fields and torch's random state are left as they were.

    Args:
        estimators: candidates by name, or one. A callable that requires one argument is a layer ``x -> y``, such as a
            ``Bridge``; one that requires two is an estimator ``(q, f)``, such as ``hardgrad.reinmax``. Modules among
            them run in training mode. ``hardgrad.doctor.candidates`` has some for any function.
        function: the hard function ``(B, *) -> (B, *out)``, a black box perhaps, each row by itself; or, where
            ``inputs`` is a distribution, the objective ``(n, *batch, *event) -> (n, *batch)``.
        inputs: shape ``(B, *)``; or a Bernoulli, Categorical, OneHotCategorical or Normal, ``Independent`` allowed.
        objective: ``(n, B, *out) -> (n, B)``, for a hard function; half the squared distance to what the function
            returns for the next row of the batch by default.
        noise: "auto" recognises an argmax and a threshold at 0, and is Gaussian otherwise.
        sigma: what the noise is multiplied by, above 0; by default such that the noise has half the standard deviation
            of the inputs.
        draws: gradients to take of each candidate, at least 20.
        truth: "auto" takes enumeration up to 4096 outcomes, else the less noisy of a finite difference of the smoothed
            function with common random numbers and a long run of the score function.
        budget: the most evaluations of the function, for each row, to spend on the truth; by default 200000, less where
            the inputs have more than 640 numbers.
        warm_up: steps for which candidates that learn are trained first, on their penalties, by Adam at 0.003.
        generator: its next number seeds everything; torch's global state by default, which is not moved on.

    Returns:
        A ``Diagnosis``: ``print`` shows the table, the warnings and the advice.

    Raises:
        ValueError: if an argument is out of range. A candidate that raises is a row with its error instead.

    Example:
        >>> import torch, hardgrad as hg
        >>> x = torch.tensor([[0.5, -0.2], [-1.0, 0.3]])
        >>> found = hg.diagnose({"identity": hg.straight_through(hg.hard.sign), "exact": hg.exact}, hg.hard.sign, x)
        >>> found.truth.kind, found["exact"].unbiased, found["identity"].unbiased
        ('enumeration', True, False)
        >>> hg.Diagnosis.from_json(found.to_json()) == found
        True
    """
    named = _named(estimators)
    _check_numbers(draws, budget, warm_up)
    master = master_seed(generator)
    own = _own(function)
    shared = Shared(own, function)
    smoothed = _smoothed(own, inputs, objective, noise, sigma, master)
    reference = find_truth(smoothed, truth, budget or _budget(smoothed), master)
    found = {
        name: _examined(name, candidate, smoothed, shared, reference.gradient, draws, warm_up, master)
        for name, candidate in named.items()
    }
    cost = costs([one.subject for one in found.values() if isinstance(one, _Examined)], seed_of(master, "cost"))
    rows = tuple(
        _row(one, cost[name], reference) if isinstance(one, _Examined) else Row(name, _kind(named[name]), error=one)
        for name, one in found.items()
    )
    seen, once = _truth(reference), seconds_of_function(smoothed, seed_of(master, "cost"))
    return Diagnosis(
        rows=rows,
        truth=seen,
        warnings=warnings_of(rows, seen, warm_up),
        advice=advise(rows, seen, once),
        about=smoothed.about,
        function=name_of(function),
        noise=smoothed.noise_kind,
        sigma=smoothed.sigma if isinstance(smoothed.sigma, float) else None,
        shape=tuple(smoothed.x.shape),
        device=str(smoothed.x.device),
        draws=-(-draws // GROUPS) * GROUPS,
        warm_up=warm_up,
        function_seconds=once,
    )


def _own(function: Candidate) -> Candidate:
    try:
        return private_copy(function)
    except Exception as error:  # whatever a module of the user's raises when it is copied
        raise ValueError(
            f"diagnose: function holds a module that cannot be copied ({type(error).__name__}: {error}); let it keep "
            "nothing that belongs to a graph"
        ) from error


def _budget(smoothed: Smoothed) -> int:
    return max(min(200_000, _NUMBERS // smoothed.x.numel()), 1000)


def _named(estimators: Mapping[str, Candidate] | Candidate) -> Mapping[str, Candidate]:
    if callable(estimators):
        return {name_of(estimators): estimators}
    if not isinstance(estimators, Mapping) or not estimators or not all(map(callable, estimators.values())):
        raise ValueError(
            "diagnose: estimators must be a callable, or a mapping of at least one name to a callable, got "
            f"{estimators!r:.200}; hardgrad.doctor.candidates(function, inputs) returns some"
        )
    return estimators


def _check_numbers(draws: int, budget: int | None, warm_up: int) -> None:
    if draws < GROUPS:
        raise ValueError(f"diagnose: draws must be at least {GROUPS}, for standard errors, got {draws}")
    if budget is not None and budget < 1:
        raise ValueError(f"diagnose: budget must be at least 1 evaluation, got {budget}; the default is 200000")
    if warm_up < 0:
        raise ValueError(f"diagnose: warm_up must be at least 0 steps, got {warm_up}")


def _smoothed(
    function: Candidate,
    inputs: Tensor | Distribution,
    objective: Objective | None,
    noise: str,
    sigma: float | None,
    master: int,
) -> Smoothed:
    generator = torch.Generator().manual_seed(seed_of(master, "probe"))
    device = inputs.device if isinstance(inputs, Tensor) else torch.device("cpu")
    with seeded(seed_of(master, "smoothing"), device):
        return smooth(function, inputs, objective, noise, sigma, generator)


def _examined(
    name: str,
    candidate: Candidate,
    smoothed: Smoothed,
    shared: Shared,
    reference: Tensor,
    draws: int,
    warm_up: int,
    master: int,
) -> _Examined | str:
    """A candidate and what it gave, or why it gave nothing."""
    try:
        subject = Subject(name, candidate, smoothed, shared)
        if warm_up:
            subject.warm_up(warm_up, seed_of(master, f"warm-up of {name}"))
        return _Examined(subject, draw(subject, draws, reference, seed_of(master, f"draws of {name}")))
    except Exception as error:  # of the user's code, hence of any kind; the others are still to be examined
        return f"{type(error).__name__}: {error}"


def _row(one: _Examined, cost: Cost, reference: Reference) -> Row:
    subject, drawn = one
    found = compare(drawn, reference, subject.smoothed.rows)
    return Row(
        name=subject.name,
        kind="layer" if subject.is_layer else "estimator",
        variance=drawn.variance,
        cosine_of_one=drawn.cosine_of_one,
        zeros=drawn.zeros,
        draws=drawn.count,
        learns=drawn.learns,
        mean=tuple(drawn.mean.flatten()[:_SHOWN].tolist()),
        **asdict(found),
        **asdict(cost),
    )


def _kind(candidate: Candidate) -> str:
    return "layer" if required_arguments(candidate) == 1 else "estimator"


def _truth(reference: Reference) -> Truth:
    return Truth(
        kind=reference.kind,
        norm=math.sqrt(max(reference.squared_norm, 0.0)),
        standard_error=math.sqrt(float(reference.variance.sum())),
        evaluations=reference.evaluations,
        resolved=is_resolved(reference),
        gradient=tuple(reference.gradient.flatten()[:_SHOWN].tolist()),
    )
