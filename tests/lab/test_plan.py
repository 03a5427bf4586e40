"""The plan of many runs: what is in it, what is skipped, and what it survives."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from hardgrad_lab import cli
from hardgrad_lab.commands import all as command
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments import LIST, experiment
from hardgrad_lab.experiments.bridges.figure3 import FIGURE3
from hardgrad_lab.plan import processes
from hardgrad_lab.plan.groups import Estimates, Group, groups_of
from hardgrad_lab.plan.jobs import DEATHS, Queue, folder_of, in_order
from hardgrad_lab.plan.processes import Workers
from hardgrad_lab.plan.progress import Lines
from hardgrad_lab.plan.work import Result, Setup, work
from hardgrad_lab.plan.worker import log_of
from hardgrad_lab.runs import checkpoint
from hardgrad_lab.runs.execute import How
from hardgrad_lab.runs.experiment import Budget
from hardgrad_lab.runs.lock import locked
from hardgrad_lab.runs.record import Record, Run
from lab.run_state import state_of

ROOT = Path(__file__).parents[2]
QUIET = Console(quiet=True)


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("COLUMNS", "200")


def jobs_of(budget: Budget, only: Sequence[str] = (), seeds: int = 0) -> list[Run]:
    return in_order(groups_of(budget, only, seeds), by_seed=True)


def figure3(seed: int = 0, steps: int = 60) -> Run:
    return FIGURE3.run(FIGURE3.configure("smoke", "signum", "elu-dense", {"steps": steps}), seed)


def uninterrupted(run: Run, folder: Path) -> dict[str, float]:
    how = How(results=folder, device="cpu")
    return experiment(run.experiment).reproduce(run, Root(), how, QUIET).record.metrics


class Follower:
    """Keep what happened, and let a test meddle."""

    def __init__(self, meddle: Callable[[Follower], None] = lambda follower: None) -> None:
        self.begun: list[str] = []
        self.results: list[tuple[str, Result, bool]] = []
        self.meddle = meddle

    def started(self, run: Run) -> None:
        self.begun.append(run.name)

    def ended(self, run: Run, result: Result, again: bool) -> None:
        self.results.append((run.name, result, again))

    def tick(self) -> None:
        self.meddle(self)


# ------------------------------------------------------------------------------------------------- what is in it


def test_a_plan_has_every_experiment_and_the_first_seed_of_all_comes_first() -> None:
    runs = jobs_of("small")
    assert {run.experiment for run in runs} == {*LIST} >= {"density", "sorting", "ecg", "published", "toys"}
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)
    assert len({run.name for run in runs}) == len(runs)
    assert {run.experiment for run in runs if run.seed == 0} == {*LIST}


def test_sorting_has_all_systems_at_5_and_at_10_numbers() -> None:
    runs = jobs_of("small", ["sorting"])
    assert len(runs) == 3 * 12
    assert {run.config["setting"] for run in runs} == {"fast"}
    assert sorted(run.config["length"] for run in runs) == [5] * 18 + [10] * 18
    # Table II: six systems at 5, 10 and 15 numbers, five runs each.
    paper = jobs_of("paper", ["sorting"])
    assert (len(paper), {run.config["setting"] for run in paper}) == (90, {"published"})


def test_the_plan_has_the_run_that_the_experiments_own_command_makes(tmp_path: Path) -> None:
    for name in ("sorting", "figure3"):
        run = jobs_of("smoke", [name])[0]
        assert state_of(run, tmp_path) == "missing"
        assert cli.main(["reproduce", name, "--budget", "smoke", "--out", str(tmp_path)]) == 0
        assert state_of(run, tmp_path) == "done", "both commands may be given one folder, or none"


def test_seeds_and_experiments_can_be_chosen() -> None:
    assert [run.seed for run in jobs_of("small", ["figure3"], seeds=2)] == [0, 1]
    with pytest.raises(ValueError, match=r"only must be one of .*sorting, .*, got 'figure4'"):
        jobs_of("small", ["figure4"])


def test_a_run_that_went_through_json_is_the_same_run() -> None:
    for run in jobs_of("smoke"):
        config = json.loads(json.dumps(run.config))
        one = experiment(run.experiment)
        assert one.run(one.rebuilt(config), run.seed) == run


def test_a_failed_job_is_tried_once_more_behind_the_others() -> None:
    first, second = figure3(0), figure3(1)
    queue = Queue([first, second])
    assert queue.take() == first
    assert queue.again(first)
    assert [queue.take(), queue.take()] == [second, first]
    assert not queue.again(first)
    assert not queue


def test_a_job_whose_machine_dies_is_next_and_its_tries_are_not_used_up() -> None:
    first, second = figure3(0), figure3(1)
    queue = Queue([first, second])
    for _ in range(DEATHS - 1):
        assert queue.take() == first
        assert queue.again(first, machine_died=True)
    assert queue.take() == first
    assert queue.again(first)
    assert queue.take() == second
    assert not queue.again(first, machine_died=True)


def test_the_time_left_follows_from_the_jobs_that_are_done() -> None:
    runs, other = [figure3(seed) for seed in range(5)], jobs_of("smoke", ["toys"])[0]
    times = Estimates([Group(title="figure3", runs=runs), Group(title="toys", runs=[other])])
    assert times.of(runs[2]) is None
    times.add(runs[0], 10.0)
    times.add(runs[1], 20.0)
    assert [times.of(run) for run in runs[2:]] == [15.0] * 3
    assert times.of(other) == 15.0
    console = Console(record=True, width=150)
    lines = Lines(runs, times, console)
    for run in runs[1:3]:
        lines.started(run)
    lines.ended(runs[2], Result(status="done", seconds=15.0), again=False)
    assert "1/5  done     figure3-signum-elu-dense-smoke-s2" in console.export_text(clear=False)
    assert "15 s, 0:00:30 left" in console.export_text(), "four jobs of 15 seconds, two at a time"


# --------------------------------------------------------------------------------------- done by worker processes


def test_the_command_does_what_is_missing_and_skips_what_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reproduce", "all", "--budget", "smoke", "--only", "figure3", "--seeds", "2", "--out", str(tmp_path)]
    words += ["--device", "cpu", "--jobs", "1"]
    first, second = jobs_of("smoke", ["figure3"], seeds=2)
    uninterrupted(first, folder_of(first, tmp_path))
    path = first.record_path(folder_of(first, tmp_path))
    written = path.stat().st_mtime_ns

    assert cli.main([*words, "--list"]) == 0
    said = capsys.readouterr().out
    assert f"done     {folder_of(first, tmp_path) / first.name}" in said
    assert f"missing  {folder_of(second, tmp_path) / second.name}" in said

    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "2 runs, 1 of them done before" in said
    assert "1 runs done now, 0 failed, 0 left" in said
    assert path.stat().st_mtime_ns == written
    assert Record.load(second.record_path(folder_of(second, tmp_path))).seed == 1
    assert "100.0%  samples" in log_of(second, tmp_path).read_text()
    assert not log_of(first, tmp_path).exists()

    assert cli.main(words) == 0
    assert capsys.readouterr().out == "2 runs, 2 of them done before\n"


def test_a_failure_is_said_at_the_end_with_its_cure_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "no data"
    data.mkdir()
    words = ["reproduce", "all", "--budget", "smoke", "--only", "published", "figure3", "--out", str(tmp_path)]
    assert cli.main([*words, "--data", str(data), "--device", "cpu", "--jobs", "1"]) == 1
    said = capsys.readouterr().out
    assert "1 runs done now, 8 failed, 0 left" in said
    assert said.count("failed, and waits for another try") == 8
    assert len(re.findall(r"failed: published-as-published-smoke-\S+ and 7 others: \S", said)) == 1
    assert state_of(figure3(0, 50), tmp_path) == "done"
    assert "MissingDataError" in log_of(jobs_of("smoke", ["published"])[0], tmp_path).read_text()


def test_a_damaged_record_is_not_taken_for_a_run_that_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = jobs_of("smoke", ["figure3"])[0]
    path = run.record_path(folder_of(run, tmp_path))
    uninterrupted(run, path.parent)
    path.write_text(path.read_text()[:100])
    assert state_of(run, tmp_path) != "done"
    words = ["reproduce", "all", "--budget", "smoke", "--only", "figure3", "--out", str(tmp_path), "--jobs", "1"]
    assert cli.main([*words, "--device", "cpu"]) == 1
    assert "is not readable JSON" in capsys.readouterr().out
    assert len(path.read_text()) == 100, "nobody but its owner may decide on a damaged record"


def test_a_worker_that_dies_costs_no_more_than_its_time(tmp_path: Path) -> None:
    slow, others = figure3(0, 1_000), [figure3(1), figure3(2)]
    setup = Setup(out=tmp_path, device="cpu", checkpoint_every=50, checkpoint_every_s=1e9)
    workers = Workers(1, setup, [])
    saved = slow.checkpoint_path(folder_of(slow, tmp_path))

    def kill(follower: Follower) -> None:
        if saved.exists() and not follower.results:
            workers.workers[0].process.kill()

    follower = Follower(kill)
    workers.do(Queue([slow, *others]), follower, [])
    name, result, again = follower.results[0]
    assert (name, result.status, again) == (slow.name, "failed", True)
    assert "SIGKILL" in result.error
    assert [(name, result.status) for name, result, _ in follower.results[1:]] == [
        (others[0].name, "done"),
        (others[1].name, "done"),
        (slow.name, "done"),
    ]
    record = Record.load(slow.record_path(folder_of(slow, tmp_path)))
    assert record.metrics == uninterrupted(slow, tmp_path / "whole")
    assert f"resuming {slow.name}" in log_of(slow, tmp_path).read_text()


def test_a_worker_that_somebody_else_stops_saves_its_run_which_goes_on(tmp_path: Path) -> None:
    run = figure3(0, 600)
    workers = Workers(1, Setup(out=tmp_path, device="cpu", checkpoint_every=50, checkpoint_every_s=1e9), [])

    stopped: list[int] = []

    def stop(follower: Follower) -> None:
        if state_of(run, tmp_path) == "begun" and not stopped:
            workers.workers[0].process.terminate()  # once: a second one would not wait for the checkpoint
            stopped.append(workers.workers[0].process.pid)

    follower = Follower(stop)
    workers.do(Queue([run]), follower, [])
    assert [(result.status, again) for _, result, again in follower.results] == [("failed", True), ("done", False)]
    assert follower.results[0][1].error == "its process was stopped from outside"
    assert Record.load(run.record_path(folder_of(run, tmp_path))).metrics == uninterrupted(run, tmp_path / "whole")


def test_a_job_that_another_process_is_at_waits_until_that_is_done(tmp_path: Path) -> None:
    run, held, console = figure3(0), threading.Event(), Console(record=True, quiet=True)
    folder = folder_of(run, tmp_path)

    def hold() -> None:  # as the workers of a plan that was killed do until they have saved
        with locked(run.checkpoint_path(folder), "this run", "wait"):
            held.set()
            time.sleep(0.5)

    threading.Thread(target=hold, daemon=True).start()
    assert held.wait(timeout=30)
    assert work(run, Setup(out=tmp_path, device="cpu"), folder, console).status == "done"
    assert state_of(run, tmp_path) == "done"


def test_a_plan_that_ends_in_an_error_lets_its_workers_save_what_they_do(tmp_path: Path) -> None:
    run = figure3(0, 10**7)
    workers = Workers(1, Setup(out=tmp_path, device="cpu", checkpoint_every_s=0.2), [])
    processes: list[subprocess.Popen[str]] = []

    def fail(follower: Follower) -> None:
        if state_of(run, tmp_path) == "begun":
            processes.append(workers.workers[0].process)
            raise KeyboardInterrupt  # a second Ctrl-C, or an output that nobody reads any more

    with pytest.raises(KeyboardInterrupt):
        workers.do(Queue([run]), Follower(fail), [])
    assert processes[0].wait(timeout=60) == 0, "neither killed nor left to train on"
    assert checkpoint.load(run.checkpoint_path(folder_of(run, tmp_path)), run)["steps"] > 0


def test_a_job_that_always_crashes_its_worker_is_given_up_and_its_log_says_where_it_was(tmp_path: Path) -> None:
    deadly, other = figure3(0, 10**7), figure3(1)
    workers = Workers(1, Setup(out=tmp_path, device="cpu", checkpoint_every_s=0.1), [])

    def kill(follower: Follower) -> None:
        if state_of(deadly, tmp_path) == "begun" and (worker := workers.workers.get(0)) and worker.run == deadly:
            worker.process.send_signal(signal.SIGSEGV)

    follower = Follower(kill)
    workers.do(Queue([deadly, other]), follower, [])
    assert [(name, result.status, again) for name, result, again in follower.results] == [
        (deadly.name, "failed", True),
        (other.name, "done", False),
        (deadly.name, "failed", False),
    ]
    assert "SIGSEGV" in follower.results[0][1].error
    assert "Fatal Python error: Segmentation fault" in log_of(deadly, tmp_path).read_text()


def test_a_signal_saves_what_runs_and_the_same_command_goes_on(tmp_path: Path) -> None:
    words = ["reproduce", "all", "--budget", "paper", "--only", "figure3", "--out", str(tmp_path)]
    words += ["--device", "cpu", "--jobs", "1", "--checkpoint-seconds", "0.2"]
    run = jobs_of("paper", ["figure3"])[0]
    saved = run.checkpoint_path(folder_of(run, tmp_path))
    command = [sys.executable, "-m", "hardgrad_lab.cli", *words]
    for already in (False, True):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        before = saved.stat().st_mtime_ns if already else 0
        while not (saved.exists() and saved.stat().st_mtime_ns > before) and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM if already else signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == (143 if already else 130), said
        assert f"stopped  {run.name}" in said
        assert "0 runs done now, 0 failed, 5 left" in said
        assert "stopped, and saved; the same command goes on from here" in said
        assert state_of(run, tmp_path) == "begun"
        assert checkpoint.load(saved, run)["steps"] > 0
        assert ("resuming" in log_of(run, tmp_path).read_text()) == already


def test_a_worker_left_alone_saves_its_run_and_ends(tmp_path: Path) -> None:
    run = figure3(0, 10**7)
    workers = Workers(1, Setup(out=tmp_path, device="cpu", checkpoint_every_s=0.2), [])
    worker = workers._start(0)
    worker.give(run, workers.setup)
    while state_of(run, tmp_path) != "begun":
        time.sleep(0.05)
    worker.stop()  # closes the pipe, as the death of the plan's own process does
    _, line = workers.mailbox.get(timeout=60)
    assert worker.result(line).status == "stopped"
    assert worker.process.wait(timeout=30) in (0, -signal.SIGTERM)


def test_nothing_in_a_plan_is_unknown_to_windows() -> None:
    # Pipes cannot be selected on there, a signal to another process ends it unsaved, and there is no fork.
    refused = r"selectors|select\.|send_signal|os\.kill|killpg|os\.fork|preexec_fn|/dev/|\bfcntl\b"
    for path in sorted((ROOT / "src" / "hardgrad_lab" / "plan").glob("*.py")):
        code = "".join(re.split(r'"""|#.*', path.read_text(encoding="utf-8"))[::2])
        assert not (found := re.search(refused, code)), f"{path.name} has {found and found[0]}"


def test_workers_take_the_devices_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Process:
        def __init__(self, command: list[str], **options: object) -> None:
            environment = options["env"]
            assert isinstance(environment, dict)
            seen.append(environment["CUDA_VISIBLE_DEVICES"])
            self.stdin, self.stdout = None, StringIO()

    monkeypatch.setattr(processes.subprocess, "Popen", Process)
    workers = Workers(3, Setup(out=tmp_path), ["0", "1"])
    for place in range(3):
        workers._start(place)
    assert seen == ["0", "1", "0"]


def test_devices_are_those_that_may_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert command._devices("auto") == ["2", "5"]
    assert command._devices("cpu") == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert command._devices("auto") == ["0", "1"]
