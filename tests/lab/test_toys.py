"""The toys: the problems against closed forms, measures against enumeration, runs, report and commands."""

from __future__ import annotations

import itertools
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from hardgrad_lab.app import run as run_command
from hardgrad_lab.experiments.toys import CONTESTANTS, TASKS, TOYS
from hardgrad_lab.experiments.toys.claims import CLAIMS, judged
from hardgrad_lab.experiments.toys.config import Toy
from hardgrad_lab.experiments.toys.contestants import PerRow, contestant
from hardgrad_lab.experiments.toys.measure import Gradients, draw_gradients, summary
from hardgrad_lab.experiments.toys.problems import problem
from hardgrad_lab.experiments.toys.run import points, train
from hardgrad_lab.experiments.toys.table import by_task, cells, name_of
from hardgrad_lab.report.experiment import report_experiment
from hardgrad_lab.runs.execute import How, Outcome
from hardgrad_lab.runs.options import OptionError
from hardgrad_lab.runs.record import Record
from hardgrad_lab.runs.records import Group, group_by_config

UNBIASED = (
    "score",
    "score-average",
    "score-network",
    "score-loo",
    "disarm",
    "arms",
    "rebar",
    "relax",
    "relax-beside-f",
)


configure = TOYS.configure


def reproduce(toy: Toy, seed: int, how: How, console: Console) -> Outcome:
    return TOYS.reproduce(TOYS.run(toy, seed), None, how, console)


def smoke(task: str, name: str, **given: Any) -> Toy:
    return configure("smoke", task, name, given)


# -------------------------------------------------------------------------------------------------------- problems


@pytest.mark.parametrize("task", ["rebar", "relax", "disarm"])
def test_a_coins_loss_and_gradient_are_the_closed_form(task: str) -> None:
    toy = configure("small", task, "exact", {})
    case, p = problem(toy), torch.linspace(0.05, 0.95, toy.rows)
    logits = p.logit().unsqueeze(-1).requires_grad_()
    sign = -1 if task == "disarm" else 1
    t = {"rebar": 0.45, "relax": 0.499, "disarm": 0.499}[task]
    loss = case.expectation(logits)
    torch.testing.assert_close(loss.detach(), sign * (p * (1 - t) ** 2 + (1 - p) * t**2))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    # What Yin and Zhou (2019) give for it, up to the sign.
    torch.testing.assert_close(gradient[:, 0], sign * (1 - 2 * t) * p * (1 - p), rtol=1e-3, atol=1e-7)
    assert case.best == (1 if task == "disarm" else 0)
    assert torch.equal(case.start, torch.zeros(toy.rows, 1))


@pytest.mark.parametrize("power", [1.5, 2.0, 3.0])
def test_the_coins_loss_is_a_sum_over_variables(power: float) -> None:
    toy = replace(configure("small", f"reinmax-{power:g}", "exact", {}), units=3)
    case = problem(toy)
    p = case.probabilities(case.start)[:, 0].tolist()
    f, expected = case.f(case.start), 0.0
    for outcome in itertools.product((0, 1), repeat=3):  # all of them, not one variable by itself
        weight = math.prod(p[i] if x else 1 - p[i] for i, x in enumerate(outcome))
        b = torch.tensor([[x, 1 - x] for x in outcome], dtype=torch.float32)
        assert f(b).item() == pytest.approx(sum(abs(x - 0.45) ** power for x in outcome))
        expected += weight * f(b).item()
    assert case.expectation(case.start).sum().item() == pytest.approx(expected, rel=1e-5)
    assert case.best == 1  # the second outcome stands for 0, which is nearer to 0.45


def test_the_simplexs_expectation_is_the_quadratic_programme() -> None:
    case = problem(configure("small", "gumbel-rao", "gumbel-hard-1.0", {}))
    p = case.probabilities(case.start)
    quadratic = torch.tensor([[math.exp(-2 * abs(i - j)) for j in range(3)] for i in range(3)])
    off = p - 1 / 3
    torch.testing.assert_close(case.expectation(case.start), ((off @ quadratic) * off).sum(-1), rtol=1e-3, atol=1e-5)
    # Through the sample alone, the matrix held: sum over outcomes of f times the derivative of p.
    at = case.start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(case.expectation(at).sum(), at)
    values = case.f(case.start)(torch.eye(3).unsqueeze(1).expand(3, 55, 3)).T
    torch.testing.assert_close(gradient, p * (values - (p * values).sum(-1, keepdim=True)), rtol=1e-3, atol=1e-5)
    assert len(case.start) == 55
    torch.testing.assert_close(p.sum(-1), torch.ones(55))


def test_a_survey_of_a_coin_goes_from_a_tenth_to_nine_tenths() -> None:
    case = problem(configure("small", "arms", "arms-4", {}))
    torch.testing.assert_close(case.probabilities(case.start)[:, 1], torch.linspace(0.1, 0.9, 17))


# -------------------------------------------------------------------------------------------------------- measures


def test_what_a_gradient_is_worth_is_computed_from_its_draws() -> None:
    drawn = torch.tensor([[[1.0, 0.0]], [[3.0, 0.0]], [[0.0, 0.0]], [[0.0, -4.0]]], dtype=torch.float64)
    gradients = Gradients(
        exact=torch.tensor([[1.0, 0.0]], dtype=torch.float64), drawn=drawn, rarest=torch.tensor([0.5])
    )
    variance = (1 + 9 - 4) / 3 + (16 - 4) / 3
    assert gradients.variance.item() == pytest.approx(variance)
    assert gradients.bias_in_errors.item() == pytest.approx(1.0 / math.sqrt(variance / 4), rel=1e-5)
    assert gradients.cosine.item() == pytest.approx((1 + 1 + 0 + 0) / 4)
    assert not gradients.told.item()  # 2 draws expected of the rarer outcome
    assert math.isnan(summary(gradients)["cosine"])


@pytest.mark.parametrize("name", UNBIASED)
def test_the_variance_and_the_mean_are_those_of_the_estimator(name: str) -> None:
    # 40,000 draws, seed 0: the root mean square over 8 rows of a standard normal is below 2 but for 1 in 1e7.
    toy = replace(configure("small", "rebar", name, {}), rows=8, draws=40_000)
    torch.manual_seed(0)
    case, estimator = problem(toy), contestant(toy)
    logits = torch.linspace(-2, 2, 8).unsqueeze(-1)
    gradients = draw_gradients(estimator, case, logits, toy.draws, torch.Generator().manual_seed(0))
    assert gradients.bias_in_errors.square().mean().sqrt().item() < 2
    p, t = logits.sigmoid().squeeze(-1).double(), 0.45
    if name == "score":  # f(b) (b - p): two outcomes
        up, down = (1 - t) ** 2 * (1 - p), -(t**2) * p
        mean = p * up + (1 - p) * down
        expected = p * up.square() + (1 - p) * down.square() - mean.square()
        torch.testing.assert_close(gradients.variance, expected, rtol=0.03, atol=0)


@pytest.mark.parametrize("name", ["straight-through", "gumbel-soft", "gumbel-hard", "gumbel-rao", "bridge"])
def test_a_biased_gradient_is_seen_to_be_biased(name: str) -> None:
    toy = replace(configure("small", "rebar", name, {}), rows=4)
    torch.manual_seed(0)
    case = problem(toy)
    at = torch.full((4, 1), -1.0)
    gradients = draw_gradients(contestant(toy), case, at, 20_000, torch.Generator().manual_seed(0))
    assert gradients.bias_in_errors.min().item() > 4.5


def test_measuring_leaves_what_learns_and_the_training_draws_alone() -> None:
    toy = smoke("rebar", "score-average")
    torch.manual_seed(0)
    case, estimator = problem(toy), contestant(toy)
    before = {name: value.clone() for name, value in estimator.state_dict().items()}
    state = torch.get_rng_state()
    draw_gradients(estimator, case, case.start, 50, torch.Generator().manual_seed(0))
    assert all(torch.equal(value, before[name]) for name, value in estimator.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert estimator.training


def test_rows_of_a_network_learn_nothing_from_one_another() -> None:
    torch.manual_seed(0)
    network = PerRow(3)
    x = torch.randn(5, 3, 1)
    y = network(x)
    assert y.shape == (5, 3)
    y[:, 1].sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        touched = parameter.grad.flatten(1).abs().sum(1) if parameter.ndim > 1 else parameter.grad.abs()
        assert (touched > 0).tolist() == [False, True, False]


# ------------------------------------------------------------------------------------------------------------ runs


@pytest.mark.parametrize(("task", "name"), [(task, name) for task in TASKS for name in CONTESTANTS[task]])
def test_every_contestant_runs(task: str, name: str) -> None:
    toy = smoke(task, name)
    torch.manual_seed(0)
    curve = points(toy, 0)
    assert all({"log_variance", "bias_in_errors", "cosine"} <= point.keys() for point in curve)
    if toy.steps:
        assert [point["step"] for point in curve] == [0, 10, 20]
        assert all(math.isfinite(point["loss"]) for point in curve)


def test_what_learns_does() -> None:
    for name in ("rebar", "relax", "relax-beside-f", "score-network", "bridge"):
        toy = smoke("rebar", name)
        torch.manual_seed(0)
        estimator = contestant(toy)
        before = {key: value.clone() for key, value in estimator.state_dict().items()}
        train(toy, problem(toy), estimator, 0)
        after = estimator.state_dict()
        assert all(not torch.equal(before[key], after[key]) for key in before), name


def test_the_exact_gradient_is_climbed_as_a_plain_loop_does() -> None:
    logit = 0.0
    for _ in range(20):
        p = 1 / (1 + math.exp(-logit))
        logit += (1 - 2 * 0.499) * p * (1 - p)  # up, a step of 1
    ends = points(smoke("disarm", "exact"), 0)[-1]
    p = 1 / (1 + math.exp(-logit))
    assert ends["best"] == pytest.approx(p, rel=1e-5)
    assert ends["loss"] == pytest.approx(-(p * 0.501**2 + (1 - p) * 0.499**2), rel=1e-6)


def test_a_step_is_each_rows_own_gradient() -> None:
    # At 1/2 the two draws of a pair never agree, so that DisARM is exact: up by (1 - 2 t) / 4, however many rows.
    ends = points(smoke("disarm", "disarm", steps=1, rows=6), 0)[-1]
    assert ends["best"] == pytest.approx(1 / (1 + math.exp(-0.002 / 4)), abs=1e-6)


def test_an_annealed_temperature_is_down_before_the_end() -> None:
    toy = smoke("rebar", "gumbel-annealed")
    torch.manual_seed(0)
    estimator = contestant(toy)
    assert estimator.learns is not None
    assert estimator.learns.temperature.item() == 1.0
    train(toy, problem(toy), estimator, 0)
    assert estimator.learns.temperature.item() == pytest.approx(0.1)


def test_unbiased_gradients_find_the_better_outcome_and_a_relaxation_does_not() -> None:
    def ends(name: str) -> float:
        torch.manual_seed(0)
        return points(configure("smoke", "rebar", name, {"steps": 500, "rows": 10, "lr": 0.05}), 0)[-1]["best"]

    assert ends("exact") > 0.99
    assert ends("disarm") > 0.95
    assert ends("relax") > 0.95
    # The relaxed loss is least where the relaxed sample is near 0.45.
    assert ends("gumbel-soft") < 0.7
    assert ends("straight-through") < 0.7


def test_the_same_seed_gives_the_same_record_and_another_seed_another(tmp_path: Path) -> None:
    console, toy = Console(quiet=True), smoke("rebar", "relax")
    outcomes = [
        reproduce(toy, seed, How(results=tmp_path / name), console) for name, seed in (("a", 0), ("b", 0), ("b", 1))
    ]
    first, again, other = (outcome.record for outcome in outcomes)
    assert first.curve == again.curve
    assert first.curve != other.curve
    assert not outcomes[0].was_done
    assert reproduce(toy, 0, How(results=tmp_path / "a"), console).was_done
    assert json.loads(outcomes[0].path.read_text())["config"]["target"] == 0.45


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"draws": 1}, "draws must be at least 2, got 1"),
        ({"target": 1.0}, "target must be between 0 and 1, got 1.0"),
        ({"lr": 0.0}, "lr must be greater than 0, got 0.0"),
        ({"estimator": "arm"}, "estimator must be one of exact, "),
        ({"baseline": "leave-one-out"}, "samples must be at least 2, to leave one out, got 1"),
        ({"problem": "simplex", "rows": 5}, "rows must be other than 2, 5, 8, ... of a simplex, got 5"),
    ],
)
def test_values_that_make_no_sense_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        replace(configure("small", "rebar", "score", {}), **given)


def test_settings_and_report_read_without_torch() -> None:
    code = (
        "import sys; import hardgrad_lab.experiments.toys.sections, hardgrad_lab.report.experiment;"
        "assert 'torch' not in sys.modules, 'torch is loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------------------------------------- report and commands


def record(task: str, name: str, curve: list[dict[str, float]] | None = None, **metrics: float) -> Record:
    toy = configure("small", task, name, {})
    figures = {"loss": 0.2, "best": 1.0, "reached": 1.0, "log_variance": -1.0, "bias_in_errors": 1.0, "cosine": 0.5}
    return Record(
        experiment="toys", config=TOYS.run(toy, 0).config, seed=0,
        metrics={**figures, "evaluations_of_f": toy.evaluations_of_f, **metrics},
        curve=curve or [], samples=1, seconds=1.0, started="2026-01-01T00:00:00+00:00", environment={},
    )  # fmt: skip


def grouped(*records: Record) -> list[Group]:
    return group_by_config(records, TOYS.read)


def verdicts(*records: Record) -> dict[str, str]:
    return {f"{row[0]}: {row[1]}": row[3] for row in judged(by_task(grouped(*records)))}


def test_a_claim_is_judged_by_the_records() -> None:
    def of_rebar(score: float, soft: float) -> list[Record]:
        return [
            record("rebar", "score", reached=score),
            record("rebar", "rebar", reached=1.0),
            record("rebar", "gumbel-soft", reached=soft, loss=0.24),
            record("rebar", "gumbel-soft-0.1", reached=soft, loss=0.21),
        ]

    agrees = verdicts(*of_rebar(1.0, 0.0))
    assert set(agrees.values()) == {"agrees"}
    assert len(agrees) == 2
    differs = verdicts(*of_rebar(1.0, 0.5))
    assert sorted(differs.values()) == ["DIFFERS", "agrees"]
    assert set(verdicts(record("rebar", "score")).values()) == {""}  # the others were not run


def test_every_claim_can_fail() -> None:
    """With all estimators alike, nothing is lower than anything."""
    curve = [{"p0": 0.75, "p1": 0.25, "log_variance": -1.0}]
    names = {(claim.task, name) for claim in CLAIMS for name in claim.needs}
    alike = [record(task, name, curve, reached=0.5, bias_in_errors=9.0) for task, name in sorted(names)]
    found = verdicts(*alike)
    assert len(found) == len(CLAIMS)
    assert {claim: verdict for claim, verdict in found.items() if verdict != "DIFFERS"} == {
        claim: "agrees"
        for claim in found
        if "ends lowest" in claim  # a tie is no loss
    }


def test_a_row_says_what_differs_from_the_small_budget() -> None:
    (group,) = grouped(record("rebar", "score"))
    assert name_of(group) == "rebar"
    assert cells([group]) == [["rebar", "score", "1", "0.20000", "100 %", "-1.0", "1.0", "0.50", "20"]]
    changed = replace(record("rebar", "score"), config={**group.config, "steps": 7})
    assert name_of(grouped(changed)[0]) == "rebar, small, steps 7"


def test_the_command_runs_reports_and_finds_its_records_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["exact", "score", "gumbel-soft", "reinmax", "arms-2", "gumbel-hard-1.0"]
    names += [f"gumbel-rao-{inner}-1.0" for inner in (1, 10, 100)]
    words = ["--budget", "smoke", "--out", str(tmp_path), "--draws", "60"]
    for task in ("rebar", "reinmax-2", "arms", "gumbel-rao"):
        words += ["--task", task]
    for name in names:
        words += ["--contestant", name]
    assert run_command(["reproduce", "toys", *words]) == 0
    out = capsys.readouterr().out
    assert "gumbel-soft" in out
    report = tmp_path / "report"
    assert {path.name for path in report.glob("*.png")} == {
        "toys-unbiased.png", "toys-variance.png", "toys-biased.png", "toys-biased-variance.png", "toys-reinmax.png",
        "toys-arms-smoke-draws-60.png", "toys-gumbel-rao-smoke-draws-60.png",
        "toys-gumbel-rao-smoke-draws-60-inner.png",
    }  # fmt: skip
    page = (report / "toys.html").read_text()
    assert page.count("<svg") == 16  # eight figures, each wide and narrow
    assert "http" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    assert (report / "toys.md").read_text().count("\n| rebar, smoke, draws 60 |") == 4


def test_a_run_that_is_done_is_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--budget", "smoke", "--out", str(tmp_path), "--task", "arms", "--contestant", "arms-2"]
    assert run_command(["reproduce", "toys", *words]) == 0
    assert "this run is done already" not in capsys.readouterr().out
    assert run_command(["reproduce", "toys", *words]) == 0
    assert "this run is done already" in capsys.readouterr().out
    assert run_command(["report", "toys", "--results", str(tmp_path)]) == 0
    assert "arms-2" in capsys.readouterr().out


def test_what_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["report", "toys", "--results", str(tmp_path)]) == 1
    assert "Make one with: hardgrad reproduce toys" in capsys.readouterr().err
    assert run_command(["reproduce", "toys", "--task", "arm", "--out", str(tmp_path)]) == 1
    assert "--task must be one of rebar, relax" in capsys.readouterr().err
    assert run_command(["reproduce", "toys", "--contestant", "arm", "--out", str(tmp_path)]) == 1
    assert "--contestant must be one of exact, score" in capsys.readouterr().err


def test_a_survey_takes_no_steps_whatever_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert configure("small", "arms", "arms-2", {"steps": 9, "lr": 0.5}) == configure("small", "arms", "arms-2", {})
    words = ["--task", "arms", "--contestant", "arms-2", "--steps", "9", "--out", str(tmp_path)]
    assert run_command(["reproduce", "toys", *words]) == 1
    assert "--steps must be 0, which is arms-2's own, got 9" in capsys.readouterr().err


def test_a_record_of_something_else_is_skipped_with_a_warning(tmp_path: Path) -> None:
    record("rebar", "score").save(tmp_path / "good.json")
    bad = record("rebar", "score")
    replace(bad, config={**bad.config, "contestant": "arm"}).save(tmp_path / "odd.json")
    replace(bad, config={"task": "rebar"}).save(tmp_path / "old.json")
    report = report_experiment(TOYS, tmp_path, tmp_path / "report")
    assert len(report.cells) == 1
    assert sorted(warning.split(" ")[-1] for warning in report.warnings)[0].endswith("'arm')")
    assert any("odd.json is of an unknown toy or estimator ('rebar', 'arm')" in warning for warning in report.warnings)
    assert any("old.json lacks contestant" in warning for warning in report.warnings)
