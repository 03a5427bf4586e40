"""The doctor judges a candidate on the user's own batch: whatever it shares among rows, samples, draws or copies."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent

import hardgrad as hg
from hardgrad.doctor.apart import copies_at_once
from hardgrad.doctor.copies import Shared
from hardgrad.doctor.smoothing import smooth
from hardgrad.doctor.subject import Subject

LOGITS = torch.tensor([[0.3, -0.2], [0.1, 0.5]])
Objective = Callable[[Tensor], Tensor]


def q(logits: Tensor = LOGITS) -> Independent:
    return Independent(Bernoulli(logits=logits), 1)


def f(b: Tensor) -> Tensor:
    return (b.sum(-1) - 0.4).square() + 5


def scored(weigh: Objective) -> Callable[[Independent, Objective], Tensor]:
    """A score function whose values are weighed by whatever the rows of the batch make of them."""

    def estimator(q: Independent, objective: Objective) -> Tensor:
        b = q.sample()
        value = objective(b).detach()
        score = weigh(value) * q.log_prob(b)
        return value + score - score.detach()

    return estimator


def shared_number(v: Tensor) -> Tensor:
    return v * 2 * torch.rand(())


class Norm(torch.autograd.Function):
    """Gives back a gradient of length 1, of all rows together."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, g: Tensor) -> Tensor:
        return g / g.norm()


def of_length_one(q: Independent, objective: Objective) -> Tensor:
    b = q.sample()
    value = objective(b).detach()
    score = Norm.apply(value * q.log_prob(b))
    return value + score - score.detach()


class Average(nn.Module):
    """A running mean that has seen the values which it is taken from."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, q: Independent, objective: Objective) -> Tensor:
        b = q.sample()
        value = objective(b).detach()
        self.mean = 0.5 * self.mean + 0.5 * value.mean()
        score = (value - self.mean) * q.log_prob(b)
        return value + score - score.detach()


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)

    def forward(self, q: Independent, objective: Objective) -> Tensor:
        b = q.sample()
        value = objective(b).detach()
        score = (value - self.norm(b).sum(-1).detach()) * q.log_prob(b)
        return value + score - score.detach()


SHARING = {
    "mean": scored(lambda v: v - v.mean()),
    "others' mean": scored(lambda v: v - (v.sum() - v) / (len(v) - 1)),
    "normalized": scored(lambda v: (v - v.mean()) / (v.std() + 1e-3)),
    "rank": scored(lambda v: v.argsort().argsort().to(v.dtype)),
    "largest": scored(lambda v: v - v.max()),
    "smallest": scored(lambda v: v - v.min()),
    "median": scored(lambda v: v - v.median()),
    "sum so far": scored(lambda v: v - v.cumsum(0) + v),
    "sum from here": scored(lambda v: v - v.flip(0).cumsum(0).flip(0) + v),
    "number of rows": scored(lambda v: v / len(v)),
    "next row": scored(lambda v: v - 0.1 * v.roll(1)),
    "another row": scored(lambda v: v - v[torch.randperm(len(v))]),
    "a thousandth": scored(lambda v: v - 1e-3 * v.mean()),
    "switch": scored(lambda v: v if v.max() < 9 else 0 * v),
    "one random number": scored(shared_number),
    "length one": of_length_one,
    "running mean": Average(),
    "batch normalization": Normed(),
}


def copies(candidate: Callable[..., Tensor], function: Objective = f, inputs: object = None) -> int:
    """How many copies of the batch the doctor stacks."""
    smoothed = smooth(function, q() if inputs is None else inputs, None, "auto", None, torch.Generator().manual_seed(0))
    subject = Subject("it", candidate, smoothed, Shared(function, function))
    return copies_at_once(subject, 0)


@pytest.mark.parametrize("name", list(SHARING))
def test_what_shares_among_rows_is_run_on_the_batch_alone(name: str) -> None:
    assert copies(SHARING[name]) == 1


@pytest.mark.parametrize("logits", [LOGITS, LOGITS[:1], LOGITS[0]], ids=["batch", "one row", "no batch"])
def test_estimators_of_the_library_are_stacked(logits: Tensor) -> None:
    """Or a diagnosis would take a hundred times as long."""
    for name, candidate in hg.doctor.candidates(f, q(logits)).items():
        assert copies(candidate, f, q(logits)) > 1000, name


@pytest.mark.parametrize("hard", [hg.hard.sign, hg.hard.one_hot_argmax, hg.hard.sort, hg.hard.round])
def test_layers_of_the_library_are_stacked(hard: Objective) -> None:
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    layers = {k: v for k, v in hg.doctor.candidates(hard, x).items() if k in ("autograd", "straight_through", "bridge")}
    assert all(copies(layer, hard, x) > 1000 for layer in layers.values())
    drops = hg.Bridge(hard, nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 4)))
    norms = hg.Bridge(hard, nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)))
    assert copies(drops, hard, x) > 1000
    assert copies(norms, hard, x) == 1


def truth_by_hand(value: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """The gradient of the expected sum over rows, by a loop over all joint outcomes of all rows."""
    x = logits.double().requires_grad_()
    p, total = x.sigmoid(), torch.zeros((), dtype=torch.float64)
    for state in itertools.product((0.0, 1.0), repeat=logits.numel()):
        b = torch.tensor(state, dtype=torch.float64).view(logits.shape)
        total = total + torch.where(b > 0, p, 1 - p).prod() * value(b.float()).sum().double()
    return torch.autograd.grad(total, x)[0]


@pytest.mark.parametrize("name", ["mean", "running mean", "normalized"])
def test_bias_and_variance_are_those_of_the_users_own_batch(name: str) -> None:
    """Against a loop that calls a fresh copy on the two rows 1000 times; five standard errors of either."""
    torch.manual_seed(1)
    gradients = []
    for _ in range(1000):
        x = LOGITS.clone().requires_grad_()
        copy.deepcopy(SHARING[name])(q(x), f).sum().backward()
        gradients.append(x.grad.double())
    runs, truth = torch.stack(gradients), truth_by_hand(f, LOGITS)
    found = hg.diagnose({"it": SHARING[name]}, f, q(), draws=1000, generator=torch.Generator().manual_seed(0))["it"]
    variance = float(runs.var(0).sum())
    assert found.variance == pytest.approx(variance, rel=0.25)
    error = math.sqrt(2 * variance / 1000) / float(truth.norm())
    assert found.bias == pytest.approx(float((runs.mean(0) - truth).norm() / truth.norm()), abs=5 * error)
    assert found.biased or name != "mean"


def test_a_batch_of_one_row_is_a_batch_of_one_row() -> None:
    """The mean of one value is that value: nothing is left of it."""
    assert hg.diagnose({"it": SHARING["mean"]}, f, q(LOGITS[:1]), draws=40)["it"].flat


def test_a_candidate_meets_the_shapes_of_its_batch() -> None:
    seen: list[tuple[torch.Size, torch.Size]] = []

    def spy(q: Independent, objective: Objective) -> Tensor:
        b = q.sample()
        seen.append((q.batch_shape, b.shape))
        if q.batch_shape != ():
            raise RuntimeError("no batch here")
        return scored(lambda v: v)(q, objective)

    assert hg.diagnose({"it": spy}, f, q(LOGITS[0]), draws=20)["it"].error is None
    assert ((), (2,)) in seen


# ------------------------------------------------------------------------------------------ functions that mix


def of_rows(b: Tensor) -> Tensor:
    """Each row's number depends on the other rows, whatever stands before them."""
    return (b.sum(-1) - 1.3 * b.sum(-1).mean(-1, keepdim=True)).square() + b[..., 0]


def of_samples(b: Tensor) -> Tensor:
    """The first dimension: the rows of a single sample, samples where there are several."""
    return (b.sum(-1) - 1.3 * b.sum(-1).mean(0, keepdim=True)).square() + b[..., 0]


NORM = nn.Sequential(nn.BatchNorm1d(2, affine=False), nn.Sigmoid())


def normalized(b: Tensor) -> Tensor:
    return NORM(b.reshape(-1, 2)).view(b.shape).square().sum(-1) + b.prod(-1)


@pytest.mark.parametrize("way", ["auto", "long run", "finite difference"])
@pytest.mark.parametrize("function", [of_rows, of_samples, normalized])
def test_the_truth_of_a_function_that_mixes_is_that_of_the_batch(function: Objective, way: str) -> None:
    """By a loop over all outcomes of both rows together; by sampling to five standard errors."""
    found = hg.diagnose({"it": hg.score_function}, function, q(), draws=20, truth=way, budget=4000)
    truth = truth_by_hand(function, LOGITS)
    distance = float((torch.tensor(found.truth.gradient).view(2, 2) - truth).norm())
    assert distance < 5 * found.truth.standard_error + 1e-5
    assert found.truth.standard_error < 0.5 * float(truth.norm())
    assert any("mixes the rows" in warning for warning in found.warnings)
    assert any("mixes the samples" in warning for warning in found.warnings) == (function is not of_rows)


def test_estimators_of_a_function_that_mixes_are_as_they_are_in_training() -> None:
    """Against 1000 calls on the batch alone: what a row does to the others' values is left out, and is bias."""
    torch.manual_seed(2)
    gradients = []
    for _ in range(1000):
        x = LOGITS.clone().requires_grad_()
        hg.score_function(q(x), of_samples).sum().backward()
        gradients.append(x.grad.double())
    runs, truth = torch.stack(gradients), truth_by_hand(of_samples, LOGITS)
    generator = torch.Generator().manual_seed(0)
    found = hg.diagnose({"it": hg.score_function}, of_samples, q(), draws=1000, generator=generator)["it"]
    error = math.sqrt(2 * float(runs.var(0).sum()) / 1000) / float(truth.norm())
    assert found.bias == pytest.approx(float((runs.mean(0) - truth).norm() / truth.norm()), abs=5 * error)


def test_an_objective_that_mixes_rows() -> None:
    """Half of the squared sum over rows of signs, as one number that all rows share: layers feel all of it."""

    def objective(y: Tensor) -> Tensor:
        return y.sum((1, 2)).square().unsqueeze(1).expand(-1, y.shape[1]) / 4

    x = torch.tensor([[0.3, -0.2], [0.1, 0.5]])
    found = hg.diagnose(
        {"exact": hg.exact}, hg.hard.sign, x, objective=objective, sigma=0.7, draws=20, budget=20
    )  # fmt: skip
    truth = truth_by_hand(lambda b: (2 * b - 1).sum().square() / 4 * torch.ones(2), x / 0.7) / 0.7
    torch.testing.assert_close(torch.tensor(found.truth.gradient).view(2, 2), truth.float())


@pytest.mark.parametrize("mix", [lambda x: x.cumsum(0), lambda x: x.flip(0).cumsum(0).flip(0), lambda x: x.sort(0)[0]])
def test_a_hard_function_that_mixes_rows_is_refused(mix: Objective) -> None:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(3))
    with pytest.raises(ValueError, match="each row of the batch by itself"):
        hg.diagnose(hg.score_function, mix, x, draws=20, budget=400)


def test_a_function_that_mixes_nothing_is_not_said_to() -> None:
    drop = nn.Sequential(nn.Linear(2, 4), nn.Dropout(), nn.Linear(4, 1))
    for function in (
        f,
        hg.montecarlo.each_sample(f),
        lambda b: drop(b).squeeze(-1),
        lambda b: b.sum(-1) + torch.rand(()),
    ):
        found = hg.diagnose({"it": hg.score_function}, function, q(), draws=20)
        assert not any("mixes" in warning for warning in found.warnings)
