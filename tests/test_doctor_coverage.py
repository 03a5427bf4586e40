"""What the doctor says of its own precision, held to closed forms: 200 repetitions of each of five."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

import hardgrad as hg
from hardgrad.doctor.compare import compare
from hardgrad.doctor.copies import Shared
from hardgrad.doctor.diagnosis import Row
from hardgrad.doctor.measure import Draws, _Tally
from hardgrad.doctor.power import Rounding, noise_of
from hardgrad.doctor.smoothing import smooth
from hardgrad.doctor.subject import Subject
from hardgrad.doctor.truth import Reference, find_truth

TIMES, DRAWS = 200, 400
X = torch.tensor([[0.3, -0.5, 1.1], [-0.9, 0.2, 0.4]])
WEIGHT = torch.tensor([[1.0, -2.0, 0.5], [1.5, 1.0, -1.0]])
SIGMA = 0.7
P = torch.sigmoid(X / SIGMA)
Q = torch.softmax(X / SIGMA, -1)
FOUR = partial(hg.score_function, samples=4, baseline="leave_one_out")


def weighed(y: Tensor) -> Tensor:
    return (y * WEIGHT.repeat(y.shape[1] // 2, 1)).flatten(2).sum(-1)


@dataclass(frozen=True)
class Form:
    """A smoothed function whose gradient is known, an estimator of it without bias, and a way to the truth."""

    hard: Callable[..., Tensor]
    noise: str
    way: str
    candidate: Callable[..., Tensor]
    gradient: Tensor


FORMS = {
    "sign": Form(
        hg.hard.sign, "gaussian", "long run", FOUR,
        WEIGHT * 2 * torch.exp(-(X**2) / (2 * SIGMA**2)) / (SIGMA * math.sqrt(2 * math.pi)),
    ),
    "step": Form(hg.hard.step, "logistic", "enumeration", hg.score_function, WEIGHT * P * (1 - P) / SIGMA),
    "argmax": Form(
        hg.hard.one_hot_argmax, "gumbel", "long run", FOUR, Q * (WEIGHT - (Q * WEIGHT).sum(-1, keepdim=True)) / SIGMA
    ),
    "square": Form(torch.square, "gaussian", "finite difference", torch.square, WEIGHT * 2 * X),
    "normal": Form(lambda b: b.square().sum(-1), "", "long run", hg.score_function, 2 * X),
}  # fmt: skip


@dataclass(frozen=True)
class Repeated:
    """Independent repetitions of one examination, ``TIMES`` of them."""

    truths: list[Reference]
    draws: list[Draws]
    expected: Tensor
    rounding: Rounding


@cache
def repeated(name: str) -> Repeated:
    """All repetitions at once: as the rows of one large batch for the truth, as copies of the batch for the draws."""
    form = FORMS[name]
    large, small = (_smoothed(form, x) for x in (X.repeat(TIMES, 1), X))
    truth = find_truth(large, form.way, 2000, 1)
    parts = truth.groups.unflatten(1, (TIMES, 2)).unbind(1)
    torch.manual_seed(2)
    shared = Shared(form.hard, form.hard)
    subject = Subject(name, form.candidate, small, shared)
    noise = small.noise(TIMES * DRAWS, torch.Generator().manual_seed(3))
    gradients = subject.gradients(subject.fresh(), noise)[0].detach().flatten(1).double().view(TIMES, DRAWS, -1)
    truths = [replace(truth, groups=groups) for groups in parts]
    draws = [_tallied(g, one) for g, one in zip(gradients, truths, strict=True)]
    return Repeated(truths, draws, form.gradient.double(), Rounding.of(small))


def _smoothed(form: Form, x: Tensor) -> Any:
    generator = torch.Generator().manual_seed(0)
    if not form.noise:
        return smooth(form.hard, Independent(Normal(x, SIGMA), 1), None, "auto", None, generator)
    return smooth(form.hard, x, weighed, form.noise, SIGMA, generator)


def _tallied(gradients: Tensor, truth: Reference) -> Draws:
    tally = _Tally(X, truth.gradient, DRAWS)
    tally.take(gradients, learns=False)
    return tally.draws()


def moved(draws: Draws, by: Tensor) -> Draws:
    """The same draws with a bias."""
    return replace(draws, groups=draws.groups + by)


def within(share: float, n: int, sigmas: float = 4.5) -> float:
    """How far a frequency of n tries may be from its probability."""
    return sigmas * math.sqrt(share * (1 - share) / n)


every_form = pytest.mark.parametrize("name", list(FORMS))


@every_form
def test_the_truth_covers_the_closed_form(name: str) -> None:
    """Of each coordinate, 95 of 100 intervals of Student's t at 19 degrees of freedom; 200 times 6, 4.5 sigma."""
    one = repeated(name)
    if one.truths[0].exact:
        torch.testing.assert_close(one.truths[0].gradient, one.expected, rtol=1e-5, atol=1e-6)
        return
    error = torch.stack([truth.variance.sqrt() for truth in one.truths])
    distance = torch.stack([truth.gradient for truth in one.truths]) - one.expected
    covered = float((distance.abs() < 2.093 * error).double().mean())
    assert covered == pytest.approx(0.95, abs=within(0.95, 6 * TIMES))


def test_a_bias_that_is_not_there_is_found_once_in_a_thousand_at_the_most() -> None:
    """Of 1000 rows without bias; more than 4 have a probability of 0.4 % if the level is what is said."""
    rows = [(d, t, repeated(name).rounding) for name in FORMS for d, t in _pairs(name)]
    z = torch.tensor([compare(d, t, 2, rounding).bias_z for d, t, rounding in rows])
    assert int((z >= 4).sum()) <= 4
    # As a normal variate has it, or less: what rare events may add makes it careful.
    for bound, share in ((1.645, 0.05), (2.326, 0.01)):
        assert float((z > bound).double().mean()) < share + within(share, len(z)) + 0.01


def _pairs(name: str) -> list[tuple[Draws, Reference]]:
    one = repeated(name)
    return list(zip(one.draws, one.truths, strict=True))


@every_form
@pytest.mark.parametrize("direction", ["along", "aside", "noisiest"])
def test_the_smallest_bias_is_found_nine_times_in_ten(name: str, direction: str) -> None:
    """A planted bias of the size that the row itself says it could see; 200 times, 4.5 sigma."""
    one = repeated(name)
    aside = torch.tensor([[1.0, -1.0, 2.0], [0.5, 1.0, -0.5]], dtype=torch.float64)
    spread = torch.stack([d.mean for d in one.draws]).flatten(1)
    noisiest = torch.linalg.svd(spread - spread.mean(0), full_matrices=False).Vh[0].view(X.shape)
    way = {"along": one.expected, "aside": aside, "noisiest": noisiest}[direction]
    found = []
    for draws, truth in _pairs(name):
        smallest = compare(draws, truth, 2, one.rounding).smallest_bias
        if smallest is None:  # the truth is lost in its noise
            continue
        planted = moved(draws, smallest * math.sqrt(truth.squared_norm) * way / way.norm())
        distance = float((planted.mean - truth.gradient).square().sum())
        found.append(noise_of(planted, truth, one.rounding).significance(distance) >= 4)
    assert len(found) > 0.9 * TIMES
    assert sum(found) / len(found) > 0.9 - within(0.9, len(found))


@every_form
def test_a_cosine_is_where_its_error_says(name: str) -> None:
    """A planted angle of 60 degrees: 95 of 100 intervals of Student's t cover it, 4.5 sigma; and none is uphill."""
    one = repeated(name)
    rows = [compare(moved(d, _turned(one.expected, 0.5) - one.expected), t, 2, one.rounding) for d, t in _pairs(name)]
    seen = [(row.cosine, row.cosine_error) for row in rows if row.cosine is not None and row.cosine_error is not None]
    assert len(seen) > 0.9 * TIMES
    covered = sum(abs(cosine - 0.5) <= 2.093 * error for cosine, error in seen) / len(seen)
    assert covered > 0.95 - within(0.95, len(seen))


@every_form
def test_uphill_is_said_of_a_right_angle_as_rarely_as_two_standard_errors_are(name: str) -> None:
    """2.3 of 100 by a normal variate, 3 by Student's t; of 200 rows, 4.5 sigma; and never of an unbiased one."""
    one = repeated(name)
    rows = [compare(moved(d, _turned(one.expected, 0.0) - one.expected), t, 2, one.rounding) for d, t in _pairs(name)]
    said = sum(Row("it", "layer", cosine=row.cosine, cosine_error=row.cosine_error).uphill for row in rows)
    assert said / TIMES < 0.03 + within(0.03, TIMES)
    right = [compare(d, t, 2, one.rounding) for d, t in _pairs(name)]
    assert not any(Row("it", "layer", cosine=row.cosine, cosine_error=row.cosine_error).uphill for row in right)


def _turned(t: Tensor, cosine: float) -> Tensor:
    """A gradient as long as the truth, at an angle to it."""
    aside = torch.tensor([[1.0, -1.0, 2.0], [0.5, 1.0, -0.5]], dtype=torch.float64)
    aside = aside - (aside * t).sum() / t.square().sum() * t
    return cosine * t + math.sqrt(1 - cosine**2) * t.norm() / aside.norm() * aside


@every_form
def test_variances_are_those_of_all_gradients_together(name: str) -> None:
    """The mean of 200 variances of 400 gradients against the scatter of the 200 means, which has 6 x 199 terms."""
    one = repeated(name)
    means = torch.stack([draws.mean for draws in one.draws])
    scatter = DRAWS * float(means.var(0).sum())
    assert sum(draws.variance for draws in one.draws) / TIMES == pytest.approx(scatter, rel=4.5 * math.sqrt(2 / TIMES))
