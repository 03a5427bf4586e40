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
from hardgrad.doctor.advice import advise, warnings_of, warnings_of_mixing
from hardgrad.doctor.arguments import check_callable, check_generator, check_place, check_whole, device_of, named
from hardgrad.doctor.compare import compare, is_resolved
from hardgrad.doctor.copies import Candidate, Shared, private_copy, required_arguments
from hardgrad.doctor.cost import Cost, costs, error_text, seconds_of_function
from hardgrad.doctor.diagnosis import Diagnosis, Row, Truth
from hardgrad.doctor.measure import Draws, draw
from hardgrad.doctor.mixing import APART, Mixing, for_truth, mixing_of
from hardgrad.doctor.power import Rounding, draws_wanted
from hardgrad.doctor.randomness import master_seed, seed_of, seeded
from hardgrad.doctor.smoothed import Smoothed
from hardgrad.doctor.smoothing import smooth
from hardgrad.doctor.subject import Subject
from hardgrad.doctor.truth import GROUPS, Reference, find_truth
from hardgrad.montecarlo.objective import Objective

_NUMBERS = 2**27  # that pass through the function for the truth, unless told otherwise: seconds of a sort on one core
_DRAWS = 1000  # of each candidate, unless told otherwise
_APIECE = 20_000  # evaluations for a truth that has to be asked for one sample at a time
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
    draws: int | None = None,
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

    Candidates run on copies; modules, ``.grad`` fields and torch's random state are left as they were. Each is judged
    on the very batch it is given: many copies of the batch go through it at once only where trials show that no copy
    feels the others; one that shares among rows (a mean as baseline, a normalisation) runs on one batch at a time. So
    does the function for the truth, if it mixes its samples or rows.

    A bias is called one at four standard errors, which chance makes in less than 1 of 1000 rows. "No bias" is said only
    with the smallest that would have been found: ``Row.smallest_bias``.

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
        draws: gradients to take of each candidate, at least 20; by default 1000, and up to 32000 of those that are
            cheap and whose bias would not show otherwise, so that one of 10 % does.
        truth: "auto" takes enumeration up to 4096 outcomes, else the less noisy of a finite difference of the smoothed
            function with common random numbers and a long run of the score function.
        budget: the most evaluations of the function, for each row, to spend on the truth; by default 200000, less where
            the inputs have more than 640 numbers, and at most 20000 where it takes one sample at a time.
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
    with torch.inference_mode(False):
        candidates = _checked(estimators, function, inputs, objective, draws, budget, warm_up, generator)
        master = master_seed(generator)
        own = _own(function)
        smoothed = _smoothed(own, inputs, objective, noise, sigma, master)
        mixing = mixing_of(smoothed, seed_of(master, "mixing"))
        reference = find_truth(for_truth(smoothed, mixing), truth, budget or _budget(smoothed, mixing), master)
        exam = _Exam(smoothed, Shared(own, function), reference, draws, warm_up, master)
        rows = _rows(candidates, exam)
        seen, once = _truth(reference), seconds_of_function(smoothed, seed_of(master, "cost"))
    return Diagnosis(
        rows=rows,
        truth=seen,
        warnings=warnings_of_mixing(*mixing) + warnings_of(rows, seen, warm_up),
        advice=advise(rows, seen, once),
        about=smoothed.about,
        function=name_of(function),
        noise=smoothed.noise_kind,
        sigma=smoothed.sigma if isinstance(smoothed.sigma, float) else None,
        shape=tuple(smoothed.x.shape),
        device=str(smoothed.x.device),
        draws=-(-(draws or _DRAWS) // GROUPS) * GROUPS,
        warm_up=warm_up,
        function_seconds=once,
    )


class _Exam(NamedTuple):
    """What is the same for all candidates."""

    smoothed: Smoothed
    shared: Shared
    truth: Reference
    draws: int | None
    warm_up: int
    master: int


def _checked(
    estimators: Mapping[str, Candidate] | Candidate,
    function: Candidate,
    inputs: Tensor | Distribution,
    objective: Objective | None,
    draws: int | None,
    budget: int | None,
    warm_up: int,
    generator: torch.Generator | None,
) -> Mapping[str, Candidate]:
    check_place("diagnose", inputs)
    candidates = named(estimators)
    check_callable("diagnose", "function", function)
    if objective is not None:
        check_callable("diagnose", "objective", objective)
    if draws is not None:
        check_whole("diagnose", "draws", draws, GROUPS, "standard errors need as many; None takes 1000 or more")
    if budget is not None:
        check_whole("diagnose", "budget", budget, 1, "it counts evaluations; None takes 200000")
    check_whole("diagnose", "warm_up", warm_up, 0, "it counts steps; 0 trains nothing")
    check_generator("diagnose", generator)
    return candidates


def _rows(candidates: Mapping[str, Candidate], exam: _Exam) -> tuple[Row, ...]:
    found = {name: _examined(name, candidate, exam) for name, candidate in candidates.items()}
    subjects = [one.subject for one in found.values() if isinstance(one, _Examined)]
    cost = costs(subjects, seed_of(exam.master, "cost"))
    return tuple(_row(name, candidates[name], one, cost.get(name, ""), exam.truth) for name, one in found.items())


def _own(function: Candidate) -> Candidate:
    try:
        return private_copy(function)
    except Exception as error:  # whatever a module of the user's raises when it is copied
        raise ValueError(
            f"diagnose: function holds a module that cannot be copied ({type(error).__name__}: {error}); let it keep "
            "nothing that belongs to a graph"
        ) from error


def _budget(smoothed: Smoothed, mixing: Mixing = APART) -> int:
    most = _APIECE if mixing.samples else 200_000
    return max(min(most, _NUMBERS // smoothed.x.numel()), 1000)


def _smoothed(
    function: Candidate,
    inputs: Tensor | Distribution,
    objective: Objective | None,
    noise: str,
    sigma: float | None,
    master: int,
) -> Smoothed:
    generator = torch.Generator().manual_seed(seed_of(master, "probe"))
    with seeded(seed_of(master, "smoothing"), device_of(inputs)):
        return smooth(function, inputs, objective, noise, sigma, generator)


def _examined(name: str, candidate: Candidate, exam: _Exam) -> _Examined | str:
    """A candidate and what it gave, or why it gave nothing."""
    try:
        subject = Subject(name, candidate, exam.smoothed, exam.shared)
        trial = seed_of(exam.master, f"trials of {name}")
        subject.try_copies(trial)
        if exam.warm_up:
            subject.warm_up(exam.warm_up, seed_of(exam.master, f"warm-up of {name}"))
            subject.try_copies(trial)  # once more: what it has learnt may be to look at the other rows
        return _Examined(subject, _drawn(subject, exam))
    except Exception as error:  # of the user's code, hence of any kind; the others are still to be examined
        return error_text(error)


def _drawn(subject: Subject, exam: _Exam) -> Draws:
    """As many gradients as were asked for, or as it takes to see a bias."""
    seed = seed_of(exam.master, f"draws of {subject.name}")
    found = draw(subject, exam.draws or _DRAWS, exam.truth.gradient, seed)
    if exam.draws is not None:
        return found
    more = draws_wanted(found, exam.truth, subject.at_once, Rounding.of(exam.smoothed))
    return found.and_more(draw(subject, more, exam.truth.gradient, seed_of(seed, "more"))) if more else found


def _row(name: str, candidate: Candidate, one: _Examined | str, cost: Cost | str, truth: Reference) -> Row:
    if isinstance(one, str) or isinstance(cost, str):
        return Row(name, _kind(candidate), error=one if isinstance(one, str) else str(cost))
    subject, drawn = one
    found = compare(drawn, truth, subject.smoothed.rows, Rounding.of(subject.smoothed))
    return Row(
        name=name,
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
