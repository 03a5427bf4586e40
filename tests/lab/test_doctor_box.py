"""``hardgrad doctor box`` as its users meet it: on programs of theirs, and on their mistakes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from hardgrad_lab import cli

MODULE = """
import numpy as np
import torch
import hardgrad as hg

def stairs(row):
    return np.floor(8 * row).sum(keepdims=True) / 8

kept = [0.0]
def leaks(row):
    kept[0] = 0.5 * kept[0] + float(row.sum())
    return np.float32(kept[0])

def smooth(row):
    print("called")
    return np.tanh(row)

def knobs():
    return hg.BlackBox(stairs, low=0.0, high=1.0), torch.rand(4, 3)

def fails(row):
    return 1 / 0

def bounded():
    return hg.BlackBox(lambda row: np.floor(8 * row) / 8, low=[5.0, 0.0], high=[6.0, 2.0])
"""


@pytest.fixture(autouse=True)
def in_a_folder_with_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delitem(sys.modules, "programs", raising=False)
    Path("programs.py").write_text(MODULE)


def run(name: str, *words: str) -> int:
    return cli.main(["doctor", "box", f"programs.py:{name}", *words])


def test_stairs_are_found_and_the_line_to_use_is_the_last(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")  # the line is to be copied, so it is never broken
    assert run("knobs", "--json", "box.json") == 0
    out = capsys.readouterr().out
    assert "(4, 3) -> (4, 1)" in out
    assert "\nstairs " in out
    found = json.loads(Path("box.json").read_text())
    assert found["scale"] == pytest.approx([0.125] * 3)  # floor(8 x): a step each eighth
    assert out.splitlines()[-1].strip() == found["code"].splitlines()[-1]
    assert "hg.perturb(box, 0.125" in out


def test_inputs_are_drawn_between_the_bounds_of_a_box(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bounded", "--input", "16,2", "--json", "box.json") == 0
    least, largest = json.loads(Path("box.json").read_text())["output"]
    assert least >= 0
    assert 5 <= largest <= 6


def test_a_function_of_a_row_is_enough_and_its_state_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("leaks", "--input", "4,3") == 0
    assert "\nstate " in capsys.readouterr().out


def test_what_it_prints_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("smooth", "--input", "4,3") == 0
    out = capsys.readouterr().out
    assert "lines, which are left out here; the first: called" in out
    assert "\nstate " not in out
    assert "\nstairs " not in out


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        (
            "fails",
            ["--input", "4,3"],
            "row 0: the program raised ZeroDivisionError: division by zero (line 22 of programs",
        ),
        ("fails", [], "programs.py:fails comes without inputs; give the shape of each with --input"),
        ("absent", [], "programs has no 'absent'; it has bounded, fails, knobs, leaks, smooth, stairs"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    name: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(name, *words) == 1
    error = capsys.readouterr().err
    assert said in " ".join(error.split())
    assert error.count("\n") == 1


def test_a_file_alone_is_no_box(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "box", "programs.py"]) == 1
    assert "must be given as module:name" in " ".join(capsys.readouterr().err.split())
