"""A plan file: what it says, what is wrong with it, and what a plan of it comes to in several sittings."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from hardgrad_lab import cli
from hardgrad_lab.dab.experiments import EXPERIMENTS
from hardgrad_lab.dab.sorting import configure
from hardgrad_lab.plan import cluster
from hardgrad_lab.plan.file import PlanFileError, read
from hardgrad_lab.plan.glance import Standing, glance
from hardgrad_lab.plan.groups import Estimates, Group
from hardgrad_lab.plan.jobs import folder_of, in_order, state_of
from hardgrad_lab.plan.kinds import KINDS
from hardgrad_lab.plan.listing import show
from hardgrad_lab.plan.worker import log_of
from hardgrad_lab.runs import checkpoint
from hardgrad_lab.runs.record import Record, Run

ROOT = Path(__file__).parents[2]
TINY = """
[[run]]
experiment = "figure3"
contestant = "elu-dense"
task = "signum"
budget = "smoke"
seeds = [0]
core_minutes = 1
"""


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("COLUMNS", "200")


def written(folder: Path, text: str) -> Path:
    path = folder / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


def runs_of(path: Path) -> list[Run]:
    return in_order(read(path), by_seed=False)


# ---------------------------------------------------------------------------------------------------- what it says


def test_lists_make_every_combination_and_the_first_seed_comes_first(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        [[run]]
        experiment = "sorting"
        task = [5, "10"]                      # a number may be written as one
        contestant = ["signum-dense", "signum-rnn"]
        seeds = [0, 3]
        core_minutes = 2
        options.near_ties = [0.5, 0]
        """,
    )
    runs = runs_of(path)
    assert [run.seed for run in runs] == [0] * 8 + [3] * 8
    expected = [
        configure("fast", system, length, {"near_ties": ties}).run(0)  # type: ignore[arg-type]
        for length in (5, 10)
        for system in ("signum-dense", "signum-rnn")
        for ties in (0.5, 0.0)  # 0 in the file is 0.0 to the option, or the record would have another name
    ]
    assert runs[:8] == expected


def test_priority_goes_before_the_order_of_the_file(tmp_path: Path) -> None:
    text = "".join(TINY.replace("seeds = [0]", f"seeds = [{n}]\npriority = {p}") for n, p in enumerate((2, 1, 2, 0)))
    assert [run.seed for run in runs_of(written(tmp_path, text))] == [3, 1, 0, 2]


def test_what_is_left_out_is_what_the_budget_plans(tmp_path: Path) -> None:
    text = '[[run]]\nexperiment = "{}"\nbudget = "{}"\nseeds = [0]\ncore_minutes = 1\n'
    for name, kind in KINDS.items():
        for budget in ("smoke", "small", "paper"):
            assert runs_of(written(tmp_path, text.format(name, budget))) == kind.runs(budget, 0)


def test_an_option_that_is_a_list_itself_takes_a_list_of_lists(tmp_path: Path) -> None:
    text = '[[run]]\nexperiment = "piecewise"\ntask = "talk"\ncontestant = "{}"\nseeds = [0]\ncore_minutes = 1\n'
    text = text.format(next(iter(KINDS["piecewise"].pairs("small")))[1]) + "options.hidden = "
    assert [run.config["hidden"] for run in runs_of(written(tmp_path, text + "[4, 4]"))] == [(4, 4)]
    assert [run.config["hidden"] for run in runs_of(written(tmp_path, text + "[[4], [8, 8]]"))] == [(4,), (8, 8)]


def test_the_projects_own_queue_can_be_read_and_holds_what_is_recorded() -> None:
    groups = read(ROOT / "results" / "plan.toml")
    runs = in_order(groups, by_seed=False)
    assert [group.priority for group in groups] == sorted(group.priority for group in groups)
    done = [run for run in runs if state_of(run, ROOT / "results") == "done"]
    assert len(done) >= 121, "an option changed its value, and what is recorded would be run again"
    systems = {(run.config["system"], run.config["length"]) for run in runs if run.experiment == "sorting"}
    assert systems >= {(name, n) for name in ("signum-rnn", "signum-dense", "tanh-dense", "elu-dense") for n in (5, 15)}


# ------------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('experiment = "figure3"', 'experiment = "figure4"', "experiment must be one of sorting, .*, got 'figure4'"),
        ('experiment = "figure3"\n', "", "experiment must be one of sorting, .*, got ''"),
        ('"elu-dense"', '"relu"', "contestant must be one of elu-dense.*, got 'relu'"),
        ('"elu-dense"', "[]", r"contestant must be a name, or a list of names, got \[\]"),
        ('"elu-dense"', '["elu-dense", "elu-dense"]', "contestant must be a list in which each name stands once"),
        ('task = "signum"', 'task = "sign"', "task must be one of signum.*, got 'sign'"),
        ('"smoke"', '"tiny"', "budget must be one of smoke, small, paper, got 'tiny'"),
        ("[0]", "0", r"seeds must be a list of different whole numbers from 0, such as \[0, 1, 2\], got 0"),
        ("[0]", "[0, 0]", r"seeds must be .*, got \[0, 0\]"),
        ("[0]", "[true]", r"seeds must be .*, got \[True\]"),
        ("seeds = [0]\n", "", "seeds must be .*, got None"),
        ("core_minutes = 1", "core_minutes = 0", "core_minutes must be the minutes that one run should take"),
        ("core_minutes = 1", "core_minutes = nan", "core_minutes must be the minutes that one run should take"),
        ("core_minutes = 1", "core_minutes = '1'", "core_minutes must be a number, got '1'"),
        ("core_minutes = 1", "core_minuts = 1", "core_minuts must be one of experiment, task, .*, got 1"),
        ("core_minutes = 1", "core_minutes = 1\npriority = 1.5", "priority must be a whole number, got 1.5"),
        ("core_minutes = 1", "core_minutes = 1\noptions = 3", "options must be a table of names and values"),
        ("core_minutes = 1", "core_minutes = 1\noptions.step = 3", "step must be left out: .* those are .*steps"),
        ("core_minutes = 1", "core_minutes = 1\noptions.steps = 3.5", "steps must be a whole number, got 3.5"),
        ("core_minutes = 1", "core_minutes = 1\noptions.steps = true", "steps must be a whole number, got True"),
        ("core_minutes = 1", "core_minutes = 1\noptions.steps = []", r"steps must be one value or more, got \[\]"),
        ("core_minutes = 1", "core_minutes = 1\noptions.steps = [9, 0]", "steps must be at least 1, got 0"),
        ("core_minutes = 1", "core_minutes = 1\noptions.activation = 'tanh'", "activation must be .* elu-dense's own"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_entry_and_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    assert old in TINY
    path = written(tmp_path, TINY.replace("[0]", "[7]") + TINY.replace(old, new))
    assert cli.main(["reproduce", "all", "--plan", str(path), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err.strip()
    assert re.search(rf"plan\.toml, entry 2 \(line 10\): {said}", error), error
    assert "\n" not in error
    assert not (tmp_path / "out").exists(), "found before anything starts"


def test_a_file_that_is_no_plan_is_one_sentence(tmp_path: Path) -> None:
    for content, said in {
        b"[[run]\n": r"plan\.toml must be TOML: .*line 1",
        b"": r"plan\.toml must hold at least one entry that begins with \[\[run\]\]",
        b"run = 3": r"plan\.toml must hold at least one entry",
        b"[[runs]]\n": r"plan\.toml must hold \[\[run\]\] entries and nothing else, got runs",
        b"\xff\xfe": r"plan\.toml must be text in UTF-8",
    }.items():
        (tmp_path / "plan.toml").write_bytes(content)
        with pytest.raises(PlanFileError, match=said):
            read(tmp_path / "plan.toml")
    with pytest.raises(PlanFileError, match="cannot be read: No such file"):
        read(tmp_path / "other.toml")
    assert len(runs_of(written(tmp_path, "\ufeff" + TINY))) == 1, "as some editors write it"


def test_a_run_that_two_entries_make_is_a_mistake(tmp_path: Path) -> None:
    path = written(tmp_path, TINY + TINY.replace("[0]", "[1, 0]"))
    with pytest.raises(PlanFileError, match=r"entry 2 \(line 10\): .*figure3-signum-elu-dense.* by entry 1 \(line 2\)"):
        read(path)


def test_a_budget_beside_a_plan_file_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, TINY)
    for words in (["--budget", "smoke"], ["--seeds", "2"]):
        assert cli.main(["reproduce", "all", "--plan", str(path), *words]) == 1
        assert f"{words[0]} must be left out with --plan" in capsys.readouterr().err
    assert cli.main(["reproduce", "all", "--plan", str(path), "--only", "toys"]) == 1
    assert "--only must name experiments of" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------- what is left


def test_expected_minutes_are_corrected_by_what_runs_took() -> None:
    figure3, toys = KINDS["figure3"].runs("smoke", 0), KINDS["toys"].runs("smoke", 0)
    groups = [
        Group(title="a", runs=figure3[:2], core_minutes=1),
        Group(title="b", runs=KINDS["figure3"].runs("small", 0)[:1], core_minutes=10),
        Group(title="c", runs=toys[:1], core_minutes=5),
    ]
    estimates = Estimates(groups)
    first, second = groups[0].runs
    assert [estimates.of(run) for run in (first, groups[1].runs[0], toys[0])] == [60, 600, 300]
    estimates.add(first, 90)  # half as long again
    assert [estimates.of(run) for run in (second, groups[1].runs[0], toys[0])] == [90, 900, 450]
    estimates.add(groups[1].runs[0], 300)  # its own group counts first, then its experiment, then all
    assert [estimates.of(run) for run in (second, toys[0])] == [90, pytest.approx(300 * 390 / 660)]


def test_what_is_left_of_a_run_follows_from_its_share() -> None:
    assert Standing(seconds=30.0, share=0.25).left(60.0) == 90.0
    assert Standing(seconds=30.0, share=0.01).left(100.0) == 99.0
    assert Standing(seconds=30.0, share=None).left(100.0) == 70.0
    assert Standing(seconds=30.0, share=None).left(10.0) == 0.0
    assert Standing(seconds=30.0, share=None).left(None) is None


def test_a_glance_needs_no_torch_and_runs_nothing_that_a_file_names(tmp_path: Path) -> None:
    run, path, touched = KINDS["figure3"].runs("smoke", 0)[0], tmp_path / "a.pt", tmp_path / "touched"
    state = {"steps": 3, "seconds": 1.5, "steps_in_all": 12, "model": torch.nn.Linear(2, 2).state_dict()}
    checkpoint.save(path, run, state)
    assert glance(path) == Standing(seconds=1.5, share=0.25)
    checkpoint.save(path, run, {key: value for key, value in state.items() if key != "steps_in_all"})
    assert glance(path) == Standing(seconds=1.5, share=None), "as older ones are"

    class Hostile:
        def __reduce__(self) -> Any:
            return touched.touch, ()

    torch.save({"state": {**state, "model": Hostile()}}, path)
    assert glance(path) == Standing(seconds=1.5, share=0.25)
    assert not touched.exists()
    with pytest.raises(FileNotFoundError):
        touched.stat()
    for content in (b"", path.read_bytes()[:300], pickle.dumps(state)):
        path.write_bytes(content)
        assert glance(path) is None
    assert glance(tmp_path / "none.pt") is None


def test_a_list_is_read_without_torch(tmp_path: Path) -> None:
    words = ["reproduce", "all", "--plan", str(written(tmp_path, TINY)), "--list", "--out", str(tmp_path / "out")]
    program = (
        f"import sys\nfrom hardgrad_lab import cli\nassert cli.main({words!r}) == 0\nassert 'torch' not in sys.modules"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "1 runs left, 0.02 core-hours: 0.01 hours at 2 at a time" in said or "0.02 hours at 1 at a time" in said
