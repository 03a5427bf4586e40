"""The experiments on switches: rows against formulas, published preparation, measures, runs, and the commands."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console
from torch import nn

import hardgrad as hg
from hardgrad_lab import cli
from hardgrad_lab.commands.lactose import FitOptions
from hardgrad_lab.commands.show import EXPERIMENTS
from hardgrad_lab.experiments.switches import ecg, piecewise, waveshaper
from hardgrad_lab.experiments.switches.branches import published
from hardgrad_lab.experiments.switches.data import MissingDataError, Part, Rows, find, some
from hardgrad_lab.experiments.switches.experiments import rows_of
from hardgrad_lab.experiments.switches.fit import Drawn, begin, model_of, reproduce
from hardgrad_lab.experiments.switches.measure import by_range, dead_branches, esr, predict, solved
from hardgrad_lab.experiments.switches.program import BATCHED, VARIANTS
from hardgrad_lab.experiments.switches.program.program import NAMES, NONE, PublishedSwitch, Quirks
from hardgrad_lab.experiments.switches.settings import (
    CONTESTANTS,
    PRESETS,
    TASKS,
    Experiment,
    Setup,
    configure,
    option_names,
)
from hardgrad_lab.report.lactose_table import spread
from hardgrad_lab.runs.execute import How
from hardgrad_lab.runs.options import OptionError

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
SECONDS = 3


@pytest.fixture(scope="module")
def made_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files in the layout of the recordings, with made-up signals in them."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for subject, room in (("001", "TrainData"), ("020", "TestData")):
        for breath in ecg.BREATHS:
            for take in (1, 2, 3, 4):
                time = np.arange(int(SECONDS * ecg.RATE)) / ecg.RATE
                beat = np.exp(-(((time * 1.2) % 1 - 0.5) ** 2) / 0.002)
                for kind, centre in (("bcg", 2), ("ecg", 1), ("voc", 1)):
                    shifted = np.roll(beat, {"bcg": 12, "ecg": 0, "voc": 3}[kind])
                    values = centre + shifted * (1 + 0.1 * take) + 0.02 * random.standard_normal(len(time))
                    path = folder / "lactose" / room / f"{subject}_{breath}{take}_{kind}.csv"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text("\n".join(f"{value:.14f}" for value in values) + "\n")
    for name in (*waveshaper.TRAIN, *waveshaper.TESTS.values()):
        time = np.arange(6000) / 44_100
        tone = np.sin(2 * np.pi * 220 * time) * np.exp(-3 * time)
        path = folder / waveshaper.FOLDER / f"{name}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.stack([tone, 0.5 * tone], axis=1) * 0.8, 44_100)
    return folder


def folders(made: Path) -> list[Path]:
    """The made-up recordings, and the real ones where the environment says where they are."""
    real = os.environ.get("HARDGRAD_DATA")
    return [made, *([Path(real)] if real else [])]


def smoke(experiment: Experiment, task: str, contestant: str = "switch", **given: Any) -> Setup:
    return configure(experiment, "smoke", task, contestant, given)


# ------------------------------------------------------------------------------------------------------------ rows


def test_the_talks_map_is_continuous_and_has_its_slopes() -> None:
    points, slopes = piecewise.TALK_POINTS, piecewise.TALK_SLOPES
    for i, slope in enumerate(slopes):
        x = np.linspace(points[i] + 1e-6, points[i + 1] - 1e-6, 7)
        assert np.diff(piecewise.talk_map(x)) / np.diff(x) == pytest.approx([slope] * 6)
    for point in points[1:-1]:
        below, above = piecewise.talk_map(np.array([point - 1e-9, point + 1e-9]))
        assert below == pytest.approx(above, abs=1e-7)


def test_the_talk_has_720000_samples_four_fifths_to_train_on() -> None:
    rows = rows_of(configure("piecewise", "small", "talk", "switch", {}), 0)
    assert len(rows.train) == 576_000
    assert len(rows.test) == 144_000
    assert torch.equal(rows.train.x[:, 0], rows.train.key)


@pytest.mark.parametrize("seed", range(5))
def test_the_toy_is_four_lines_between_its_points(seed: int) -> None:
    points, lines = piecewise.toy_map(seed)
    assert len(points) == 5
    assert (points[0], points[-1]) == (-1.0, 1.0)
    assert all(-4 <= value <= 3 and value == round(value) for line in lines for value in line)
    rows = rows_of(smoke("piecewise", "toy"), seed)
    # A plain loop over the conditions, up to the one factor that brings the peak to 1.
    expected = []
    for key in rows.test.key[:2000].tolist():
        branch = max(i for i in range(4) if key >= np.float32(points[i]))
        expected.append(lines[branch][0] * key + lines[branch][1])
    wanted, got = np.array(expected), rows.test.y[:2000, 0].numpy()
    factor = float((wanted @ got) / (wanted @ wanted))
    assert got == pytest.approx(factor * wanted, abs=1e-4)
    assert float(rows.test.y.abs().max()) <= 1 + 1e-6


def test_a_point_belongs_to_the_range_that_begins_there() -> None:
    lines = [(0.0, 1.0), (0.0, 2.0), (0.0, 3.0)]
    x = np.array([-1.0, -0.5, 0.25, 1.0])
    assert piecewise.pieces(x, (-1.0, -0.5, 0.25, 1.0), lines).tolist() == [1, 2, 3, 3]


def test_shapes_by_hand() -> None:
    x = np.array([-1.0, -0.75, -0.5, -0.25, 0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
    assert waveshaper.shape("fold", x) == pytest.approx(_folded(x))
    assert waveshaper.shape("crush", x) == pytest.approx(
        [-0.875, -0.625, -0.375, -0.125, 0.125, 0.125, 0.375, 0.625, 0.875, 0.875]
    )
    assert waveshaper.shape("dead-zone", x).tolist() == [-1, -0.75, -0.5, -0.25, 0, 0, 0, 0.5, 0.75, 1]
    assert waveshaper.shape("dead-zone", np.array([-0.2, 0.3])).tolist() == [0.0, 0.3]
    with pytest.raises(ValueError, match="task must be one of fold, crush, dead-zone, got 'fuzz'"):
        waveshaper.shape("fuzz", x)


def _folded(x: np.ndarray[Any, Any]) -> list[float]:
    """Folding done as a circuit does it: what goes past an end comes back, as often as it takes."""
    found = []
    for value in x:
        y = 4 * float(value)
        while abs(y) > 1:
            y = 2 * math.copysign(1, y) - y
        found.append(y)
    return found


@pytest.mark.parametrize("task", TASKS["waveshaper"])
def test_a_shape_is_one_line_in_each_of_its_ranges(task: str) -> None:
    points = waveshaper.POINTS[task]
    for low, high in itertools.pairwise(points):
        x = np.linspace(low, high, 50, endpoint=False)[1:]
        assert np.diff(waveshaper.shape(task, x), 2) == pytest.approx(0, abs=1e-9)
    kinks = np.diff([np.diff(waveshaper.shape(task, np.array([p - 2e-3, p - 1e-3]))) for p in points[1:-1]], axis=0)
    jumps = [abs(np.diff(waveshaper.shape(task, np.array([p - 1e-6, p + 1e-6]))))[0] > 1e-3 for p in points[1:-1]]
    assert any(jumps) or np.abs(kinks).max() > 1e-4


def test_wrong_points_are_30_percent_off_and_that_is_what_deviation_says() -> None:
    for points in waveshaper.POINTS.values():
        wrong = waveshaper.wrong_points(points)
        assert list(wrong) == sorted(wrong)
        assert all(abs(a) < abs(b) for a, b in zip(wrong[1:-1], points[1:-1], strict=True) if b), "never past the data"
        assert waveshaper.deviation(wrong, points) == pytest.approx(0.3)
        assert waveshaper.deviation(points, points) == 0
    assert waveshaper.deviation((-1, 0.5, 1), (-1, -0.25, 0.5, 1)) == pytest.approx(3), "a point that was not found"


def test_the_published_preparation_of_a_heart(made_data: Path) -> None:
    for folder in folders(made_data):
        for source, window in (("bcg", 1), ("bcg", 80), ("voc", 80)):
            part = ecg.recording(folder, "lactose/TrainData/001_Normal1", source, window)
            raw = (folder / "lactose/TrainData/001_Normal1_ecg.csv").read_text().split()
            # By a loop: the first line lost to a heading, 30 or 10 samples lost at the front, one at the end.
            heart = [float(value) - 1 for value in raw[1:]][10 if source == "voc" else 30 : -1]
            peak = max(map(abs, heart))
            expected = [heart[i] / peak for i in range(len(heart)) if i > window]
            assert part.y[:, 0].tolist() == pytest.approx(expected, abs=1e-6)
            assert torch.equal(part.key, part.x[:, -1])
            assert part.x.shape == (len(expected), window)
            assert torch.equal(part.x[1:, :-1], part.x[:-1, 1:]), "rows are windows one sample apart"
            assert float(part.x.abs().max()) <= 1


def test_a_window_holds_the_samples_before_the_heart() -> None:
    part = ecg.windows(np.arange(10.0), 100 + np.arange(10.0), 3)
    assert part.x.tolist() == [[i - 3, i - 2, i - 1] for i in range(4, 10)]
    assert part.y[:, 0].tolist() == [104, 105, 106, 107, 108, 109]


def test_subject_020_is_never_trained_on(made_data: Path) -> None:
    asked: list[str] = []
    for task in TASKS["ecg"]:
        rows = rows_of(smoke("ecg", task, rows=0), 0, made_data)
        asked += [task]
        trained = {tuple(row) for row in rows.train.x.tolist()} if rows.train.x.shape[1] > 1 else set()
        for part in rows.tests.values():
            assert trained.isdisjoint(tuple(row) for row in part.x.tolist())
        takes = len(rows.train) / 9, len(rows.tests["same"]) / 3, len(rows.tests["unseen"]) / 12
        assert len(set(takes)) == 1, "nine recordings train, three of the same subject and twelve of another test"
    assert asked == list(TASKS["ecg"])


def test_near_points_are_nearest_to_their_own_break() -> None:
    for points in waveshaper.POINTS.values():
        near = waveshaper.near_points(points)
        assert list(near) == sorted(near)
        for i, point in enumerate(near[1:-1], 1):
            assert min(range(len(points)), key=lambda j: abs(points[j] - point)) == i
            widths = points[i] - points[i - 1], points[i + 1] - points[i]
            assert abs(point - points[i]) == pytest.approx(0.3 * min(*widths, abs(points[i]) or 9))


def test_even_draws_take_as_many_rows_of_each_range_and_follow_its_points() -> None:
    key = torch.cat([torch.linspace(-1, 0, 990), torch.linspace(0.1, 1, 10)])
    part = Part(x=key[:, None], key=key, y=key[:, None])
    ranges = hg.LearnedRanges([-1.0, 0.05, 1.0])
    drawn = Drawn(part, 100, 0, ranges)
    assert int((drawn.batch()[0][:, 1] > 0.05).sum()) == 50
    with torch.no_grad():
        ranges.inner.fill_(-0.5)
    assert int((drawn.batch()[0][:, 1] > -0.5).sum()) == 50
    state = drawn.state_dict()
    ahead = drawn.batch()[0]
    other = Drawn(part, 100, 9, ranges)
    other.load_state_dict(state)
    assert torch.equal(other.batch()[0], ahead)


def test_recordings_that_train_do_not_test() -> None:
    assert not set(waveshaper.TRAIN) & set(waveshaper.TESTS.values())


@pytest.mark.parametrize("experiment", ["ecg", "waveshaper"])
def test_missing_data_says_where_it_was_looked_for(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = smoke(experiment, next(iter(TASKS[experiment])))
    monkeypatch.delenv("HARDGRAD_DATA", raising=False)
    with pytest.raises(MissingDataError, match="no folder was given; pass --data FOLDER or set HARDGRAD_DATA"):
        rows_of(setup, 0)
    monkeypatch.setenv("HARDGRAD_DATA", str(tmp_path))
    with pytest.raises(MissingDataError, match=re.escape(f"there is no {tmp_path}/")):
        rows_of(setup, 0)
    (tmp_path / "there.csv").write_text("1")
    assert find(None, "there.csv") == tmp_path / "there.csv"


def test_some_rows_are_drawn_once_and_by_the_seed() -> None:
    part = Part(x=torch.arange(100.0)[:, None], key=torch.arange(100.0), y=torch.arange(100.0)[:, None])
    drawn = some(part, 30, 1)
    assert len(set(drawn.key.tolist())) == 30
    assert torch.equal(drawn.key, some(part, 30, 1).key)
    assert not torch.equal(drawn.key, some(part, 30, 2).key)
    assert some(part, 0, 1) is part


# --------------------------------------------------------------------------------------------------------- measures


def parts(n: int = 64) -> Part:
    key = torch.linspace(-1, 1, n)
    return Part(x=key[:, None], key=key, y=(2 * key)[:, None])


def test_esr_by_hand() -> None:
    assert esr(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [4.0]])) == pytest.approx(4 / 17)
    assert esr(torch.zeros(3, 1), torch.ones(3, 1)) == 1


def test_the_ranges_errors_add_up_to_the_whole() -> None:
    part = parts()
    said = part.y + torch.randn(part.y.shape)
    found = by_range(said, part, (-1.0, -0.3, 0.2, 1.0), "")
    assert sum(found[f"esr_range_{i}"] for i in range(3)) == pytest.approx(esr(said, part.y))
    assert sum(found[f"rows_range_{i}"] for i in range(3)) == 64
    assert "esr_range_1" not in by_range(said, part, (-1.0, 2.0, 3.0), "x")


def test_measuring_leaves_the_visits_alone() -> None:
    switch = hg.Switch(hg.Ranges([-1.0, 0.0, 1.0]), nn.Linear(1, 1))
    switch(torch.zeros(2, 1), torch.zeros(2))
    before = switch.ranges.visits.clone()
    predict(switch, parts())
    assert torch.equal(switch.ranges.visits, before)


def test_a_dead_branch_is_counted() -> None:
    torch.manual_seed(0)
    switch = hg.Switch(hg.Ranges([-1.0, 0.0, 0.5, 1.0]), nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 1)))
    for branch in switch.branches:
        nn.init.ones_(branch[0].weight)  # type: ignore[index]
        nn.init.constant_(branch[0].bias, 2.0)  # type: ignore[index]
    part = parts()
    assert dead_branches(switch, part) == 0
    nn.init.constant_(switch.branch(1)[0].bias, -50.0)  # type: ignore[index]
    assert dead_branches(switch, part) == 1
    flat = Part(x=part.x, key=part.key, y=torch.where(part.key[:, None] >= 0, 1.0, part.key[:, None]))
    assert dead_branches(switch, flat) == 0, "a constant is right where the target is one"
    assert dead_branches(switch, part.take(part.key < 0)) == 2, "no row has trained the other two"
    assert dead_branches(nn.Linear(1, 1), part) == 0


def test_what_needs_no_training_is_solved_on_the_training_rows() -> None:
    train, test = parts(), parts(30)
    found = solved(Rows(train=train, tests={"test": test}, points=(-1.0, 0.0, 1.0)))
    # The target is twice the key: the gain is 2, and the mean is 0.
    assert found["esr_best-gain"] == pytest.approx(0, abs=1e-10)
    assert found["esr_constant"] == pytest.approx(1)
    assert set(found) == {"esr_constant", "esr_best-gain", "esr_linear"}


# ------------------------------------------------------------------------------------------------------------- runs


@pytest.mark.parametrize("experiment", TASKS)
def test_every_budget_task_and_contestant_can_be_configured(experiment: Experiment) -> None:
    for budget in PRESETS[experiment]:
        for task in TASKS[experiment]:
            for contestant in CONTESTANTS[experiment]:
                setup = configure(experiment, budget, task, contestant, {})
                json.dumps(setup.run(0).config)


def test_all_contestants_have_the_same_updates_on_the_same_batches(made_data: Path) -> None:
    for experiment, task in (("piecewise", "talk"), ("ecg", "bcg-1"), ("waveshaper", "crush")):
        setups = [smoke(experiment, task, contestant) for contestant in CONTESTANTS[experiment]]  # type: ignore[arg-type, index]
        assert len({(setup.steps, setup.batch, setup.lr, setup.rows) for setup in setups}) == 1
        streams = [Drawn(rows_of(setup, 3, made_data).train, setup.batch, 3) for setup in setups]
        batches = [stream.batch()[0] for stream in streams]
        assert all(torch.equal(batch, batches[0]) for batch in batches)


@pytest.mark.parametrize(
    ("experiment", "task", "contestant"),
    [
        ("piecewise", "toy", "switch-raw"),
        ("piecewise", "toy", "soft-gate"),
        ("ecg", "voice", "switch"),
        ("ecg", "bcg-1", "film"),
        ("waveshaper", "crush", "switch-learnt"),
        ("waveshaper", "dead-zone", "switch-searched"),
        ("waveshaper", "fold", "table"),
    ],
)
def test_a_run_leaves_a_record_with_the_figures_of_the_table(
    experiment: Experiment, task: str, contestant: str, made_data: Path, tmp_path: Path
) -> None:
    setup = smoke(experiment, task, contestant)
    outcome = reproduce(setup, 0, made_data, How(results=tmp_path), Console(quiet=True))
    metrics = outcome.record.metrics
    assert outcome.record.samples == 40 * 64
    assert 0 < metrics["esr"] < 50
    assert metrics["active_parameters"] <= metrics["parameters"]
    assert metrics["ns_per_row_512"] > 0
    for name in ("constant", "best-gain", "linear"):
        assert 0 <= metrics[f"esr_{name}"] < 5
    for part in {"ecg": ("same", "unseen"), "waveshaper": ("guitar", "drums")}.get(experiment, ()):
        assert metrics[f"esr_{part}"] > 0
    assert list((tmp_path / "curves").glob(f"{setup.run(0).name}.npz"))
    assert len(list((tmp_path / "audio").glob("*.wav"))) == (6 if contestant == "switch-learnt" else 0)
    assert ("points_off" in metrics) == (contestant in ("switch-learnt", "switch-searched"))


def test_training_lowers_the_loss_and_is_the_same_twice(made_data: Path) -> None:
    ends = []
    for _ in range(2):
        torch.manual_seed(0)
        training, plan = begin(smoke("piecewise", "talk", steps=300), 0, made_data, How(), CPU)
        losses = []
        for _ in range(300):
            training.step(training.loss, plan.clip)
            losses.append(float(training.sums[0]))
        assert losses[-1] - losses[-51] < 0.2 * losses[49]
        ends.append(losses[-1])
    assert ends[0] == ends[1]


def test_a_model_of_the_published_branch_has_its_layers() -> None:
    rows = rows_of(smoke("piecewise", "talk"), 0)
    setup = smoke("ecg", "bcg-1", branch="published")
    model = model_of(setup, rows)
    # Dense 8, GRU 8, dense 8, dense 1, dense 1 on one sample: 16, 2 * 3 * (8 * 8 + 8), 72, 9, 2 numbers.
    assert sum(p.numel() for p in model.parameters()) == 5 * (16 + 432 + 72 + 9 + 2)
    voice = published("voice")(80, 1.0)
    assert voice(torch.zeros(2, 80)).shape == (2, 1)
    kinds = [type(layer).__name__ for layer in voice.children() if not isinstance(layer, nn.GELU)]
    assert kinds[1:-2] == ["Linear", "Linear", "AlongTime", "Recurrent", "Recurrent", "Linear", "Linear", "Linear"]


def test_what_a_contestant_is_by_name_cannot_be_overridden() -> None:
    given = {"hidden": (3, 3), "normalise": True}
    assert configure("piecewise", "smoke", "talk", "plain-8x8", given).hidden == (8, 8)
    assert configure("piecewise", "smoke", "talk", "switch", given).hidden == (3, 3)
    assert configure("piecewise", "smoke", "talk", "switch-raw", given).normalise is False


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"budget": "huge"}, "budget must be one of smoke, small, paper, got 'huge'"),
        ({"task": "rectifier"}, "task must be one of talk, toy, got 'rectifier'"),
        ({"contestant": "oracle"}, "contestant must be one of switch, switch-raw"),
        ({"given": {"steps": 0}}, "steps must be at least 1, got 0"),
        ({"given": {"hidden": ()}}, "hidden must be at least one width"),
        ({"given": {"lr": 0.0}}, r"lr must be greater than 0, got 0\.0"),
    ],
)
def test_a_wrong_value_is_named(given: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"budget": "smoke", "task": "talk", "contestant": "switch", "given": {}, **given}
    with pytest.raises(OptionError, match=message):
        configure("piecewise", **arguments)


# ------------------------------------------------------------------------------------------------ the published program


def published_switch(**off: bool) -> PublishedSwitch:
    torch.manual_seed(0)
    return PublishedSwitch([-1.0, -0.5, 0.5, 1.0], quirks=Quirks().without(*(name for name in off)))


def weights(switch: PublishedSwitch, branch: int) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in switch.networks[branch].parameters()]


KEYS = [-1.0, -0.7, 0.0, 0.2, 0.9, 1.0]


def test_only_the_range_of_a_row_learns_from_it() -> None:
    switch = published_switch()
    before = [weights(switch, i) for i in range(3)]
    switch.train([[0.3]], [0.3], [0.9])
    after = [weights(switch, i) for i in range(3)]
    same = [all(torch.equal(a, b) for a, b in zip(*pair, strict=True)) for pair in zip(before, after, strict=True)]
    assert same == [True, False, True]


def test_one_optimizer_state_for_all_ranges_and_each_its_own() -> None:
    # RMSprop's step is lr * g / sqrt(v). With a state of one's own, v of a first step is (1 - 0.9) g^2, so that every
    # weight with a gradient moves by lr / sqrt(0.1). With the state of others it moves by less, if theirs was larger.
    moved = {}
    for name, off in (("shared", {}), ("own", {"shared_optimizer": True})):
        switch = published_switch(shared_memory=True, **off)
        switch.train([[-0.9]] * 20, [-0.9] * 20, [1.0] * 20)
        before = weights(switch, 1)[-1]
        switch.train([[0.3]], [0.3], [0.05])
        moved[name] = float((weights(switch, 1)[-1] - before).abs())
    assert moved["own"] == pytest.approx(1e-3 / math.sqrt(0.1), rel=1e-3)
    assert moved["shared"] < 0.5 * moved["own"]


def test_ranges_begin_alike_only_as_published() -> None:
    alike = published_switch()
    assert all(torch.equal(a, b) for a, b in zip(weights(alike, 0), weights(alike, 2), strict=True))
    apart = published_switch(identical_start=True)
    assert not torch.equal(weights(apart, 0)[0], weights(apart, 2)[0])


def test_the_boundary_rule_is_half_open_and_closed_at_the_end() -> None:
    switch = published_switch()
    assert [switch.branch_of(key) for key in (-1.0, -0.6, -0.5, 0.49, 0.5, 1.0)] == [0, 0, 1, 1, 2, 2]
    for key in (-1.01, 1.01):
        with pytest.raises(ValueError, match=r"key must be within \[-1, 1\], got"):
            switch.branch_of(key)
    assert [published_switch(raises_outside=True).branch_of(key) for key in (-3.0, 3.0)] == [0, 2]


def test_losses_are_filed_one_range_too_far() -> None:
    switch = published_switch()
    switch.train([[key] for key in KEYS], KEYS, [0.1] * 6)
    # -1 and 1 under the first; -0.7 of the first under the second; 0 and 0.2 under the last; 0.9 nowhere.
    assert [len(losses) for losses in switch.history] == [2, 1, 2]
    right = published_switch(shifted_history=True)
    right.train([[key] for key in KEYS], KEYS, [0.1] * 6)
    assert [len(losses) for losses in right.history] == [2, 2, 2]


def test_the_last_range_is_not_saved() -> None:
    assert list(published_switch().saved()) == [0, 1]
    assert list(published_switch(unsaved_last=True).saved()) == [0, 1, 2]


def test_memory_is_carried_across_ranges_and_never_reset() -> None:
    for off, remembers in (({}, True), ({"shared_memory": True}, False), ({"shared_optimizer": True}, True)):
        switch = published_switch(**off)
        nn.init.normal_(next(p for p in switch.networks[1].parameters() if p.ndim == 2), std=3.0)
        first = float(switch.predict([[0.3]], [0.3]))
        switch.predict([[-0.9]], [-0.9])
        second = float(switch.predict([[0.3]], [0.3]))
        assert (first != second) == remembers


@pytest.mark.parametrize("own", [False, True])
def test_one_memory_for_all_ranges(own: bool) -> None:
    said = []
    for before in ([], [-0.9]):
        switch = published_switch(**({"shared_optimizer": True} if own else {}))
        for network in switch.networks:
            nn.init.constant_(network[1].weight, 3.0)  # type: ignore[index]
        switch.predict([[key] for key in [*before, 0.3]], [*before, 0.3])
        said.append(float(switch.predict([[0.3]], [0.3])))
    assert said[0] != said[1], "a row of the first range is remembered in the second"


def test_the_output_ends_in_a_gelu_only_as_published() -> None:
    for off, bounded in (({}, True), ({"gelu_output": True}, False)):
        switch = published_switch(**off)
        for network in switch.networks:
            last = [layer for layer in network if isinstance(layer, nn.Linear)][-1]
            nn.init.constant_(last.bias, -1.0)
        said = switch.predict([[key] for key in KEYS], KEYS)
        assert (float(said.min()) > -0.171) == bounded


def test_without_quirks_it_is_a_switch_trained_row_by_row() -> None:
    torch.manual_seed(0)
    switch = PublishedSwitch([-1.0, -0.5, 0.5, 1.0], quirks=NONE)
    # The core's switch with the same weights and an optimiser for all of it: ranges without a row get no gradient.
    twin = hg.Switch(hg.Ranges([-1.0, -0.5, 0.5, 1.0]), published("bcg-1")(1, 1.0))
    for branch, network in zip(twin.branches, switch.networks, strict=True):
        branch.load_state_dict(network.state_dict())
    optimizer = torch.optim.RMSprop(twin.parameters(), lr=1e-3, alpha=0.9, eps=1e-7)
    generator = torch.Generator().manual_seed(1)
    keys = (2 * torch.rand(40, generator=generator) - 1).tolist()
    switch.train([[key] for key in keys], keys, [key**2 for key in keys])
    for key in keys:
        optimizer.zero_grad()
        (twin(torch.tensor([[key]]), torch.tensor([key]))[0, 0] - key**2).square().backward()
        optimizer.step()
    for branch, network in zip(twin.branches, switch.networks, strict=True):
        for a, b in zip(branch.parameters(), network.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-6)


def test_variants_turn_off_quirks_that_exist() -> None:
    assert all(set(off) <= set(NAMES) for off in VARIANTS.values())
    assert set(VARIANTS["switch-row-by-row"]) == set(VARIANTS[BATCHED]) == set(NAMES)


# --------------------------------------------------------------------------------------------------------- commands


@pytest.fixture
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize(
    ("experiment", "words", "records"),
    [
        ("piecewise", "--task toy --contestant switch --contestant plain-total --hidden 3 --hidden 3", 2),
        ("ecg", "--task bcg-1 --contestant switch", 1),
        ("waveshaper", "--task crush --contestant switch", 1),
        ("published", "--variant as-published --variant switch-batched", 2),
    ],
)
def test_reproduce_trains_once_and_reports(
    experiment: str, words: str, records: int, made_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["reproduce", experiment, "--budget", "smoke", "--seeds", "1", "--data", str(made_data), *words.split()]
    assert cli.main(command) == 0
    first = capsys.readouterr().out
    assert len(re.findall(rf"record +runs/{experiment}-\S+-s0-\w{{8}}\.json", first)) == records
    assert re.search(rf"page +runs/report/{experiment}\.html", first)
    assert "constant" in first, "what needs no training stands beside"
    assert cli.main(command) == 0
    assert capsys.readouterr().out.count("done already, nothing was trained") == records
    page = Path(f"runs/report/{experiment}.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|@import|<script|<link|<img|file:", page)
    assert page.count("data:audio/wav;base64,") == (6 if experiment == "waveshaper" else 0)
    assert (
        Path(f"runs/report/{experiment}.md").read_text(encoding="utf-8").startswith("Rows: your own runs (runs).\n\n| ")
    )


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("piecewise --task rectifier", "--task must be one of talk, toy, got rectifier"),
        ("ecg --contestant table", "--contestant must be one of switch, switch-raw"),
        ("waveshaper --steps 0", "--steps must be at least 1, got 0"),
        ("published --variant best", "--variant must be one of as-published"),
        ("ecg --budget smoke --data nowhere", r"there is no nowhere/lactose/TrainData/001_Normal1_bcg\.csv"),
        ("published --budget smoke --data nowhere", r"there is no nowhere/lactose/"),
    ],
)
def test_a_wrong_option_is_named(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", *words.split()]) == 1
    captured = capsys.readouterr()
    assert re.search(message, captured.err.replace("\n", ""))
    assert "Traceback" not in captured.err
    assert not list(Path("runs").glob("*.json"))


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_report_without_records_says_how_to_make_them(experiment: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", experiment]) == 1
    assert f"hardgrad reproduce {experiment}" in capsys.readouterr().err.replace("\n", " ")


def test_every_value_of_a_configuration_can_be_given() -> None:
    fixed = {"experiment", "budget", "task", "contestant", "system", "points"}
    assert {field.name for field in fields(FitOptions)} | fixed == set(option_names())


def test_help_and_reports_import_no_torch(tmp_path: Path, made_data: Path) -> None:
    reproduce(smoke("piecewise", "talk"), 0, made_data, How(results=tmp_path), Console(quiet=True))
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path; from hardgrad_lab.report.lactose import report_lactose\n"
        f"print(report_lactose('piecewise', Path({str(tmp_path)!r}), Path({str(tmp_path)!r})).cells[0][1])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert ran.stdout == "switch\n", ran.stderr


def test_figures_of_a_table_are_medians() -> None:
    assert spread([3e-6, 1e-6, 2e-5]) == "3.0e-06 [1.0e-06, 2.0e-05]"
    assert spread([0.5]) == "0.5"
    assert spread([0.0504, 0.0501]) == "0.05"
    assert spread([1.125, 1.1]) == "1.11 [1.1, 1.12]"
