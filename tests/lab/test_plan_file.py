"""A plan file: what it says, what is wrong with it, and what a plan of it comes to in several sittings."""

from __future__ import annotations

import os
import pickle
import random
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
from rich.console import Console

from hardgrad_lab import cli
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments import LIST, experiment
from hardgrad_lab.experiments.bridges.sorting.config import configure
from hardgrad_lab.plan import cluster
from hardgrad_lab.plan.file import PlanFileError, read
from hardgrad_lab.plan.glance import Standing, glance
from hardgrad_lab.plan.groups import Estimates, Group
from hardgrad_lab.plan.jobs import folder_of, in_order
from hardgrad_lab.plan.worker import log_of
from hardgrad_lab.runs import checkpoint
from hardgrad_lab.runs.execute import How
from hardgrad_lab.runs.record import Record, Run
from lab.run_state import state_of
from lab.sorting_runs import run_of

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
        run_of(configure("fast", system, length, {"near_ties": ties}), 0)  # type: ignore[arg-type]  # str, not Literal
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
    for name in LIST:
        kind = experiment(name)
        for budget in ("smoke", "small", "paper"):
            assert runs_of(written(tmp_path, text.format(name, budget))) == kind.runs(budget, 0)


def test_an_option_that_is_a_list_itself_takes_a_list_of_lists(tmp_path: Path) -> None:
    text = '[[run]]\nexperiment = "piecewise"\ntask = "talk"\ncontestant = "{}"\nseeds = [0]\ncore_minutes = 1\n'
    text = text.format(next(iter(experiment("piecewise").pairs("small")))[1]) + "options.hidden = "
    assert [run.config["hidden"] for run in runs_of(written(tmp_path, text + "[4, 4]"))] == [[4, 4]]
    assert [run.config["hidden"] for run in runs_of(written(tmp_path, text + "[[4], [8, 8]]"))] == [[4], [8, 8]]


def test_the_guides_own_example_is_a_plan(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "commands" / "experiments.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)
    assert len(runs_of(written(tmp_path, example))) == 12


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
        ('experiment = "figure3"', 'experiment = "figure4"', "experiment must be one of .*sorting, .*, got 'figure4'"),
        (
            'experiment = "figure3"\n',
            "",
            "experiment must be in every entry, as experiment and seeds and core_minutes are",
        ),
        ('"elu-dense"', '"relu"', "contestant must be one of elu-dense.*, got 'relu'"),
        ('"elu-dense"', "[]", r"contestant must be a name, or a list of names, got \[\]"),
        ('"elu-dense"', '["elu-dense", "elu-dense"]', "contestant must be a list in which each name stands once"),
        ('task = "signum"', 'task = "sign"', "task must be one of signum.*, got 'sign'"),
        ('"smoke"', '"tiny"', "budget must be one of smoke, small, paper, got 'tiny'"),
        ("[0]", "0", r"seeds must be a list of different whole numbers from 0, such as \[0, 1, 2\], got 0"),
        ("[0]", "[0, 0]", r"seeds must be .*, got \[0, 0\]"),
        ("[0]", "[true]", r"seeds must be .*, got \[True\]"),
        ("seeds = [0]\n", "", "seeds must be in every entry, as .*, got 'none'"),
        ("core_minutes = 1", "", "core_minutes must be in every entry, as experiment and seeds and core_minutes are"),
        ("core_minutes = 1", "core_minutes = 0", "core_minutes must be the minutes that one run should take"),
        ("core_minutes = 1", "core_minutes = nan", "core_minutes must be a finite number, got nan"),
        ("core_minutes = 1", f"core_minutes = 1{'0' * 400}", "core_minutes must be a finite number, got 10"),
        ("core_minutes = 1", "core_minutes = 1\noptions.lr = inf", "lr must be a finite number, got inf"),
        ("core_minutes = 1", "core_minutes = '1'", "core_minutes must be a number, got '1'"),
        ("core_minutes = 1", "core_minuts = 1", "core_minuts must be one of experiment, task, .*, got 1"),
        ("core_minutes = 1", "core_minutes = 1\npriority = 1.5", "priority must be a whole number, got 1.5"),
        ("core_minutes = 1", "core_minutes = 1\noptions = 3", "options must be a table of names and values"),
        ("core_minutes = 1", "core_minutes = 1\noptions.step = 3", "step must be left out: .* those are .*steps"),
        ("core_minutes = 1", "core_minutes = 1\noptions.steps = 3.5", "steps must be a whole number, got 3.5"),
        ("core_minutes = 1", "core_minutes = 1\noptions.steps = true", "steps must be a whole number, got True"),
        ("core_minutes = 1", "core_minutes = 1\noptions.steps = []", r"steps must be one value or more, got \[\]"),
        ("core_minutes = 1", "core_minutes = 1\noptions.steps = [9, 0]", "steps must be at least 3, got 0"),
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


def test_a_value_that_is_a_contestants_own_is_a_mistake(tmp_path: Path) -> None:
    text = '[[run]]\nexperiment = "density"\ncontestant = ["bridge", "gumbel"]\nseeds = [0]\ncore_minutes = 1\n'
    with pytest.raises(PlanFileError, match=r"temperature must be left out or 1\.0, which is gumbel's own, got 0\.3"):
        read(written(tmp_path, text + "options.temperature = 0.3"))
    assert len(runs_of(written(tmp_path, text + "options.temperature = 1"))) == 4


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


def test_spoilt_plans_are_read_or_refused_in_a_sentence(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "commands" / "experiments.md").read_text(encoding="utf-8")
    whole = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)[0].splitlines()
    spoilt = [
        "1e400",
        "-1",
        "nan",
        "''",
        "true",
        "[]",
        "[[]]",
        "{a = 1}",
        "1979-05-27",
        "['5', '-5']",
        "99999999999999",
    ]
    dice, refused = random.Random(19), []
    for _ in range(150):
        lines = list(whole)
        place = dice.randrange(len(lines))
        lines[place] = dice.choice(
            ["", "#" + lines[place][::-1], lines[place].split("=")[0] + "= " + dice.choice(spoilt)]
        )
        try:
            read(written(tmp_path, "\n".join(lines)))
        except PlanFileError as error:
            refused.append(str(error))
    assert len(refused) > 75
    assert all("plan.toml" in said and "\n" not in said for said in refused)


def test_a_list_that_makes_too_many_runs_is_refused_before_it_makes_them(tmp_path: Path) -> None:
    text = TINY + "".join(f"options.{name} = {list(range(3, 503))}\n" for name in ("steps", "width", "batch", "points"))
    with pytest.raises(PlanFileError, match=r"options must be lists that make at most 100,000 .*, got 62500000000"):
        read(written(tmp_path, text))
    with pytest.raises(PlanFileError, match=r"seeds must be so few that an entry has at most 100,000 runs"):
        read(written(tmp_path, TINY.replace("[0]", str(list(range(100_001))))))


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
    figure3, toys = experiment("figure3"), experiment("toys").runs("smoke", 0)
    groups = [
        Group(title="a", runs=figure3.runs("smoke", 0) + figure3.runs("smoke", 1), core_minutes=1),
        Group(title="b", runs=figure3.runs("small", 0), core_minutes=10),
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
    run, path, touched = experiment("figure3").runs("smoke", 0)[0], tmp_path / "a.pt", tmp_path / "touched"
    state = {"steps": 3, "seconds": 1.5, "steps_in_all": 12, "model": torch.nn.Linear(2, 2).state_dict()}
    checkpoint.save(path, run, state)
    assert glance(path) == Standing(seconds=1.5, share=0.25)
    checkpoint.save(path, run, {key: value for key, value in state.items() if key != "steps_in_all"})
    assert glance(path) == Standing(seconds=1.5, share=None), "as older ones are"

    class Hostile:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(touched),)

    torch.save({"state": {**state, "model": Hostile()}}, path)
    assert glance(path) == Standing(seconds=1.5, share=0.25)
    assert not touched.exists()
    for content in (b"", path.read_bytes()[:300], pickle.dumps(state)):
        path.write_bytes(content)
        assert glance(path) is None
    assert glance(tmp_path / "none.pt") is None


def test_the_process_of_a_plan_needs_no_torch() -> None:
    modules = "plan.file, plan.listing, plan.processes, plan.progress, plan.work, runs.signals, commands.all"
    imports = "; ".join(f"import hardgrad_lab.{name}" for name in modules.split(", "))
    program = f"import sys; {imports}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0, (
        "it would start late and hold memory for hours"
    )


def test_a_list_is_read_without_torch(tmp_path: Path) -> None:
    words = ["reproduce", "all", "--plan", str(written(tmp_path, TINY)), "--list", "--out", str(tmp_path / "out")]
    program = (
        f"import sys\nfrom hardgrad_lab import cli\nassert cli.main({words!r}) == 0\nassert 'torch' not in sys.modules"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "1 runs left, 0.02 core-hours: 0.01 hours at 2 at a time" in said or "0.02 hours at 1 at a time" in said


# --------------------------------------------------------------------------------------------- in several sittings


SLOW = TINY.replace("[0]", "[0, 1]") + "options.steps = 800\n"


def started(plan: Path, out: Path, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hardgrad_lab.cli", "reproduce", "all", "--plan", str(plan), "--out", str(out)]
    command += ["--jobs", "2", "--device", "cpu", "--checkpoint-seconds", "0.1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, **options)


def wait_until_begun(runs: list[Run], out: Path, process: subprocess.Popen[str]) -> None:
    while any(state_of(run, out) == "missing" for run in runs):
        assert process.poll() is None
        time.sleep(0.02)


def alike(run: Run, one: Path, other: Path) -> bool:
    """Return whether two folders have the same record of a run, clocks and dates aside."""
    records = [Record.load(run.record_path(folder_of(run, out))) for out in (one, other)]
    plain = [
        (record.metrics, record.samples, [{**point, "seconds": 0.0} for point in record.curve]) for record in records
    ]
    return plain[0] == plain[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of the slow plan, done in one sitting."""
    out = tmp_path_factory.mktemp("whole")
    for run in runs_of(written(out, SLOW)):
        how = How(results=folder_of(run, out), device="cpu")
        experiment(run.experiment).reproduce(run, Root(), how, Console(quiet=True))
    return out


def test_a_plan_in_several_sittings_on_two_machines_is_the_plan_in_one(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, out = written(tmp_path, SLOW), tmp_path / "here"
    runs = runs_of(plan)
    process = started(plan, out)
    wait_until_begun(runs, out, process)
    os.killpg(process.pid, signal.SIGINT)  # as the Ctrl-C of a terminal, to the whole group
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.endswith("stopped, and saved; the same command goes on from here\n")
    for run in runs:
        saved = run.checkpoint_path(folder_of(run, out))
        assert 0 < checkpoint.load(saved, run)["steps"] < 800
        assert str(tmp_path).encode() not in saved.read_bytes(), "the folder may be moved"
    words = ["reproduce", "all", "--plan", str(plan), "--device", "cpu"]
    assert cli.main([*words, "--out", str(out), "--list"]) == 0
    said = capsys.readouterr().out
    assert (
        len(re.findall(r"begun +\S+figure3-signum-elu-dense-smoke-s\d-\w+  \d+% of its steps, 0.0\d h left", said)) == 2
    )
    assert re.search(r"^ +all +0 +2 +0 ", said, re.MULTILINE)

    there = Path(shutil.move(out, tmp_path / "there"))
    assert cli.main([*words, "--out", str(there), "--jobs", "1"]) == 0
    assert "2 runs, 0 of them done before" in capsys.readouterr().out
    for run in runs:
        assert f"resuming {run.name}" in log_of(run, there).read_text()
        assert alike(run, there, whole)
    assert cli.main([*words, "--out", str(there), "--list"]) == 0
    assert "all 2 runs are done" in capsys.readouterr().out


def test_the_death_of_a_plan_leaves_no_worker_that_trains_on_and_a_stopped_one_goes_on(
    tmp_path: Path, whole: Path
) -> None:
    plan, out = written(tmp_path, SLOW), tmp_path / "out"
    runs = runs_of(plan)
    process = started(plan, out)
    wait_until_begun(runs, out, process)
    workers = children(process.pid)
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    process.kill()
    process.communicate()
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    deadline = time.monotonic() + 60
    while alive := [pid for pid in workers if is_alive(pid)]:
        assert time.monotonic() < deadline, f"{alive} train on, though nobody is left to ask for it"
        time.sleep(0.05)
    assert [state_of(run, out) for run in runs] == ["begun", "begun"], "saved, not finished"
    process = started(plan, out)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert all(alike(run, out, whole) for run in runs)


def children(pid: int) -> list[int]:
    said = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in said.splitlines()]
    return [child for child, parent in pairs if parent == pid]


def is_alive(pid: int) -> bool:
    said = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(said.strip()) and not said.startswith("Z")  # the dead wait for whoever inherits them


def test_ray_takes_the_same_file_in_the_same_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = written(tmp_path, SLOW + TINY.replace("[0]", "[9]\npriority = 0"))
    given: list[str] = []

    def do(queue: Any, *others: object) -> None:
        while queue:
            given.append(queue.take().name)

    monkeypatch.setattr(cluster, "do", do)
    cli.main(["reproduce", "all", "--plan", str(plan), "--out", str(tmp_path / "out"), "--engine", "ray"])
    assert given == [run.name for run in runs_of(plan)]
    assert given[0].startswith("figure3-signum-elu-dense-smoke-s9")
