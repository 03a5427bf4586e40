"""Solvers as layers: gradients against enumerated ones, and losses against their definitions."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import hardgrad as hg
from solver_problems import DOUBLE, PROBLEMS, Problem, mean_solutions, smoothed_gradient

every_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=str)
ROWS = 6_000  # of one cost, each with noise of its own; the global seed is 0
SCALE = 0.7


def gradient(layer: Any, problem: Problem, rows: int = 1, v: Tensor | None = None) -> Tensor:
    """What each of some equal rows gets."""
    cost = problem.cost.expand(rows, *problem.shape).clone().requires_grad_()
    (found,) = torch.autograd.grad((layer(cost) * (problem.v if v is None else v)).sum(), cost)
    return found


def within_four_errors(found: Tensor, want: Tensor, error: Tensor | float = 0.0) -> None:
    """Both are estimates; their errors are independent."""
    both = (found.var(0) / len(found) + torch.as_tensor(error) ** 2).sqrt()
    assert ((found.mean(0) - want).abs() < 4 * both + 1e-12).all(), (found.mean(0), want, both)
    assert (both < 0.2 * want.abs().max()).all()  # else the test says nothing


# ------------------------------------------------------------------------------------------------------- interpolated


def interpolated_loss(problem: Problem, cost: Tensor, strength: float) -> Tensor:
    r"""The paper's loss between the jumps of <v, y(c)>: (min <c + s v, y> - min <c, y>) / s, for "max" of -c."""
    lists = problem.solutions
    c, v = problem.sign * cost.flatten(), problem.v.flatten()
    return ((lists @ (c + strength * v)).min() - (lists @ c).min()) / strength


@every_problem
@pytest.mark.parametrize("strength", [0.3, 2.0, 20.0])
def test_interpolated_is_the_slope_of_the_papers_loss(problem: Problem, strength: float) -> None:
    def slope(signed: float) -> Tensor:
        steps = torch.eye(problem.cost.numel(), dtype=DOUBLE).reshape(-1, *problem.shape) * 1e-6
        at = problem.cost
        each = [interpolated_loss(problem, at + s, signed) - interpolated_loss(problem, at - s, signed) for s in steps]
        return (torch.stack(each) / 2e-6).reshape(problem.shape)

    one = gradient(hg.interpolated(problem, strength, sense=problem.sense), problem)[0]
    torch.testing.assert_close(one, slope(strength), rtol=1e-6, atol=1e-6)
    both = gradient(hg.interpolated(problem, strength, two_sided=True, sense=problem.sense), problem)[0]
    torch.testing.assert_close(both, (slope(strength) + slope(-strength)) / 2, rtol=1e-6, atol=1e-6)
    assert strength == 0.3 or bool(one.any())


@every_problem
@pytest.mark.parametrize("rho", [0.2, 1.5])
def test_rho_is_a_price_of_the_square(problem: Problem, rho: float) -> None:
    """For 30 gradients: what is minimized is written down for the whole list, the square included."""
    lists, strength = problem.solutions, 2.0
    y = problem(problem.cost[None]).flatten()
    price = problem.sign * lists @ problem.cost.flatten() + rho / 2 * (lists - y).square().sum(1)
    one = hg.interpolated(problem, strength, rho=rho, sense=problem.sense)
    both = hg.interpolated(problem, strength, rho=rho, two_sided=True, sense=problem.sense)
    for v in torch.randn(30, *problem.shape, generator=torch.Generator().manual_seed(6), dtype=DOUBLE):
        away = [lists[(price + s * strength * lists @ v.flatten()).argmin()] for s in (1, -1)]
        want = problem.sign * (away[0] - y) / strength
        torch.testing.assert_close(gradient(one, problem, v=v)[0].flatten(), want)
        want = problem.sign * (away[0] - away[1]) / (2 * strength)
        torch.testing.assert_close(gradient(both, problem, v=v)[0].flatten(), want)


# ------------------------------------------------------------------------------------------------------------- noise


@every_problem
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"samples": 2},
        {"samples": 3},
        {"samples": 2, "value": "mean"},
        {"noise": "gumbel"},
        {"noise": "gumbel", "samples": 3},
    ],
    ids=str,
)
def test_the_mean_of_perturbed_is_the_smoothed_gradient(problem: Problem, options: dict[str, Any]) -> None:
    want, error = smoothed_gradient(problem, SCALE, options.get("noise", "normal"))
    layer = hg.perturbed(problem, SCALE, sense=problem.sense, **options)
    within_four_errors(gradient(layer, problem, ROWS), want, error)


@every_problem
@pytest.mark.parametrize("two_sided", [False, True])
def test_the_mean_of_imle_is_the_change_of_the_mean_solution(problem: Problem, two_sided: bool) -> None:
    strength, noise = 0.4, "gumbel" if two_sided else "normal"
    layer = hg.imle(
        problem, strength=strength, scale=SCALE, noise=noise, samples=2, two_sided=two_sided, sense=problem.sense
    )
    ends = (1, -1) if two_sided else (1, 0)
    there, here = (
        mean_solutions(problem, problem.cost + problem.sign * end * strength * problem.v, SCALE, noise) for end in ends
    )
    change = problem.sign * (there - here) / (strength * (ends[0] - ends[1]))
    within_four_errors(gradient(layer, problem, ROWS), change.mean(0), change.std(0) / len(change) ** 0.5)


@every_problem
def test_imle_nears_the_smoothed_gradient(problem: Problem) -> None:
    """By a step of 0.05 the change of the mean solution is its slope to a few percent; 18,000 rows, 4 errors."""
    want, error = smoothed_gradient(problem, SCALE)
    layer = hg.imle(problem, strength=0.05, scale=SCALE, noise="normal", two_sided=True, sense=problem.sense)
    found = gradient(layer, problem, 3 * ROWS)
    both = (found.var(0) / len(found) + error**2).sqrt()
    assert ((found.mean(0) - want).abs() < 4 * both + 0.01 * want.abs().max()).all()


@every_problem
@pytest.mark.parametrize("noise", ["normal", "gumbel"])
def test_the_mean_solution(problem: Problem, noise: str) -> None:
    layer = hg.perturbed(problem, SCALE, noise=noise, value="mean", sense=problem.sense)
    draws = layer(problem.cost.expand(ROWS, *problem.shape))
    want = mean_solutions(problem, problem.cost, SCALE, noise)
    within_four_errors(draws, want.mean(0), want.std(0) / len(want) ** 0.5)
    draws = hg.imle(problem, scale=SCALE, noise=noise, value="mean", sense=problem.sense)(
        problem.cost.expand(ROWS, *problem.shape)
    )
    within_four_errors(draws, want.mean(0), want.std(0) / len(want) ** 0.5)


def test_gumbel_noise_makes_a_choice_a_softmax() -> None:
    cost = torch.tensor([0.3, -0.8, 1.0], dtype=DOUBLE)
    for sense, sign in (("min", -1.0), ("max", 1.0)):
        layer = hg.perturbed(
            lambda c, s=sign: hg.hard.one_hot_argmax(s * c), 0.5, noise="gumbel", value="mean", sense=sense
        )
        within_four_errors(layer(cost.expand(ROWS, 3)), (sign * cost / 0.5).softmax(0))


def test_solutions_of_another_shape_have_the_gradient_of_their_mean() -> None:
    """The index of the cheapest of two: a step, whose mean is a normal distribution function; 4 errors."""
    cost = torch.tensor([1.0, 1.2], dtype=DOUBLE)
    leaf = cost.expand(ROWS, 2).clone().requires_grad_()
    y = hg.perturbed(lambda c: c.argmin(1, keepdim=True).expand(-1, 3), 0.5, samples=2)(leaf)
    assert torch.equal(y, torch.zeros(ROWS, 3, dtype=DOUBLE))
    (y * torch.tensor([1.0, 2.0, -5.0])).sum().backward()
    width = 0.5 * 2**0.5
    density = torch.exp(torch.tensor(-((0.2 / width) ** 2) / 2, dtype=DOUBLE)) / (width * (2 * torch.pi) ** 0.5)
    assert leaf.grad is not None
    within_four_errors(leaf.grad, -2.0 * torch.stack([density, -density]))


def test_a_constant_in_the_loss_adds_no_noise() -> None:
    """Every sample is compared with another: solutions that are all shifted give the same gradient."""
    for options in ({}, {"samples": 2}, {"samples": 3}, {"samples": 3, "noise": "gumbel"}):
        found = []
        for shift in (0.0, 1e6):
            generator = torch.Generator().manual_seed(3)
            layer = hg.perturbed(lambda c, s=shift: PROBLEMS[2](c) + s, SCALE, generator=generator, **options)
            found.append(gradient(layer, PROBLEMS[2], 50))
        torch.testing.assert_close(*found, rtol=1e-6, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------- losses


@every_problem
@pytest.mark.parametrize("noise", ["normal", "gumbel"])
def test_fenchel_young_has_the_gradient_of_its_own_value(problem: Problem, noise: str) -> None:
    """By central differences under fixed noise; on average the gradient is target - mean solution, "max": its minus."""

    def loss(cost: Tensor, samples: int = 5) -> Tensor:
        return hg.fenchel_young(
            problem, cost, target.expand_as(cost), scale=SCALE, samples=samples, noise=noise, sense=problem.sense,
            generator=torch.Generator().manual_seed(4),
        )  # fmt: skip

    target = problem.solutions[1].reshape(problem.shape)
    steps = torch.eye(problem.cost.numel(), dtype=DOUBLE).reshape(-1, 1, *problem.shape) * 1e-6
    cost = problem.cost[None].clone().requires_grad_()
    value = loss(cost)
    (found,) = torch.autograd.grad(value.sum(), cost)
    numeric = torch.stack([(loss(problem.cost + s) - loss(problem.cost - s)).sum() / 2e-6 for s in steps])
    torch.testing.assert_close(found.flatten(), numeric, rtol=1e-6, atol=1e-6)
    assert value >= 0
    many = problem.cost.expand(ROWS, *problem.shape).clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(many, 1).sum(), many)
    mean = mean_solutions(problem, problem.cost, SCALE, noise)
    within_four_errors(found, problem.sign * (target - mean.mean(0)), mean.std(0) / len(mean) ** 0.5)


@every_problem
def test_the_value_of_fenchel_young_is_the_papers(problem: Problem) -> None:
    """E max <c' + noise, y> - <c', y*> by plain draws of the list; 4 errors of both."""
    target, theta = problem.solutions[1], -problem.sign * problem.cost.flatten()
    noise = torch.randn(50_000, len(theta), generator=torch.Generator().manual_seed(9), dtype=DOUBLE) * SCALE
    top = ((theta + noise) @ problem.solutions.t()).max(1).values - theta @ target
    cost = problem.cost.expand(ROWS, *problem.shape)
    known = target.reshape(problem.shape).expand_as(cost)
    for samples in (1, 4):
        found = hg.fenchel_young(problem, cost, known, scale=SCALE, samples=samples, sense=problem.sense)
        assert found.min() >= 0
        within_four_errors(found, top.mean(), top.std() / 50_000**0.5)


def test_fenchel_young_with_gumbel_noise_is_the_cross_entropy() -> None:
    logits = torch.tensor([0.3, -0.8, 1.0], dtype=DOUBLE)
    target = torch.tensor([0.0, 1.0, 0.0], dtype=DOUBLE).expand(ROWS, 3)
    found = hg.fenchel_young(
        hg.hard.one_hot_argmax, logits.expand(ROWS, 3), target, scale=0.5, noise="gumbel", sense="max"
    )
    within_four_errors(found, -0.5 * (logits / 0.5).log_softmax(0)[1])


@every_problem
def test_spo_plus_is_its_definition_and_bounds_the_regret(problem: Problem) -> None:
    lists, draw = problem.solutions, torch.Generator().manual_seed(0)
    true = torch.randn(40, *problem.shape, generator=draw, dtype=DOUBLE)
    cost = true + torch.randn(40, *problem.shape, generator=draw, dtype=DOUBLE)
    best, chosen = problem(true), problem(cost)

    def definition(cost: Tensor) -> Tensor:
        c, t, y = problem.sign * cost.flatten(1), problem.sign * true.flatten(1), best.flatten(1)
        return ((t - 2 * c) @ lists.t()).max(1).values + 2 * (c * y).sum(1) - (t * y).sum(1)

    leaf = cost.clone().requires_grad_()
    loss = hg.spo_plus(problem, leaf, true, sense=problem.sense)
    torch.testing.assert_close(loss, definition(cost))
    (found,) = torch.autograd.grad(loss.sum(), leaf)
    steps = torch.eye(problem.cost.numel(), dtype=DOUBLE).reshape(-1, 1, *problem.shape) * 1e-6
    numeric = torch.stack([(definition(cost + s) - definition(cost - s)) / 2e-6 for s in steps], 1)
    torch.testing.assert_close(found.flatten(1), numeric, rtol=1e-6, atol=1e-6)
    regret = problem.sign * (true * (chosen - best)).flatten(1).sum(1)
    assert (loss >= regret - 1e-12).all()
    assert regret.max() > 0.1
    assert torch.equal(hg.spo_plus(problem, true, true, sense=problem.sense), torch.zeros(40, dtype=DOUBLE))
    known = hg.spo_plus(problem, cost, true, solution=best, sense=problem.sense)
    assert torch.equal(known, loss)


@pytest.mark.parametrize("project", [None, "mean", "norm", "std"])
def test_negative_identity_is_minus_the_projected_gradient(project: Any) -> None:
    """The projections are symmetric matrices, written down: 1 - 11'/n, and (1 - uu') / |x|."""
    x = torch.randn(4, 2, 3, dtype=DOUBLE)
    v = torch.randn(4, 2, 3, dtype=DOUBLE)
    for sense, sign in (("min", -1.0), ("max", 1.0)):
        leaf = x.clone().requires_grad_()
        layer = hg.straight_through(torch.sign, hg.surrogate.twins.negative_identity(project, sense))
        assert torch.equal(layer(leaf), x.sign())
        (layer(leaf) * v).sum().backward()
        assert leaf.grad is not None
        for row, arrived, got in zip(x.flatten(1), v.flatten(1), leaf.grad.flatten(1), strict=True):
            center = torch.eye(6, dtype=DOUBLE) - (1 / 6 if project in ("mean", "std") else 0)
            seen = center @ row
            want = arrived
            if project in ("norm", "std"):
                unit = seen / seen.norm()
                want = (want - unit * (unit @ want)) / seen.norm()
            torch.testing.assert_close(got, sign * center @ want)


# ------------------------------------------------------------------------------------------- what is hard to train by


def _shares(returns: Tensor) -> Tensor:
    """Of three assets, all money in the one of the highest return: the vertex of a linear program over a simplex."""
    from scipy.optimize import linprog

    found = linprog(-returns.numpy(), A_eq=[[1.0, 1.0, 1.0]], b_eq=[1.0], bounds=(0, None))
    return torch.from_numpy(found.x)


TRAINERS: dict[str, Any] = {
    "interpolated": lambda: hg.interpolated(_shares, 1.0, rows=True, sense="max"),
    "two-sided": lambda: hg.interpolated(_shares, 1.0, two_sided=True, rows=True, sense="max"),
    "perturbed": lambda: hg.perturbed(_shares, 0.2, samples=2, rows=True, sense="max"),
    "imle": lambda: hg.imle(_shares, scale=0.1, rows=True, sense="max"),
    "negative identity": lambda: hg.straight_through(
        lambda r: torch.stack([_shares(row) for row in r]), hg.surrogate.twins.negative_identity("mean", "max")
    ),
}


@pytest.mark.parametrize("name", [*TRAINERS, "fenchel_young", "spo_plus"])
def test_the_three_asset_program_converges(name: str) -> None:
    """Issue 127 of cvxpylayers: its own start, returns, loss and step; the gradient there is 1e-8 and nothing moves."""
    returns = torch.tensor([[0.1, 0.2, -0.1]], dtype=DOUBLE, requires_grad=True)
    true = torch.tensor([[-0.1, -0.1, 0.5]], dtype=DOUBLE)
    layer = TRAINERS[name]() if name in TRAINERS else None
    steps = 0
    while not bool(_shares(returns.detach()[0])[2] == 1) and steps < 99:
        steps += 1
        if layer is not None:
            loss = -(layer(returns) * true).sum()
        elif name == "spo_plus":
            loss = hg.spo_plus(_shares, returns, true, rows=True, sense="max").sum()
        else:
            loss = hg.fenchel_young(_shares, returns, _shares(true[0])[None], scale=0.1, rows=True, sense="max").sum()
        (slope,) = torch.autograd.grad(loss, returns)
        with torch.no_grad():
            returns -= slope
    assert 0 < steps < 99
    assert returns.argmax() == 2


def test_the_servo_finds_its_strength_and_keeps_it() -> None:
    problem = PROBLEMS[0]
    cost = problem.cost + torch.rand(16, 8, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    v = torch.randn(16, 8, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)

    def backward(layer: Any, weight: float = 1.0) -> Tensor:
        leaf = cost.clone().requires_grad_()
        (found,) = torch.autograd.grad((layer(leaf) * v).sum() * weight, leaf)
        return found

    layer = hg.imle(problem, aim=1.0, scale=0.1, sense="max")
    for _ in range(200):
        backward(layer)
    assert 0.6 < float(layer.moves) < 1.4
    assert int(layer.level) < -20  # a step as long as the cost changes far more
    held = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.eval()
    layer.differentiable_in_eval = True
    first = backward(layer)
    assert torch.equal(first, backward(layer))  # no noise
    torch.testing.assert_close(backward(layer, 1000.0), 1000 * first)  # a scaled loss takes the same step
    assert all(torch.equal(value, held[name]) for name, value in layer.state_dict().items())
    other = hg.imle(problem, aim=1.0, scale=0.1, sense="max").eval()
    other.differentiable_in_eval = True
    assert not torch.equal(backward(other), first)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(backward(other), first)
    assert torch.equal(backward(copy.deepcopy(layer).half().double()), first)  # a cast does not move it
