"""The doctor's examination of candidates on the user's own function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad import _check
from hardgrad.bridge import name_of
from hardgrad.doctor.arguments import check_callable, check_place, check_positive, device_of, named
from hardgrad.doctor.conclude import conclude, truth_of
from hardgrad.doctor.copies import Candidate, Shared, private_copy
from hardgrad.doctor.diagnosis import Diagnosis
from hardgrad.doctor.function import Guarded
from hardgrad.doctor.mixing import APART, Mixing, for_truth, mixing_of
from hardgrad.doctor.pace import Pace, Tell
from hardgrad.doctor.randomness import master_seed, seed_of, seeded
from hardgrad.doctor.repeats import Repeats
from hardgrad.doctor.smoothed import Smoothed
from hardgrad.doctor.smoothing import smooth
from hardgrad.doctor.stopped import Stopped
from hardgrad.doctor.told import told
from hardgrad.doctor.truth import GROUPS, enumerable, find_truth
from hardgrad.doctor.turns import DRAWS, LEAST, Exam, rows_of, take_turns
from hardgrad.montecarlo.objective import Objective

_NUMBERS = 2**27  # that pass through the function for the truth, unless told otherwise: seconds of a sort on one core
_APIECE = 20_000  # evaluations for a truth that has to be asked for one sample at a time


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
    seconds: float | None = None,
    progress: Tell | bool | None = None,
) -> Diagnosis:
    r"""Return how far the gradients of some candidates are from the true one, on a function of yours.

    All candidates estimate the gradient of one smoothed objective. For a hard function h of a tensor x it is

    .. math:: F(x) = \mathbb{E}_v\big[\text{objective}(h(x + \sigma v))\big]

    with Gaussian noise v; or with the noise that makes h a distribution known exactly, Gumbel for the one-hot argmax
    and logistic for a threshold at 0, so that Monte Carlo estimators of discrete distributions stand beside layers. For
    an objective f of a distribution q it is :math:`\mathbb{E}_{b \sim q}[f(b)]`, as a function of q's logits.

    Candidates run on copies; modules, ``.grad`` fields and the random states of torch, NumPy and Python
    are left as they were. Each is judged
    on the very batch it is given: many copies of the batch go through it at once only where trials show that no copy
    feels the others; one that shares among rows (a mean as baseline, a normalization) runs on one batch at a time. So
    does the function for the truth, if it mixes its samples or rows.

    A bias is called one at four standard errors, which chance makes in less than 1 of 1000 rows. "No bias" is said only
    with the smallest that would have been found: ``Row.smallest_bias``.

    Args:
        estimators: candidates by name, or one. A callable that requires one argument is a layer ``x -> y``, such as a
            ``Bridge``; one that requires two is an estimator ``(q, f)``, such as ``hardgrad.reinmax``. Modules among
            them run in training mode. ``hardgrad.doctor.candidates`` has some for any function.
        function: the hard function ``(B, *) -> (B, *out)``, a black box perhaps, each row by itself; or, where
            ``inputs`` is a distribution, the objective ``(n, *batch, *event) -> (n, *batch)``.
        inputs: shape ``(B, *)``; or a Bernoulli, Categorical, OneHotCategorical, KSubset or Normal, ``Independent``
            allowed.
        objective: ``(n, B, *out) -> (n, B)``, for a hard function; half the squared distance to what the function
            returns for the next row of the batch by default.
        noise: "auto" recognizes an argmax and a threshold at 0, and is Gaussian otherwise.
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
        seconds: what it may take, roughly, above 0: a third for the truth, the rest for the candidates alike. What did
            not fit is said; standard errors are those of what did.
        progress: called with a ``Progress`` as it goes on, name, turns done, turns in all and seconds left; ``print``
            will do. True shows a line that moves, on a terminal and in a notebook; in a pipe one for each turn.

    Returns:
        A ``Diagnosis``: ``print`` shows the table, the warnings and the advice. It says so where the function gives
        other outputs for the same input, and where the function broke before all candidates were measured.

    Raises:
        ValueError: if an argument is out of range, or the function raises, or returns what is not finite. A candidate
            that raises is a row with its error instead.
        Stopped: a KeyboardInterrupt after at least one candidate was measured; its ``diagnosis`` has those.

    Example:
        >>> import torch, hardgrad as hg
        >>> x = torch.tensor([[0.5, -0.2], [-1.0, 0.3]])
        >>> found = hg.diagnose({"identity": hg.straight_through(hg.hard.sign), "exact": hg.exact}, hg.hard.sign, x)
        >>> found.truth.kind, found["exact"].unbiased, found["identity"].unbiased
        ('enumeration', True, False)
        >>> hg.Diagnosis.from_json(found.to_json()) == found
        True
    """
    with torch.inference_mode(False), told(progress) as tell:
        candidates = _checked(estimators, function, inputs, objective, draws, budget, warm_up, generator)
        check_positive("diagnose", "seconds", seconds, "None takes as long as it takes")
        master, pace = master_seed(generator), Pace(list(candidates), tell, seconds)
        own = Guarded(_own(function), _rows_of(inputs))
        smoothed = _smoothed(own, inputs, objective, noise, sigma, master)
        repeats = Repeats(smoothed, seed_of(master, "repeats"))
        mixing = APART if repeats.kind == "state" else mixing_of(smoothed, seed_of(master, "mixing"))
        asked, own.where = for_truth(smoothed, mixing), "while the truth was sought"
        budget = budget or _budget(smoothed, mixing)
        _expect(pace, smoothed, enumerable(asked, truth), budget, draws or DRAWS, warm_up, repeats.seconds)
        _check_limit(seconds, smoothed, enumerable(asked, truth), repeats.seconds)
        reference = find_truth(asked, truth, budget, master, pace)
        exam = Exam(smoothed, own, Shared(own, function), reference, draws, warm_up, master, pace, repeats)
        turns = take_turns(candidates, exam)
        rows, seen = rows_of(candidates, exam, turns), truth_of(reference)
        pace.end()
    diagnosis = conclude(name_of(function), exam, turns, mixing, rows, seen)
    if turns.by_hand:
        raise Stopped(diagnosis, turns.measured)
    return diagnosis


def _rows_of(inputs: Tensor | Distribution) -> int | None:
    return len(inputs) if isinstance(inputs, Tensor) and inputs.ndim else None


def _check_limit(seconds: float | None, smoothed: Smoothed, states: int, once: float) -> None:
    """Raise ValueError if a limit leaves no room for the least truth and one candidate."""
    taken = smoothed.call_time
    sampled = taken.seconds(2 * GROUPS, GROUPS)
    least = (min(taken.seconds(states), sampled) if states else sampled) + LEAST * once
    if seconds is not None and seconds < least:
        raise ValueError(
            f"diagnose: seconds must leave room for the least truth and one candidate, about {least:.2g} where "
            f"function takes {once:.2g} for the batch, got {seconds:g}; give it more, or fewer rows"
        )


def _expect(pace: Pace, smoothed: Smoothed, states: int, budget: int, draws: int, warm_up: int, seconds: float) -> None:
    """Tell the clock what can be known of the seconds before us."""
    taken, copies = smoothed.call_time, -(-128 // smoothed.rows)
    pieces, trials = 10 * GROUPS, 25  # calls for a sampled truth; evaluations that try a candidate's copies
    calls = GROUPS + trials + warm_up
    candidate = max(taken.seconds(draws + trials + copies * warm_up, calls), calls * seconds)
    pace.expect(
        taken.seconds(states) if states else taken.seconds(budget, pieces), candidate, 9 * len(pace.names) * seconds
    )


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
        _check.whole("diagnose", "draws", draws, GROUPS, cure="standard errors need as many; None takes 1000 or more")
    if budget is not None:
        _check.whole("diagnose", "budget", budget, 1, cure="it counts evaluations; None takes 200000")
    _check.whole("diagnose", "warm_up", warm_up, 0, cure="it counts steps; 0 trains nothing")
    _check.generator("diagnose", generator)
    return candidates


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
    judge = None if objective is None else Guarded(objective, name="objective")
    with seeded(seed_of(master, "smoothing"), device_of(inputs)):
        return smooth(function, inputs, judge, noise, sigma, generator)
