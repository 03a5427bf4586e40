"""Fits that would be wrong in silence: lines, perceptrons' start, learned points, divergence, weights, factories."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import hardgrad as hg
from hardgrad_lab import SwitchClassifier, SwitchRegressor, load_model, save_model
from hardgrad_lab.cli import main
from hardgrad_lab.fit.training import closed_form
from hardgrad_lab.fit.training.learn_points import sentence_of
from hardgrad_lab.fit.training.task import Task

NOISE = 5.0
BANDS = (1500.0, 3500.0, 6000.0)
SLOPES = (0.1, 0.3, 0.8, 2.0)


def tariff(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four price bands, piecewise linear, few rows in the dearest; noise 5."""
    random = np.random.default_rng(seed)
    k = random.gamma(3, 1100, n)
    y = SLOPES[0] * k
    for edge, before, after in zip(BANDS, SLOPES, SLOPES[1:], strict=False):
        y = y + (after - before) * np.maximum(k - edge, 0)
    return k[:, None], y + random.normal(0, NOISE, n)


def rows_of_three(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A key on [0, 1], two inputs, and two targets that are lines on either side of 0.4, with noise."""
    random = np.random.default_rng(seed)
    x = np.column_stack([random.uniform(0, 1, n), random.normal(3, 2, n), random.normal(0, 1e-3, n)])
    first = np.where(x[:, 0] < 0.4, x @ [1, 2, 3], x @ [-1, 5, 100] + 7) + random.normal(0, 0.5, n)
    return x, np.column_stack([first, 2 - 3 * first]), random.uniform(0.1, 3, n)


def least_squares(x: np.ndarray, y: np.ndarray, weight: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Weighted least squares on either side of 0.4 by numpy, predicted at other rows."""
    predicted = np.empty((len(at), *y.shape[1:]))
    for side in (lambda k: k < 0.4, lambda k: k >= 0.4):
        mine, root = side(x[:, 0]), np.sqrt(weight)[:, None]
        design = np.column_stack([np.ones(len(x)), x])
        solution = np.linalg.lstsq((design * root)[mine], (y.reshape(len(y), -1) * root)[mine], rcond=None)[0]
        there = side(at[:, 0])
        predicted[there] = (np.column_stack([np.ones(len(at)), at])[there] @ solution).reshape(-1, *y.shape[1:])
    return predicted


def rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


# ------------------------------------------------------------------------------------------------------------- lines


@pytest.mark.parametrize("several", [False, True])
def test_lines_are_those_of_weighted_least_squares(several: bool) -> None:
    x, y, weight = rows_of_three(300)
    at, _, _ = rows_of_three(50, seed=1)
    y = y if several else y[:, 0]
    model = SwitchRegressor([0, 0.4, 1], branch="linear").fit(x, y, sample_weight=weight)
    assert model.predict(at) == pytest.approx(least_squares(x, y, weight, at), rel=1e-8, abs=1e-8)
    assert model.predict(at).shape == (50, 2) if several else (50,)
    assert (model.steps_, model.split_) == (1, (300, 0)), "held-out rows would have nothing to choose"


def test_a_row_of_weight_zero_is_absent_and_one_of_weight_two_is_there_twice() -> None:
    x, y, _ = rows_of_three(120)
    times = np.random.default_rng(5).integers(0, 4, 120)
    weighted = SwitchRegressor([0, 0.4, 1], branch="linear").fit(x, y, sample_weight=times)
    repeated = SwitchRegressor([0, 0.4, 1], branch="linear").fit(np.repeat(x, times, 0), np.repeat(y, times, 0))
    assert weighted.predict(x) == pytest.approx(repeated.predict(x), rel=1e-9, abs=1e-9)
    assert weighted.score(x, y, sample_weight=times) == pytest.approx(
        repeated.score(np.repeat(x, times, 0), np.repeat(y, times, 0)), rel=1e-9
    )


@pytest.mark.parametrize("kind", [SwitchRegressor, SwitchClassifier])
def test_a_row_of_weight_zero_is_absent_for_networks_and_their_search_too(kind: type[Any]) -> None:
    x, y, _ = rows_of_three(300)
    y = y[:, 0] if kind is SwitchRegressor else y[:, 0] > 9
    weight = np.random.default_rng(2).choice([0.0, 1.0, 2.5], 300)
    options: dict[str, Any] = {"search": 3, "hidden": (6,), "epochs": 3, "random_state": 0}
    whole = kind(**options).fit(x, y, sample_weight=weight)
    there = weight > 0
    assert np.array_equal(whole.predict(x), kind(**options).fit(x[there], y[there], None, weight[there]).predict(x))
    unweighted = kind(**options).fit(x[there], y[there])
    assert not np.array_equal(whole._outputs(x, None), unweighted._outputs(x, None))


def test_weights_count_in_training_and_on_held_out_rows() -> None:
    # Two kinds of rows say 0 and 1; the best constant under weights 1 and 3 is 0.75, under none 0.5.
    x = np.linspace(-1, 1, 400)[:, None]
    y = np.arange(400) % 2.0
    weight = np.where(y == 1, 3.0, 1.0)
    model = SwitchRegressor([-1, 1], epochs=30, lr=1e-3, random_state=0).fit(x, y, sample_weight=weight)
    assert model.predict(x).mean() == pytest.approx(0.75, abs=0.03)
    classes = SwitchClassifier([-1, 1], epochs=30, validation=0, random_state=0).fit(x, y, sample_weight=weight)
    assert classes.predict_proba(x)[:, 1].mean() == pytest.approx(0.75, abs=0.03)


def test_held_out_losses_are_weighted_means() -> None:
    x, y, weight = rows_of_three(200)
    for loss in ("mean", "per_branch_mean"):
        model = SwitchRegressor([0, 0.4, 1], epochs=1, loss=loss, random_state=0)
        training = model.begin(x, y[:, 0], None, 0, weight)
        training._remember = lambda loss: None  # type: ignore[method-assign]  # the last weights stay
        training.run()
        (point,) = training.curve
        rows = training.task.held_out
        losses, mine = training.losses(rows).double().numpy(), weight[rows.numpy()]
        sides = x[rows.numpy(), 0] >= 0.4
        means = [np.average(losses[side], weights=mine[side]) for side in (~sides, sides)]
        assert point["ranges"] == pytest.approx(means, rel=1e-5)
        expected = np.average(losses, weights=mine) if loss == "mean" else np.mean(means)
        assert point["held_out"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (-np.ones(60), r"sample_weight must be 0 or more and finite, got -1 in row 0 and in 59 more rows"),
        (np.zeros(60), r"sample_weight must not be zero for all rows, got 0 for all 60"),
        (np.ones(59), r"sample_weight must be one number for each of 60 rows, got shape \(59,\)"),
    ],
)
def test_wrong_weights_are_named(weight: np.ndarray, message: str) -> None:
    x, y, _ = rows_of_three(60)
    with pytest.raises(ValueError, match=message):
        SwitchRegressor([0, 0.4, 1], branch="linear").fit(x, y, sample_weight=weight)


def test_lines_of_many_chunks_and_far_from_zero_are_those_of_all_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    x = np.column_stack([random.uniform(0, 1, 5000), 1e6 + random.normal(0, 1, 5000)])
    y = np.where(x[:, 0] < 0.4, x[:, 1] - 1e6, 3 - 2 * (x[:, 1] - 1e6))
    whole = SwitchRegressor([0, 0.4, 1], branch="linear").fit(x, y)
    monkeypatch.setattr(closed_form, "CHUNK", 200)
    chunks = SwitchRegressor([0, 0.4, 1], branch="linear").fit(x, y)
    for model in (whole, chunks):
        assert np.abs(model.predict(x) - y).max() < 1e-8


def test_inputs_that_depend_on_each_other_or_rest_in_a_range_take_the_least_slopes() -> None:
    x, y, _ = rows_of_three(200)
    still = np.where(x[:, 0] < 0.4, 5.0, x[:, 1])  # does not vary in the first range
    twice = np.column_stack([x, x[:, 1], still])
    alone = np.column_stack([x, still])
    model = SwitchRegressor([0, 0.4, 1], branch="linear").fit(twice, y)
    assert model.predict(twice) == pytest.approx(
        SwitchRegressor([0, 0.4, 1], branch="linear").fit(alone, y).predict(alone), rel=1e-7, abs=1e-7
    )
    first = model.network_.branch(0).weight
    assert float(first[0, 4].detach()) == 0
    assert first[:, 1].tolist() == pytest.approx(first[:, 3].tolist(), rel=1e-6), "two equal columns share a slope"


def test_a_range_with_fewer_rows_than_weights_and_an_empty_one_are_said() -> None:
    x, y, _ = rows_of_three(100)
    few = np.sort(x[:, 0])[2] + 1e-9
    with pytest.warns(UserWarning, match=r"range 0, \[0, .* has 3 training rows for a line of 4 weights"):
        SwitchRegressor([0, few, 1], branch="linear").fit(x, y)
    with pytest.warns(UserWarning, match="no row has a key in range 1, .* This range predicts the mean of all rows"):
        model = SwitchRegressor([0, 2, 3], branch="linear").fit(x, y)
    assert model.predict([[2.5, 0, 0]])[0] == pytest.approx(y.mean(axis=0))


def test_a_range_without_held_out_rows_is_said() -> None:
    x, y, _ = rows_of_three(200)
    few = np.sort(x[:, 0])[5] + 1e-9  # 0.9^6: all six may well be trained on; of this seed they are
    with pytest.warns(UserWarning, match=r"no held-out row is in range 0 \[0, .*\(6 training rows\): nothing judged"):
        SwitchRegressor([0, few, 1], epochs=1, random_state=1).fit(x, y)


# --------------------------------------------------------------------------------------------- a tariff, at defaults


@pytest.mark.parametrize(("branch", "within"), [("linear", 1.1), ("mlp", 1.3)])
def test_a_tariff_is_fitted_to_its_noise_at_defaults(branch: str, within: float) -> None:
    x, y = tariff(6000)
    model = SwitchRegressor(branch=branch, random_state=0).fit(x[:4000], y[:4000])
    assert rms(model.predict(x[4000:]) - y[4000:]) < within * NOISE
    assert model.points_[1:-1] == pytest.approx(BANDS, rel=0.03)


@pytest.mark.filterwarnings("ignore:range .* no row so far")  # nothing is trained
def test_a_perceptron_starts_as_the_best_line_of_its_range() -> None:
    x, y, weight = rows_of_three(300)
    for targets in (y, y[:, 0]):
        line = SwitchRegressor([0, 0.4, 1], branch="linear", validation=0).fit(x, targets, None, weight)
        for hidden in ((), (5,), (6, 5, 8)):
            start = SwitchRegressor([0, 0.4, 1], hidden=hidden, validation=0)
            begun = start.begin(x, targets, None, 0, weight)
            begun.all_steps = 0
            begun.run()
            assert start.finish(begun).predict(x) == pytest.approx(line.predict(x), abs=1e-4)


# -------------------------------------------------------------------------------------------------------- the search


@pytest.mark.parametrize("seed", range(3))
def test_a_break_between_curves_is_found_where_it_is(seed: int) -> None:
    # Lines alone spend their eight ranges on the curves and put this break at -0.316 to -0.322.
    random = np.random.default_rng(seed)
    u = random.uniform(-1, 1, 3000)
    y = np.select([u < -0.3, u < 0.4], [np.sin(10 * u), 0.3 * u], -np.sin(10 * u)) + random.normal(0, 0.05, 3000)
    training = SwitchRegressor(random_state=seed).begin(u[:, None], y, None, seed)
    for wanted in (-0.3, 0.4):
        assert min(abs(point - wanted) for point in training.task.ranges.points) < 0.01


def test_a_search_that_cannot_be_made_is_said() -> None:
    x, y, _ = rows_of_three(7)
    with pytest.warns(
        UserWarning, match=r"no points were searched, and there is one range: a range needs at least 8 rows"
    ):
        SwitchRegressor(branch="linear").fit(x, y)
    x[:, 0] = 3
    with pytest.warns(UserWarning, match="no points were searched, .* key must have at least two different values"):
        SwitchRegressor(epochs=1).fit(x, y)


# ----------------------------------------------------------------------------------------------------- learned points


@pytest.mark.parametrize("branch", ["linear", "mlp"])
def test_found_points_that_learn_are_no_worse_for_it(branch: str) -> None:
    x, y = tariff(4000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that points stayed
        fixed, learned = (
            SwitchRegressor(branch=branch, learn_points=learn, epochs=8, random_state=0).fit(x[:2000], y[:2000])
            for learn in (False, True)
        )
    errors = [rms(model.predict(x[2000:]) - y[2000:]) for model in (fixed, learned)]
    assert errors[1] < 1.02 * errors[0]
    assert min(learned.visits_) > 60


def test_lines_learn_the_bands_of_a_tariff_from_far_off() -> None:
    x, y = tariff(4000)
    model = SwitchRegressor([0, 1000, 3000, 5000, 20000], branch="linear", learn_points=True, random_state=0)
    assert model.fit(x, y).points_[1:-1] == pytest.approx(BANDS, rel=0.03)
    assert rms(model.predict(x) - y) < 1.05 * NOISE


def test_a_point_that_gains_nothing_stays_and_is_named() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (600, 1))
    y = x[:, 0] + np.random.default_rng(1).normal(0, 0.3, 600)
    with pytest.warns(UserWarning, match=r"no point was moved: elsewhere held-out rows would not be predicted better"):
        model = SwitchRegressor([-1, 0.2, 1], branch="linear", learn_points=True, random_state=0).fit(x, y)
    assert model.points_ == (-1, 0.2, 1)
    assert sentence_of((0, 1, 2, 3), (0, 1.5, 2, 3)) == (
        "learn_points moved 1 to 1.5; 2 stayed: elsewhere held-out rows would not be predicted better"
    )
    assert sentence_of((0, 1, 3), (0, 1.5, 3)) is None
    with pytest.raises(ValueError, match="validation must be above 0 where points are learned, got 0"):
        SwitchRegressor([-1, 0.2, 1], learn_points=True, validation=0).fit(x, y)


# -------------------------------------------------------------------------------------------------------- divergence


@pytest.mark.parametrize("validation", [0.1, 0])
def test_a_training_that_diverges_says_so_and_keeps_the_best_weights(validation: float) -> None:
    x, y, _ = rows_of_three(400)
    model = SwitchRegressor([0, 0.4, 1], lr=1e6, epochs=40, validation=validation, random_state=0)
    with pytest.warns(UserWarning, match=r"the training diverged at step \d+ \(lr 1e\+06\): .* such as 0.005"):
        model.fit(x, y[:, 0])
    assert model.n_iter_ == 1
    assert model.score(x, y[:, 0]) > 0.95, "the lines it started from"
    fine = SwitchRegressor([0, 0.4, 1], epochs=2, validation=validation, random_state=0).fit(x, y[:, 0])
    assert fine.diverged_ == ""


def test_a_fit_that_diverges_ends_with_1_and_leaves_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    x, y = tariff(300)
    pd.DataFrame({"k": x[:, 0], "y": y}).to_csv("t.csv", index=False)
    words = ["fit", "t.csv", "--target", "y", "--key", "k", "--no-baselines", "--points", "0,1500,3500,6000,20000"]
    assert main([*words, "--lr", "1e6"]) == 1
    captured = capsys.readouterr()
    assert "hardgrad: the training diverged at step" in captured.err
    assert "model has these weights" in captured.err
    assert "00000" not in captured.out, "no absurd figure"
    assert any("diverged" in said for said in json.loads(Path("model/model.json").read_text())["warnings"])
    assert load_model("model").score(pd.DataFrame({"k": x[:, 0]}), y) > 0.9
    assert main([*words, "--branch", "linear", "--lr", "0.1", "--force"]) == 0
    assert "--lr had no say: a linear branch is solved by least squares" in capsys.readouterr().out


# --------------------------------------------------------------------------------------------------- rivals, folders


def test_a_search_that_was_not_allowed_enough_ranges_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    x, y = tariff(600)
    pd.DataFrame({"k": x[:, 0], "y": y}).to_csv("t.csv", index=False)
    words = ["fit", "t.csv", "--target", "y", "--key", "k", "--no-baselines", "--branch", "linear"]
    for search, said in (("3", True), ("8", False)):
        assert main([*words, "--search", search, "--out", f"m{search}"]) == 0
        assert ("there may be more: try --search 6" in capsys.readouterr().out) == said


def test_lines_are_compared_and_saved_with_several_targets(tmp_path: Path) -> None:
    x, y, weight = rows_of_three(100)
    model = SwitchRegressor([0, 0.4, 1], branch="linear").fit(x, y, sample_weight=weight)
    save_model(model, tmp_path / "m")
    assert np.array_equal(load_model(tmp_path / "m").predict(x), model.predict(x))
    described = json.loads((tmp_path / "m/model.json").read_text())
    assert described["architecture"]["out_features"] == 2


# --------------------------------------------------------------------------------------------------------- factories


class Pair(nn.Linear):
    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x), 1


class Whole(nn.Linear):
    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x).long()


SHARED = nn.Linear(3, 1)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda i, o: nn.Linear(i, o + 1), r"branch must map rows \(B, 3\) to \(B, 1\), got \(B, 2\); end in a layer"),
        (lambda i, o: nn.Sequential(nn.Linear(i, o), nn.Flatten(0)), r"to \(B, 1\), got \(B\); end in"),
        (Pair, r"to \(B, 1\), got a tuple; return the tensor alone"),
        (Whole, r"to \(B, 1\) of floating-point numbers, got int64"),
        (lambda i, o: nn.Linear(i + 1, o), r"branch must take rows \(B, 3\) of float32, got RuntimeError: .* Linear$"),
        (lambda i, o: nn.Identity(), r"with parameters to train, got Identity with none"),
        (lambda i, o: SHARED, r"branch must make a new module at each call, got the same parameters twice"),
        (lambda i: nn.Linear(i, 1), r"branch must make a module from \(3, 1\), .* got TypeError"),
        (lambda i, o: 1 / 0, r"got ZeroDivisionError: division by zero from the factory"),
    ],
)
def test_a_factory_that_makes_the_wrong_thing_is_refused_before_training(factory: Any, message: str) -> None:
    x, y, _ = rows_of_three(60)
    with pytest.raises(ValueError, match=message):
        SwitchRegressor([0, 0.4, 1], branch=factory, epochs=1).fit(x, y[:, 0])


def test_the_loss_of_a_constant_is_the_variance_and_the_entropy() -> None:
    rows: Any = None
    for target, weight, expected in [
        (torch.tensor([0.0, 2.0]), None, 1.0),
        (torch.tensor([0.0, 2.0]), torch.tensor([0.5, 1.5]), 0.75),  # mean 1.5: (0.25 * 2.25 + 0.75 * 0.25)
        (torch.tensor([[0.0, 0], [2, 4]]), None, 2.5),
        (torch.tensor([0, 1]), None, float(np.log(2))),
    ]:
        task = Task(rows=rows, target=target, train=torch.arange(2), held_out=torch.arange(0),
                    ranges=hg.Ranges([0, 1]), loss_of_rows=torch.add, weight=weight)  # fmt: skip
        assert task.constant_loss() == pytest.approx(expected)
