"""``hardgrad doctor`` on functions as people have them: in files, that print, wait, break, or keep a state."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from hardgrad_lab import cli
from hardgrad_lab.commands.show_doctor import Turns
from hardgrad_lab.doctor.page.examination import write_examination
from hardgrad_lab.doctor.record import Diagnosis, Examination, Progress

MODULE = """
import torch

broken = []

def rounds(x):
    if broken:
        raise ConnectionError("the server is gone")
    return x.round()

def prints(x):
    print("called with", len(x))
    return x.round()

def logs(x):
    return torch.log(x)

def mostly(x):
    return torch.where(x > 1.9, torch.nan, x.round())

calls = []
def counts(x):
    calls.append(1)
    return (x > len(calls) % 7 / 3 - 1).to(x.dtype)

def leaves(x):
    raise SystemExit("usage: simulate FILE")

def unplug(x):
    broken.append(1)
    return rounds(x)

def stop(x):
    raise KeyboardInterrupt

class Rounds(torch.nn.Module):
    def forward(self, x):
        return x.round()

class Sized(torch.nn.Module):
    def __init__(self, size):
        super().__init__()

class Tools:
    small = staticmethod(lambda x: x.round())
"""
FAST = ["--shape", "4,3", "--draws", "20", "--warm-up", "0", "--estimators", "straight_through"]


@pytest.fixture(autouse=True)
def in_a_folder_with_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delitem(sys.modules, "machines", raising=False)
    Path("tools").mkdir()
    Path("tools/machines.py").write_text(MODULE)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pictures out where a test is not about them."""
    monkeypatch.setattr("hardgrad_lab.doctor.page.examination.write_examination", lambda *_: [])


def run(name: str, *words: str, budget: int = 400, estimators: str = "straight_through") -> int:
    given = [*FAST[:-1], estimators, "--budget", str(budget)]
    return cli.main(["doctor", f"tools/machines.py:{name}", *given, *words])


def found() -> Diagnosis:
    return Examination.load(Path("doctor/doctor.json")).diagnosis


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", ["rounds", "Rounds", "Tools.small"])
def test_a_file_and_a_name_in_it_are_enough(name: str) -> None:
    assert run(name) == 0
    assert found().repeats == "same"
    assert found()["straight_through"].error is None


@pytest.mark.usefixtures("undrawn")
def test_a_file_of_the_folder_hides_no_module_of_python(capsys: pytest.CaptureFixture[str]) -> None:
    Path("colorsys.py").write_text("def mine(x):\n    return x.round()\n")
    assert cli.main(["doctor", "colorsys:mine", *FAST]) == 1
    said = flat(capsys.readouterr().err)
    assert "colorsys has no 'mine'" in said
    assert "for a file of yours with that name, give colorsys.py:" in said
    assert cli.main(["doctor", "colorsys.py:mine", *FAST]) == 0
    assert str(Path.cwd()) in sys.path[1:]


@pytest.mark.usefixtures("undrawn")
def test_what_it_prints_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("prints") == 0
    out = capsys.readouterr().out
    assert out.count("called with") == 1
    assert "lines, which are left out here; the first: called with 4" in out


@pytest.mark.usefixtures("undrawn")
def test_a_state_is_said_in_the_table_the_record_and_the_advice(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("counts") == 0
    out = flat(capsys.readouterr().out)
    assert "gives different outputs for the same input" in out
    assert "if the function were the same at every call, which it is not" in out
    assert found().repeats == "state"


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("logs", [], "must return finite numbers, got NaN at 4 of 4 inputs"),
        ("mostly", ["--sigma", "0.4"], "NaN"),
        (
            "leaves",
            [],
            "raises for x of shape (4, 3): SystemExit: usage: simulate FILE (line 27 of mach",
        ),
        ("Sized", [], "is the class Sized, which cannot be made without arguments"),
        ("absent", [], "machines has no 'absent'; it has Rounds, Sized, Tools, counts"),
        ("rounds", ["--seconds", "0"], "Must be > 0"),
        ("rounds", ["--out", "tools/machines.py/in"], "machines.py is a file); name another"),
        ("rounds", ["--device", "nowhere"], "--device must name a device of this machine, such as cpu"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    name: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(name, *words) == 1
    error = capsys.readouterr().err
    assert said in flat(error)
    assert "Traceback" not in error
    assert "JSON" not in error
    assert not Path("doctor").exists()


def test_files_that_are_not_there_or_end_on_import(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "tools/other.py:f", *FAST]) == 1
    assert "there is no file tools/other.py" in flat(capsys.readouterr().err)
    Path("script.py").write_text("import sys\nsys.exit('usage: script FILE')\n")
    for place in ("script.py:f", "script:f"):
        assert cli.main(["doctor", place, *FAST]) == 1
        assert "raises SystemExit: usage: script FILE" in flat(capsys.readouterr().err)


@pytest.mark.parametrize(("candidate", "status"), [("stop", 130), ("unplug", 1)])
def test_what_was_measured_is_kept(candidate: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rounds", estimators=f"straight_through,tools/machines.py:{candidate},score_function") == status
    rows = {row.name: row for row in found().rows}
    assert rows["straight_through"].error is None
    assert rows["straight_through"].seconds is None
    assert "not examined: " in rows["score_function"].error
    error = capsys.readouterr().err
    reason = "it was stopped by hand" if status == 130 else "ConnectionError: the server is gone"
    assert f"not all was measured: {'' if status == 130 else 'the function answers no more: '}" in error
    assert reason in error
    assert "doctor/doctor.json" in error
    page = Path("doctor/doctor.html").read_text()
    assert "this diagnosis is not whole, 1 candidates were measured" in page
    assert reason in page


def test_a_page_is_drawn_though_all_candidates_refuse(tmp_path: Path) -> None:
    Path("tools/machines.py").write_text("def rounds(x):\n    return x.round()\ndef bad(x):\n    return 1 // 0\n")
    assert run("rounds", estimators="tools/machines.py:bad") == 0
    assert "ZeroDivisionError" in (tmp_path / "doctor" / "doctor.html").read_text()


def test_stopped_before_anything_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    Path("tools/machines.py").write_text("def f(x):\n    raise KeyboardInterrupt\n")
    assert run("f") == 130
    assert "stopped by SIGINT before any candidate was measured; nothing is kept" in flat(capsys.readouterr().err)


@pytest.mark.usefixtures("undrawn")
def test_draws_and_budget_are_the_librarys_unless_told_otherwise() -> None:
    words = ["doctor", "tools/machines.py:rounds", "--shape", "2,1", "--warm-up", "0", "--estimators"]
    assert cli.main([*words, "straight_through"]) == 0
    examined = Examination.load(Path("doctor/doctor.json"))
    assert examined.options["draws"] is None
    assert examined.options["budget"] is None
    assert examined.options["seconds"] is None
    assert examined.diagnosis.draws == 1000


def test_one_who_waits_hears_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    with Turns(Console(file=sys.stdout), "f", None) as turns:
        turns(Progress("truth", 0, 3, 720.0))
        turns(Progress("truth", 0.5, 3, 600.0))
        turns(Progress("a", 1, 3, 20.0))
        turns(Progress("a", 3, 3, 0.0))
    assert capsys.readouterr().out.splitlines() == [
        "this takes about 12 minutes; --seconds 120 ends it in a 6th of that, with fewer draws and wider standard "
        "errors",
        "f: truth, about 12 minutes left",
        "f: a",
    ]


@pytest.mark.usefixtures("undrawn")
def test_a_limit_is_recorded() -> None:
    assert run("rounds", "--seconds", "600") == 0
    assert Examination.load(Path("doctor/doctor.json")).options["seconds"] == 600


@pytest.mark.usefixtures("undrawn")
def test_a_record_of_before_is_still_read(tmp_path: Path) -> None:
    """It lacks what is new: whether the function repeats itself, what stopped it, which clock."""
    assert run("rounds") == 0
    old = json.loads(Path("doctor/doctor.json").read_text())
    for name in ("repeats", "stopped", "clock"):
        del old["diagnosis"][name]
    Path("old.json").write_text(json.dumps(old))
    read = Examination.load(Path("old.json"))
    assert (read.diagnosis.repeats, read.diagnosis.stopped, read.diagnosis.clock) == (None, None, "processor")
    assert write_examination(read, tmp_path / "again")
    assert torch.isfinite(torch.tensor(read.diagnosis.truth.gradient)).all()
