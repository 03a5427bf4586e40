"""The experiments on switches: configurations, runs, records, and the commands."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

from hardgrad_lab import cli
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.switches.branches import published
from hardgrad_lab.experiments.switches.piecewise import PIECEWISE
from hardgrad_lab.experiments.switches.rows import Batches
from hardgrad_lab.experiments.switches.settings import Setup
from hardgrad_lab.experiments.switches.train import begin, model_of
from hardgrad_lab.report.experiment import report_experiment
from hardgrad_lab.runs.execute import How
from hardgrad_lab.runs.experiment import BUDGETS, Experiment
from hardgrad_lab.runs.loop import Training
from hardgrad_lab.runs.options import OptionError
from hardgrad_lab.runs.record import Record
from lab.recordings import SWITCHES, rows_of, smoke

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("experiment", SWITCHES.values(), ids=SWITCHES)
def test_every_budget_task_and_contestant_can_be_configured(experiment: Experiment) -> None:
    fixed = {"experiment", "budget", "task", "contestant", "system", "points"}
    assert {field.name for field in fields(Setup)} == fixed | set(experiment.options()), "all others can be given"
    every = product(BUDGETS, experiment.tasks, experiment.contestants)
    runs = [experiment.run(experiment.configure(*one, {}), 0) for one in every]
    assert len({run.name for run in runs}) == len(runs)
    assert all(experiment.run(experiment.rebuilt(json.loads(json.dumps(run.config))), 0) == run for run in runs)


def test_all_contestants_have_the_same_updates_on_the_same_batches(recordings: Path) -> None:
    for experiment, task in (("piecewise", "talk"), ("ecg", "bcg-1"), ("waveshaper", "crush")):
        setups = [smoke(experiment, task, contestant) for contestant in SWITCHES[experiment].contestants]
        assert len({(setup.steps, setup.batch, setup.lr, setup.rows) for setup in setups}) == 1
        streams = [Batches(rows_of(setup, 3, recordings).train, setup.batch, 3) for setup in setups]
        batches = [stream.batch()[0] for stream in streams]
        assert all(torch.equal(batch, batches[0]) for batch in batches)


@pytest.mark.parametrize(
    ("name", "task", "contestant"),
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
    name: str, task: str, contestant: str, recordings: Path, tmp_path: Path
) -> None:
    experiment, setup = SWITCHES[name], smoke(name, task, contestant)
    run, how = experiment.run(setup, 0), How(results=tmp_path)
    outcome = experiment.reproduce(run, Root(folder=recordings), how, Console(quiet=True))
    metrics = outcome.record.metrics
    assert outcome.record.samples == 40 * 64
    assert 0 < metrics["esr"] < 50
    assert metrics["active_parameters"] <= metrics["parameters"]
    assert metrics["ns_per_row_512"] > 0
    for model in ("constant", "best-gain", "linear"):
        assert 0 <= metrics[f"esr_{model}"] < 5
    for part in {"ecg": ("same", "unseen"), "waveshaper": ("guitar", "drums")}.get(name, ()):
        assert metrics[f"esr_{part}"] > 0
    assert list((tmp_path / "curves").glob(f"{run.name}.npz"))
    assert len(list((tmp_path / "audio").glob("*.wav"))) == (6 if contestant == "switch-learnt" else 0)
    assert ("points_off" in metrics) == (contestant in ("switch-learnt", "switch-searched"))


def test_training_lowers_the_loss_and_is_the_same_twice() -> None:
    ends = []
    for _ in range(2):
        torch.manual_seed(0)
        setup = smoke("piecewise", "talk", steps=300)
        training, plan = begin(setup, 0, rows_of(setup, 0), torch.device("cpu"))
        losses = []
        for _ in range(300):
            training.step(training.loss, plan.clip)
            losses.append(float(training.sums[0]))
        assert losses[-1] - losses[-51] < 0.2 * losses[49]
        ends.append(losses[-1])
    assert ends[0] == ends[1]


def test_a_run_with_learned_points_goes_on_from_its_state_to_the_bit(recordings: Path) -> None:
    setup = smoke("waveshaper", "crush", "switch-learnt")

    def trained(steps: int, state: dict[str, Any] | None = None) -> Training:
        torch.manual_seed(0)
        training, plan = begin(setup, 0, rows_of(setup, 0, recordings), torch.device("cpu"))
        if state is not None:
            training.load_state_dict(copy.deepcopy(state))
        for _ in range(steps):
            training.step(training.loss, plan.clip)
        return training

    whole, resumed = trained(40), trained(16, trained(24).state_dict())  # the points are placed at 25 and at the end
    states = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


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
    given = {"hidden": (3, 3), "normalize": True}
    assert smoke("piecewise", "talk", "plain-8x8", **given).hidden == (8, 8)
    assert smoke("piecewise", "talk", "switch", **given).hidden == (3, 3)
    assert smoke("piecewise", "talk", "switch-raw", **given).normalize is False


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"budget": "huge"}, "budget must be one of smoke, small, paper, got 'huge'"),
        ({"task": "rectifier"}, "task must be one of talk, toy, got 'rectifier'"),
        ({"contestant": "oracle"}, "contestant must be one of switch, switch-raw"),
        ({"given": {"steps": 0}}, "steps must be at least 1, got 0"),
        ({"given": {"hidden": ()}}, "hidden must be at least one width"),
        ({"given": {"lr": 0.0}}, r"lr must be greater than 0, got 0\.0"),
        ({"given": {"points": "given"}}, "points must be left out: there is no such option"),
    ],
)
def test_a_wrong_value_is_named(given: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"budget": "smoke", "task": "talk", "contestant": "switch", "given": {}, **given}
    with pytest.raises(OptionError, match=message):
        PIECEWISE.configure(**arguments)


@pytest.mark.parametrize("experiment", SWITCHES.values(), ids=SWITCHES)
def test_committed_records_are_of_the_configurations_and_names_of_today(experiment: Experiment) -> None:
    paths = sorted((ROOT / "results" / experiment.name).glob("*.json"))
    assert len(paths) > 80
    for path in paths:
        record = Record.load(path)
        run = experiment.run(experiment.rebuilt(record.config), record.seed)
        assert (run.name, run.config) == (path.stem, record.config)
        assert "normalise" in run.config, "the word of the records"


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
    ],
)
def test_reproduce_trains_once_and_reports(
    experiment: str, words: str, records: int, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["reproduce", experiment, "--budget", "smoke", "--seeds", "1", "--data", str(recordings), *words.split()]
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
        ("ecg --budget smoke --data nowhere", "there is no folder nowhere; point --data or HARDGRAD_DATA at"),
        ("ecg --budget smoke --data .", r"no recording; looked for +lactose/TrainData/001_Normal1_bcg\.csv"),
    ],
)
def test_a_wrong_option_is_named(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", *words.split()]) == 1
    captured = capsys.readouterr()
    assert re.search(message, captured.err.replace("\n", ""))
    assert "Traceback" not in captured.err
    assert not list(Path("runs").glob("*.json"))


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize("experiment", SWITCHES)
def test_a_report_without_records_says_how_to_make_them(experiment: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", experiment]) == 1
    assert f"hardgrad reproduce {experiment}" in capsys.readouterr().err.replace("\n", " ")


def test_help_and_reports_import_no_torch(tmp_path: Path) -> None:
    run = PIECEWISE.run(smoke("piecewise", "talk"), 0)
    PIECEWISE.reproduce(run, Root(), How(results=tmp_path), Console(quiet=True))
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path; from hardgrad_lab.experiments import experiment\n"
        "from hardgrad_lab.report.experiment import report_experiment\n"
        f"page = report_experiment(experiment('piecewise'), Path({str(tmp_path)!r}), Path({str(tmp_path)!r}))\n"
        "print(page.cells[0][1])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert ran.stdout == "switch\n", ran.stderr


def test_a_damaged_curve_costs_the_figures_and_no_more(tmp_path: Path) -> None:
    name = "piecewise-talk-switch-small-s0"
    (record,) = (ROOT / "results" / "piecewise").glob(f"{name}-*.json")
    shutil.copy(record, tmp_path)
    (tmp_path / "curves").mkdir()
    (tmp_path / "curves" / f"{record.stem}.npz").write_bytes(b"no arrays")
    page = report_experiment(PIECEWISE, tmp_path, tmp_path / "report")
    assert (page.pictures, page.cells[0][1]) == ([], "switch")
    assert any("no figures of piecewise" in warning for warning in page.warnings)
