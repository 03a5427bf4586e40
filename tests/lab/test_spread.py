"""One run shared by two processes: what it comes to, who writes, and how all of them stop."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from hardgrad_lab import cli
from hardgrad_lab.runs import spread
from hardgrad_lab.runs.execute import How, execute
from hardgrad_lab.runs.record import Record
from lab.shared_run import BATCH, STEPS, a_run, begin, two_processes

ROOT = Path(__file__).parents[2]
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def saw(folder: Path) -> list[dict[str, Any]]:
    return two_processes(folder)


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_two_processes_come_to_what_one_does_with_the_joint_batch(saw: list[dict[str, Any]], tmp_path: Path) -> None:
    torch.manual_seed(3)
    alone = execute(a_run(dropout=0.0), begin, How(results=tmp_path, device="cpu"), QUIET)
    together = saw[0]["plain"]["record"]
    assert together.samples == alone.record.samples == STEPS * BATCH
    assert len(together.curve) == len(alone.record.curve) == 3
    for ours, theirs in zip(together.curve, alone.record.curve, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert ours["penalty"] == pytest.approx(theirs["penalty"], rel=1e-5)
        assert ours["penalty"] > 0
    assert together.metrics["points"] == 1.0


def test_all_processes_hold_the_same_weights_and_know_the_same_record(saw: list[dict[str, Any]]) -> None:
    for name in ("plain", "noisy"):
        assert same(saw[0][name]["weights"], saw[1][name]["weights"])
        assert saw[0][name]["record"] == saw[1][name]["record"]


def test_the_record_says_how_many_processes_and_which_rows(saw: list[dict[str, Any]]) -> None:
    environment = saw[0]["plain"]["record"].environment
    assert environment["processes"] == 2
    assert environment["rows"] == "numbers drawn anew"


def test_the_first_process_alone_writes(saw: list[dict[str, Any]], folder: Path) -> None:
    written = Record.load(a_run(dropout=0.0).record_path(folder / "machine0" / "plain"))
    assert written == saw[1]["plain"]["record"]
    assert not (folder / "machine1").exists()


def test_each_process_has_noise_of_its_own(saw: list[dict[str, Any]]) -> None:
    assert not torch.equal(saw[0]["noisy"]["random"], saw[1]["noisy"]["random"])


def test_resumed_is_bit_identical_to_uninterrupted_in_every_process(saw: list[dict[str, Any]]) -> None:
    for each in saw:
        assert each["resumed"]["steps"] == STEPS
        assert same(each["resumed"]["weights"], each["noisy"]["weights"])
        assert torch.equal(each["resumed"]["random"], each["noisy"]["random"])


def test_a_done_run_is_found_by_all(saw: list[dict[str, Any]]) -> None:
    for each in saw:
        assert "steps" not in each["again"], "nothing was begun"
        assert each["again"]["record"] == saw[0]["again"]["record"]


def test_a_signal_to_one_process_stops_all_at_the_same_step(saw: list[dict[str, Any]], folder: Path) -> None:
    assert saw[0]["signal"]["error"] == saw[1]["signal"]["error"] == "Interrupted: stopped by SIGTERM"
    assert 3 < saw[0]["signal"]["steps"] == saw[1]["signal"]["steps"] < 2000
    assert a_run(dropout=0.0).checkpoint_path(folder / "machine0" / "signal").exists()


def test_a_loss_that_one_process_loses_ends_all(saw: list[dict[str, Any]]) -> None:
    for each in saw:
        assert each["nan"]["error"].startswith("DivergedError: the training diverged: loss nan")


def test_what_the_first_process_cannot_read_all_of_them_say(saw: list[dict[str, Any]]) -> None:
    for each in saw:
        assert "cannot be read: it is truncated or damaged" in each["damaged"]["error"]


def test_a_run_of_two_processes_is_not_continued_by_one(saw: list[dict[str, Any]], folder: Path) -> None:
    del saw
    how = How(results=folder / "machine0" / "signal", device="cpu", resume=True)
    with pytest.raises(ValueError, match=r"processes must be 2 to continue this run.*got 1"):
        execute(a_run(dropout=0.0), begin, how, QUIET)


def test_a_batch_that_cannot_be_shared_evenly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "world", lambda: 3)
    with pytest.raises(ValueError, match="batch must be a multiple of the 3 processes that share it, got 8"):
        spread.mine(torch.zeros(8, 1))


def test_each_process_takes_its_part_of_rows_and_a_seed_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "world", lambda: 2)
    parts, seeds = [], []
    for rank in range(2):
        monkeypatch.setattr(spread, "rank", lambda rank=rank: rank)
        parts.append(spread.mine(torch.arange(6)).tolist())
        seeds.append(spread.own_seed(7))
    assert parts == [[0, 1, 2], [3, 4, 5]]
    assert seeds[0] == 7 != seeds[1]


def test_torchrun_reproduces_figure_3_as_one_process_does(tmp_path: Path) -> None:
    words = ["reproduce", "figure3", "--budget", "smoke", "--device", "cpu", "--out"]
    assert cli.main([*words, str(tmp_path / "alone")]) == 0
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "hardgrad_lab.cli"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launch, *words, str(tmp_path / "together")]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("record   ") == ran.stdout.count("page     ") == 1
    alone, together = (Record.load(next((tmp_path / name).glob("*.json"))) for name in ("alone", "together"))
    assert together.samples == alone.samples
    assert together.metrics == pytest.approx(alone.metrics, rel=1e-4)
    assert [point["loss"] for point in together.curve] == pytest.approx([p["loss"] for p in alone.curve], rel=1e-4)
