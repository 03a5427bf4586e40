"""What a diagnosis says of candidates whose bias, variance and direction are known, since they are planted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent, OneHotCategorical

import hardgrad as hg

ROWS, UNITS = 3, 3
LOGITS = torch.tensor([[0.3, -0.8, 0.5], [1.0, 0.1, -0.4], [-0.2, 0.7, 0.9]])
Change = Callable[[Tensor], Tensor]


def f(b: Tensor) -> Tensor:
    """Nonlinear, with a product of all units; another one in each row."""
    target = torch.tensor([0.4, -1.0, 2.0])
    return (b.sum(-1) - target).square() + 3 * b.prod(-1) - b[..., 0] * b[..., 2]


def q_of(logits: Tensor = LOGITS) -> Independent:
    return Independent(Bernoulli(logits=logits), 1)


def gradient_by_hand() -> Tensor:
    """Each unit's gradient is p (1 - p) times what f gains on average when the unit goes from 0 to 1."""
    p = LOGITS.double().sigmoid()
    found = torch.zeros(ROWS, UNITS, dtype=torch.float64)
    for row, unit in itertools.product(range(ROWS), range(UNITS)):
        for state in itertools.product((0.0, 1.0), repeat=UNITS):
            b = torch.tensor(state, dtype=torch.float64)
            chance = math.prod(float(p[row, j] if state[j] else 1 - p[row, j]) for j in range(UNITS) if j != unit)
            gain = chance * float(f(b.expand(ROWS, UNITS))[row])
            found[row, unit] += gain if state[unit] else -gain
    return found * p * (1 - p)


def planted(change: Change) -> Callable[[Independent, Callable[[Tensor], Tensor]], Tensor]:
    """An estimator whose gradient is that of enumeration after ``change``, which sees copies ``(n, rows, units)``."""

    def estimator(q: Independent, objective: Callable[[Tensor], Tensor]) -> Tensor:
        logits = q.base_dist.logits
        (g,) = torch.autograd.grad(hg.exact(q, objective).sum(), logits)
        wanted = change(g.view(-1, ROWS, UNITS)).reshape(logits.shape)
        return (wanted.detach() * logits).sum(-1)

    return estimator


def examine(change: Change, draws: int = 2000, seed: int = 0) -> hg.doctor.Row:
    generator = torch.Generator().manual_seed(seed)
    return hg.diagnose({"it": planted(change)}, f, q_of(), draws=draws, generator=generator)["it"]


def each_draw(g: Tensor) -> Tensor:
    """One standard normal number for each gradient of the batch."""
    return torch.randn(g.shape[0], 1, 1)


def test_the_truth_is_that_of_a_loop_over_all_outcomes() -> None:
    found = hg.diagnose(hg.exact, f, q_of(), draws=20)
    assert found.truth.kind == "enumeration"
    assert found.truth.standard_error == 0
    expected = gradient_by_hand()
    torch.testing.assert_close(torch.tensor(found.truth.gradient).view(ROWS, UNITS), expected.float())
    assert found.truth.norm == pytest.approx(float(expected.norm()), rel=1e-5)
    row = found["exact"]
    assert (row.bias, row.bias_z, row.signal_to_noise, row.unbiased) == (0, 0, None, True)
    assert row.cosine == pytest.approx(1)
    assert row.progress == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("factor", "bias"), [(1.2, 0.2), (0.5, 0.5), (3.0, 2.0)])
def test_a_planted_factor_is_found(factor: float, bias: float) -> None:
    row = examine(lambda g: factor * g)
    assert row.bias == pytest.approx(bias, rel=1e-4)
    assert row.norm_ratio == pytest.approx(factor, rel=1e-4)
    assert row.cosine == pytest.approx(1)
    assert row.bias_z > 100
    assert not row.unbiased
    assert not row.uphill


def test_a_planted_factor_is_found_under_noise_that_hides_it() -> None:
    """The noise of the mean of 2000 gradients is as long as the bias; with it left on, it would read 1.4 times."""
    norm = float(gradient_by_hand().norm())
    deviation = 0.2 * norm * math.sqrt(2000 / (ROWS * UNITS))
    found = [examine(lambda g: 1.2 * g + deviation * torch.randn_like(g), seed=seed) for seed in range(6)]
    # One bias squared has a standard error of 0.8 of itself here: sqrt(2 / 9 + 4 / 9), so the mean of six has a third.
    squares = sum(row.bias**2 for row in found) / len(found)
    assert 0.04 * (1 - 3 * 0.33) < squares < 0.04 * (1 + 3 * 0.33)
    # Each is told to within 3 standard errors of 0.07: the noise along the truth.
    assert sum(row.norm_ratio for row in found) / len(found) == pytest.approx(1.2, abs=3 * 0.07 / math.sqrt(6))


def test_planted_noise_is_no_bias_and_its_variance_is_found() -> None:
    """Of n draws the variance has a relative standard error of sqrt(2 / (9 n)): 1 % at n = 2000; bound 4.5."""
    row = examine(lambda g: g + 0.5 * torch.randn_like(g))
    assert row.bias_z < 4.5
    assert row.unbiased
    assert row.variance == pytest.approx(0.25 * ROWS * UNITS, rel=4.5 * math.sqrt(2 / (ROWS * UNITS * 2000)))
    squared = float(gradient_by_hand().square().sum())
    assert row.signal_to_noise == pytest.approx(squared / row.variance, rel=1e-4)
    assert row.progress == pytest.approx(squared / (squared + row.variance), rel=0.02)
    assert row.cosine == pytest.approx(1, abs=4.5 * row.cosine_error + 1e-3)


@pytest.mark.parametrize("draws", [200, 2000])
def test_the_cosine_of_a_noisy_mean_is_not_drawn_towards_zero(draws: int) -> None:
    """A planted angle of 60 degrees, under noise as long as the gradient times sqrt(200): uncorrected it reads 0.35."""
    t = gradient_by_hand().float()
    aside = torch.randn(ROWS, UNITS, generator=torch.Generator().manual_seed(5))
    aside -= (aside * t).sum() / t.square().sum() * t
    turned = 0.5 * t + math.sqrt(0.75) * t.norm() / aside.norm() * aside
    noise = float(t.norm()) * math.sqrt(draws / (ROWS * UNITS)) * 0.5
    found = [examine(lambda g: turned + noise * torch.randn_like(g), draws, seed) for seed in range(8)]
    cosines = torch.tensor([row.cosine for row in found if row.cosine is not None])
    assert len(cosines) >= 6
    # The noise across the truth is a sixth of its length in each direction: 0.17 a cosine, 0.06 the mean of eight.
    assert float(cosines.mean()) == pytest.approx(0.5, abs=0.2)


def test_the_opposite_points_uphill() -> None:
    row = examine(lambda g: -g + 0.3 * torch.randn_like(g))
    assert row.cosine == pytest.approx(-1, abs=0.01)
    assert row.uphill
    assert row.uphill_rows == 1
    assert row.progress == 0
    assert row.bias == pytest.approx(2, abs=0.05)
    found = hg.diagnose({"back": planted(torch.neg), "exact": hg.exact}, f, q_of(), draws=100)
    assert next(w for w in found.warnings if "uphill" in w).startswith("back points uphill")
    assert found.advice.startswith("use exact")


def test_uphill_is_said_only_of_what_is_significant() -> None:
    """Noise 300 times as long as the gradient: a mean of 200 points anywhere, and half the time away from the truth."""
    norm = float(gradient_by_hand().norm())
    for seed in range(10):
        row = examine(lambda g: g + 100 * norm * torch.randn_like(g), draws=200, seed=seed)
        assert not row.uphill
        assert row.uphill_rows == 0
        assert not row.biased
        assert not row.unbiased


def test_one_row_uphill_is_seen_though_the_batch_goes_down() -> None:
    turn = torch.tensor([1.0, 1.0, -1.0]).unsqueeze(-1)
    row = examine(lambda g: turn * g)
    t = gradient_by_hand()
    assert row.uphill_rows == pytest.approx(1 / 3)
    assert row.cosine == pytest.approx(float((turn * t * t).sum() / t.square().sum()), abs=1e-5)
    found = hg.diagnose({"it": planted(lambda g: turn * g)}, f, q_of(), draws=40)
    assert any(w.startswith("uphill in some of the rows") and "33%" in w for w in found.warnings) == (row.cosine > 0)


def test_right_three_times_in_four() -> None:
    """Each gradient is the truth or, one time in four, its opposite: half the truth on average, half its cosine."""
    row = examine(lambda g: g * (1 - 2 * (torch.rand(g.shape[0], 1, 1) < 0.25).float()), draws=4000)
    error = 4.5 * math.sqrt(0.75 / 4000)
    assert row.cosine_of_one == pytest.approx(0.5, abs=error)
    assert row.norm_ratio == pytest.approx(0.5, abs=error)
    assert row.cosine == pytest.approx(1, abs=1e-4)
    assert row.progress == pytest.approx(0.25, abs=error)
    assert row.bias == pytest.approx(0.5, abs=error)


def test_zeros_and_coordinates_that_never_move() -> None:
    def some(g: Tensor) -> Tensor:
        return torch.where(torch.rand_like(g) < 0.25, 0, g / 0.75)

    row = examine(some)
    assert row.zeros == pytest.approx(0.25, abs=4.5 * math.sqrt(0.25 * 0.75 / (2000 * 9)))
    assert row.dead == 0
    assert not row.biased
    row = examine(lambda g: g * torch.tensor([0.0, 1.0, 1.0]))
    squares = gradient_by_hand().square()
    missed = float(squares[:, 0].sum() / squares.sum())
    assert row.zeros == pytest.approx(1 / 3)
    assert row.dead == pytest.approx(missed)
    assert row.sign_agreement == pytest.approx(2 / 3)
    found = hg.diagnose({"it": planted(lambda g: g * torch.tensor([0.0, 1.0, 1.0]))}, f, q_of(), draws=40)
    assert f"it never moves coordinates that make {missed:.0%}" in found.warnings[0]


def test_signs_are_those_of_the_mean() -> None:
    row = examine(lambda g: g * torch.tensor([-1.0, 1.0, 1.0]) + 0.01 * torch.randn_like(g))
    assert row.sign_agreement == pytest.approx(2 / 3)


def test_no_gradient_at_all_is_said_and_never_advised() -> None:
    still = {"still": lambda q, objective: objective(q.sample().unsqueeze(0)).squeeze(0), "exact": hg.exact}
    found = hg.diagnose(still, f, q_of(), draws=40)
    row = found["still"]
    assert (row.zeros, row.flat, row.unbiased, row.cosine, row.progress) == (1, True, False, None, 0)
    assert row.bias == pytest.approx(1)
    assert "still gives no gradient" in found.warnings[0]
    assert "no gradient" in str(found)
    assert found.advice.startswith("use exact")


@pytest.mark.parametrize(
    "estimator",
    [
        hg.score_function,
        partial(hg.score_function, samples=4, baseline="leave_one_out"),
        hg.disarm,
        hg.arms,
        hg.rebar,
        partial(hg.relax, control=hg.approximators.mlp(UNITS, 1, hidden=(8,))),
    ],
    ids=["score_function", "leave_one_out", "disarm", "arms", "rebar", "relax"],
)
def test_unbiased_estimators_show_no_bias(estimator: Callable[..., Tensor]) -> None:
    """Eight seeds, 600 gradients each; with no bias the significance is a standard normal variate: bound 4.5."""
    z = []
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        row = hg.diagnose({"it": estimator}, f, q_of(), draws=600, generator=generator)["it"]
        z.append(row.bias_z)
    assert max(z) < 4.5
    assert -3 < sum(z) / len(z) * math.sqrt(len(z)) < 4.5


@pytest.mark.parametrize("estimator", [hg.gumbel, hg.montecarlo.straight_through_estimator])
def test_biased_estimators_show_it(estimator: Callable[..., Tensor]) -> None:
    row = hg.diagnose({"it": estimator}, f, q_of(), draws=2000)["it"]
    assert row.bias_z > 4.5
    assert not row.unbiased


def test_biased_estimators_are_caught_pointing_uphill() -> None:
    """A four-way choice, one strongly nonlinear loss: the relaxations agree with each other and not with the truth."""
    generator = torch.Generator().manual_seed(12)  # of sixty such objectives the one that misleads most
    w, v = 2 * torch.randn(4, 8, generator=generator), torch.randn(8, generator=generator)
    q = OneHotCategorical(logits=0.5 * torch.randn(1, 4, generator=generator))
    misled = {
        "straight_through": hg.montecarlo.straight_through_estimator,
        "gumbel": hg.gumbel,
        "gumbel, colder": partial(hg.gumbel, temperature=0.5),
        "reinmax": hg.reinmax,
    }
    found = hg.diagnose(
        {**misled, "score_function": hg.score_function}, lambda b: torch.sin(3 * (b @ w)) @ v, q, draws=4000
    )
    for name in misled:
        assert found[name].cosine < -0.8
        assert any(warning.startswith(f"{name} points uphill") for warning in found.warnings)
    assert found["score_function"].cosine > 0.95
    assert not found["score_function"].uphill
    assert not found["score_function"].biased
    assert len([warning for warning in found.warnings if "uphill" in warning]) == 4
    assert found.advice.startswith("use score_function")


def test_rare_events_are_not_taken_for_bias() -> None:
    """One unit that fires once in 3000 draws, and an objective that is zero unless it does: nothing is seen, ever."""
    q = Independent(Bernoulli(logits=torch.tensor([[-8.0]])), 1)
    found = hg.diagnose({"it": hg.score_function}, lambda b: b.squeeze(-1), q, draws=200)
    assert found["it"].flat
    assert found["it"].bias_z < 4


def test_a_truth_of_zero_is_said() -> None:
    found = hg.diagnose({"it": hg.score_function}, lambda b: b[..., 0] * 0 + 2.0, q_of(), draws=100)
    assert not found.truth.resolved
    assert found.truth.norm == 0
    row = found["it"]
    assert (row.bias, row.cosine, row.progress, row.sign_agreement) == (None, None, None, None)
    assert row.bias_norm < 0.5
    assert "not told apart from zero" in found.warnings[0]
    assert found.advice.startswith("none")
    assert hg.Diagnosis.from_json(found.to_json()) == found
