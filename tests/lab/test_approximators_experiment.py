"""The study of approximators: the true gradient, the measures by hand, the ways to learn, records and the page."""

from __future__ import annotations

import copy
import math
import runpy
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

import hardgrad as hg
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.approximators import APPROXIMATORS, TWINS, Study
from hardgrad_lab.experiments.bridges.approximators.lend import SIGMA, Lessons, blurred, learner, lent, signum
from hardgrad_lab.experiments.bridges.approximators.look import look
from hardgrad_lab.experiments.bridges.approximators.problem import network, optimizers, problem
from hardgrad_lab.experiments.bridges.optimizers import split
from hardgrad_lab.runs.execute import How
from hardgrad_lab.runs.record import Record

ROOT = Path(__file__).parents[2]
TABLES = runpy.run_path(str(ROOT / "docs" / "scripts" / "tables.py"))
QUIET = Console(quiet=True)


def small(task: str, contestant: str, **given: object) -> Study:
    configured: Study = APPROXIMATORS.configure("smoke", task, contestant, given)
    return configured


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_the_true_gradient_is_that_of_the_signum_under_noise(margin: float) -> None:
    x = torch.linspace(-1, 1, 9, dtype=torch.float64)
    v = torch.linspace(-8, 8, 4_001, dtype=torch.float64)
    density = torch.exp(-(v**2) / 2) / math.sqrt(2 * math.pi)
    mean = torch.trapezoid(hg.hard.sign(x[:, None] + SIGMA * v, margin=margin) * density, v)
    torch.testing.assert_close(blurred(x, margin), mean, atol=2e-3, rtol=0)


def by_hand(matrix: torch.Tensor) -> nn.Sequential:
    """Four numbers through a matrix, signs with a linear approximator, and a sum."""
    approximator = nn.Linear(4, 4, bias=False)
    body = nn.Sequential(nn.Linear(4, 4), hg.Bridge(hg.hard.sign, approximator), nn.Linear(4, 1))
    with torch.no_grad():
        approximator.weight.copy_(matrix)
    return body


def test_measures_are_what_they_say_for_a_linear_approximator() -> None:
    torch.manual_seed(0)
    matrix = torch.tensor([[3.0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    body = by_hand(matrix).double()
    one, other = ((torch.randn(50, 4).double(), torch.randn(50, 1).double()) for _ in range(2))
    before, random = copy.deepcopy(body.state_dict()), torch.get_rng_state()
    seen = look(body, nn.functional.mse_loss, small("fashion-adam", "linear"), one, other)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(old, new) for old, new in zip(before.values(), body.state_dict().values(), strict=True))

    x = body[0](one[0]).detach()
    y = hg.hard.sign(x)
    g = 2 * (body[2](y) - one[1]) / 50 @ body[2].weight
    density = 2 * torch.exp(-((x / SIGMA) ** 2) / 2) / (SIGMA * math.sqrt(2 * math.pi))
    lent_by_hand, true = (g @ matrix.double()).flatten(), (g * density).flatten()
    assert seen["cosine"] == pytest.approx((lent_by_hand @ true / lent_by_hand.norm() / true.norm()).item())
    assert seen["length"] == pytest.approx((lent_by_hand.norm() / true.norm()).item())
    assert seen["imitation"] == pytest.approx(((x @ matrix.T.double() - y).norm() / y.norm()).item())
    assert seen["diagonal"] == pytest.approx(11 / 12)
    assert seen["top"] == pytest.approx(3)
    golden = math.sqrt(5)  # the other singular values are (sqrt 5 +- 1) / 2
    shares = [value / (3 + golden) for value in (3, (golden + 1) / 2, (golden - 1) / 2)]
    assert seen["rank"] == pytest.approx(math.exp(-sum(share * math.log(share) for share in shares)))
    assert seen["turn"] == seen["differ"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_what_lends_the_true_gradient_is_measured_to_do_so(optimizer: str) -> None:
    torch.manual_seed(1)
    trial = small(f"sort-10-{optimizer}", "exact")
    found = problem(trial, Root())
    seen = found.measure(found.model.eval()(found.test), len(found.test))
    assert seen["cosine"] == pytest.approx(1)
    assert seen["length"] == pytest.approx(1)
    assert seen["gain"] == pytest.approx(seen["true_gain"])
    assert seen["gain"] > 0
    assert seen["diagonal"] == pytest.approx(1)
    assert 0 < seen["agree"] < 1
    assert 1 < seen["gradient_rank"] < 8


def taught(contestant: str, steps: int = 1) -> tuple[hg.Bridge, hg.Bridge, torch.Tensor]:
    """Return a bridge before and after so many steps on the same rows."""
    torch.manual_seed(0)
    trial = small("fashion-muon", contestant, steps=20)
    bridge = signum(trial, 5)
    assert isinstance(bridge, hg.Bridge)
    before, x = copy.deepcopy(bridge), torch.randn(30, 5)
    lessons = Lessons([bridge], trial)
    for _ in range(steps):
        lessons.zero_grad()
        bridge(x.clone().requires_grad_()).sum().backward()
        lessons.step()
    return before, bridge, x


@pytest.mark.parametrize(("contestant", "times"), [("64-64", 1), ("four-lessons", 4), ("average", 1)])
def test_lessons_are_steps_of_adam_on_the_penalty(contestant: str, times: int) -> None:
    before, after, x = taught(contestant)
    twin = copy.deepcopy(learner(before))
    adam = torch.optim.Adam(twin.parameters(), lr=0.003)
    for _ in range(times):
        adam.zero_grad()
        (10 / 30 * (twin(x) - hg.hard.sign(x)).square().sum()).backward()
        adam.step()
    for wanted, found, old, lends in zip(
        twin.parameters(), learner(after).parameters(), before.approximator.parameters(),
        after.approximator.parameters(), strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(lends, old + 0.01 * (found - old) if contestant == "average" else found)


def test_who_is_frozen_stops_and_noise_is_learned_from() -> None:
    (_, two, _), (_, five, _), (_, blur, _), (_, plain, _) = (
        taught("frozen", 2), taught("frozen", 5), taught("blurred"), taught("64-64"),
    )  # fmt: skip
    weights = [
        torch.cat([p.flatten() for p in bridge.approximator.parameters()]) for bridge in (two, five, blur, plain)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.allclose(weights[2], weights[3])


@pytest.mark.parametrize("contestant", APPROXIMATORS.contestants)
def test_all_weights_belong_to_one_optimizer_and_move(contestant: str) -> None:
    torch.manual_seed(0)
    trial = small("deep-muon", contestant)
    body = network(trial)
    found = optimizers(trial, body)
    held = [p for each in found for group in each.param_groups for p in group["params"]]
    lending = [p for p in split(body, muon=True)[2] if not p.requires_grad]
    rest = [p for p in body.parameters() if all(p is not other for other in lending)]
    assert {id(p) for p in held} == {id(p) for p in rest}
    assert len(held) == len(rest)
    before = [p.detach().clone() for p in body.parameters()]
    nn.functional.cross_entropy(body(torch.randn(16, 784)), torch.arange(16) % 10).backward()
    for each in found:
        each.step()
    assert all(not torch.equal(old, new) for old, new in zip(before, body.parameters(), strict=True))


@pytest.mark.parametrize("name", TWINS)
def test_twins_rise_by_about_as_much_as_the_signum(name: str) -> None:
    soft = lent(signum(small("fashion-adam", name), 3))
    ends = soft(torch.tensor([-1.0, 0.0, 1.0]))
    assert ends[1] == 0
    assert 0.7 < ends[2] == -ends[0] <= 1


def test_a_projection_lends_what_lies_in_the_directions_in_which_training_rows_vary_most(samples: Path) -> None:
    made = problem(replace(small("fashion-muon", "principal-64"), width=8, hidden=(2,)), Root(folder=samples))
    (place,) = (at for at, part in enumerate(made.model) if hasattr(part, "soft"))
    x = made.model[:place](made.test[:40]).detach()
    made.loss(made.test[:40], torch.zeros(40, dtype=torch.int64))
    made.measure(made.model(made.test), len(made.test))  # of other rows, which are not followed
    basis = torch.linalg.svd(x - x.mean(0), full_matrices=False)[2][:2]  # principal components by another way
    given = torch.randn(40, 8)
    entry = x.clone().requires_grad_()
    made.model[place].train()(entry).backward(given)
    torch.testing.assert_close(entry.grad, given @ basis.T @ basis, atol=1e-4, rtol=1e-3)


def test_a_run_leaves_every_measure_in_its_record(samples: Path, tmp_path: Path) -> None:
    run = APPROXIMATORS.run(small("codes-adam", "average"), 3)
    record = APPROXIMATORS.reproduce(run, Root(folder=samples), How(results=tmp_path, device="cpu"), QUIET).record
    assert {metric.name for metric in APPROXIMATORS.metrics} <= record.metrics.keys()
    assert [len(record.curve), record.samples] == [2, 64]


def test_the_committed_records_are_runs_of_the_experiment_as_it_is_and_stand_on_the_page() -> None:
    for path in sorted((ROOT / "results" / "approximators").glob("*.json")):
        record = Record.load(path)
        config = APPROXIMATORS.rebuilt(record.config)
        assert path.name == APPROXIMATORS.run(config, record.seed).record_path(path.parent).name
    page = (ROOT / "docs" / "evidence" / "approximators.md").read_text(encoding="utf-8")
    for name in ("approximators", "approximators predictors"):
        assert f"<!-- {name} -->\n{TABLES['table'](name)}\n<!-- end -->" in page, "python docs/scripts/tables.py"


def test_ranks_are_correlated_within_tasks() -> None:
    one, two = [[0.1, 5.0], [0.3, 7.0], [0.2, 7.0]], [[10.0, 1.0], [20.0, 2.0]]
    # Spearman by hand: scores rank 1, 3, 2 and the others 1, 2.5, 2.5.
    assert TABLES["correlation"]([one], 1) == "0.87"
    # Places as shares of a task: below and up to each value, summed and over their number.
    a, b = [1 / 3, 5 / 3, 1, 1 / 2, 3 / 2], [1 / 3, 4 / 3, 4 / 3, 1 / 2, 3 / 2]
    assert TABLES["correlation"]([one, two], 1) == f"{statistics.correlation(a, b):.2f}"
    assert TABLES["correlation"]([[[1.0, 4.0], [2.0, 4.0]]], 1) == "-"
