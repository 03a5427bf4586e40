"""The estimators, the windows they see and the training behind them."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import hardgrad_lab
from hardgrad_lab import SwitchClassifier, SwitchRegressor
from hardgrad_lab.fit.options import BRANCHES
from hardgrad_lab.fit.rows import Rows, Scaling, first_rows, held_out
from hardgrad_lab.fit.training.branches import SEQUENCES, make_branch
from hardgrad_lab.fit.training.points import empty_ranges, search_points, spread_points
from hardgrad_lab.fit.training.schedule import learning_rate
from hardgrad_lab.fit.training.training import Training

ROOT = Path(__file__).parents[2]


def pieces(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two columns whose target is 3 b + 1 left of 0.25 and -2 b right of it."""
    x = np.random.default_rng(seed).uniform(-1, 1, (n, 2))
    return x, np.where(x[:, 0] < 0.25, 3 * x[:, 1] + 1, -2 * x[:, 1])


# ------------------------------------------------------------------------------------------------------------- rows


def test_windows_are_those_of_a_plain_loop_and_stop_at_a_recordings_border() -> None:
    n, columns, window = 23, 2, 4
    values = np.random.default_rng(0).normal(size=(n, columns))
    groups = np.array([0] * 9 + [1] * 3 + [0] * 11)  # the middle one is shorter than a window
    rows = Rows(
        columns=torch.from_numpy(values),
        key=torch.from_numpy(values[:, 0].copy()),
        first=torch.from_numpy(first_rows(groups, n)),
        window=window,
        raw=None,
    )
    x, key = rows.take(torch.arange(n))
    for row in range(n):
        begin = 0 if row < 9 else 9 if row < 12 else 12
        expected = [values[max(at, begin)] for at in range(row - window + 1, row + 1)]
        assert np.array_equal(x[row].numpy(), np.concatenate(expected))
    assert np.array_equal(key.numpy(), values[:, 0])


def test_the_key_stands_in_its_own_units_where_the_switch_normalizes_it() -> None:
    key = torch.tensor([10.0, 20.0], dtype=torch.float64)
    rows = Rows(columns=torch.zeros(2, 3), key=key, first=torch.zeros(2, dtype=torch.int64), window=2, raw=4)
    x, _ = rows.take(torch.tensor([1, 0]))
    assert x.tolist() == [[0, 0, 0, 0, 20, 0], [0, 0, 0, 0, 10, 0]]


def test_scaling_is_mean_and_deviation_and_leaves_constants_alone() -> None:
    columns = np.array([[1.0, 7.0], [3.0, 7.0]])
    scaling = Scaling.of(columns)
    assert scaling.to(columns).tolist() == [[-1, 0], [1, 0]]
    assert scaling.back(scaling.to(columns)).tolist() == columns.tolist()


def test_rows_held_out_at_random_are_a_share_and_none_twice() -> None:
    rows = np.arange(5, 105)
    keep, out = held_out(rows, np.zeros(200, dtype=np.int64), 0.2, blocks=False, seed=1)
    assert len(out) == 20
    assert sorted([*keep, *out]) == rows.tolist()
    assert not np.array_equal(held_out(rows, np.zeros(200, dtype=np.int64), 0.2, blocks=False, seed=2)[1], out)


def test_stretches_held_out_are_the_ends_of_equal_parts_of_each_recording() -> None:
    first = first_rows(np.array([0] * 1000 + [1] * 50), 1050)
    keep, out = held_out(np.arange(1050), first, 0.1, blocks=True, seed=0)
    # 1000 rows: five parts of 200, 20 rows at each end. 50 rows: one part, 5 rows.
    expected = [row for end in (200, 400, 600, 800, 1000) for row in range(end - 20, end)] + [*range(1045, 1050)]
    assert out.tolist() == expected
    assert sorted([*keep, *out]) == list(range(1050))


# ----------------------------------------------------------------------------------------------------------- points


def test_points_are_spread_evenly_over_rows() -> None:
    key = np.random.default_rng(0).normal(size=1001)
    assert np.allclose(spread_points(key, 4), np.quantile(key, [0, 0.25, 0.5, 0.75, 1]))
    assert spread_points(np.full(100, 3.0), 4) == [3.0, 6.0]


def test_a_search_finds_the_planted_point_and_spans_all_keys() -> None:
    x, y = pieces(2000)
    points, found = search_points(x[:, 0], x, y, 5, block=1, seed=0)
    assert found is not None
    assert len(points) == 3
    assert points[1] == pytest.approx(0.25, abs=0.01)
    assert (points[0], points[-1]) == (x[:, 0].min(), x[:, 0].max())


def test_an_empty_range_is_named_beside_the_bounds_of_the_data() -> None:
    (said,) = empty_ranges([0, 1, 5, 6], np.array([0.5, 2.0]))
    assert said.startswith("no row has a key in range 2, [5, 6]: the data's keys run from 0.5 to 2;")


# ------------------------------------------------------------------------------------------------------- estimators


def test_two_linear_pieces_are_learned_exactly_and_routed_as_the_points_say() -> None:
    x, y = pieces()
    model = SwitchRegressor([-1, 0.25, 1], branch="linear", random_state=0).fit(x, y)
    fresh, truth = pieces(seed=1)
    assert np.abs(model.predict(fresh) - truth).max() < 1e-12
    assert model.route(fresh).tolist() == (fresh[:, 0] >= 0.25).astype(int).tolist()
    assert sum(model.visits_) == model.split_[0] == 400


def test_the_key_may_be_a_columns_name() -> None:
    x, y = pieces()
    frame = pd.DataFrame({"b": x[:, 1], "k": x[:, 0]})
    model = SwitchRegressor([-1, 0.25, 1], key="k", branch="linear", epochs=2, random_state=0).fit(frame, y)
    assert model.key_ == 1
    assert model.feature_names_in_.tolist() == ["b", "k"]
    assert model.route(frame).tolist() == (x[:, 0] >= 0.25).astype(int).tolist()
    with pytest.raises(ValueError, match=r"key must be a column of X, got 'z'; X has b, k"):
        SwitchRegressor([-1, 0, 1], key="z").fit(frame, y)


def test_key_only_keeps_the_key_from_the_branches() -> None:
    x, y = pieces()
    model = SwitchRegressor([-1, 0.25, 1], key_only=True, branch="linear", epochs=2, random_state=0).fit(x, y)
    assert model.network_.branch(0).in_features == 1
    moved = x.copy()
    moved[:, 0] = np.where(x[:, 0] < 0.25, -0.9, 0.9)
    assert np.array_equal(model.predict(x), model.predict(moved))


def test_a_window_gives_memory_and_one_row_does_not() -> None:
    x = np.random.default_rng(0).normal(size=(1000, 1))
    y = np.roll(x[:, 0], 3)
    options: dict[str, Any] = {"branch": "linear", "random_state": 0}
    remembering = SwitchRegressor([-4, 0, 4], window=4, **options).fit(x, y)
    assert remembering.score(x[10:], y[10:]) > 0.99
    assert SwitchRegressor([-4, 0, 4], **options).fit(x, y).score(x, y) < 0.1


def test_recordings_together_are_predicted_as_each_alone() -> None:
    x, y = pieces(120)
    y = y + np.roll(x[:, 1], 2)
    groups = np.repeat(["a", "b", "c"], 40)
    model = SwitchRegressor([-1, 0.25, 1], window=5, epochs=2, random_state=0).fit(x, y, groups=groups)
    alone = [model.predict(x[groups == name]) for name in "abc"]
    assert np.allclose(model.predict(x, groups=groups), np.concatenate(alone), rtol=0, atol=1e-12)
    assert not np.allclose(model.predict(x), np.concatenate(alone))


@pytest.mark.parametrize("branch", BRANCHES)
def test_every_branch_goes_by_name(branch: str) -> None:
    x, y = pieces(100)
    model = SwitchRegressor([-1, 0.25, 1], window=6, branch=branch, hidden=(5,), epochs=1, random_state=0).fit(x, y)
    assert np.isfinite(model.predict(x)).all()
    # A key in its own units would stand out of a sequence; the others have it normalized.
    assert (model.architecture_.raw is None) == (branch in SEQUENCES)


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_sequence_branch_reads_the_newest_row_last_and_repeats_what_was_appended(name: str) -> None:
    steps, columns = 7, 2
    torch.manual_seed(0)
    branch = make_branch(name, steps * columns + 1, 1, hidden=(4,), steps=steps, columns=columns)
    x = torch.randn(3, steps * columns + 1)
    laid: Any = branch[0](x)  # type: ignore[index]
    assert torch.equal(laid[:, :, :columns], x[:, :-1].reshape(3, steps, columns))
    assert torch.equal(laid[:, :, columns], x[:, -1:].expand(-1, steps))


def test_a_branch_may_be_a_function() -> None:
    x, y = pieces(60)
    model = SwitchRegressor([-1, 0.25, 1], branch=lambda i, o: nn.Linear(i, o), epochs=1, random_state=0).fit(x, y)
    assert isinstance(model.network_.branch(1), nn.Linear)
    with pytest.raises(ValueError, match=r"branch must make a torch.nn.Module, got int"):
        SwitchRegressor([-1, 1], branch=lambda i, o: 3, epochs=1).fit(x, y)  # type: ignore[arg-type,return-value]


def test_a_narrow_range_far_from_zero_is_trained_in_double_precision() -> None:
    x = np.random.default_rng(0).uniform(1_700_000_000, 1_700_000_010, (600, 1))
    y = np.where(x[:, 0] < 1_700_000_004, 1.0, x[:, 0] - 1_700_000_000)
    points = [1_700_000_000, 1_700_000_004, 1_700_000_010]
    model = SwitchRegressor(points, epochs=30, random_state=0).fit(x, y)
    assert model.architecture_.dtype is torch.float64
    assert np.abs(model.predict(x) - y).max() < 0.01
    lines = SwitchRegressor(points, branch="linear", random_state=0).fit(x, y)
    assert np.abs(lines.predict(x) - y).max() < 1e-6  # keys are known to 2e-7 there


def test_classes_follow_the_ranges() -> None:
    x, _ = pieces()
    y = np.where((x[:, 0] < 0) ^ (x[:, 1] < 0), "odd", "even")
    model = SwitchClassifier([-1, 0, 1], branch="linear", lr=0.1, epochs=60, random_state=0).fit(x, y)
    assert model.score(x, y) > 0.95
    assert model.classes_.tolist() == ["even", "odd"]
    assert np.allclose(model.predict_proba(x).sum(axis=1), 1)


def test_learned_points_find_a_jump() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (1500, 1))
    y = np.where(x[:, 0] < 0, -1.0, x[:, 0])
    for branch in ("linear", "mlp"):
        options: dict[str, Any] = {"branch": branch, "epochs": 15, "batch_size": 64, "random_state": 0}
        model = SwitchRegressor([-1, 0.3, 1], learn_points=True, **options).fit(x, y)
        assert model.points_[1] == pytest.approx(0, abs=0.05), branch


def test_the_same_seed_gives_the_same_model_and_torchs_own_is_left_alone() -> None:
    x, y = pieces(80)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (SwitchRegressor(epochs=2, random_state=s).fit(x, y).predict(x) for s in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_empty_range_and_a_dead_branch_are_warned_of() -> None:
    x, y = pieces(100)
    with pytest.warns(UserWarning, match=r"no row has a key in range 1, \[5, 6\]"):
        SwitchRegressor([-1, 5, 6], branch="linear", epochs=1).fit(x, y)

    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.weight.expand(len(x), 1)

    with pytest.warns(UserWarning, match=r"range \[-1, 1\]: its branch returns the same for all its 90 rows"):
        SwitchRegressor([-1, 1], branch=lambda i, o: Dead(), epochs=1).fit(x, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": [0, 2, 1]}, r"points must increase, got 1 after 2"),
        ({"branch": "mpl"}, r"branch must be one of mlp, linear, .* got 'mpl'"),
        ({"branch": "no_such:thing"}, r"branch must name a module that can be imported, got 'no_such:thing'"),
        ({"branch": "math:no"}, r"branch must name a function, got 'math:no': math has no 'no'"),
        ({"hidden": (0,)}, r"hidden must be widths of at least 1, got \(0,\)"),
        ({"branch": "gru", "hidden": (4, 5)}, r"hidden must be one width for all layers of 'gru', got \(4, 5\)"),
        ({"loss": "sum"}, r"loss must be one of 'mean', 'per_branch_mean', got 'sum'"),
        ({"optimizer": "lion"}, r"optimizer must be one of 'adam', .* got 'lion'"),
        ({"lr": 0}, r"lr must be a number greater than 0, got 0"),
        ({"epochs": 0}, r'epochs must be a whole number of at least 1 or "auto", got 0'),
        ({"window": 1.5}, r"window must be a whole number of at least 1, got 1.5"),
        ({"window": 99}, r"window must be at most the rows of the longest recording, 60, got 99"),
        ({"validation": 1}, r"validation must be a share from 0 to below 1, got 1"),
        ({"key": 2}, r"key must be a column of X, which has 2, got 2; count from 0"),
    ],
)
def test_a_wrong_parameter_is_named_with_the_rule_and_the_value(options: dict[str, Any], message: str) -> None:
    x, y = pieces(60)
    with pytest.raises(ValueError, match=message):
        SwitchRegressor(**options).fit(x, y)


# --------------------------------------------------------------------------------------------------------- training


def begun(**options: Any) -> tuple[SwitchRegressor, Training]:
    x, y = pieces(100)
    torch.manual_seed(3)
    model = SwitchRegressor([-1, 0.25, 1], hidden=(4,), epochs=4, batch_size=16, **options)
    return model, model.begin(x, y, None, 3)


class Enough(Exception):
    pass


@pytest.mark.parametrize("options", [{}, {"learn_points": True}, {"optimizer": "sgd", "loss": "per_branch_mean"}])
@pytest.mark.parametrize("stop", [1, 6, 7])  # in an epoch, at its end (90 rows make 6 steps), after it
def test_a_training_resumes_bit_for_bit_from_any_step(stop: int, options: dict[str, Any]) -> None:
    _, whole = begun(**options)
    whole.run()
    _, cut = begun(**options)

    def after_step() -> None:
        if cut.steps == stop:
            raise Enough

    with pytest.raises(Enough):
        cut.run(after_step=after_step)
    _, resumed = begun(**options)
    resumed.load_state_dict(cut.state_dict())
    resumed.run()
    expected = whole.model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.model.state_dict().items())
    assert [point["loss"] for point in resumed.curve] == [point["loss"] for point in whole.curve]


def test_the_weights_kept_are_those_of_the_best_held_out_loss() -> None:
    _, training = begun(lr=0.3)
    before = float(training.losses(training.task.held_out).double().mean())
    training.run()
    losses = [before, *(point["held_out"] for point in training.curve)]
    assert training.best_epoch == int(np.argmin(losses))
    assert float(training.losses(training.task.held_out).double().mean()) == pytest.approx(min(losses), rel=1e-6)


def test_patience_ends_a_training_that_gets_no_better() -> None:
    x, _ = pieces(100)
    noise = np.random.default_rng(1).normal(size=100)
    model = SwitchRegressor([-1, 1], epochs=300, batch_size=16, patience=3, lr=0.02, random_state=0).fit(x, noise)
    assert model.n_iter_ == model.best_epoch_ + 4
    assert model.n_iter_ < 300


def test_the_learning_rate_rises_and_falls_as_a_cosine() -> None:
    rates = [learning_rate(step, 200, 2.0) for step in range(200)]
    assert rates[:6] == pytest.approx([2 * (i + 1) / 6 for i in range(6)])
    assert rates[6 + 97] == pytest.approx(1.0)  # half way down
    assert rates[-1] == pytest.approx(1 + math.cos(math.pi * 193 / 194))


def test_visits_of_an_evaluation_are_not_counted() -> None:
    x, y = pieces(60)
    model = SwitchRegressor([-1, 0.25, 1], epochs=1, random_state=0).fit(x, y)
    before = model.ranges_.visits.clone()
    model.predict(x)
    assert torch.equal(model.ranges_.visits, before)


def test_importing_the_lab_is_cheap_and_the_estimators_come_on_demand() -> None:
    program = (
        "import sys, hardgrad_lab; assert 'torch' not in sys.modules and 'sklearn' not in sys.modules;"
        "assert 'SwitchRegressor' in dir(hardgrad_lab); hardgrad_lab.SwitchRegressor.fit"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": str(ROOT / "src")})
    with pytest.raises(AttributeError, match="no attribute 'SwitchRegresor'"):
        _ = hardgrad_lab.SwitchRegresor


def test_no_warning_where_all_is_well() -> None:
    x, y = pieces(200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SwitchRegressor([-1, 0.25, 1], epochs=3, random_state=0).fit(x, y)
