"""Rivals of a fitted switch: chosen by sizes, solved as they say, measured with an interval, the same after a stop."""

from __future__ import annotations

import html
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.metrics import log_loss
from sklearn.tree import DecisionTreeRegressor

from hardgrad_lab import SwitchClassifier, SwitchRegressor, cli
from hardgrad_lab.baselines.boosting import Boosting, ClassBoosting
from hardgrad_lab.baselines.knots import KnotTable, _solve
from hardgrad_lab.baselines.leaves import RidgeTree, _Grown
from hardgrad_lab.baselines.moments import ALPHAS, Array, Moments
from hardgrad_lab.baselines.ridge import RidgeLine, folds
from hardgrad_lab.fit import job as job_module
from hardgrad_lab.fit.fitted import Fitted
from hardgrad_lab.fit.job import Job
from hardgrad_lab.fit.page.verdict import reasons, verdict
from hardgrad_lab.fit.rivals import budget, compare
from hardgrad_lab.fit.rivals.compare import rivals_of
from hardgrad_lab.fit.rivals.design import Design, some
from hardgrad_lab.fit.rivals.scores import LeftOut, Margin, Score, blocks_of, margin
from hardgrad_lab.fit.rows import Rows
from hardgrad_lab.fit.tables import Columns, read_table
from hardgrad_lab.fit.training.network import Architecture
from hardgrad_lab.fit.training.start import start_rival
from hardgrad_lab.fit.training.training import Training
from hardgrad_lab.runs.loop import DivergedError
from hardgrad_lab.runs.signals import Interrupted

Random = np.random.Generator


@pytest.fixture
def random() -> Random:
    return np.random.default_rng(0)


# --------------------------------------------------------------------------------------------------- rules, not clocks


def test_all_rivals_of_three_minutes_of_sound_are_trained() -> None:
    # 7.9 million rows, ten epochs, eight ranges of 1,153 weights: the fit whose rivals a clock once dropped.
    branch, seen = 1153, 62_800 * 1024
    for rival in (branch, 8 * branch, 9 * branch):
        assert budget.too_dear(rival, branch, seen) is None
    assert budget.too_dear(100 * branch, branch, 4000 * 32) is None, "small fits get every rival"
    assert budget.too_dear(100 * branch, branch, seen) == (
        "its training would take 2.2e+13 multiply-adds, 100 times the switch's; a rival gets 16 times, or 1e+12"
    )


@pytest.mark.parametrize(
    ("name", "rows", "columns", "expected"),
    [
        ("ridge", 7_900_000, 1, 7_900_000),
        ("ridge", 7_900_000, 64, 7_900_000),
        ("ridge", 7_900_000, 1000, 200_000),
        ("ridge-tree", 7_900_000, 1, 200_000),
        ("ridge-tree", 7_900_000, 64, 31_250),
        ("boosting", 7_900_000, 64, 100_000),
        ("boosting", 7_900_000, 200, 40_000),
        ("boosting", 3_000, 2000, 3_000),
        ("ridge-tree", 9_000, 2000, 5_000),
        ("constant", 7_900_000, 64, 7_900_000),
    ],
)
def test_long_recordings_are_solved_on_a_stated_number_of_rows(
    name: str, rows: int, columns: int, expected: int
) -> None:
    assert budget.rows_for(name, rows, columns) == expected


def test_weights_that_read_a_window_step_by_step_work_at_each_step() -> None:
    assert budget.multiply_adds("gru", 100, 64) == 6400
    assert budget.multiply_adds("mlp", 100, 64) == 100
    assert budget.too_wide("ridge", 2001) == "its rows would have 2,001 columns; at most 2,000 are solved for"
    assert budget.too_wide("constant", 2001) is None


def architecture(branch: str = "mlp", columns: int = 2, hidden: tuple[int, ...] = (4,)) -> Architecture:
    return Architecture(
        points=(-1.0, 0.0, 1.0), learn_points=False, branch=branch, hidden=hidden, columns=columns, window=1,
        out_features=1, raw=None,
    )  # fmt: skip


def test_which_rivals_there_are_follows_from_the_branch() -> None:
    solved = ["ridge-tree", "boosting", "ridge", "best-gain", "constant"]
    trained = ["plain-total", "plain-active", "condition-input"]
    assert rivals_of(architecture(), None) == ([*trained, *solved], [])
    assert "table" in rivals_of(architecture(columns=1), None)[0]
    names, left_out = rivals_of(architecture("linear"), None)
    assert (names, [each.name for each in left_out]) == (solved, trained)
    assert not any(each.possible for each in left_out)
    names, left_out = rivals_of(architecture(""), lambda i, o: torch.nn.Linear(i, o))
    assert (names, [each.name for each in left_out]) == (["plain-active", *solved], ["plain-total", "condition-input"])
    assert rivals_of(architecture(hidden=()), None)[0] == ["plain-active", *solved], "no layers, no width"


# ------------------------------------------------------------------------------------------------------ what they solve


def bands(random: Random, n: int) -> tuple[Array, Array, Array]:
    """Return inputs, targets with noise of 0.1, and the band of each row."""
    x = random.uniform(-1, 1, (n, 2))
    band = np.digitize(x[:, 0], [-0.5, 0.3])
    slopes, constants = np.array([[1.0, 2.0], [-3.0, 0.5], [2.0, -1.0]]), np.array([0.0, 9.0, -5.0])
    y = (x * slopes[band]).sum(axis=1) + constants[band] + 0.1 * random.normal(size=n)
    return x, y[:, None], band


def test_a_tree_of_lines_finds_planted_bands(random: Random) -> None:
    x, y, band = bands(random, 3000)
    unseen_x, unseen_y, unseen_band = bands(random, 3000)
    tree = RidgeTree(x, y, folds(3000, ordered=False, seed=0), seed=0)
    got = float(np.sqrt(np.mean((tree.predict(unseen_x) - unseen_y) ** 2)))
    exact = np.zeros(3000)
    for i in range(3):
        design = np.c_[x[band == i], np.ones((band == i).sum())]
        weights = np.linalg.lstsq(design, y[band == i, 0], rcond=None)[0]
        exact[unseen_band == i] = np.c_[unseen_x, np.ones(3000)][unseen_band == i] @ weights
    # Rows between the true point and the tree's, one or two of 3,000, err by the height of the jump.
    near = np.abs(unseen_x[:, :1] - [-0.5, 0.3]).min(axis=1) > 2e-3
    assert near.sum() > 2980
    errors = (tree.predict(unseen_x) - unseen_y)[near, 0]
    assert np.sqrt(np.mean(errors**2)) < 1.1 * np.sqrt(np.mean((exact - unseen_y[:, 0])[near] ** 2))
    assert got < 1.0, "a line errs 6"


def test_each_leaf_holds_the_least_squares_of_its_rows(random: Random) -> None:
    x, y = random.normal(size=(500, 3)), random.normal(size=(500, 2))
    weight = random.uniform(0, 2, 500)
    grown = _Grown(x, y, weight, 8, 0)
    root = np.sqrt(weight)[:, None]
    leaf = grown.leaf(x, 8)
    for node, line in grown.lines(8, 0.0).items():
        mine = leaf == node
        design = np.c_[x[mine], np.ones(mine.sum())]
        weights = np.linalg.lstsq(root[mine] * design, root[mine] * y[mine], rcond=None)[0]
        assert np.allclose(np.vstack([line.slopes, line.constant]), weights, rtol=0, atol=1e-6)


@pytest.mark.parametrize("leaves", [2, 3, 8, 16])
def test_one_growth_holds_the_trees_of_every_size(random: Random, leaves: int) -> None:
    x, y = random.normal(size=(500, 3)), random.normal(size=(500, 2))
    small = DecisionTreeRegressor(max_leaf_nodes=leaves, min_samples_leaf=9, random_state=0).fit(x, y)
    grown = _Grown(x, y, np.ones(500), 16, 0)
    fresh = random.normal(size=(1000, 3))
    assert (grown.leaf(fresh, leaves) == small.apply(fresh)).all()
    assert sorted(grown.lines(leaves, 0.0)) == np.unique(small.apply(x)).tolist()


def test_the_tree_s_size_is_what_brute_force_over_the_folds_finds(random: Random) -> None:
    x, y, _ = bands(random, 400)
    fold = folds(400, ordered=False, seed=3)
    tree = RidgeTree(x, y, fold, seed=0)
    errors = {}
    for leaves in (1, 2, 4, 8, 16, 32):
        for alpha in ALPHAS:
            error = 0.0
            for k in range(5):
                seen = fold != k
                grown = _Grown(x[seen], y[seen], np.ones(seen.sum()), 57, 0)  # 400 rows: at most 57 leaves of 7
                lines, leaf = grown.lines(leaves, alpha), grown.leaf(x[fold == k], leaves)
                for row, node in zip(np.flatnonzero(fold == k), leaf.tolist(), strict=True):
                    error += float(np.square(lines[node](x[row : row + 1]) - y[row]).sum())
            errors[leaves, alpha] = error
    best = min(errors, key=lambda pair: errors[pair])
    assert tree.leaves == best[0]
    assert errors[tree.leaves, tree.alpha] <= 1.01 * errors[best]


def test_the_ridge_line_is_scikit_learn_s_and_needs_no_row_twice(random: Random) -> None:
    x = random.normal(size=(300, 4)) @ random.normal(size=(4, 4))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    y = x[:, :2] + random.normal(size=(300, 2))
    fold = folds(300, ordered=True, seed=0)
    line = RidgeLine([(x[i : i + 70], y[i : i + 70], fold[i : i + 70], None) for i in range(0, 300, 70)])
    assert fold.tolist() == sorted(fold.tolist())
    theirs = Ridge(alpha=line.alpha * 300).fit(x, y)
    assert np.allclose(line.predict(x), theirs.predict(x), atol=1e-9)
    unseen = []
    for alpha in ALPHAS:
        error = 0.0
        for k in range(5):
            seen = x[fold != k]
            paid = np.sqrt(alpha * np.square(seen - seen.mean(axis=0)).sum(axis=0))
            # A ridge that charges columns differently is one that charges scaled columns alike.
            made = Ridge(alpha=1.0).fit(seen / paid, y[fold != k])
            error += float(np.square(made.predict(x[fold == k] / paid) - y[fold == k]).sum())
        unseen.append(error)
    assert line.alpha == ALPHAS[int(np.argmin(unseen))]


def test_moments_add_up_far_from_zero(random: Random) -> None:
    x = 1e6 + random.normal(size=(400, 2))
    y, weight = x @ [[3.0], [-2.0]], random.integers(1, 4, 400).astype(np.float64)
    parts = [Moments.of(x[i : i + 9], y[i : i + 9], weight[i : i + 9]) for i in range(0, 400, 9)]
    whole = sum(parts[1:], parts[0])
    repeated = np.repeat(np.c_[x, y], weight.astype(int), axis=0)
    assert np.allclose(whole.scatter, np.cov(repeated.T, bias=True) * len(repeated), rtol=1e-6)
    assert np.allclose(whole.ridge(2, 0.0).slopes[:, 0], [3, -2], atol=1e-6)


def test_a_row_that_weighs_three_is_three_rows(random: Random) -> None:
    x, y, _ = bands(random, 200)
    weight, fold = random.integers(1, 4, 200), folds(200, ordered=False, seed=0)
    times = np.repeat(np.arange(200), weight)
    share = weight.astype(np.float64)
    line, repeated = RidgeLine([(x, y, fold, share)]), RidgeLine([(x[times], y[times], fold[times], None)])
    assert np.allclose(line.predict(x), repeated.predict(x), atol=1e-9)
    knots, key = np.linspace(-1, 1, 9), x[:, 0]
    alone, many = _solve(knots, key, y, share), _solve(knots, key[times], y[times], np.ones(len(times)))
    assert np.allclose(alone, many, atol=1e-9)
    heavy = np.where(np.arange(200) < 100, 1.0, 0.0)
    for made in (
        RidgeTree(x, y, fold, seed=0, weight=heavy).predict(x),
        Boosting(x, y, (x, y), seed=0, weights=(heavy, heavy)).predict(x),
    ):
        assert np.square(made - y)[:100].mean() < 0.25 * np.square(made - y)[100:].mean()


def test_boosting_stops_where_the_held_out_rows_say(random: Random) -> None:
    x, y, _ = bands(random, 600)
    out, out_y, _ = bands(random, 200)
    boosted = Boosting(x, y, (out, out_y), seed=0)
    whole = HistGradientBoostingRegressor(max_iter=300, early_stopping=False, random_state=0).fit(x, y[:, 0])
    errors = [np.square(stage - out_y[:, 0]).mean() for stage in whole.staged_predict(out)]
    (trees,) = boosted.trees
    assert errors[trees - 1] == pytest.approx(min(errors[: trees + 50]), rel=1e-12)
    again = HistGradientBoostingRegressor(max_iter=trees, early_stopping=False, random_state=0).fit(x, y[:, 0])
    assert np.allclose(boosted.predict(out)[:, 0], again.predict(out), rtol=1e-12)
    assert Boosting(x, y, (out[:0], out_y[:0]), seed=0).trees == [100]


def test_boosting_of_classes_stops_where_the_held_out_rows_say(random: Random) -> None:
    (x, _, y), (out, _, out_y) = bands(random, 500), bands(random, 200)
    y[random.random(500) < 0.2] = 2  # so that more rounds do not go on helping
    boosted = ClassBoosting(x, y, (out, out_y), seed=0)
    whole = HistGradientBoostingClassifier(max_iter=300, early_stopping=False, random_state=0).fit(x, y)
    errors = [log_loss(out_y, stage, labels=[0, 1, 2]) for stage in whole.staged_predict_proba(out)]
    assert errors[boosted.trees - 1] == pytest.approx(min(errors[: boosted.trees + 50]), rel=1e-12)
    assert np.allclose(boosted.predict(out).sum(axis=1), 1)
    lacking = ClassBoosting(x[y > 0], y[y > 0], (out, out_y), seed=0)
    assert lacking.predict(out).shape == (200, 2), "class 0 is held out alone"


def test_the_table_s_values_are_least_squares_and_its_knots_few(random: Random) -> None:
    key = random.uniform(0, 4, 2000)
    y = np.interp(key, [0, 1, 4], [0, 3, -3])[:, None] + 0.3 * random.normal(size=(2000, 1))
    table = KnotTable(key, y, folds(2000, ordered=False, seed=0))
    hats = np.stack([np.interp(key, table.knots, row) for row in np.eye(len(table.knots))], axis=1)
    assert np.allclose(table.values, np.linalg.lstsq(hats, y, rcond=None)[0], atol=1e-5)
    assert len(table.knots) <= 64
    truth = np.interp(key, [0, 1, 4], [0, 3, -3])
    assert np.sqrt(np.mean((table.predict(key)[:, 0] - truth) ** 2)) < 0.06
    assert KnotTable(np.ones(9), y[:9], folds(9, ordered=False, seed=0)).predict(np.ones(1)).shape == (1, 1)


def test_a_rival_that_is_solved_sees_the_window_and_the_exact_key(random: Random) -> None:
    columns, key = torch.from_numpy(random.normal(size=(50, 2))), torch.from_numpy(random.normal(size=50)) + 1e9
    rows = Rows(columns=columns.float(), key=key, first=torch.zeros(50, dtype=torch.int64), window=3, raw=4)
    train = torch.arange(2, 40)
    design = Design.of(rows, train, keyed=False)
    x = design.take(rows, train)
    assert x.shape == (38, 6)
    assert np.allclose(x.mean(axis=0), 0, atol=1e-6)
    scaled = (key[train] - key[train].mean()) / key[train].std(correction=0)
    assert np.allclose(x[:, 4], scaled, atol=1e-6), "single precision would have rounded it to 64"
    assert Design.of(rows, train, keyed=True).take(rows, train).shape == (38, 7)
    assert len(some(train, 10, 0)) == 10
    assert some(train, 10, 0).tolist() == sorted(set(some(train, 10, 0).tolist()))


# ----------------------------------------------------------------------------------------------- one against the other


def test_the_interval_is_as_wide_as_the_bootstrap_s(random: Random) -> None:
    a = random.normal(size=500)
    b = 1.2 * (0.8 * a + 0.6 * random.normal(size=500))
    drawn = random.integers(0, 500, (4000, 500))
    ratios = np.log(np.sqrt((b**2)[drawn].mean(axis=1) / (a**2)[drawn].mean(axis=1)))
    got = margin(a, b, np.arange(500), 1)
    assert got is not None
    assert got.factor == pytest.approx(np.sqrt((b**2).mean() / (a**2).mean()))
    # 4,000 draws know a deviation to 1.1 %; the linearisation is worth a few more.
    assert np.log(got.high / got.low) / 2 / 1.965 == pytest.approx(ratios.std(), rel=0.08)
    many = margin(a, b, np.arange(500), 8)
    assert many is not None
    # Eight intervals that hold together: the quantile of 1 - 0.05 / 16 of Student's t with 499 degrees is 2.746.
    assert np.log(many.high / many.low) / np.log(got.high / got.low) == pytest.approx(2.746 / 1.965, rel=1e-3)


def test_equal_models_are_alike_as_often_as_said() -> None:
    random, wrong = np.random.default_rng(1), 0
    for _ in range(400):
        got = margin(random.normal(size=200), random.normal(size=200), np.arange(200), 1)
        assert got is not None
        wrong += not got.low < 1 < got.high
    assert wrong <= 20 + 4 * np.sqrt(400 * 0.05 * 0.95), "5 % of 400, and four sigma"


def test_rows_in_order_of_time_count_as_stretches(random: Random) -> None:
    rows = np.r_[0:600, 900:1500]
    blocks = blocks_of(rows, ordered=True, window=8)
    assert len(np.unique(blocks)) == 30
    assert (np.diff(blocks) >= 0).all()
    assert blocks[599] != blocks[600], "no stretch crosses a gap"
    assert len(np.unique(blocks_of(rows, ordered=True, window=300))) == 4
    assert len(np.unique(blocks_of(rows, ordered=False, window=1))) == 1200
    # Errors that last for 40 rows each: as rows of their own they would look 40 times as many as they are.
    a, b = (np.repeat(random.normal(size=30), 40) for _ in range(2))
    wide, narrow = margin(a, b, blocks, 1), margin(a, b, np.arange(1200), 1)
    assert wide is not None
    assert narrow is not None
    assert np.log(wide.high / wide.low) > 4 * np.log(narrow.high / narrow.low)


def test_where_the_rows_cannot_say_there_is_no_margin() -> None:
    ones = np.ones(5)
    assert margin(ones, ones, np.zeros(5, dtype=np.int64), 1) is None
    assert margin(np.zeros(5), ones, np.arange(5), 1) is None


def score(name: str, rmse: float, factor: float | None = None, r2: float = 0.9) -> Score:
    interval = None if factor is None else Margin(factor=factor, low=factor / 1.1, high=factor * 1.1)
    return Score(
        name=name, described="", rmse=rmse, r2=r2, ranges=[], parameters=1, active=1, updates=1, seconds=1.0,
        margin=interval,
    )  # fmt: skip


OURS = score("switch", 1.0)


@pytest.mark.parametrize(
    ("rivals", "said"),
    [
        ([], ""),
        (
            [score("ridge-tree", 1.5, 1.5), score("ridge", 9.0, 9.0)],
            "The best rival, ridge-tree, errs 1.50 (95%: 1.36 to 1.65) times as much (1.5).",
        ),
        (
            [score("boosting", 0.5, 0.5), score("ridge", 9.0, 9.0)],
            "boosting is better here (0.5, 0.50 (95%: 0.45 to 0.55) times the switch's error).",
        ),
        (
            [score("ridge-tree", 1.05, 1.05), score("plain-active", 1.08, 1.08)],
            "The best rival, ridge-tree, does as well (1.05, 1.05 (95%: 0.95 to 1.16) times the switch's error). So "
            "does plain-active, which knows no ranges: they bring nothing here.",
        ),
        (
            [score("plain-active", 0.99, 0.99)],
            "The best rival, plain-active, does as well (0.99, 0.99 (95%: 0.90 to 1.09) times the switch's error): the "
            "ranges bring nothing here.",
        ),
        ([score("ridge", 500.0, 500.0)], "The best rival, ridge, errs 500, more than 100 times as much."),
        ([score("ridge", 5.0)], "The best rival, ridge, errs 5."),
    ],
)
def test_the_verdict_says_what_the_rows_show(rivals: list[Score], said: str) -> None:
    assert verdict([OURS, *rivals], []) == said


def test_an_error_at_rounding_level_is_no_measure() -> None:
    ours = score("switch", 1.2e-7, r2=1 - 1e-12)
    said = verdict([ours, score("ridge", 0.1165, 937431.41)], [])
    assert said == "The best rival, ridge, errs 0.1165; the switch's error is rounding."


def test_nothing_is_claimed_while_a_rival_is_missing() -> None:
    left_out = [LeftOut(name=name, reason="it is too dear") for name in ("plain-total", "condition-input")]
    said = verdict([OURS, score("ridge", 9.0, 9.0)], left_out)
    assert said == "Not compared with plain-total and condition-input, so no rival is called the best."
    lost = verdict([OURS, score("ridge-tree", 0.5, 0.5), score("ridge", 9.0, 9.0)], left_out)
    assert lost.startswith("ridge-tree is better here (0.5")
    assert lost.endswith(said), "who won is said even so"
    assert reasons(left_out) == ["not compared with plain-total and condition-input: it is too dear"]
    cannot = [replace(each, possible=False) for each in left_out]
    assert "The best rival, ridge, errs 9.00" in verdict([OURS, score("ridge", 9.0, 9.0)], cannot)


# ------------------------------------------------------------------------------------------------------ the whole job


def a_job(
    folder: Path, *, tell: Callable[[str, Training], None] = lambda *_: None, words: bool = False, **options: Any
) -> Job:
    random = np.random.default_rng(0)
    path = folder / "data.csv"
    if not path.exists():
        k, b = random.uniform(-1, 1, 150), random.normal(size=150)
        pd.DataFrame({"k": k, "b": b, "y": np.where(k < 0.25, 3 * b + 1, -2 * b)}).to_csv(path, index=False)
    options = {"points": [-1, 0.25, 1], "hidden": (4,), "epochs": 2, **options}
    kind = SwitchClassifier if words else SwitchRegressor
    model = kind(**options, key="k", random_state=0)
    table = read_table([path], Columns(target="y", key="k", inputs=None), None, drop_missing=False)
    if words:
        table = replace(table, target=np.where(np.asarray(table.target) > 0, "up", "down"))
    return Job(
        model=model, table=table, seed=0, test_share=0.1, compared=True, saved=folder / "c.pt", tell=tell,
        checkpoint_steps=1,
    )  # fmt: skip


def plain(fitted: Fitted) -> list[Any]:
    return [*(replace(each, seconds=0.0) for each in fitted.scores), *fitted.left_out]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return plain(a_job(tmp_path_factory.mktemp("whole")).run(resume=False))


@pytest.mark.parametrize("calls", [2, 11, 17, 30])
def test_a_stopped_comparison_ends_in_the_same_table(tmp_path: Path, whole: list[Any], calls: int) -> None:
    seen = 0

    def stop(name: str, training: Training) -> None:
        nonlocal seen
        seen += 1
        if seen == calls:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        a_job(tmp_path, tell=stop).run(resume=False)
    assert plain(a_job(tmp_path).run(resume=True)) == whole


def test_a_stopped_comparison_of_classes_ends_in_the_same_table(tmp_path: Path) -> None:
    def stop(name: str, training: Training) -> None:
        if name == "plain-active" and training.steps == 3:
            raise KeyboardInterrupt

    whole = plain(a_job(tmp_path, words=True).run(resume=False))
    assert [each.name for each in whole][1:] == [*compare.TRAINED, "boosting", "logistic", "shares"]
    (tmp_path / "c.pt").unlink()
    with pytest.raises(KeyboardInterrupt):
        a_job(tmp_path, words=True, tell=stop).run(resume=False)
    assert plain(a_job(tmp_path, words=True).run(resume=True)) == whole


def test_a_signal_between_rivals_that_are_solved_stops_there(
    tmp_path: Path, whole: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return compare.solve_rival(*arguments)

    monkeypatch.setattr(job_module, "solve_rival", slow)
    with pytest.raises(Interrupted, match="SIGINT"):
        a_job(tmp_path).run(resume=False)
    monkeypatch.undo()
    assert plain(a_job(tmp_path).run(resume=True)) == whole


@pytest.mark.parametrize("name", compare.TRAINED)
def test_rivals_begin_as_the_line_of_all_rows_as_branches_begin_as_theirs(tmp_path: Path, name: str) -> None:
    job = a_job(tmp_path, hidden=(16, 16))
    x, y = job.table.inputs, np.asarray(job.table.target)
    switch = job.model.begin(x, y, None, 0)
    rival = compare.build_rival(name, job.model.architecture_, job.model.architecture_.points, None)
    start_rival(rival, switch.task)
    rows, task = torch.arange(150), switch.task
    with torch.no_grad():
        got = job.model.target_scaling_.back(rival(*task.rows.take(rows)).double().numpy())[:, 0]
    train = task.train.numpy()
    design = np.c_[x.to_numpy(), np.ones(150)]
    assert np.allclose(got, design @ np.linalg.lstsq(design[train], y[train], rcond=None)[0], atol=1e-4)


def test_no_clock_decides_who_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine crawls as soon as the first rival is trained: once a reason to drop them all after 20 steps."""
    now, step = 0.0, 0.001

    def crawling() -> float:
        nonlocal now
        now += step  # between any two looks at the clock
        return now

    def crawl(name: str, training: Training) -> None:
        nonlocal step
        step = 0.001 if name == "switch" else 1000.0

    idle = plain(a_job(tmp_path, epochs=8).run(resume=False))
    monkeypatch.setattr(time, "monotonic", crawling)
    crowded = a_job(tmp_path, epochs=8, tell=crawl).run(resume=False)
    assert max(each.updates for each in crowded.scores) > 20
    assert plain(crowded) == idle


def test_a_rival_that_diverges_is_named_and_the_rest_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(name: str, *rest: Any) -> Any:
        if name == "plain-total":
            raise DivergedError(64, {"loss": float("nan")})
        return compare.train_rival(name, *rest)

    monkeypatch.setattr(job_module, "train_rival", diverge)
    fitted = a_job(tmp_path).run(resume=False)
    (left_out,) = fitted.left_out
    assert left_out.name == "plain-total"
    assert left_out.reason.startswith("it diverged")
    assert "plain-active" in [each.name for each in fitted.scores]


def test_a_rival_beyond_the_budget_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "FREE", 0)
    monkeypatch.setattr(budget, "TIMES", 1)
    monkeypatch.setattr(budget, "WIDEST", 1)
    fitted = a_job(tmp_path).run(resume=False)
    dear, wide = ["plain-total", "condition-input"], ["ridge-tree", "boosting", "ridge"]
    assert [each.name for each in fitted.left_out] == [*dear, *wide]
    assert all("multiply-adds" in each.reason for each in fitted.left_out[:2])
    assert all("its rows would have 2 columns" in each.reason for each in fitted.left_out[2:])
    assert [each.name for each in fitted.scores] == ["switch", "plain-active", "best-gain", "constant"]


def test_a_linear_branch_is_compared_with_what_is_solved(tmp_path: Path) -> None:
    fitted = a_job(tmp_path, branch="linear").run(resume=False)
    assert [each.name for each in fitted.scores][1:] == ["ridge-tree", "boosting", "ridge", "best-gain", "constant"]


def test_where_nothing_is_held_out_rivals_do_without(tmp_path: Path) -> None:
    fitted = a_job(tmp_path, validation=0).run(resume=False)
    (boosting,) = (each for each in fitted.scores if each.name == "boosting")
    assert "100 trees of all inputs, no rows being held out to choose their number" in boosting.described


def test_a_gain_is_of_the_key_in_its_own_units(tmp_path: Path) -> None:
    k = np.linspace(5, 9, 150)
    pd.DataFrame({"k": k, "b": 0 * k + np.arange(150) % 2, "y": 3 * k}).to_csv(tmp_path / "data.csv", index=False)
    fitted = a_job(tmp_path, points=[5, 7, 9]).run(resume=False)
    errors = {each.name: each.rmse for each in fitted.scores}
    assert errors["best-gain"] < 1e-6, "targets are in single precision"
    assert errors["constant"] == pytest.approx(3 * float(k.std()), rel=0.3)


def test_terminal_page_and_record_name_who_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a_job(tmp_path)  # writes data.csv
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(budget, "FREE", 0)
    monkeypatch.setattr(budget, "TIMES", 1)
    words = ["fit", "data.csv", "--target", "y", "--key", "k", "--points", "-1,0.25,1", "--hidden", "4"]
    assert cli.main([*words, "--epochs", "2"]) == 0
    record, page = json.loads(Path("model/model.json").read_text()), Path("model/report.html").read_text()
    missing = [each["name"] for each in record["not_compared"]]
    assert missing == ["plain-total", "condition-input"]
    told = " ".join(capsys.readouterr().out.split())
    for text in (told, html.unescape(page)):
        assert "Not compared with plain-total and condition-input, so no rival is called the best." in text
        assert "not compared with plain-total: its training would take" in text
        assert "The best rival" not in text
        assert "the best rival" not in text
        assert "The best rival" not in text.replace("The best rival of", "")
    (tree,) = (each for each in record["scores"] if each["name"] == "ridge-tree")
    assert tree["described"].startswith("a tree of all inputs with a ridge line in each of its")
    assert tree["described"] in html.unescape(page)
    assert tree["margin"]["low"] < tree["margin"]["factor"] < tree["margin"]["high"]
